// JSON from clients and backends, over HTTP, sockets and Redis. JSON.parse alone is not strict enough: it rounds numbers
// that a double cannot hold (an id such as 9007199254740993 would reach clients changed), it takes the last of several members
// of the same name, and it makes own properties of `__proto__`, which a careless reader further on would turn into prototypes.

import { Refusal } from './errors.ts'
import type { Code } from './errors.ts'

/**
 * Worth a closer look: 16 digits in a row, a fraction whose digits may make as many, and exponents of three digits. Nearly no
 * text has any. The digits are written out because V8 then looks at one character in many: 0.05 us for 200 B, and 0.5 us
 * with `\d{16}`.
 */
const LONG_NUMBER = /\d\d\d\d\d\d\d\d\d\d\d\d\d\d\d\d|\d\.\d\d\d\d\d\d\d\d|\d\d\d\d\d\d\d\d\.\d/
const LONG_EXPONENT = /\d[eE][+-]?\d{3}/
const SUSPECT_NAME = /"(?:_|\\u005[fF]){2}(?:p|\\u0070)(?:r|\\u0072)(?:o|\\u006[fF])(?:t|\\u0074)(?:o|\\u006[fF])(?:_|\\u005[fF]){2}"\s*:/
/** Deeper than any data; Python's reader fails at a thousand, and takes the whole bundle with it. */
export const MAX_DEPTH = 500
/** Different names of members in one body or message. V8 takes 0.5 us to read one that it has not seen, and 0.3 us to write it. */
export const MAX_NAMES = 50_000
/** Members whose names are not looked at. */
const FEW = 10_000
/** Objects and arrays in one body or message. V8 takes up to 0.2 us for each. */
export const MAX_NESTED = 200_000
/** Digits that a double holds whatever they are. */
const SURE_DIGITS = 15
/** Numbers of so few characters are held, with any exponent: `9e99`. */
const SURE_LENGTH = 4
/** Numbers below it have fewer digits. */
const TINY = 1e-290
/** The most that Number.toPrecision gives. */
const MAX_DIGITS = 100
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
/** What may stand in JSON outside of strings and numbers. */
const WORD = /[ \t\r\n]+|[[\]{},:]|true(?!\w)|false(?!\w)|null(?!\w)/y
/** A 0 that may have been -0. */
const LONE_ZERO = /[:[,]0[,\]}]/
/** Characters of a reason. */
const MAX_REASON = 200
const QUOTE = 0x22
const BACKSLASH = 0x5c
const BOM = 0xfeff

/** How much a body or a message holds. */
export class JsonSize {
  members = 0
  nested = 0
  /** Made for the few texts that have many members. */
  names: Set<string> | null = null
}

/**
 * Reads JSON text. A byte order mark in front of it is ignored.
 * @param code the code of a refusal
 * @param size what was counted before, where the text is one of several
 * @throws Refusal
 */
export function readJson (text: string, code: Code, size = new JsonSize()): unknown {
  if (text.charCodeAt(0) === BOM) text = text.slice(1)
  // Before any other work.
  const members = measureJson(text, code, size)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Refusal(code, text.trim() === '' ? 'the body is empty; JSON is expected' : `not valid JSON${placeOf(text, error as Error)}`)
  }
  if (SUSPECT_NAME.test(text)) throw new Refusal(code, 'the name "__proto__" is not accepted in JSON')
  if (LONG_NUMBER.test(text) || LONG_EXPONENT.test(text)) checkNumbers(text, code)
  // As many names in the text as members in the value: no name came twice.
  if (members !== countMembers(value)) checkNames(text, code)
  return value
}

/**
 * Counts, and bounds, what takes time to read or to write.
 * @returns the members in this text
 * @throws Refusal
 */
export function measureJson (text: string, code: Code, size = new JsonSize()): number {
  const before = size.members
  let depth = 0
  let start = 0
  let end = 0
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case QUOTE:
        start = index
        index = end = endOfString(text, start)
        break
      case 0x3a /* : */:
        if (++size.members <= FEW) break
        size.names ??= new Set()
        if (size.names.add(text.slice(start, end)).size > MAX_NAMES - FEW) throw new Refusal(code, `JSON may have ${MAX_NAMES} different names of members; send what they name as data, or in several requests`)
        break
      case 0x5b: case 0x7b: /* [ { */
        if (++depth > MAX_DEPTH) throw new Refusal(code, `JSON may be nested ${MAX_DEPTH} deep`)
        if (++size.nested > MAX_NESTED) throw new Refusal(code, `JSON may have ${MAX_NESTED} objects and arrays in all`)
        break
      case 0x5d: case 0x7d: /* ] } */ depth--
    }
  }
  return size.members - before
}

/**
 * Writes JSON text. JSON.stringify writes 0 for -0, which Python's round(-0.04, 1) gives: readers of the text would get
 * another number than was sent.
 */
export function writeJson (value: unknown): string {
  const text = JSON.stringify(value)
  // The pattern has no ends, with which it would take twice as long: 0.08 us for 200 B.
  if ((text !== '0' && !LONE_ZERO.test(text)) || !holdsNegativeZero(value)) return text
  return writeZeros(value) as string
}

/** Why JSON.stringify has failed, as the end of a sentence. What it was given may have thrown anything. */
export function reasonOf (error: unknown): string {
  if (error instanceof RangeError) return 'it is nested too deeply'
  return String(error instanceof Error ? error.message : error).split('\n', 1)[0]?.slice(0, MAX_REASON) ?? ''
}

