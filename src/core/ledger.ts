// The ledger of commands: what became of each. Of an Idempotency-Key at most one execution is ever started within the
// ledger's time (IDEMPOTENCY_TTL): whoever claims the record first runs the command, in whichever process. Where the
// outcome was lost with the process that ran it, the outcome is `unknown`.

import { pause, within } from './clock.ts'
import { Refusal } from './errors.ts'
import type { Clock } from './clock.ts'
import type { Group } from './group.ts'
import type { CommandRecord, Store } from './store.ts'

/** What became of a command. */
export interface Outcome extends Pick<CommandRecord, 'command' | 'status' | 'result' | 'resultOmitted' | 'error'> {
  readonly id: string
}

export interface LedgerOptions {
  readonly store: Pick<Store, 'claim' | 'settle' | 'recall'>
  readonly group: Pick<Group, 'worker' | 'isAlive'>
  readonly clock: Pick<Clock, 'after'>
  /** Whether this process runs the command just now. */
  readonly isRunning: (id: string) => boolean
  /** Called where an outcome could not be recorded. */
  readonly onError: (error: unknown, what: string) => void
}

/** Outcomes kept in memory while the store does not take them; beyond that the oldest go. */
const MAX_UNSTORED = 10_000
/** Between two attempts to store them. */
const STORE_AGAIN_MS = 1000
/** Between two looks what became of a command that runs elsewhere, ms; growing from the first to the second. */
const FIRST_LOOK_MS = 50
const LAST_LOOK_MS = 1000
/** Looks after a claim that failed, one every LAST_LOOK_MS. */
const WITHDRAW_LOOKS = 60

export class CommandLedger {
  readonly #options: LedgerOptions
  /** What the store did not take, newest last, and still gets: no command runs again because its record is missing. Null: to be forgotten. */
  readonly #unstored = new Map<string, CommandRecord | null>()
  #storing = false
  /** Ends the pause of those that follow a command running elsewhere. */
  readonly #followers = new Map<string, () => void>()
  #stopped = false

  constructor (options: LedgerOptions) {
    this.#options = options
  }

