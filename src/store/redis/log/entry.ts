// Events as Redis holds them: the JSON text of the event, under the stream's own id. Room, type and key are read back from
// the beginning of the text, whose order is ours: nothing is stored twice and nothing is parsed whole.

import type { Draft, Entry } from '../../../core/event.ts'
import { PUBLIC } from '../../../core/event.ts'
import type { Id } from '../../../core/id.ts'
import { flat, flatName } from '../../flat.ts'

/** Where an event came from: an entry of `ingest`, or a message on the channel, by its digest. */
export type IntakeSource = `i${Id}` | `c${string}`

/** A message from one worker to all, through the log; see RedisStore.note. */
export interface WorkerNote {
  readonly field: 'probe' | 'ask' | 'answer' | 'settled' | 'refused' | 'intake'
  readonly text: string
}

/** An entry of a stream: its id, and its fields and values in turn. */
export type StreamEntry = readonly [id: Id, fields: readonly string[]]

const ID = /^\d{1,16}-\d{1,16}$/
const HEAD = /^\{"type":"([^"]+)"(?:,"room":"([^"]+)")?(?:,"key":("(?:[^"\\]|\\.)*"))?,"data":(null,)?/

/** The field of a value in the hash `state`. As JSON a key has only characters that UTF-8 can encode. */
const stateFieldOf = (room: string, type: string, key: string): string => `${room} ${type} ${JSON.stringify(key)}`

/** The arguments of one event for the script, as few as possible; see append.ts. */
export function argumentsOf ({ type, room, key, deletion, tail, ends, ifAbsent }: Draft): string[] {
  if (key === null) return [`{${tail}`, 'fact']
  const value = [`{${tail}`, deletion ? 'deletion' : ifAbsent === true ? 'first' : 'value', room, stateFieldOf(room, type, key)]
  return deletion ? [...value, ends ?? ''] : value
}

/** @returns null for a text that we did not write */
export function entryOf (id: Id, text: string): Entry | null {
  const head = HEAD.exec(text)
  if (head === null) return null
  const [, type, room = PUBLIC, quoted, none] = head
  const json = `{"id":"${id}",${text.slice(1)}`
  const key = quoted === undefined ? null : parsed(quoted) as string | undefined
  if (key === undefined) return null
  return { id, type: flatName(type as string), room: flatName(room), key, deletion: key !== null && none !== undefined, json, size: Buffer.byteLength(json) }
}

/** A value of the hash `state`: the id and the event. @returns null for one that we did not write there */
export function valueOf (field: string, text: string): Entry | null {
  const space = text.indexOf(' ')
  const id = flat(text.slice(0, space))
  const entry = ID.test(id) ? factOf(id, text.slice(space + 1)) : null
  return entry === null || entry.key === null || entry.deletion || stateFieldOf(entry.room, entry.type, entry.key) !== field ? null : entry
}

/** An event that was read back whole, and could have been written by anybody. @returns null for one that is not JSON */
export function factOf (id: Id, text: string): Entry | null {
  const entry = entryOf(id, text)
  return entry === null || parsed(entry.json) === undefined ? null : entry
}

/** @returns undefined for what is not JSON */
function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An entry of `log`. */
export interface LogEntry {
  readonly id: Id
  /** The id of the entry before it. */
  readonly after: Id
  readonly epoch: string
  /** The newest id trimmed from history, as of this entry. */
  readonly floor: Id
  /** Its kind: `event`, or the field of a worker's note. */
  readonly field: string
  readonly text: string
  readonly source: string | undefined
}

/** The name of its one field holds everything but the text, as the script writes it. */
export function logEntryOf ([id, [name = '', text = '']]: StreamEntry): LogEntry {
  const [after = '', epoch = '', floor = '', field = '', source] = name.split(' ')
  return { id, after, epoch, floor, field, text, source }
}
