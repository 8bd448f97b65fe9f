// A clock that stands still until it is told to move.

import type { Clock } from '../src/core/clock.ts'

interface Timer {
  readonly at: number
  readonly run: () => void
}

export class ManualClock implements Clock {
  #now = 0
  #wall: number
  #timers: Timer[] = []
  #soon: Array<() => void> = []

  /** @param wall milliseconds since 1970 to begin with */
  constructor (wall = 1_763_770_000_000) {
    this.#wall = wall
  }

  now (): number { return this.#now }
  wall (): number { return this.#wall }

  after (ms: number, run: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), run }
    // Behind those due at the same moment: they were set before.
    const later = this.#timers.findIndex(({ at }) => at > timer.at)
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer)
    return () => { this.#timers = this.#timers.filter(other => other !== timer) }
  }

  /** How many wait for their moment. */
  get pending (): number { return this.#timers.length }

  soon (run: () => void): void {
    this.#soon.push(run)
  }

  /** Lets time pass: timers run in order, each at its moment, and what was to come soon before and between them. */
  advance (ms: number): void {
    const end = this.#now + ms
    this.#runSoon()
    for (let next = this.#timers[0]; next !== undefined && next.at <= end; next = this.#timers[0]) {
      this.#timers.shift()
      this.#moveTo(Math.max(this.#now, next.at))
      next.run()
      this.#runSoon()
    }
    this.#moveTo(end)
  }

  /** Time passes while the process is busy: timers that are due run when it passes the next time. */
  lag (ms: number): void {
    this.#moveTo(this.#now + ms)
  }

  /** The wall clock alone jumps, as when it is set. */
  turn (ms: number): void {
    this.#wall += ms
  }

  /** Lets promises and what was to come soon have their turns, until nothing more comes of them. */
  async settle (): Promise<void> {
    do {
      this.#runSoon()
      await new Promise(resolve => setImmediate(resolve))
    } while (this.#soon.length > 0)
  }

  #runSoon (): void {
    for (const run of this.#soon.splice(0)) run()
  }

  #moveTo (now: number): void {
    this.#wall += now - this.#now
    this.#now = now
  }
}
