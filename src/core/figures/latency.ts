// How long events wait here: from acceptance, the milliseconds of the event's id, to handing their bundle to a
// connection. An event counts for a session if it was accepted after the session's last join or reset: a newcomer's
// snapshot and a returning client's catch-up do not count, the backlog of a slow connected client does.
//
// In a fan-out the same bundle goes to thousands of sessions. Its events are looked at once for all sessions that got it
// within RUN_MS; a further session costs a comparison and a step of a counter. Measured with 1,000 sessions, against the same fan-out
// without it and in turns with it, both without sockets: 0.03 to 0.08 us a session more where they share their bundle. By
// itself this costs 0.02 us there and 0.11 us where each gets a bundle of its own; a write to a socket takes some 10 us.

import type { Clock } from '../clock.ts'
import { SYSTEM } from '../event.ts'
import type { Entry } from '../event.ts'
import { isAfter, millisOf, ORIGIN } from '../id.ts'
import type { Id } from '../id.ts'

/** Buckets grow by a tenth: figures are at most 5 % off. */
const STEP = 1.1
/** From 1 ms to some ten hours. */
const STEPS = 184
const SLOTS = 10
const SLOT_MS = 1000
/** How much earlier than counted a bundle may have been handed over. */
const RUN_MS = 2

/** Upper bounds of the buckets of `total`, ms. */
export const BOUNDS_MS = [5, 10, 25, 50, 100, 150, 250, 500, 1000, 2500, 5000, 10_000] as const

export interface Percentiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

export class Latency {
  readonly #clock: Clock
  /** A ring of seconds: events by the steps they waited. */
  readonly #slots = Array.from({ length: SLOTS }, () => new Uint32Array(STEPS))
  #second = 0
  /** Events by bound, the last ones beyond all bounds. */
  readonly #totals: number[] = Array(BOUNDS_MS.length + 1).fill(0) as number[]
  #sumMs = 0

  #entries: readonly Entry[] = []
  #sessions = 0
  #runEnds = -Infinity
  #wall = 0

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /**
   * These events were handed to a session; those accepted while it listened count.
   * @param now the clock's
   * @param since the log's head at the session's last join or reset
   */
  handed (entries: readonly Entry[], now: number, since: Id = ORIGIN): void {
    if (!isAfter((entries[0] as Entry).id, since)) {
      if (!isAfter((entries.at(-1) as Entry).id, since)) return
      entries = entries.filter(({ id }) => isAfter(id, since))
    }
    if (entries === this.#entries && now < this.#runEnds) {
      this.#sessions++
      return
    }
    this.#settle()
    this.#entries = entries
    this.#sessions = 1
    this.#runEnds = now + RUN_MS
    this.#wall = this.#clock.wall()
    this.#turn(now)
  }

  /** Percentiles of the last ten seconds, ms; null where nothing was handed over. */
  get recent (): Percentiles | null {
    this.#settle()
    this.#turn(this.#clock.now())
    const counts = new Float64Array(STEPS)
    let count = 0
    for (const slot of this.#slots) {
      for (let step = 0; step < STEPS; step++) {
        counts[step] = (counts[step] as number) + (slot[step] as number)
        count += slot[step] as number
      }
    }
    return count === 0 ? null : { p50: percentile(counts, 0.5 * count), p95: percentile(counts, 0.95 * count), p99: percentile(counts, 0.99 * count) }
  }

  /** Since the process started: events by bound and beyond the last one, and the sum of their waits, ms. */
  get total (): { readonly counts: readonly number[], readonly sumMs: number } {
    this.#settle()
    return { counts: this.#totals, sumMs: this.#sumMs }
  }

  #settle (): void {
    if (this.#sessions === 0) return
    const slot = this.#slots[this.#second % SLOTS] as Uint32Array
    for (const { id, room } of this.#entries) {
      // The gateway's own figures are no traffic.
      if (room === SYSTEM) continue
      // Clocks of several machines differ a little, and ids run ahead of a clock that was set back.
      const ms = Math.max(0, this.#wall - millisOf(id))
      const step = stepOf(ms)
      slot[step] = (slot[step] as number) + this.#sessions
      let bound = 0
      while (bound < BOUNDS_MS.length && ms > (BOUNDS_MS[bound] as number)) bound++
      this.#totals[bound] = (this.#totals[bound] as number) + this.#sessions
      this.#sumMs += ms * this.#sessions
    }
    this.#entries = []
    this.#sessions = 0
  }

  /** Empties the slots of the seconds that have begun since. */
  #turn (now: number): void {
    const second = Math.floor(now / SLOT_MS)
    for (let missed = Math.min(second - this.#second, SLOTS); missed > 0; missed--) this.#slots[(second - missed + 1) % SLOTS]?.fill(0)
    this.#second = second
  }
}

/** The steps of usual waits: a logarithm for each event would be most of the cost. */
const USUAL = Uint8Array.from({ length: 1024 }, (_, ms) => reckonStep(ms))

const stepOf = (ms: number): number => USUAL[ms] ?? reckonStep(ms)

function reckonStep (ms: number): number {
  return ms < 1 ? 0 : Math.min(STEPS - 1, 1 + Math.floor(Math.log(ms) / Math.log(STEP)))
}

function percentile (counts: Float64Array, rank: number): number {
  let step = 0
  for (let seen = counts[0] as number; seen < rank; seen += counts[++step] as number);
  // The middle of the step.
  return step === 0 ? 0 : Math.round(STEP ** (step - 0.5))
}
