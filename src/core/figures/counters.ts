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
  /** Events handed to connections; and the bundles and bytes they took, also what these would have been without compression. */
  delivered: number
  bundles: number
  bytes: number
  plainBytes: number
  /** All bundles handed over, those of `@system` included; and ms spent on reading, encoding and writing them. */
  served: number
  servingMs: number
  /** Sessions opened; and sessions ended because their connection did not drain. */
  opened: number
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
  served: 0,
  servingMs: 0,
  opened: 0,
  slow: 0,
  reads: 0,
  resets: { trimmed: 0, unknown: 0, ahead: 0, subscription: 0 },
  duplicates: 0
})
