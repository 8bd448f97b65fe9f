// Events as Redis holds them: the JSON text an event was published with, under the stream's own id. Room, type and key
// are read back from the text's beginning, whose order is ours, so nothing is written twice and nothing is parsed whole.

import type { Draft, Entry } from '../../../core/event.ts'
import { PUBLIC } from '../../../core/event.ts'
import type { Id } from '../../../core/id.ts'

/** Where an event was taken from: an entry of `ingest`, or a message on the channel by its digest. */
export type IntakeSource = `i${Id}` | `c${string}`

/** What workers tell each other through the log; see RedisStore.note. */
export interface WorkerNote {
  readonly field: 'probe' | 'ask' | 'answer' | 'settled' | 'refused' | 'intake'
  readonly text: string
}

/** An entry of a stream: its id, and its fields and values by turns. */
export type StreamEntry = readonly [id: Id, fields: readonly string[]]

const HEAD = /^\{"type":"([^"]+)"(?:,"room":"([^"]+)")?(?:,"key":("(?:[^"\\]|\\.)*"))?,"data":(null,)?/

/** Names a value in the hash `state`. As JSON a key has only characters that UTF-8 can hold. */
const fieldOf = (room: string, type: string, key: string): string => `${room} ${type} ${JSON.stringify(key)}`

/** The arguments of one event for the script, which are as few as can be; see append.ts. */
export function argumentsOf ({ type, room, key, deletion, tail, ends }: Draft): string[] {
  if (key === null) return [`{${tail}`, 'fact']
  const value = [`{${tail}`, deletion ? 'deletion' : 'value', room, fieldOf(room, type, key)]
  return deletion ? [...value, ends ?? ''] : value
}

/** @returns null for a text that is none of ours */
export function entryOf (id: Id, text: string): Entry | null {
  const head = HEAD.exec(text)
  if (head === null) return null
  const [, type, room = PUBLIC, quoted, none] = head
  const json = `{"id":"${id}",${text.slice(1)}`
  const key = quoted === undefined ? null : JSON.parse(quoted) as string
  return { id, type: type as string, room, key, deletion: key !== null && none !== undefined, json, size: Buffer.byteLength(json) }
}

/** A value of the hash `state`: the id and the event. */
export function valueOf (text: string): Entry | null {
  const space = text.indexOf(' ')
  return entryOf(text.slice(0, space), text.slice(space + 1))
}

/** What an entry of `log` carries besides its event. */
export interface LogEntry {
  readonly id: Id
  /** The id of the entry before it. */
  readonly after: Id
  readonly epoch: string
  /** What history no longer holds, as of this entry. */
  readonly floor: Id
  /** What it is about: `event`, or something that workers tell each other. */
  readonly field: string
  readonly text: string
  readonly source: string | undefined
}

/** Its one field is named as the script does it: all but the text. */
export function logEntryOf ([id, [name = '', text = '']]: StreamEntry): LogEntry {
  const [after = '', epoch = '', floor = '', field = '', source] = name.split(' ')
  return { id, after, epoch, floor, field, text, source }
}
