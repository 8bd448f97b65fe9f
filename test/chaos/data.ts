// The data of events in a chaos run. It says which publish it is of, and the rest of it follows from that, so that a receiver can
// tell whether any byte is another.

import { crc32 } from 'node:zlib'
import type { Event } from '../../src/core/event.ts'
import type { HistoryWriter } from './history.ts'

export const FINAL = 'final'
/** The last value of a room: with its pace, a client gets it later than the final fact. */
export const FINAL_VALUE = 'final-value'

/** Unchanged from one value of a producer to the next: a patch is smaller than the whole. */
export const dataOf = (value: string, padding: number): { v: string, padding: string } => ({ v: value, padding: 'x'.repeat(padding) })

export const sumOf = (data: unknown): number => crc32(JSON.stringify(data))

/** Writes down an event that has arrived, its data whole. */
export function writeEvent (history: HistoryWriter, chain: string, { id, room = '@public', type, key, data }: Event, bundle: number, patched: boolean): void {
  const value = data === null ? null : String((data as { v?: unknown }).v)
  const more = { ...(key === undefined ? {} : { key }), ...(patched ? { patched } : {}), ...(data === null ? {} : { sum: sumOf(data) }) }
  history.write({ f: 'recv', chain, id, room, event: type, value, bundle, ...more })
}