  /**
   * Claims a command for this process.
   * @returns null where it is ours to run; otherwise the record of the one that was claimed before
   * @throws Refusal STORE_UNAVAILABLE; the claim is taken back as soon as the store can be read
   */
  async claim (id: string, record: CommandRecord): Promise<CommandRecord | null> {
    const { store, group } = this.#options
    // What is to be forgotten is claimed anew: nothing may take that claim away later.
    if (this.#unstored.get(id) === null) this.#unstored.delete(id)
    try {
      const earlier = this.#unstored.get(id) ?? await store.claim(id, record)
      // Our own record of a command that does not run comes from a claim that failed and was kept nevertheless: it never started.
      return earlier?.status === 'running' && earlier.by === group.worker ? null : earlier
    } catch (error) {
      // The claim may have been kept all the same, or be kept later: no process must take it for a command that runs.
      void this.#withdraw(id)
      throw error
    }
  }

  /** Records a command that nobody can repeat, only for `outcome` to answer. Never fails. */
  async note (id: string, record: CommandRecord): Promise<void> {
    const { store, onError } = this.#options
    await store.claim(id, record).catch(error => onError(error, `command ${record.command} (${id}) could not be recorded`))
  }

  /** Records an outcome; null forgets the command. What the store does not take is kept in memory and given to it again. */
  async settle (id: string, record: CommandRecord | null): Promise<void> {
    try {
      await this.#options.store.settle(id, record)
    } catch (error) {
      this.#options.onError(error, `the outcome of command ${id} could not be recorded yet`)
      this.#unstored.set(id, record)
      if (this.#unstored.size > MAX_UNSTORED) this.#unstored.delete(this.#unstored.keys().next().value as string)
      void this.#storeLater()
    }
  }

  /** Gives the store what it did not take. @returns whether it has everything now */
  async store (): Promise<boolean> {
    for (const [id, record] of [...this.#unstored]) {
      if (this.#unstored.get(id) !== record) continue
      try {
        await this.#options.store.settle(id, record)
      } catch {
        return false
      }
      if (this.#unstored.get(id) === record) this.#unstored.delete(id)
    }
    return this.#unstored.size === 0
  }

  async #storeLater (): Promise<void> {
    if (this.#storing) return
    this.#storing = true
    do await pause(this.#options.clock, STORE_AGAIN_MS)
    while (!this.#stopped && !await this.store())
    this.#storing = false
  }

  /** What became of a command; null for an id never seen, and where it is another owner's. @throws Refusal STORE_UNAVAILABLE */
  async outcome (id: string, owner?: string): Promise<Outcome | null> {
    const unstored = this.#unstored.get(id)
    const record = unstored === undefined ? await this.#options.store.recall(id) : unstored
    return record === null || record.owner !== owner ? null : await this.outcomeOf(id, record)
  }

  /** The record of a command, as far as the store can be read just now; null where there is none. */
  async recordOf (id: string): Promise<CommandRecord | null> {
    const unstored = this.#unstored.get(id)
    return unstored === undefined ? await this.#options.store.recall(id).catch(() => null) : unstored
  }

  /**
   * Waits for the outcome of a command that runs elsewhere.
   * @returns null where its record is gone
   * @throws Refusal DRAINING once the ledger was stopped
   */
  async follow (id: string, record: CommandRecord): Promise<Outcome | null> {
    const { store, clock } = this.#options
    for (let ms = FIRST_LOOK_MS; ; ms = Math.min(2 * ms, LAST_LOOK_MS)) {
      const outcome = await this.outcomeOf(id, record).catch(() => null)
      if (outcome !== null && outcome.status !== 'running') return outcome
      const settled = new Promise<void>(resolve => { this.#followers.set(id, resolve) })
      await within(clock, ms, settled, undefined)
      this.#followers.delete(id)
      if (this.#stopped) throw new Refusal('DRAINING', `the gateway is shutting down, and command ${id} still runs; ask for its outcome in a moment`)
      // Where the ledger cannot be read just now, its last record still holds.
      const now: CommandRecord | null = await store.recall(id).catch(() => record)
      if (now === null) return null
      record = now
    }
  }

  /** The store is about to close: nothing is waited for any more. */
  stop (): void {
    this.#stopped = true
    for (const wake of this.#followers.values()) wake()
  }

  /** A command that runs elsewhere was settled: those that follow it look at once. */
  recheck (id: string): void {
    this.#followers.get(id)?.()
  }

  async outcomeOf (id: string, { command, status, result, resultOmitted, error, by }: CommandRecord): Promise<Outcome> {
    const { group } = this.#options
    // Where the process that ran it is gone, the outcome is not known.
    const isLost = status === 'running' && by !== '' && by !== group.worker && !await group.isAlive(by)
    return {
      id,
      command,
      status: isLost ? 'unknown' : status,
      ...(result === undefined ? {} : { result }),
      ...(resultOmitted === undefined ? {} : { resultOmitted }),
      ...(error === undefined ? {} : { error })
    }
  }

  /** Takes back the claim of a command that was never started. */
  async #withdraw (id: string): Promise<void> {
    const { store, group, clock, isRunning } = this.#options
    for (let look = 0; look < WITHDRAW_LOOKS; look++) {
      await pause(clock, LAST_LOOK_MS)
      if (this.#stopped || isRunning(id)) return
      const record = await store.recall(id).catch(() => undefined)
      // The store is still away, or the record is not there yet: what was sent before may arrive after the store is back.
      if (record === undefined || record === null) continue
      if (record.status === 'running' && record.by === group.worker && !isRunning(id)) await this.settle(id, null)
      return
    }
  }
}
