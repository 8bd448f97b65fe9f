import type { IntakeSource, WorkerNote } from './entry.ts'

/** What parts of this process learn from the store besides events. */
export interface StoreListener {
  /** A note of any worker, this one included, after the events before it. */
  onNote? (note: WorkerNote): void
  /** An event that came in through Redis is in the log. Not called for events that a load brings. */
  onTakenIn? (source: IntakeSource): void
  /** The log was read as a whole. */
  onLoad? (): void
  /** Redis can be used again, or for the first time. */
  onUsable? (): void
  /** What the operator should know though Redis can be used, as sentences. */
  warnings? (): readonly string[]
}
