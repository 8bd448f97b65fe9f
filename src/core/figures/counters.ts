import { SYSTEM } from '../event.ts'
import type { Entry } from '../event.ts'
import { isAfter } from '../id.ts'
import type { Id } from '../id.ts'
import type { SharedBundle } from '../shared-bundles.ts'
import type { ResetReason } from '../standing.ts'

/**
 * Counts since the process started: plain numbers, read by /metrics and the command `stats`. `@system` traffic is not
 * counted: watching must not change the figures.
 */
export interface Counters {
  /** Events taken in from the log. */
  events: number
  /** Messages there would have been without bundling: one for each event and connection that hears it. */
  owed: number
  /** Events handed to connections; and the bundles they took. */
  delivered: number
  bundles: number
  /**
   * Bytes of these bundles: on the wire; without compression; without patches too; and without bundling too, where each event
   * goes out whole to every connection that hears it. What is between two neighbours is what that means saves. The last one
   * leaves out what would surround each event as a message of its own.
   */
  bytes: number
  plainBytes: number
  wholeBytes: number
  unbundledBytes: number
  /** All bundles handed over, those of `@system` included; and ms spent on reading, encoding and writing them. */
  served: number
  servingMs: number
  /** Sessions opened. */
  opened: number
  /** Sessions, and connections with an answer over HTTP, ended because the client did not take what it was sent (SLOW_CLIENT_TIMEOUT). */
  slow: number
  /** Reads answered; they count for nothing above. */
  reads: number
  readonly resets: Record<ResetReason, number>
  /** Commands of backends that were found to have run more than once. */
  duplicates: number
}

export const newCounters = (): Counters => ({
  events: 0,
  owed: 0,
  delivered: 0,
  bundles: 0,
  bytes: 0,
  plainBytes: 0,
  wholeBytes: 0,
  unbundledBytes: 0,
  served: 0,
  servingMs: 0,
  opened: 0,
  slow: 0,
  reads: 0,
  resets: { trimmed: 0, unknown: 0, ahead: 0, subscription: 0 },
  duplicates: 0
})

/** An event was taken in that so many connections hear. */
export function countHeard (counters: Counters, { size }: Entry, connections: number): void {
  counters.events++
  counters.owed += connections
  counters.unbundledBytes += size * connections
}

/**
 * A bundle was handed to a connection.
 * @param bytes on the wire; 0: the connection is gone
 * @param since the log's head at the session's last join or reset: later events were counted when they were heard
 */
export function countSent (counters: Counters, shared: SharedBundle, bytes: number, since: Id): void {
  counters.served++
  if (shared.events === 0) return
  counters.bundles++
  counters.delivered += shared.events
  if (bytes === 0) return
  const plain = shared.bundle.frame?.length ?? bytes
  const whole = plain + shared.patchedBytes
  counters.bytes += bytes
  counters.plainBytes += plain
  counters.wholeBytes += whole
  counters.unbundledBytes += whole - heardBytes(shared, since)
}

/** Bytes of the events of a bundle, whole, that came behind `since`. */
function heardBytes ({ bundle: { entries }, wholeBytes }: SharedBundle, since: Id): number {
  if (isAfter((entries[0] as Entry).id, since)) return wholeBytes
  let bytes = 0
  for (let index = entries.length - 1; index >= 0; index--) {
    const { id, room, size, wholeSize = size } = entries[index] as Entry
    if (!isAfter(id, since)) break
    if (room !== SYSTEM) bytes += wholeSize
  }
  return bytes
}
