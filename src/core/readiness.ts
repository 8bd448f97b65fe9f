// Whether the gateway accepts new work, and what its operator should look at though it does: its stage, the store's troubles,
// and clocks that are wrong.

import type { LogClock } from './clock.ts'
import { Refusal } from './errors.ts'
import type { Code } from './errors.ts'
import { millisOf } from './id.ts'
import type { Id } from './id.ts'
import type { Logger } from './logger.ts'
import type { Store } from './store.ts'

export interface ReadinessOptions {
  readonly store: Pick<Store, 'progress' | 'warnings'>
  readonly logClock: LogClock
  /** When a refused client should come back, ms. */
  readonly returnAfterMs: () => number
  /** The store is away, or back. */
  readonly onTrouble: (code: 'STORE_UNAVAILABLE' | 'STORE_AVAILABLE', text: string) => void
  readonly log: Pick<Logger, 'warn'>
}

/** The log may be this far ahead of the wall clock before it is worth a warning: clocks of several machines differ a little. */
const AHEAD_MS = 60_000

export class Readiness {
  stage: 'starting' | 'open' | 'draining' | 'drained' = 'starting'
  readonly #options: ReadinessOptions
  #storeTrouble: string | null = null
  #wasAhead = false

  constructor (options: ReadinessOptions) {
    this.#options = options
  }

  /** Why new work is refused; null while it is accepted. */
  get notReady (): { readonly code: Extract<Code, 'DRAINING' | 'STORE_UNAVAILABLE'>, readonly reason: string } | null {
    if (this.stage === 'draining' || this.stage === 'drained') return { code: 'DRAINING', reason: 'the gateway is shutting down' }
    if (this.stage === 'starting') return { code: 'STORE_UNAVAILABLE', reason: this.#options.store.progress ?? this.#storeTrouble ?? 'the log is being read' }
    return this.#storeTrouble === null ? null : { code: 'STORE_UNAVAILABLE', reason: this.#storeTrouble }
  }

  get isStoreUp (): boolean {
    return this.stage !== 'starting' && this.#storeTrouble === null
  }

  /** Warnings for the operator, though all is well. */
  get warnings (): readonly string[] {
    const { store: { warnings }, logClock } = this.#options
    return logClock.aheadMs < AHEAD_MS ? warnings : [...warnings, `the newest event is ${this.#ahead} ahead of this machine's clock: one of the clocks is or was wrong; ages are measured from that event on`]
  }

  /** @throws Refusal outside the stage `open`. Trouble of the store is left to it: it may be over by then */
  check (): void {
    const { stage, notReady } = this
    if (stage !== 'open' && notReady !== null) throw new Refusal(notReady.code, `${notReady.reason}; try again in a moment`, { retryMs: this.#options.returnAfterMs() })
  }

  /** @param reason why the store cannot be used; null: it can */
  setStoreTrouble (reason: string | null): void {
    const before = this.#storeTrouble
    this.#storeTrouble = reason
    // Only changes are noted.
    if (reason !== null && reason !== before) this.#options.onTrouble('STORE_UNAVAILABLE', reason)
    if (reason === null && before !== null) this.#options.onTrouble('STORE_AVAILABLE', 'the store can be written to again')
  }

  /** Ages go by the log's clock. One that runs far ahead of ours is told once. @param head the newest entry of the log */
  saw (head: Id): void {
    const { logClock, log } = this.#options
    logClock.saw(millisOf(head))
    const isAhead = logClock.aheadMs >= AHEAD_MS
    if (isAhead && !this.#wasAhead) log.warn({ head }, `the newest event is ${this.#ahead} ahead of this machine's clock; ages are measured from that event on`)
    this.#wasAhead = isAhead
  }

  get #ahead (): string {
    const seconds = Math.round(this.#options.logClock.aheadMs / 1000)
    return seconds < 7200 ? `${seconds} s` : `${Math.round(seconds / 3600)} h`
  }
}
