// Large texts that are slow to read: 2 MB of JSON within its bounds take up to 50 ms, in which nobody else is served. A caller who
// sends such ones pays with waiting, the more the longer each took, so that others keep most of the event loop. Ordinary large
// batches, read in a few ms, wait some ten times as long.

import { pause } from '../core/clock.ts'
import type { Clock } from '../core/clock.ts'
import { Refusal } from '../core/errors.ts'

/** Shorter texts are read in 4 ms at most, whatever they hold. */
const LARGE = 65_536

export const isLarge = (text: { readonly length: number }): boolean => text.length >= LARGE

/** Reading so fast costs nothing. */
const FREE_MS = 4
/**
 * After a reading of so many ms its square in ms goes by before the next: 25 ms after 5, 2 s after 45. What follows a reading
 * takes about as long again, so that the slowest texts take less than a twentieth of the event loop: less than a p95 shows.
 */
const breakAfter = (ms: number): number => Math.min(MAX_BREAK_MS, ms ** 2)
const MAX_BREAK_MS = 5000
/** Large texts of one caller that may wait for their turn. Each is held meanwhile. */
const MAX_WAITING = 4
/** Callers remembered before those who may go on are looked for. */
const MANY = 1000

export class Effort {
  readonly #clock: Pick<Clock, 'now' | 'after'>
  /** When a caller's break ends, monotonic ms. */
  readonly #until = new Map<string, number>()
  readonly #waiting = new Map<string, number>()

  constructor (clock: Pick<Clock, 'now' | 'after'>) {
    this.#clock = clock
  }

  /** Milliseconds until a caller's next large text is read; 0: now. */
  breakOf (caller: string): number {
    return Math.max(0, (this.#until.get(caller) ?? 0) - this.#clock.now())
  }

  /**
   * Waits until a text may be read.
   * @throws Refusal RATE_LIMITED where as many wait already as may
   */
  async turn (text: string, caller: string): Promise<void> {
    if (!isLarge(text) || this.breakOf(caller) === 0) return
    const waiting = this.#waiting.get(caller) ?? 0
    if (waiting >= MAX_WAITING) throw this.refusalFor(caller)
    this.#waiting.set(caller, waiting + 1)
    try {
      for (let ms = this.breakOf(caller); ms > 0; ms = this.breakOf(caller)) await pause(this.#clock, ms)
    } finally {
      const left = (this.#waiting.get(caller) ?? 1) - 1
      if (left === 0) this.#waiting.delete(caller)
      else this.#waiting.set(caller, left)
    }
  }

  refusalFor (caller: string): Refusal {
    return new Refusal('RATE_LIMITED', 'what this caller sent before was slow to read; send smaller messages, with fewer names in each, or try again later', { retryMs: Math.ceil(this.breakOf(caller)), bound: 'work' })
  }

  /** Reads a text, and remembers how long it took. */
  measured<T> (text: string, caller: string, read: (text: string) => T): T {
    if (!isLarge(text)) return read(text)
    const began = this.#clock.now()
    try {
      return read(text)
    } finally {
      this.#spent(caller, this.#clock.now() - began)
    }
  }

  #spent (caller: string, ms: number): void {
    if (ms < FREE_MS) return
    const now = this.#clock.now()
    if (this.#until.size >= MANY) for (const [other, until] of this.#until) if (until <= now) this.#until.delete(other)
    this.#until.set(caller, Math.max(now, this.#until.get(caller) ?? 0) + breakAfter(ms))
  }
}
