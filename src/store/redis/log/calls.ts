// Appends on their way to Redis. While few are, one goes at once; what comes meanwhile gathers and goes together in the
// next call, in the order it was asked for. So what a call costs here and there, which is most of what a small append
// costs, is shared by as many as wait, and nobody waits for others to come.

import { within } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Draft } from '../../../core/event.ts'
import type { Once } from '../../../core/store.ts'
import type { IntakeSource } from './entry.ts'

/** What an append depends on; nothing, or one of these. */
export interface AppendCondition {
  /** That its key did not come before. */
  readonly once?: Once | undefined
  /** That the lease of the intake says `token`. */
  readonly lease?: { readonly token: string, readonly sources: readonly IntakeSource[] }
}

export interface PendingAppend extends AppendCondition {
  readonly drafts: readonly Draft[]
  /** Of its events, roughly. */
  readonly bytes: number
}

export interface AppendAnswer {
  /** As the script gives it; see append.ts. */
  readonly text: string
  /** Settles when the follower was told what the call appended, or does not hear of it. */
  readonly followed: Promise<unknown>
}

export interface CallsOptions {
  readonly clock: Clock
  /** How long an append may take, waiting included, ms. */
  readonly timeoutMs: number
  /** Appends them all in one step. @returns their answers, in their order */
  readonly send: (appends: readonly PendingAppend[]) => Promise<readonly AppendAnswer[]>
}

interface Waiter extends PendingAppend {
  readonly since: number
  readonly resolve: (answer: AppendAnswer) => void
  readonly reject: (error: unknown) => void
}

/** While Redis works on one call others are on their way: 64 publishers had 16,400 events/s with 2, 19,400 with 4, no more with 6. */
const MAX_CALLS = 4
/** A call holds up everybody at Redis: so many bytes, in small events, for some 3 ms. An append by itself may have more. */
const CALL_BYTES = 128 * 1024

export class Calls {
  readonly #options: CallsOptions
  #waiting: Waiter[] = []
  #underway = 0
  #due = false

  constructor (options: CallsOptions) {
    this.#options = options
  }

  /** @throws whatever the call fails with that it was part of */
  append (append: PendingAppend): Promise<AppendAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...append, since: this.#options.clock.now(), resolve, reject })
      this.#callSoon()
    })
  }

  /** Who asks in the same turn of the event loop comes into the same call. */
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
      // What would be refused anyway is not sent.
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
