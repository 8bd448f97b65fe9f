// How often values go out to a client that asked for fewer than one bundle a tick (`paceMs`). Facts go on meanwhile: of a
// position (read.ts) the side of the values waits, and when it goes on it takes the newest value of each key.
//
// Sessions with an equal subscription and pace are a cohort: their values go out together, so that they stand at the same
// position and one frame serves them all. What is owed to one of them alone, its snapshot or a catch-up, waits for nobody.

import type { Clock } from './clock.ts'
import type { Id } from './id.ts'

/** Longest pace, ms. */
export const MAX_PACE_MS = 60_000

/** A session whose values wait. */
export interface Waiter {
  /** They may go out now. */
  release (): void
}

interface Cohort {
  readonly name: string
  /** Infinity: no values go out. */
  readonly ms: number
  /** Monotonic ms from which values may go out again. */
  opensAt: number
  /** How often values have gone out. */
  rounds: number
  sharers: number
  readonly waiting: Set<Waiter>
  stop: (() => void) | null
}

const newCohort = (name: string, ms: number): Cohort =>
  ({ name, ms, opensAt: ms === Infinity ? Infinity : -Infinity, rounds: 0, sharers: 0, waiting: new Set(), stop: null })

/** The pace of one session. */
export class ValuePace {
  /** The log's head when the values that go out now began to; null while values wait. */
  since: Id | null = null

  readonly #paces: ValuePaces
  readonly #cohort: Cohort
  /** The last round of its cohort that it had its values in. */
  #round: number

  constructor (paces: ValuePaces, cohort: Cohort) {
    this.#paces = paces
    this.#cohort = cohort
    this.#round = cohort.rounds
    cohort.sharers++
  }

  /** Ms from one bundle with values to the next; Infinity: there is none. */
  get ms (): number {
    return this.#cohort.ms
  }

  /** Whether values may go out now. */
  get isOpen (): boolean {
    return this.since !== null || this.#round !== this.#cohort.rounds || this.#paces.now() >= this.#cohort.opensAt
  }

  /** Values were sent. */
  sent (): void {
    const cohort = this.#cohort
    const now = this.#paces.now()
    if (now >= cohort.opensAt) {
      cohort.opensAt = now + cohort.ms
      cohort.rounds++
    }
    this.#round = cohort.rounds
  }

  /** Calls `release` when values may go out again. */
  wait (waiter: Waiter): void {
    if (this.ms === Infinity) return
    this.#cohort.waiting.add(waiter)
    this.#paces.wake(this.#cohort)
  }

  /** The session has no pace any more, or another one. */
  end (waiter: Waiter): void {
    this.#cohort.waiting.delete(waiter)
    if (--this.#cohort.sharers === 0) this.#paces.forget(this.#cohort)
  }
}

export class ValuePaces {
  readonly #clock: Clock
  readonly #cohorts = new Map<string, Cohort>()
  readonly #never = newCohort('', Infinity)

  constructor (clock: Clock) {
    this.#clock = clock
  }

  now (): number {
    return this.#clock.now()
  }

  /** @param shape of the subscription @param ms null: no values go out */
  of (shape: string, ms: number | null): ValuePace {
    if (ms === null) return new ValuePace(this, this.#never)
    const name = `${shape}~${ms}`
    let cohort = this.#cohorts.get(name)
    if (cohort === undefined) this.#cohorts.set(name, cohort = newCohort(name, ms))
    return new ValuePace(this, cohort)
  }

  /** Sees to it that those who wait are released in time. */
  wake (cohort: Cohort): void {
    cohort.stop ??= this.#clock.after(Math.max(0, cohort.opensAt - this.#clock.now()), () => {
      cohort.stop = null
      // Somebody who had not waited was sent values meanwhile.
      if (this.#clock.now() < cohort.opensAt) return this.wake(cohort)
      const waiting = [...cohort.waiting]
      cohort.waiting.clear()
      for (const waiter of waiting) waiter.release()
    })
  }

  forget (cohort: Cohort): void {
    if (cohort === this.#never) return
    cohort.stop?.()
    this.#cohorts.delete(cohort.name)
  }
}
