// Appends on their way to Redis. With few calls in flight an append is sent at once; appends that come meanwhile gather and
// share the next call, in order. A call has a fixed cost here and at Redis, which is most of the cost of a small append.
// Sharing divides it among all that wait, and no append waits for others to come.

import { within } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Draft } from '../../../core/event.ts'
import type { Once } from '../../../core/store.ts'
import type { IntakeSource } from './entry.ts'

/** The condition of an append: none, or one of these. */
export interface AppendCondition {
  /** Its idempotency key was not used before. */
  readonly once?: Once | undefined
  /** The lease of the intake holds `token`. */
  readonly lease?: { readonly token: string, readonly sources: readonly IntakeSource[] }
}

export interface PendingAppend extends AppendCondition {
  readonly drafts: readonly Draft[]
  /** Approximate size of its events. */
  readonly bytes: number
}

export interface AppendAnswer {
  /** The script's answer; see append.ts. */
  readonly text: string
  /** Settles when the follower has the entries of the call, or did not get them in time. */
  readonly followed: Promise<unknown>
}

export interface CallsOptions {
  readonly clock: Clock
  /** How long an append may take, including the wait, ms. */
  readonly timeoutMs: number
  /** Appends all of them in one step. @returns their answers, in order */
  readonly send: (appends: readonly PendingAppend[]) => Promise<readonly AppendAnswer[]>
}

interface Waiter extends PendingAppend {
  readonly since: number
  readonly resolve: (answer: AppendAnswer) => void
  readonly reject: (error: unknown) => void
}

/** Calls in flight, to keep Redis busy: 64 publishers reached 16,400 events/s with 2, 19,400 with 4, no more with 6. */
const MAX_CALLS = 4
/** A call blocks Redis for everyone: this many bytes of small events for about 3 ms. A single append may have more. */
const CALL_BYTES = 128 * 1024

export class Calls {
  readonly #options: CallsOptions
  #waiting: Waiter[] = []
  #underway = 0
  #due = false

  constructor (options: CallsOptions) {
    this.#options = options
  }

  /** @throws the error of the call that carried it */
  append (append: PendingAppend): Promise<AppendAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...append, since: this.#options.clock.now(), resolve, reject })
      this.#callSoon()
    })
  }

  /** All appends of the same turn of the event loop share a call. */
  #callSoon (): void {
    if (this.#due || this.#underway === MAX_CALLS || this.#waiting.length === 0) return
    this.#due = true
    this.#options.clock.soon(() => {
      this.#due = false
      void this.#call()
      this.#callSoon()
    })
  }

  async #call (): Promise<void> {
    const { clock, timeoutMs, send } = this.#options
    const waiters = this.#take()
    const leftMs = (waiters[0] as Waiter).since + timeoutMs - clock.now()
    this.#underway++
    try {
      // An append that has timed out already is not sent.
      const answers = leftMs > 0 ? await within(clock, leftMs, send(waiters), null) : null
      if (answers === null) throw new Error('Command timed out')
      waiters.forEach(({ resolve }, at) => resolve(answers[at] as AppendAnswer))
    } catch (error) {
      for (const { reject } of waiters) reject(error)
    } finally {
      this.#underway--
      this.#callSoon()
    }
  }

  #take (): Waiter[] {
    let end = 1
    for (let bytes = this.#waiting[0]?.bytes ?? 0; end < this.#waiting.length; end++) {
      bytes += (this.#waiting[end] as Waiter).bytes
      if (bytes > CALL_BYTES) break
    }
    return this.#waiting.splice(0, end)
  }
}
