// Patches: a value as what has changed since another value of its key (RFC 7396, JSON Merge Patch), for clients that are
// certain to hold that one (bases.ts). The text of an event is all that is kept, so each patch reads two texts: once for
// all clients in step.

import { encodeText } from './event.ts'
import type { Entry } from './event.ts'
import { writeJson } from './json.ts'

type Members = Readonly<Record<string, unknown>>

const DATA = ',"data":'
const TIMESTAMP = ',"timestamp":'
/** What a patch cannot say: `null` stands for removal. To a careless reader `__proto__` is no member like others. */
const UNSAYABLE = /[:[,]null[,\]}]|"__proto__":/

/** Whether the data of an event is an object: nothing else can be patched. */
export const holdsObject = ({ json }: Entry): boolean => json.startsWith('{', startOfData(json))

/**
 * An event as a patch against an earlier value of its key.
 * @returns null where there is none, or none that is smaller
 */
export function patchOf (before: Entry, after: Entry): Entry | null {
  if (!holdsObject(after) || isUnsayable(before.json) || isUnsayable(after.json)) return null
  const patch = mergePatch(dataOf(before), dataOf(after))
  const json = `${after.json.slice(0, after.json.indexOf(DATA))},"patch":${encodeText(writeJson(patch))}${after.json.slice(after.json.lastIndexOf(TIMESTAMP))}`
  const size = Buffer.byteLength(json)
  return size < after.size ? { ...after, json, size, wholeSize: after.size } : null
}

/** The patch that makes `after` of `before`. Arrays are replaced whole, as RFC 7396 has it. */
function mergePatch (before: Members, after: Members): Members {
  const patch: Record<string, unknown> = {}
  for (const name in before) if (!Object.hasOwn(after, name)) patch[name] = null
  for (const name in after) {
    const old = Object.hasOwn(before, name) ? before[name] : undefined
    const now = after[name]
    if (isEqual(old, now)) continue
    patch[name] = isMembers(old) && isMembers(now) ? mergePatch(old, now) : now
  }
  return patch
}

/** Looking for the words first takes a tenth of the time. */
const isUnsayable = (json: string): boolean => (json.includes('null') || json.includes('__proto__')) && UNSAYABLE.test(json)

/** No name or key holds a quote that is not escaped: the first one is it. */
const startOfData = (json: string): number => json.indexOf(DATA) + DATA.length

const dataOf = ({ json }: Entry): Members => JSON.parse(json.slice(startOfData(json), json.lastIndexOf(TIMESTAMP))) as Members

const isMembers = (value: unknown): value is Members => typeof value === 'object' && value !== null && !Array.isArray(value)

/** As JSON: 0 and -0 are two values. */
function isEqual (one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true
  if (Array.isArray(one)) return Array.isArray(other) && one.length === other.length && one.every((item, index) => isEqual(item, other[index]))
  if (!isMembers(one) || !isMembers(other)) return false
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every(name => Object.hasOwn(other, name) && isEqual(one[name], other[name]))
}
