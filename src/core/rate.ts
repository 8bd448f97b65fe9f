// Rate limits: fixed windows of one second, one counter per caller, behind whichever doors share it.
// A window needs no timer: when the second has passed, all counts are forgotten at once.

import type { Clock } from './clock.ts'

const WINDOW_MS = 1000

export interface Hit {
  /** Requests in this window, this one included. */
  readonly count: number
  /** Milliseconds until the window ends. */
  readonly resetMs: number
}

export class RateWindow {
  readonly #clock: Clock
  #startedAt = -Infinity
  readonly #counts = new Map<string, number>()

  constructor (clock: Clock) {
    this.#clock = clock
  }

  hit (caller: string): Hit {
    const now = this.#clock.now()
    const start = Math.floor(now / WINDOW_MS) * WINDOW_MS
    if (start !== this.#startedAt) {
      this.#startedAt = start
      this.#counts.clear()
    }
    const count = (this.#counts.get(caller) ?? 0) + 1
    this.#counts.set(caller, count)
    return { count, resetMs: Math.ceil(start + WINDOW_MS - now) }
  }
}