/** JSON.stringify with its replacer would take 0.3 us for each part of a value; a message may hold a million. @returns undefined for what JSON leaves out */
function writeZeros (value: unknown): string | undefined {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : Number.isFinite(value) ? String(value) : 'null'
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(item => writeZeros(item) ?? 'null').join()}]`
  // A boxed number, and whatever else is not what JSON.parse makes.
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return JSON.stringify(value)
  const members: string[] = []
  for (const [name, item] of Object.entries(value)) {
    const written = writeZeros(item)
    if (written !== undefined) members.push(`${JSON.stringify(name)}:${written}`)
  }
  return `{${members.join()}}`
}

function holdsNegativeZero (value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return Object.is(value, -0)
  for (const part of Array.isArray(value) ? value : Object.values(value)) {
    if (part === 0 ? Object.is(part, -0) : typeof part === 'object' && holdsNegativeZero(part)) return true
  }
  return false
}

/** The index of the quote that ends the string at `start`; the end of the text where none does. */
function endOfString (text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++
    if (slashes % 2 === 0) return end
  }
  return text.length
}

/** @param text valid JSON */
function checkNumbers (text: string, code: Code): void {
  for (let index = 0; index < text.length; index++) {
    const char = text.charCodeAt(index)
    if (char === QUOTE) {
      index = endOfString(text, index)
    } else if (char === 0x2d /* - */ || (char >= 0x30 && char <= 0x39)) {
      const end = endOfNumber(text, index)
      if (end - index > SURE_LENGTH) {
        const token = text.slice(index, end)
        if (!isKept(token)) throw new Refusal(code, `the number ${token.slice(0, 40)} cannot be kept exactly; send it as a string`)
      }
      index = end - 1
    }
  }
}

function endOfNumber (text: string, index: number): number {
  for (;; index++) {
    const char = text.charCodeAt(index)
    const isPart = (char >= 0x30 && char <= 0x39) || char === 0x2d || char === 0x2b || char === 0x2e || char === 0x65 || char === 0x45 // 0-9 - + . e E
    if (!isPart) return index
  }
}

/**
 * Whether a double holds a number. Below 2^53: written with as many digits it is the same again, as is everything that a
 * program has printed from a double, however many digits it chose. Beyond, where doubles skip integers, it must be
 * the double itself, or the way JSON.stringify writes it.
 */
function isKept (token: string): boolean {
  const number = Number(token)
  if (token.length <= SURE_DIGITS && Math.abs(number) >= TINY && Number.isFinite(number)) return true
  // As JSON.stringify and Python write it; the rest looks at the digits.
  if (String(number) === token) return true
  const wanted = digitsOf(token)
  if (wanted === '') return true
  if (!Number.isFinite(number) || number === 0) return false
  if (wanted.length <= SURE_DIGITS && Math.abs(number) >= TINY) return true
  if (Math.abs(number) < 2 ** 53) return digitsOf(number.toPrecision(Math.min(wanted.length, MAX_DIGITS))) === wanted
  return [String(number), String(BigInt(number))].some(written => digitsOf(written) === wanted)
}

/** The digits of a number that count: from the first to the last that is not 0. */
const digitsOf = (token: string): string => (token.split(/[eE]/)[0] as string).replace(/[-.]/g, '').replace(/^0+|0+$/g, '')

function countMembers (value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object' && item !== null) count += countMembers(item)
    return count
  }
  for (const name in value) {
    const item = (value as Record<string, unknown>)[name]
    count += typeof item === 'object' && item !== null ? 1 + countMembers(item) : 1
  }
  return count
}

/** Looks at each name. @param text valid JSON */
function checkNames (text: string, code: Code): void {
  const open: Array<Set<string> | null> = []
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case 0x7b /* { */: open.push(new Set()); break
      case 0x5b /* [ */: open.push(null); break
      case 0x7d: case 0x5d: open.pop(); break
      case QUOTE: {
        const start = index
        index = endOfString(text, start)
        const names = open.at(-1)
        if (!names || !isName(text, index + 1)) break
        const name = JSON.parse(text.slice(start, index + 1)) as string
        if (names.has(name)) throw new Refusal(code, `the name ${JSON.stringify(name.slice(0, 40))} stands twice in one object, at character ${start}`)
        names.add(name)
      }
    }
  }
}

/** Whether a colon follows, behind spaces or not. */
function isName (text: string, index: number): boolean {
  while (' \t\r\n'.includes(text.charAt(index)) && index < text.length) index++
  return text.charAt(index) === ':'
}

/** Where a text is not JSON, and what stands there. V8's own message quotes the text around it, and does not always say where. */
function placeOf (text: string, error: Error): string {
  for (let index = 0; index < text.length;) {
    if (text.charCodeAt(index) === QUOTE) {
      index = endOfString(text, index) + 1
      continue
    }
    const char = text.charCodeAt(index)
    if (char === 0x2c || char === 0x3a) {
      index++
      continue
    }
    const pattern = char === 0x2d || (char >= 0x30 && char <= 0x39) ? NUMBER : WORD
    pattern.lastIndex = index
    if (!pattern.test(text)) return ` at character ${index}: ${JSON.stringify(/^-?[^\s,:[\]{}"]*/.exec(text.slice(index, index + 20))?.[0] ?? '')} is no JSON value`
    index = pattern.lastIndex
  }
  const place = /position (\d+)/.exec(error.message)?.[1]
  return place === undefined ? '' : ` at character ${place}`
}
