// The contract of the log. The gateway appends to it and follows it; nothing else decides order, ids or
// what is kept. Two implementations, one contract suite (test/store/contract.ts).
//
// What every store promises:
// - `append` is all or nothing, resolves only when the events are as durable as the store can make them,
//   and gives ids that rise strictly over the whole life of the log, whatever the clock does.
// - A follower is given an image of the log, then every later entry once, in id order, and only once it is
//   durable: nothing a client ever saw is lost with the process.
// - History (facts and deletions) is trimmed from the old end only; `floor` is the newest id trimmed.

import type { Draft, Entry } from './event.ts'
import type { Id } from './id.ts'

export interface Store {
  /** Words for a log line and for /readyz: what and where. */
  readonly name: string
  /** What the operator should know of it though it works, as sentences. */
  readonly warnings: readonly string[]

  /** Gives the follower the log as it stands, then all that comes. Called once; resolves when the image has been handed over (what came since the log was opened may follow it at once). */
  follow (follower: Follower): Promise<void>

  /**
   * Resolves when the follower has been told all that the log holds just now. Where other processes append too, that
   * may be more than it was told so far.
   * @throws Refusal STORE_UNAVAILABLE
   */
  sync (): Promise<void>

  /**
   * Appends events in order, all or none, in one atomic step with the memory of the idempotency key.
   * A deletion with `ends` is passed over where that value is no longer the present one; its id is then null.
   * @returns the events' ids; for a repeated key the ids of the first time
   * @throws Refusal STORE_UNAVAILABLE (the outcome may be unknown: the same key makes a retry safe), OVERLOADED
   *   (too much is waiting), KEYS_FULL, IDEMPOTENCY_CONFLICT (the key came with another fingerprint)
   */
  append (drafts: readonly Draft[], once?: Once): Promise<Array<Id | null>>

  /**
   * Keeps the record of a command under its id unless there is one, atomically. Where it fails with
   * STORE_UNAVAILABLE the record may have been kept all the same.
   * @returns the one that was there, or null
   */
  claim (id: string, record: CommandRecord): Promise<CommandRecord | null>
  /** Replaces a command's record; null forgets it. */
  settle (id: string, record: CommandRecord | null): Promise<void>
  /** The record of a command; null where none was ever kept, or its time (IDEMPOTENCY_TTL) has passed. */
  recall (id: string): Promise<CommandRecord | null>

  /** Ends the store: waiting appends are finished first. Idempotent. */
  close (): Promise<void>
}

/** What makes a repeated append recognisable. */
export interface Once {
  /** Names the caller, the route and the Idempotency-Key. */
  readonly key: string
  /** A digest of the request's body. */
  readonly fingerprint: string
}

/** The record of a command, as JSON. Its meaning is the ledger's (see ledger.ts); a store keeps it as it is. */
export interface CommandRecord {
  /** The command's name. */
  readonly command: string
  /** `unknown`: it was started, and its outcome was lost. */
  readonly status: 'running' | 'done' | 'failed' | 'unknown'
  readonly result?: unknown
  readonly error?: { readonly code: string, readonly message: string }
  /** A digest of name and arguments: a key that comes with another one is refused. */
  readonly fingerprint: string
  /** The process that runs the command; empty where it was handed over to a backend. */
  readonly by: string
}

/** Who is told what the log holds. All calls are synchronous and in order. */
export interface Follower {
  /** Forget everything: this is the present. Comes first, and again where the log lost what it had given out, with a new lineage. */
  load (image: Image): void
  /** Entries behind all earlier ones, in id order (often none), and the floor as it is after them. */
  apply (entries: readonly Entry[], floor: Id): void
  /** A new epoch begins behind what was told so far, of which nothing was lost. */
  begin (lineage: Lineage): void
  /** Whether the store can be written to just now, which it can until told otherwise; `reason` is for the operator. */
  available (yes: boolean, reason?: string): void
}

export interface Image {
  readonly lineage: Lineage
  /** The newest id ever given. */
  readonly head: Id
  readonly floor: Id
  /** Facts and deletions that history holds, in id order. */
  readonly history: Iterable<Entry>
  /** The present values, in id order. */
  readonly values: Iterable<Entry>
}

/**
 * The epochs of the log. Each opening of it (a start, a fail-over) begins a new epoch and records its seam,
 * the last id the log held then: what an older epoch gave out beyond the seam was lost.
 */
export interface Lineage {
  readonly epoch: string
  /** Oldest first, ending with the current one. */
  readonly epochs: ReadonlyArray<{ readonly epoch: string, readonly seam: Id }>
}
