// The places in rooms: MAX_ROOM_SIZE counts members over the whole deployment. A place is asked for before a session
// joins and given back when it has left. What the group is told are counts as they are, never steps up or down, so
// a message that was lost is mended by the next one.

import type { Clock } from './clock.ts'
import { Refusal } from './errors.ts'
import { fullOf } from './group.ts'
import type { Group } from './group.ts'

export interface PlacesOptions {
  readonly clock: Pick<Clock, 'soon'>
  readonly group: Pick<Group, 'enter' | 'declare'>
  /** Members of a room in this process. */
  readonly members: (room: string) => number
  /** Members a named room may have; 0 = any number. */
  readonly limit: () => number
}

export interface Taken {
  /** Members of each room over all processes. */
  readonly totals: ReadonlyMap<string, number>
  /** To be called once the newcomer is in, or is known not to come. */
  readonly settle: () => void
}

export class Places {
  readonly #options: PlacesOptions
  /** Newcomers that have a place and are not in yet. */
  readonly #coming = new Map<string, number>()
  #changed = new Set<string>()

  constructor (options: PlacesOptions) {
    this.#options = options
  }

  /**
   * Takes a place in each room, or in none.
   * @throws Refusal ROOM_FULL
   */
  async take (rooms: readonly string[]): Promise<Taken> {
    const { group, limit } = this.#options
    for (const room of rooms) this.#coming.set(room, (this.#coming.get(room) ?? 0) + 1)
    const settle = (): void => {
      for (const room of rooms) {
        const left = (this.#coming.get(room) ?? 1) - 1
        if (left === 0) this.#coming.delete(room)
        else this.#coming.set(room, left)
      }
    }
    const counts = this.#count(rooms)
    try {
      // What is full with ours alone needs no question.
      const full = fullOf(counts, limit())
      const entered = full.length > 0 ? { totals: counts, full } : await group.enter(counts, limit())
      if (entered.full.length > 0) throw roomFull(entered.full, limit())
      return { totals: entered.totals, settle: () => { settle(); this.changed(rooms) } }
    } catch (error) {
      settle()
      throw error
    }
  }

  /** Somebody has come or gone: the group is told how many there are now. */
  changed (rooms: Iterable<string>): void {
    const { clock, group } = this.#options
    if (this.#changed.size === 0) {
      clock.soon(() => {
        const counts = this.#count(this.#changed)
        this.#changed = new Set()
        if (counts.size > 0) group.declare(counts)
      })
    }
    for (const room of rooms) this.#changed.add(room)
  }

  #count (rooms: Iterable<string>): Map<string, number> {
    return new Map(Array.from(rooms, room => [room, this.#options.members(room) + (this.#coming.get(room) ?? 0)]))
  }
}

const roomFull = (rooms: readonly string[], limit: number): Refusal => new Refusal('ROOM_FULL',
  `${rooms.length > 1 ? 'rooms' : 'room'} ${rooms.join(', ')} ${rooms.length > 1 ? 'have' : 'has'} all ${limit} members (MAX_ROOM_SIZE); try again when somebody has left`)
