// The clock is injected: tests control it. `now` is monotonic: ticks, pings and windows must not jump with the wall
// clock, which serves only for timestamps and, as a LogClock, for ids.

export interface Clock {
  /** Monotonic milliseconds. */
  now (): number
  /** Milliseconds since 1970. */
  wall (): number
  /** Calls `run` after `ms`. @returns what cancels it */
  after (ms: number, run: () => void): () => void
  /** Calls `run` once the sockets have had their turn. */
  soon (run: () => void): void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after (ms, run) {
    // A gateway's timers must not keep a process alive that has nothing else to do.
    const timer = setTimeout(run, ms).unref()
    return () => clearTimeout(timer)
  },
  soon: run => { setImmediate(run) }
}

/** The two clocks are not read at the same moment, and one of them is slewed. */
const LEAP_MS = 1000
/** Of a clock that leaps without end the latest are known. */
const MAX_LEAPS = 100

/**
 * Time as the log tells it: the wall clock's, but never before the newest id. A wall clock that was ahead for a moment
 * leaves an id of the future; from that id this clock goes on with the monotonic one until the wall clock has caught up,
 * so that what is kept for a time (HISTORY_TTL, IDEMPOTENCY_TTL, STATE_TTL) still comes to its end. Where it leaps ahead of
 * the monotonic clock it knows that nothing grew older by that.
 */
export class LogClock {
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  #newestMs = 0
  #seenAt = 0
  /** The last look: the time, and the monotonic clock. */
  #time: number
  #lookedAt: number
  /** Oldest first: what time it was then, and how much of it did not pass. */
  readonly #leaps: Array<{ readonly to: number, readonly by: number }> = []

  constructor (clock: Pick<Clock, 'now' | 'wall'>) {
    this.#clock = clock
    this.#time = clock.wall()
    this.#lookedAt = clock.now()
  }

  /** The log holds an id of this time. */
  saw (ms: number): void {
    if (ms <= this.#fromNewest) return
    this.#newestMs = ms
    this.#seenAt = this.#clock.now()
  }

  /** Whole milliseconds since 1970. */
  now (): number {
    return Math.floor(this.#look())
  }

  /** What time it was `ms` ago, by the monotonic clock as far back as this one has run. */
  ago (ms: number): number {
    let time = this.#look() - ms
    for (let at = this.#leaps.length - 1; at >= 0; at--) {
      const { to, by } = this.#leaps[at] as { to: number, by: number }
      if (time >= to) break
      time -= by
    }
    return time
  }

  /** How far the log is ahead of the wall clock, ms; 0 or less where it is not. */
  get aheadMs (): number {
    return this.#fromNewest - this.#clock.wall()
  }

  get #fromNewest (): number {
    return this.#newestMs + (this.#clock.now() - this.#seenAt)
  }

  #look (): number {
    const now = this.#clock.now()
    const time = Math.max(this.#clock.wall(), this.#fromNewest)
    let by = time - (this.#time + now - this.#lookedAt)
    // Back from where no id was given: as if it had not been there.
    while (by <= -LEAP_MS && this.#leaps.length > 0) by += (this.#leaps.pop() as { by: number }).by
    if (by >= LEAP_MS) this.#leaps.push({ to: time, by })
    if (this.#leaps.length > MAX_LEAPS) this.#leaps.shift()
    this.#time = time
    this.#lookedAt = now
    return time
  }
}

export const pause = (clock: Pick<Clock, 'after'>, ms: number): Promise<void> =>
  new Promise(resolve => { clock.after(ms, resolve) })

/** A pause, and what ends it early. */
export function interruptible (clock: Pick<Clock, 'after'>, ms: number): { readonly over: Promise<void>, readonly end: () => void } {
  let end = (): void => {}
  const over = new Promise<void>(resolve => {
    const cancel = clock.after(ms, resolve)
    end = () => { cancel(); resolve() }
  })
  return { over, end }
}

/** Something to wait for that may happen before anybody waits; the wait then ends at once. For one waiter. */
export class Wakeup {
  readonly #clock: Pick<Clock, 'after'>
  #woken = false
  #end = (): void => {}

  constructor (clock: Pick<Clock, 'after'>) {
    this.#clock = clock
  }

  wake (): void {
    this.#woken = true
    this.#end()
  }

  /** Resolves when woken, at once if that was since the last wait; or after `ms`. */
  async wait (ms: number): Promise<void> {
    if (!this.#woken) {
      const { over, end } = interruptible(this.#clock, ms)
      this.#end = end
      await over
      this.#end = () => {}
    }
    this.#woken = false
  }
}

/** What comes of a promise; `otherwise` where that takes longer than `ms`. */
export async function within<T> (clock: Pick<Clock, 'after'>, ms: number, promise: Promise<T>, otherwise: T): Promise<T> {
  let cancel = (): void => {}
  const late = new Promise<T>(resolve => { cancel = clock.after(ms, () => resolve(otherwise)) })
  try {
    return await Promise.race([promise, late])
  } finally {
    cancel()
  }
}

/** The whole second of the clock, for counting by seconds. */
export const secondOf = (clock: Pick<Clock, 'now'>): number => Math.floor(clock.now() / 1000)
