// The contract of the log. The gateway appends to it and follows it; the store alone decides order, ids and what is
// kept. Two implementations, one contract suite (test/store/contract.ts).
//
// Every store promises:
// - `append` is all or nothing, resolves only when the events are as durable as the store can make them,
//   and gives ids that rise strictly over the whole life of the log, whatever the clock does.
// - A follower is given an image of the log, then every later entry once, in id order, and only once it is
//   durable: nothing a client ever saw is lost with the process.
// - History (facts and deletions) is trimmed from the old end only; `floor` is the newest id trimmed. It does not hold
//   the deletions of `@system`: the store only remembers the newest of them.

import type { Draft, Entry } from './event.ts'
import type { Durations } from './figures/durations.ts'
import type { Id } from './id.ts'

export interface Store {
  /** For a log line and for /readyz: the kind of store, and where it is. */
  readonly name: string
  /** Warnings for the operator though the store works, as sentences. */
  readonly warnings: readonly string[]
  /** While the log is read at the start: how far, as a sentence. */
  readonly progress?: string | null
  /** Of a store that keeps the log on a disk of this machine. */
  readonly figures?: DiskFigures | undefined
  /** How long writes of events took, each for many publishers: with their fsync, or to Redis and back. */
  readonly writes?: Durations | undefined

  /**
   * Gives the follower an image of the log, then all later entries. Called once; resolves when the image has been handed
   * over. Entries that came since the log was opened may follow at once.
   */
  follow (follower: Follower): Promise<void>

  /**
   * Resolves when the follower has all that the log holds at the call. Where other processes append too, that may be
   * more than it has received so far.
   * @throws Refusal STORE_UNAVAILABLE
   */
  sync (): Promise<void>

  /**
   * Appends events in order, all or none, in one atomic step with the memory of the idempotency key.
   * A deletion with `ends` does nothing where that value is no longer the present one, nor a value with `ifAbsent` where
   * its key has one; the id is then null.
   * @returns the events' ids; for a repeated key the ids of the first time
   * @throws Refusal STORE_UNAVAILABLE (the outcome may be unknown: the same key makes a retry safe), OVERLOADED
   *   (too much is waiting), KEYS_FULL, IDEMPOTENCY_CONFLICT (the key came with another fingerprint)
   */
  append (drafts: readonly Draft[], once?: Once): Promise<Array<Id | null>>
  /**
   * What a repeated append would be answered, whatever it appends where there is no fingerprint; null where its key is not known.
   * @throws Refusal STORE_UNAVAILABLE, IDEMPOTENCY_CONFLICT
   */
  answered (once: Pick<Once, 'key'> & Partial<Once>): Promise<Array<Id | null> | null>

  /**
   * Keeps the record of a command under its id unless there is one, atomically. Where it fails with
   * STORE_UNAVAILABLE the record may have been kept all the same.
   * @returns the one that was there, or null
   */
  claim (id: string, record: CommandRecord): Promise<CommandRecord | null>
  /** Replaces a command's record; null forgets it. */
  settle (id: string, record: CommandRecord | null): Promise<void>
  /** The record of a command; null where none was kept, or its time (IDEMPOTENCY_TTL) has passed. */
  recall (id: string): Promise<CommandRecord | null>

  /**
   * A secret of the deployment, 32 random bytes: made once, kept beside the log, the same for every process.
   * @throws Refusal STORE_UNAVAILABLE
   */
  secret (): Promise<Uint8Array>

  /**
   * Copies the log, as it is at the call, to a place of its own beside it, while appends go on. Only of a store on a disk of this machine.
   * @throws Refusal STORE_UNAVAILABLE
   */
  readonly backUp?: (() => Promise<Backup>) | undefined

  /** Ends the store: waiting appends are finished first. Idempotent. */
  close (): Promise<void>
}

export interface Backup {
  /** Its name, made of the time. */
  readonly backup: string
  readonly records: number
}

export interface DiskFigures {
  /** Records found damaged or missing since the process started. */
  damaged (): number
  /** Space left for the store, bytes. @throws Error if its directory is gone */
  freeBytes (): Promise<number>
}

/** Makes a repeated append recognisable. */
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
  /** There was a result that was not kept. */
  readonly resultOmitted?: true
  readonly error?: { readonly code: string, readonly message: string }
  /** A digest of name and arguments: a key that comes with another one is refused. */
  readonly fingerprint: string
  /** The process that runs the command; empty where it was handed over to a backend. */
  readonly by: string
  /** The caller, where a token named it: only the owner is told the outcome. */
  readonly owner?: string
}

/** Receives the log. All calls are synchronous and in order. */
export interface Follower {
  /** Replaces everything by an image. Comes first, and again, with a new lineage, where the log lost entries it had given out. */
  load (image: Image): void
  /** Entries behind all earlier ones, in id order (often none), and the floor as it is after them. */
  apply (entries: readonly Entry[], floor: Id): void
  /** A new epoch begins behind the entries given so far, none of which was lost. */
  begin (lineage: Lineage): void
  /** Whether the store can be written to, which holds until this says otherwise; `reason` is for the operator. */
  available (yes: boolean, reason?: string): void
}

export interface Image {
  readonly lineage: Lineage
  /** The newest id ever given. */
  readonly head: Id
  readonly floor: Id
  /** The newest deletion of `@system`, or a later id: a reader who stands before it may have missed some. */
  readonly systemFloor: Id
  /** Facts and deletions that history holds, in id order. */
  readonly history: Iterable<Entry>
  /** The present values, in id order. */
  readonly values: Iterable<Entry>
}

/**
 * The epochs of the log. Each opening of it (a start, a fail-over) begins a new epoch and records its seam,
 * the last id the log held then: entries that an older epoch gave out beyond the seam were lost.
 */
export interface Lineage {
  readonly epoch: string
  /** Oldest first, ending with the current one. */
  readonly epochs: ReadonlyArray<{ readonly epoch: string, readonly seam: Id }>
}
