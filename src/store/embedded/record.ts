// The disk's format, as keys and texts. The first letter of a key names its kind:
//   !format  !head  !epochs  !secret                         the log as a whole
//   h<id>                      a page of history             sorts in id order, by the last id of each page
//   s<room> <type> <key>       the current value of a key
//   o<name>                    the answer to an idempotency key
//   c<id>                      a command's record
//   x<time> <key>              when a record of the two kinds above expires
// In front of each text stands its checksum (seal.ts), since format 3; only !format is as plain as it always was, so that any
// Signalbox can read it. An event's record is a short line of fields and its JSON text: loading parses no JSON and counts no bytes. A page is the
// records of facts and deletions written together, one after the other; in format 1 each had its own page.

import { compareIds, isId, millisOf, ORIGIN } from '../../core/id.ts'
import type { Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import { flat, flatName } from '../flat.ts'

/** Raised when an older Signalbox cannot read what this one writes. */
export const FORMAT = 3

export const FORMAT_KEY = '!format'
export const HEAD_KEY = '!head'
export const EPOCHS_KEY = '!epochs'
/** What the gateway signs tickets with. */
export const SECRET_KEY = '!secret'

/**
 * Size at which a page ends. A page is deleted only with its last fact, and damage loses all of it. In batches of 100, facts of
 * 200 B cost 10 us each in single records, 6.3 us in pages of 8 or 64 KiB, 7 us in pages of 256 KiB.
 */
const PAGE_BYTES = 16 * 1024

export interface Range {
  readonly from: string
  /** Exclusive. */
  readonly to: string
}

export const META: Range = { from: '!', to: '"' }
export const VALUES: Range = { from: 's', to: 't' }
/** The pages that end after this id; the first of them may begin before it. */
export const historyAfter = (id: Id): Range => ({ from: `${historyKey(id)}\0`, to: 'i' })
export const expiredBy = (ended: number): Range => ({ from: 'x', to: `x${sortable(String(Math.floor(ended) + 1))}` })

export function historyKey (id: Id): string {
  const dash = id.indexOf('-')
  return `h${sortable(id.slice(0, dash))}${sortable(id.slice(dash + 1))}`
}

export const valueKey = (entry: Entry): string => `s${entry.room} ${entry.type} ${escape(entry.key ?? '')}`
export const onceKey = (name: string): string => `o${escape(name)}`
export const commandKey = (id: string): string => `c${escape(id)}`
export const expiryKey = (until: number, key: string): string => `x${sortable(String(until))} ${key}`
export const keyOfExpiry = (key: string): string => key.slice(key.indexOf(' ') + 1)

/** A whole number's digits with their count in front, so that text order is numeric order. */
const sortable = (digits: string): string => String.fromCharCode(96 + digits.length) + digits

/** Names come from outside. UTF-8 would turn a name with half a surrogate pair into another name. */
const escape = (name: string): string => JSON.stringify(name).slice(1, -1)
const unescape = (text: string): string => text.includes('\\') ? JSON.parse(`"${text}"`) as string : flat(text)

/** @param ordinal counts facts and deletions over the log's whole life: a gap is a lost event */
export function recordOf (entry: Entry, ordinal: number): string {
  const { id, type, room, key, deletion, json, size } = entry
  const kind = key === null ? 'f' : deletion ? 'd' : 'v'
  return `${kind} ${id} ${ordinal} ${size} ${type} ${room} ${key === null ? '' : escape(key)}\n${json}`
}

/** Facts and deletions, divided into pages. */
export function * pagesOf (history: Entry[]): Generator<Entry[]> {
  let start = 0
  let bytes = 0
  for (const [at, { size }] of history.entries()) {
    bytes += size
    if (bytes < PAGE_BYTES && at < history.length - 1) continue
    yield history.slice(start, at + 1)
    start = at + 1
    bytes = 0
  }
}

/** @param ordinal of the first */
export const pageText = (page: Entry[], ordinal: number): string =>
  page.map((entry, at) => recordOf(entry, ordinal + at)).join('\n')

/** @returns null if one of its texts is not a record: the records can then not be told apart */
export function parsePage (text: string): EventRecord[] | null {
  const records: EventRecord[] = []
  for (let start = 0; start <= text.length;) {
    // A record is two lines: JSON texts and escaped names contain no raw line breaks.
    const middle = text.indexOf('\n', start)
    const found = middle < 0 ? -1 : text.indexOf('\n', middle + 1)
    const end = found < 0 ? text.length : found
    const record = parseRecord(text.slice(start, end))
    if (record === null) return null
    records.push(record)
    start = end + 1
  }
  return records
}

export interface EventRecord {
  readonly entry: Entry
  readonly ordinal: number
}

/** @returns null if the text is not a record: a damaged disk returns anything */
export function parseRecord (text: string): EventRecord | null {
  const end = text.indexOf('\n')
  const fields = text.slice(0, end).split(' ')
  const [kind, id, ordinal, size, type, room, key] = fields
  if (end < 0 || key === undefined || id === undefined || !isId(id)) return null
  if (!Number.isSafeInteger(Number(ordinal)) || !Number.isSafeInteger(Number(size))) return null
  const json = text.slice(end + 1)
  if (!json.startsWith(`{"id":"${id}",`) || !json.endsWith('}')) return null
  return {
    ordinal: Number(ordinal),
    entry: {
      id: flat(id),
      type: flatName(type as string),
      room: flatName(room as string),
      key: kind === 'f' ? null : unescape(fields.length > 7 ? fields.slice(6).join(' ') : key),
      deletion: kind === 'd',
      json,
      size: Number(size)
    }
  }
}

/** Where the log begins and ends. Written with every batch, because the events themselves may all be trimmed. */
export interface LogBounds {
  /** The newest id given. */
  readonly head: Id
  /** The newest id trimmed. */
  readonly floor: Id
  /** The ordinal of the newest fact or deletion. */
  readonly ordinal: number
  /** The ordinal at the floor. */
  readonly trimmed: number
  /** What the present values add up to (sums.ts); null if that is not known, as in formats 1 and 2. */
  readonly sum: number | null
  /** When something was last written that ends after a time, ms since 1970; 0 if that is not known. */
  readonly time: number
  /** How many batches were written, over the log's whole life; 0 if that is not known. */
  readonly writes: number
  /** The newest deletion of `@system`, which history does not hold; null if that is not known, as before it had a place here. */
  readonly systemFloor: Id | null
}

export const boundsText = ({ head, floor, ordinal, trimmed, sum, time, writes, systemFloor }: LogBounds): string =>
  `${head} ${floor} ${ordinal} ${trimmed}${sum === null ? '' : ` ${sum} ${time} ${writes}${systemFloor === null ? '' : ` ${systemFloor}`}`}`

export function parseBounds (text: string): LogBounds | null {
  const [head = '', floor = '', ordinal, trimmed, sum, time = 0, writes = 0, systemFloor = ''] = text.split(' ')
  if (!isId(head) || !isId(floor)) return null
  return {
    head,
    floor,
    ordinal: Number(ordinal),
    trimmed: Number(trimmed),
    sum: sum === undefined ? null : Number(sum),
    time: Number(time),
    writes: Number(writes),
    systemFloor: isId(systemFloor) ? systemFloor : null
  }
}

/** The greatest id below this one. */
export function idBefore (id: Id): Id {
  if (compareIds(id, ORIGIN) <= 0) return ORIGIN
  const ms = millisOf(id)
  const n = Number(id.slice(id.indexOf('-') + 1))
  return n > 0 ? `${ms}-${n - 1}` : `${ms - 1}-${'9'.repeat(19)}`
}
