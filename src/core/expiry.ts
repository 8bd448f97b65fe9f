// Ends values that were not updated for a time (STATE_TTL), by publishing deletions.

import type { Clock } from './clock.ts'
import { SYSTEM } from './event.ts'
import type { Entry } from './event.ts'
import { millisOf } from './id.ts'
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
  #cancel: (() => void) | null = null
  #stopped = false

  constructor (options: ExpiryOptions) {
    this.#options = options
  }

  /** Resolves when the values that ran out while no process ran are ended. */
  async start (): Promise<void> {
    if (this.#options.ageMs > 0) await this.#look()
  }

  stop (): void {
    this.#stopped = true
    this.#cancel?.()
  }

  async #look (): Promise<void> {
    const { clock, ageMs, rooms, end, onError } = this.#options
    // An age is that of the id, against the later one of clock and log: a clock that was set back keeps no value alive.
    const before = Math.max(clock.wall(), millisOf(rooms.head)) - ageMs
    const expired: Entry[] = []
    for (const room of rooms) {
      if (room.name === SYSTEM) continue
      for (let value = room.oldestValue; value !== null && millisOf(value.entry.id) <= before; value = value.newer) expired.push(value.entry)
    }
    if (expired.length > 0) await end(expired).catch(onError)
    if (this.#stopped) return
    const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, ageMs * GRAIN))
    this.#cancel = clock.after(pauseMs, () => { void this.#look() })
  }
}
