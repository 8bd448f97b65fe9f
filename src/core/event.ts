// The event: parsed or refused here, for HTTP, sockets and Redis alike, and stringified once. From then on the gateway
// passes on its JSON text; a bundle is a join of such texts.

import { dataOf } from './data.ts'
import { Refusal } from './errors.ts'
import type { Id } from './id.ts'
import { MAX_DEPTH, measureJson, reasonOf, writeJson } from './json.ts'

/** An event as clients receive it. */
export interface Event {
  readonly id: Id
  readonly type: string
  /** Absent: a public event. */
  readonly room?: string
  /** Present: state, the newest value per (room, type, key) wins. Absent: a fact. */
  readonly key?: string
  readonly data: unknown
  /** Milliseconds since 1970. */
  readonly timestamp: number
  /** With a key: the value ends so many seconds after the milliseconds of its id, unless a newer one comes first. */
  readonly ttl?: number
}

/** The room that stands for the public feed. */
export const PUBLIC = '@public'
/** The room of the gateway's own figures and switches. */
export const SYSTEM = '@system'

/**
 * Whether the store's history keeps an entry: facts, and deletions of keys. Those of `@system` it does not: members that come
 * and go make them, and would push everybody's facts out of it. See rooms.ts for what becomes of them.
 */
export const isHistory = ({ room, key, deletion }: Pick<Entry, 'room' | 'key' | 'deletion'>): boolean =>
  key === null || (deletion && room !== SYSTEM)

/** An event that was accepted and waits for its id. */
export interface Draft {
  readonly type: string
  /** `@public` for a public event. */
  readonly room: string
  readonly key: string | null
  /** A keyed event without a value ends its key. */
  readonly deletion: boolean
  /** The event's JSON text behind its id: `"type":…}`. */
  readonly tail: string
  /** For a deletion by expiry or `clear`: the id of the value it ends. It does nothing where another value is present by then. */
  readonly ends?: Id
  /** For a value: it does nothing where its key has a value already. */
  readonly ifAbsent?: true
}

/** An event of the log. */
export interface Entry {
  readonly id: Id
  readonly type: string
  readonly room: string
  readonly key: string | null
  readonly deletion: boolean
  /** The whole event as JSON. */
  readonly json: string
  /** Bytes of `json` in UTF-8. */
  readonly size: number
  /** Of a patch: the bytes of the whole event that it stands for. */
  readonly wholeSize?: number
}

export interface ParseRules {
  /** Milliseconds since 1970, for events that bring no timestamp. */
  readonly now: number
  /** Largest event, in bytes of its JSON text. */
  readonly maxBytes: number
  /** Types whose un-keyed events get their type as key; `*` for all. */
  readonly stateTypes: ReadonlySet<string>
}

/** Most events in one publish. */
export const MAX_BATCH = 1000
/** The form of types and names of rooms. */
export const NAME = /^[A-Za-z0-9_.:/-]{1,128}$/
const NAME_RULE = '1 to 128 characters of A-Z a-z 0-9 _ . : / -'
// eslint-disable-next-line no-control-regex
export const KEY = /^[^\u0000-\u001f\u007f-\u009f]{1,256}$/
const FIELDS = new Set(['type', 'room', 'key', 'data', 'timestamp', 'ttl'])
/** A timestamp below this is in seconds: in milliseconds it would be before March 1973. */
const SECONDS_BELOW = 1e11
const MAX_LISTED = 5
/** Beyond it a number is in microseconds: in milliseconds it would be after the year 5138. */
export const MAX_TIMESTAMP = 1e14
/** Ends of lines for some readers of lines, though not for SSE (HTML Standard, 9.2.5): NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR. */
const LINE_ENDS = /[\u0085\u2028\u2029]/g
/** A year, in seconds. */
export const MAX_TTL = 31_536_000
/** The end of an event that has a ttl: `draftOf` writes it last, behind the timestamp. */
const TTL = /,"ttl":(\d{1,8})\}$/
const TTL_LENGTH = ',"ttl":31536000}'.length
/** Bytes of `{"id":"<16 digits>-<20 digits>",`: the most that an id adds to an event. */
const ID_BYTES = 45
/** Most bytes that UTF-8 has for a character of a text (of UTF-16). */
const MAX_CHAR_BYTES = 3

