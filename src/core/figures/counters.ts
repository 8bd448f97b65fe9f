import type { ResetReason } from '../standing.ts'

/**
 * What has happened since the process started: plain numbers, read by /metrics and the command `stats`. What the
 * gateway tells of itself in `@system` is not counted: watching must not change what is seen.
 */
export interface Counters {
  /** Events taken in from the log. */
  events: number
  /** Deliveries there would have been without bundling: an event to each connection that hears it. */
  owed: number
  /** Events handed to connections, in so many bundles and bytes. */
  delivered: number
  bundles: number
  bytes: number
  /** Bundles handed over for any reason, the gateway's own figures among them; and ms spent on that: reading, encoding, writing. */
  served: number
  servingMs: number
  /** Sessions ever opened, and ended for not draining. */
  opened: number
  slow: number
  readonly resets: Record<ResetReason, number>
  /** Commands found to have been carried out more than once. */
  duplicates: number
}

export const newCounters = (): Counters => ({
  events: 0,
  owed: 0,
  delivered: 0,
  bundles: 0,
  bytes: 0,
  served: 0,
  servingMs: 0,
  opened: 0,
  slow: 0,
  resets: { trimmed: 0, unknown: 0, ahead: 0, subscription: 0 },
  duplicates: 0
})
