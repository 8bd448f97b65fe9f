// Ends values at the time their publisher gave them (`ttl`), by publishing deletions.
//
// Each key with such a value has one place among the times to look at it. A newer value leaves the place where it is: what is
// found there decides, and is looked at again later where its time has not come. Times far off are rounded to an eighth of what
// is left: however many keys there are, there are few times. The end of a key takes its place away, so that keys which come and
// go leave nothing behind.

import type { Clock, LogClock } from './clock.ts'
import { fieldOf, MAX_BATCH, ttlOf } from './event.ts'
import type { Entry } from './event.ts'
import { millisOf } from './id.ts'
import type { Room } from './room.ts'

export interface LifetimesOptions {
  readonly clock: Clock
  /** Says how old a value is. */
  readonly logClock: LogClock
  readonly rooms: Iterable<Room<unknown>> & { get (name: string): Room<unknown> | undefined }
  /** Publishes the deletions. Each must name the id it ends: a newer value is left alone then. */
  readonly end: (values: readonly Entry[]) => Promise<unknown>
  readonly onError: (error: unknown) => void
}

/** A value ends at most this late, besides what its deletion takes. */
const GRAIN_MS = 250
/** Share of what is left that a time may be rounded by. */
const ROUNDING = 8
/** A deletion that did not come about is tried again. */
const RETRY_MS = 1000

export class Lifetimes {
  readonly #options: LifetimesOptions
  /** By the monotonic time to look at them: keys, as room and field. */
  readonly #keys = new Map<number, Set<string>>()
  /** The time of each key. */
  readonly #times = new Map<string, number>()
  #state: 'new' | 'started' | 'stopped' = 'new'
  #isLooking = false
  #cancel: (() => void) | null = null

  constructor (options: LifetimesOptions) {
    this.#options = options
  }

  /** The log was read, anew perhaps: all its values may be others. */
  load (): void {
    this.#keys.clear()
    this.#times.clear()
    for (const room of this.#options.rooms) {
      for (let value = room.oldestValue; value !== null; value = value.newer) this.saw(value.entry)
    }
  }

  /** An entry of the log. */
  saw (entry: Entry): void {
    if (entry.key === null) return
    if (entry.deletion) {
      if (this.#times.size > 0) this.#forget(placeOf(entry))
      return
    }
    const ttlMs = ttlOf(entry)
    if (ttlMs !== null) this.#put(placeOf(entry), this.#leftOf(entry, ttlMs))
  }

  /** From now on values end. Resolves when those whose time came while no process ran have ended. */
  async start (): Promise<void> {
    // The store may have been waited for, and the gateway closed meanwhile.
    if (this.#state !== 'new') return
    this.#state = 'started'
    await this.#look()
  }

  stop (): void {
    this.#state = 'stopped'
    this.#cancel?.()
  }

  /** What is left of a value's time, ms. */
  #leftOf (entry: Entry, ttlMs: number): number {
    return millisOf(entry.id) - this.#options.logClock.ago(ttlMs)
  }

  #put (key: string, leftMs: number): void {
    const due = this.#options.clock.now() + leftMs
    if ((this.#times.get(key) ?? Infinity) <= due) return
    let grain = GRAIN_MS
    while (grain * 2 * ROUNDING <= leftMs) grain *= 2
    // Rather too early than too late, where it is looked at again.
    const time = grain === GRAIN_MS ? Math.ceil(due / grain) * grain : Math.floor(due / grain) * grain
    this.#forget(key)
    this.#times.set(key, time)
    const keys = this.#keys.get(time)
    if (keys === undefined) this.#keys.set(time, new Set([key]))
    else keys.add(key)
    this.#wait()
  }

  #forget (key: string): void {
    const time = this.#times.get(key)
    if (time === undefined) return
    this.#times.delete(key)
    const keys = this.#keys.get(time) as Set<string>
    keys.delete(key)
    if (keys.size === 0) this.#keys.delete(time)
  }

  #wait (): void {
    if (this.#state === 'started' && !this.#isLooking && this.#keys.size > 0) this.#cancel ??= this.#options.clock.after(GRAIN_MS, () => { void this.#look() })
  }

  /** Whatever number of values ends at once, sessions and publishers have their turns between two batches. */
  async #look (): Promise<void> {
    const { clock, end, onError } = this.#options
    const now = clock.now()
    this.#cancel = null
    this.#isLooking = true
    try {
      for (let keys = this.#due(now); keys.length > 0 && this.#state === 'started'; keys = this.#due(now)) {
        const over = keys.flatMap(key => this.#overAt(key))
        if (over.length > 0) await end(over)
        else await new Promise<void>(resolve => { clock.soon(resolve) })
      }
    } catch (error) {
      onError(error)
    }
    this.#isLooking = false
    this.#wait()
  }

  /** Some of the keys whose time has come. */
  #due (now: number): string[] {
    const due: string[] = []
    for (const [time, keys] of this.#keys) {
      if (time > now) continue
      for (const key of keys) {
        if (due.push(key) === MAX_BATCH) return due
      }
    }
    return due
  }

  /** The value of the key if its time is over; the key is looked at again in any case, unless it has no ttl now. */
  #overAt (key: string): Entry[] {
    this.#forget(key)
    const room = key.indexOf('\0')
    const value = this.#options.rooms.get(key.slice(0, room))?.value(key.slice(room + 1))
    const ttlMs = value === undefined ? null : ttlOf(value)
    if (value === undefined || ttlMs === null) return []
    const left = this.#leftOf(value, ttlMs)
    this.#put(key, left <= 0 ? RETRY_MS : left)
    return left <= 0 ? [value] : []
  }
}

/** Names one value of the deployment. */
const placeOf = (entry: Entry): string => `${entry.room}\0${fieldOf(entry)}`
