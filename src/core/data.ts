// The data of an event, as a program gives them. A text of JSON holds JSON's values only; a program has others. Inside of the
// data JSON.stringify's rules hold, as everybody knows them. Data that are as a whole something else than what JSON makes of
// them are refused: an invalid Date would delete its key, and of a Map nothing would be left.

import { Refusal } from './errors.ts'
import { reasonOf, writeJson } from './json.ts'

/**
 * @returns a value that JSON has
 * @throws Refusal BAD_EVENT
 */
export function dataOf (data: unknown): unknown {
  switch (typeof data) {
    case 'undefined': throw bad('data is missing; it may be any JSON value (null on a keyed event deletes the key)')
    case 'function': case 'symbol': case 'bigint': throw bad(`data is a ${typeof data}, which JSON does not have${typeof data === 'bigint' ? '; send it as a string' : ''}`)
    case 'number':
      if (!Number.isFinite(data)) throw bad(`data is ${data}, which JSON does not have`)
      return data
    case 'object': return data === null || isPlain(data) ? data : written(data)
    default: return data
  }
}

/** What JSON.parse makes, and its like. */
function isPlain (data: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(data)
  return (prototype === Object.prototype || prototype === Array.prototype || prototype === null) && !hasToJson(data)
}

/** Written once: `toJSON` may answer otherwise a second time. */
function written (data: object): unknown {
  let text: string | undefined
  try {
    text = writeJson(data)
  } catch (error) {
    throw bad(`data cannot be written as JSON: ${reasonOf(error)}`)
  }
  if (text === undefined || text === 'null') throw bad(`data is ${named(data)}, and JSON writes ${text ?? 'nothing'} for it; send null itself where null is meant (on a keyed event it deletes the key)`)
  if (text === '{}' && isLost(data)) throw bad(`data is ${named(data)}, of which JSON keeps nothing; send an object, an array or a plain value (of a Map Object.fromEntries(map), of a Set [...set]; await a Promise)`)
  return JSON.parse(text)
}

/** It has nothing that JSON would write, and is no empty object either, of this realm or of another. */
function isLost (data: object): boolean {
  const prototype = Object.getPrototypeOf(data) as object
  return !hasToJson(data) && Object.keys(data).length === 0 && Object.getPrototypeOf(prototype) !== null
}

const hasToJson = (data: object): boolean => typeof (data as { toJSON?: unknown }).toJSON === 'function'

const named = (data: object): string => {
  const { name } = (data.constructor ?? Object) as { readonly name?: unknown }
  return typeof name === 'string' && name !== 'Object' && name !== '' ? `of class ${name.slice(0, 40)}` : 'an object'
}

const bad = (message: string): Refusal => new Refusal('BAD_EVENT', message)
