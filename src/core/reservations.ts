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
  /** Newcomers that are not in yet: those whose place is being asked for, and those that have one. */
  readonly #asking = new Map<string, number>()
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
    step(this.#asking, rooms, 1)
    try {
      const counts = new Map(rooms.map(room => [room, this.#count(room) + (this.#asking.get(room) ?? 0)]))
      // What is full with ours alone needs no question.
      const full = fullOf(counts, limit())
      const entered = full.length > 0 ? { totals: counts, full } : await group.enter(counts, limit())
      if (entered.full.length > 0) throw roomFull(entered.full, limit())
      step(this.#coming, rooms, 1)
      const settle = (): void => {
        step(this.#coming, rooms, -1)
        this.changed(rooms)
      }
      return { totals: entered.totals, settle }
    } finally {
      step(this.#asking, rooms, -1)
      this.changed(rooms)
    }
  }

  /** Somebody has come or gone: the group is told how many there are now. */
  changed (rooms: Iterable<string>): void {
    if (this.#changed.size === 0) this.#options.clock.soon(() => this.#tell())
    for (const room of rooms) this.#changed.add(room)
  }

  #tell (): void {
    // While a place is being asked for nobody knows whether it counts already; it is told when that is known.
    const settled = [...this.#changed].filter(room => !this.#asking.has(room))
    this.#changed = new Set()
    if (settled.length > 0) this.#options.group.declare(new Map(settled.map(room => [room, this.#count(room)])))
  }

  /** Members, and those who have a place. */
  #count (room: string): number {
    return this.#options.members(room) + (this.#coming.get(room) ?? 0)
  }
}

function step (counts: Map<string, number>, rooms: readonly string[], by: number): void {
  for (const room of rooms) {
    const count = (counts.get(room) ?? 0) + by
    if (count === 0) counts.delete(room)
    else counts.set(room, count)
  }
}

const roomFull = (rooms: readonly string[], limit: number): Refusal => new Refusal('ROOM_FULL',
  `${rooms.length > 1 ? 'rooms' : 'room'} ${rooms.join(', ')} ${rooms.length > 1 ? 'have' : 'has'} all ${limit} members (MAX_ROOM_SIZE); try again when somebody has left`)
