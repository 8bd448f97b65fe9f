// Sessions that have ended, and rooms that sessions have left, with how far they were sent their events: for some minutes it can
// still be told what became of an event there. Bounded in number, and in the rooms and types that they name.

import type { Clock } from './clock.ts'
import type { EndReason } from './connection.ts'
import type { Account } from './fate.ts'
import type { Id } from './id.ts'

export interface Departure extends Account {
  readonly session: string
  /** Monotonic ms. */
  readonly at: number
  /** The log's head then. */
  readonly head: Id
  /** Why it ended: the gateway's reason, or `CLOSED`, where the connection did. Null: the session goes on, and has left rooms. */
  readonly reason: EndReason | 'CLOSED' | null
}

/** How long they are known, ms. */
const MAX_AGE_MS = 300_000
/** 1.1 KB each (measured with 10,000, of which a tenth had rooms of their own), so 11 MB at most. */
const MAX_DEPARTURES = 10_000
/** Rooms and types, of hearings and of tracks: 44 bytes each where types have 39 letters, 87 with the 128 they may have (measured, one set named by both), so 4 MB more. */
const MAX_NAMES = 50_000

export class Departures {
  readonly #clock: Pick<Clock, 'now'>
  /** The oldest first. */
  readonly #departures = new Set<Departure>()
  #names = 0

  constructor (clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  add (departure: Departure): void {
    this.#departures.add(departure)
    this.#names += namesOf(departure)
    this.#forget()
  }

  /** Those that are known, the oldest first. */
  get all (): Iterable<Departure> {
    this.#forget()
    return this.#departures
  }

  #forget (): void {
    const since = this.#clock.now() - MAX_AGE_MS
    for (const departure of this.#departures) {
      if (departure.at > since && this.#departures.size <= MAX_DEPARTURES && this.#names <= MAX_NAMES) return
      this.#departures.delete(departure)
      this.#names -= namesOf(departure)
    }
  }
}

const namesOf = ({ hearings, tracks }: Account): number => [...hearings, ...tracks].reduce((sum, { parts }) => {
  for (const { types } of parts.values()) sum += 1 + types.size
  return sum
}, 0)