/**
 * Reads the events of one publish; all are good, or none is taken.
 * @throws Refusal BAD_EVENT, or TOO_LARGE; of several events it names the one it is about
 */
export function parseEvents (values: readonly unknown[], rules: ParseRules): Draft[] {
  if (!Array.isArray(values)) throw new TypeError('publish takes an array of events')
  if (values.length === 0 || values.length > MAX_BATCH) throw bad(`a publish holds 1 to ${MAX_BATCH} events; this one has ${values.length}`)
  return values.map((value, index) => {
    try {
      return parseEvent(value, rules)
    } catch (error) {
      throw error instanceof Refusal && values.length > 1 ? new Refusal(error.code, `event ${index + 1} of ${values.length}: ${error.message}`) : error
    }
  })
}

/**
 * Reads one published event.
 * @throws Refusal BAD_EVENT, or TOO_LARGE
 */
export function parseEvent (value: unknown, rules: ParseRules): Draft {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad('an event is an object such as {"type": "cpu", "room": "plant-1", "key": "host-7", "data": 0.5}')
  }
  const event = value as Record<string, unknown>
  const unknown: string[] = []
  for (const name in event) {
    if (!FIELDS.has(name) && unknown.push(name) > MAX_LISTED) break
  }
  if (unknown.length > 0) {
    throw bad(`unknown ${unknown.length > 1 ? 'fields' : 'field'} ${list(unknown)}; an event has type, room, key, data, timestamp and ttl (the gateway sets the id)`)
  }
  const { type } = event
  // `null` is absence: many serializers write it for what is not set.
  const room = event.room ?? undefined
  if (type === undefined) throw bad('type is missing; it says what kind of event this is, for example "cpu"')
  if (typeof type !== 'string' || !NAME.test(type)) throw bad(`type must be ${NAME_RULE}`)
  if (room !== undefined && (typeof room !== 'string' || !NAME.test(room))) {
    throw bad(typeof room === 'string' && room.startsWith('@')
      ? 'rooms beginning with @ are the gateway\'s own and cannot be published to'
      : `room must be ${NAME_RULE}; leave it out for a public event`)
  }
  const data = dataOf(event.data)
  const isState = rules.stateTypes.has(type) || rules.stateTypes.has('*')
  const key = event.key ?? (isState ? type : undefined)
  if (key !== undefined && (typeof key !== 'string' || !KEY.test(key))) {
    throw bad('key must be 1 to 256 characters without control characters; leave it out for a fact')
  }
  return draftOf({ type, room, key, data, timestamp: parseTimestamp(event.timestamp, rules.now), ttl: parseTtl(event.ttl, key, data) }, rules.maxBytes)
}

interface DraftParts {
  readonly type: string
  readonly room?: string | undefined
  readonly key?: string | undefined
  readonly data: unknown
  readonly timestamp: number
  readonly ttl?: number | undefined
  readonly ends?: Id
  readonly ifAbsent?: true
}

