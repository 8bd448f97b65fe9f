// Ends values that were not updated for a time (STATE_TTL), by publishing deletions. A value whose publisher gave it a time of
// its own is left to that; see lifetimes.ts.
//
// A value ends by how long it really stood. While this process runs, the monotonic clock says that: each look notes how
// far the log has come, and what was there at a look that is old enough has stood as long. What came before the start is
// as old as its id says then. A wall clock that jumps therefore ends nothing early and keeps nothing for ever.

import type { Clock } from './clock.ts'
import { SYSTEM, ttlOf } from './event.ts'
import type { Entry } from './event.ts'
import { isAfter, millisOf, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Room } from './room.ts'

export interface ExpiryOptions {
  readonly clock: Clock
  /** Age at which a value ends, ms; 0 = never. */
  readonly ageMs: number
  readonly rooms: Iterable<Room<unknown>> & { readonly head: Id }
  /** Publishes the deletions. Each must name the id it ends: a newer value is left alone then. */
  readonly end: (values: readonly Entry[]) => Promise<unknown>
  readonly onError: (error: unknown) => void
}

/** How late a value may end, as a share of its age; the rooms are looked through as often. */
const GRAIN = 0.1
const LONGEST_PAUSE_MS = 60_000
const SHORTEST_PAUSE_MS = 250

export class Expiry {
  readonly #options: ExpiryOptions
  /** The two clocks and the log at the start. */
  #start = { now: 0, wall: 0, head: ORIGIN }
  /** How far the log had come at each look, oldest first. */
  #looks: Array<{ readonly now: number, readonly head: Id }> = []
  #cancel: (() => void) | null = null
  #stopped = false

  constructor (options: ExpiryOptions) {
    this.#options = options
  }

  /** Resolves when the values that ran out while no process ran are ended. */
  async start (): Promise<void> {
    const { clock, ageMs, rooms } = this.#options
    if (ageMs === 0) return
    this.#start = { now: clock.now(), wall: clock.wall(), head: rooms.head }
    await this.#look()
  }

  stop (): void {
    this.#stopped = true
    this.#cancel?.()
  }

  async #look (): Promise<void> {
    const { clock, ageMs, rooms, end, onError } = this.#options
    const { now, wall, head } = this.#start
    const elapsed = clock.now() - now
    const standing = this.#standing()
    // What the log held at the start: an id beyond the wall clock of then is from a clock that was ahead.
    const ageAtStart = (ms: number): number => (ms <= wall ? wall : millisOf(head)) - ms
    const isOver = (id: Id): boolean => !isAfter(id, standing) || (!isAfter(id, head) && ageAtStart(millisOf(id)) + elapsed >= ageMs)
    const last = Math.max(millisOf(standing), millisOf(head) > wall ? millisOf(head) : wall + elapsed - ageMs)
    const expired: Entry[] = []
    for (const room of rooms) {
      if (room.name === SYSTEM) continue
      for (let value = room.oldestValue; value !== null && millisOf(value.entry.id) <= last; value = value.newer) {
        if (isOver(value.entry.id) && ttlOf(value.entry) === null) expired.push(value.entry)
      }
    }
    if (expired.length > 0) await end(expired).catch(onError)
    if (this.#stopped) return
    const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, ageMs * GRAIN))
    this.#cancel = clock.after(pauseMs, () => { void this.#look() })
  }

  /** Notes how far the log has come. @returns how far it had come when values of then are old enough by now */
  #standing (): Id {
    const { clock, ageMs, rooms } = this.#options
    const now = clock.now()
    this.#looks.push({ now, head: rooms.head })
    const first = this.#looks.findLastIndex(look => look.now <= now - ageMs)
    if (first > 0) this.#looks.splice(0, first)
    return first < 0 ? ORIGIN : (this.#looks[0] as { head: Id }).head
  }
}