/** An accepted event from its checked parts; for the gateway's own events, which may name its own rooms. */
export function draftOf (parts: DraftParts, maxBytes = Infinity): Draft {
  const { type, room, key, data, ends, ifAbsent } = parts
  let tail: string
  try {
    tail = tailOf(parts, writeJson(data))
  } catch (error) {
    // Values of a program rather than of a text: JSON.stringify fails at some thousand levels, at a circle and at a BigInt.
    throw bad(`data cannot be written as JSON: ${reasonOf(error)}`)
  }
  // Values of a program may be anything. Each level, and each member, takes two characters or more.
  if (tail.length > 2 * MAX_DEPTH) measureJson(tail, 'BAD_EVENT')
  // Bytes are counted where it may be too many: counting makes V8 copy the parts into one text, which `entryOf` does with the id.
  if (MAX_CHAR_BYTES * tail.length + ID_BYTES > maxBytes && Buffer.byteLength(tail) + ID_BYTES > maxBytes) {
    throw new Refusal('TOO_LARGE', `an event may hold ${maxBytes} bytes (MAX_HTTP_BUFFER_SIZE); this one is larger`)
  }
  const draft: Draft = { type, room: room ?? PUBLIC, key: key ?? null, deletion: key !== undefined && data === null, tail }
  return ends === undefined && ifAbsent === undefined ? draft : { ...draft, ...(ends === undefined ? {} : { ends }), ...(ifAbsent === undefined ? {} : { ifAbsent }) }
}

/**
 * The event behind its id; types and names of rooms need no escaping. Half of the time that JSON.stringify takes for an object of these.
 * @param text of the data; undefined for what JSON leaves out
 */
function tailOf ({ type, room, key, timestamp, ttl }: DraftParts, text: string | undefined): string {
  if (text === undefined) throw new TypeError('it has no value in JSON')
  const roomPart = room === undefined || room === PUBLIC ? '' : `,"room":"${room}"`
  const keyPart = key === undefined ? '' : `,"key":${encodeText(JSON.stringify(key))}`
  return `"type":"${type}"${roomPart}${keyPart},"data":${encodeText(text)},"timestamp":${timestamp}${ttl === undefined ? '' : `,"ttl":${ttl}`}}`
}

/** JSON text without ends of lines for any reader of lines. Most texts are ASCII and have none: it takes a seventh of the time to know that. */
export const encodeText = (text: string): string => Buffer.byteLength(text) === text.length
  ? text
  : text.replace(LINE_ENDS, end => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** The event of the log that an accepted event becomes under its id. */
export function entryOf (draft: Draft, id: Id): Entry {
  const json = `{"id":"${id}",${draft.tail}`
  return { id, type: draft.type, room: draft.room, key: draft.key, deletion: draft.deletion, json, size: Buffer.byteLength(json) }
}

/** Names one value of a room: (type, key). Neither may hold a NUL, so no two pairs collide. */
export const fieldOf = (event: { type: string, key: string | null }): string => `${event.type}\0${event.key}`

/** How long a value stands, ms; null where its publisher did not say. */
export function ttlOf ({ json }: Pick<Entry, 'json'>): number | null {
  const found = TTL.exec(json.slice(-TTL_LENGTH))
  return found === null ? null : Number(found[1]) * 1000
}

function parseTtl (value: unknown, key: string | undefined, data: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > MAX_TTL) throw bad(`ttl must be whole seconds, 1 to ${MAX_TTL}; leave it out for a value that stays`)
  if (key === undefined) throw bad('ttl needs a key: only values end by themselves. Give the event a key, or leave ttl out: facts are kept as long as history holds them')
  if (data === null) throw bad('ttl cannot be given with data null, which deletes the key at once; leave ttl out')
  return value
}

function parseTimestamp (value: unknown, now: number): number {
  if (value === undefined || value === null) return now
  if (typeof value !== 'number' || !(value >= 0)) throw bad('timestamp must be a number: milliseconds since 1970 (or seconds, below 1e11)')
  // -0 becomes 0.
  const ms = Math.round(value < SECONDS_BELOW ? value * 1000 : value) + 0
  if (ms > MAX_TIMESTAMP) throw bad('timestamp is beyond the year 5138; it is milliseconds since 1970, not microseconds')
  return ms
}

const bad = (message: string): Refusal => new Refusal('BAD_EVENT', message)

/** Names for a message, cut short because they come from clients. */
const list = (names: string[]): string =>
  names.slice(0, MAX_LISTED).map(name => JSON.stringify(name.slice(0, 40))).join(', ') + (names.length > MAX_LISTED ? ', …' : '')
