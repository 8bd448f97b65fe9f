// Places in rooms, and room for new rooms. MAX_ROOM_SIZE counts members over the whole deployment: a place is reserved
// before a session joins, and given back when the session has left. MAX_ROOMS counts the rooms of this process, those
// that a publish on its way is about to open among them.
//
// The group is sent counts as they are, never steps up or down: the next message makes good one that was lost.

import type { Clock } from './clock.ts'
import { Refusal } from './errors.ts'
import { PUBLIC } from './event.ts'
import { fullOf } from './group.ts'
import type { Group } from './group.ts'
import type { Limits } from './limits.ts'
import type { Identity } from './identity.ts'
import type { Listener, Rooms } from './rooms.ts'

export interface ReservationsOptions {
  readonly clock: Pick<Clock, 'soon'>
  readonly group: Pick<Group, 'enter' | 'declare' | 'membersElsewhere'>
  readonly rooms: Pick<Rooms<Listener & { readonly identity: Identity }>, 'get' | 'named'>
  readonly limits: () => Pick<Limits, 'maxRooms' | 'maxRoomSize' | 'maxRoomSizePerCaller'>
  /** The numbers of members of these rooms have changed; once a turn, however many sessions joined or left. */
  readonly onChanged: (rooms: readonly string[]) => void
}

/** A place in each of some rooms. */
export interface Reservation {
  /** Members of each room over all processes. */
  readonly totals: ReadonlyMap<string, number>
  /** To be called once the session is in the rooms, or is known not to come. */
  readonly settle: () => void
}

export class Reservations {
  readonly #options: ReservationsOptions
  /** Newcomers that are not in yet: those whose place is being asked for, and those that have one. */
  readonly #asking = new Map<string, number>()
  readonly #coming = new Map<string, number>()
  /** Rooms that publishes on their way are about to open. */
  readonly #opening = new Map<string, number>()
  #changed = new Set<string>()

  constructor (options: ReservationsOptions) {
    this.#options = options
  }

  /**
   * Reserves a place in each room, or in none.
   * @throws Refusal ROOM_FULL
   */
  async reserve (rooms: readonly string[]): Promise<Reservation> {
    const { group, limits } = this.#options
    const limit = limits().maxRoomSize
    step(this.#asking, rooms, 1)
    try {
      const counts = new Map(rooms.map(room => [room, this.countOf(room) + (this.#asking.get(room) ?? 0)]))
      // Full with our own members: no need to ask the group.
      const full = fullOf(counts, limit)
      const entered = full.length > 0 ? { totals: counts, full } : await group.enter(counts, limit)
      if (entered.full.length > 0) throw roomFull(entered.full, limit)
      step(this.#coming, rooms, 1)
      const settle = (): void => {
        step(this.#coming, rooms, -1)
        this.membershipChanged(rooms)
      }
      return { totals: entered.totals, settle }
    } finally {
      step(this.#asking, rooms, -1)
      this.membershipChanged(rooms)
    }
  }

  /** Members of each room over all processes. */
  async membersOf (rooms: readonly string[]): Promise<ReadonlyMap<string, number>> {
    if (rooms.length === 0) return new Map()
    const elsewhere = await this.#options.group.membersElsewhere(rooms)
    return new Map(rooms.map(room => [room, this.countOf(room) + (elsewhere.get(room) ?? 0)]))
  }

  /** Sessions have joined or left these rooms: the group learns how many members there are now. */
  membershipChanged (rooms: Iterable<string>): void {
    if (this.#changed.size === 0) this.#options.clock.soon(() => this.#declare())
    for (const room of rooms) this.#changed.add(room)
  }

  /**
   * Checks that a join may open those of its rooms that do not exist.
   * @throws Refusal ROOMS_FULL
   */
  checkJoin (rooms: Iterable<string>): void {
    const fresh = [...rooms].filter(room => !room.startsWith('@') && this.#options.rooms.get(room) === undefined)
    this.#checkFree(fresh.length, 0)
  }

  /**
   * Checks that a caller may have one more member in each room: those of this process count.
   * @throws Refusal RATE_LIMITED (MAX_ROOM_SIZE_PER_CALLER)
   */
  checkShare (rooms: Iterable<string>, { caller }: Identity): void {
    const limit = this.#options.limits().maxRoomSizePerCaller
    if (limit === 0) return
    for (const room of rooms) {
      if (room.startsWith('@')) continue
      let count = 0
      for (const { identity } of this.#options.rooms.get(room)?.members ?? []) if (identity.caller === caller) count++
      if (count >= limit) throw new Refusal('RATE_LIMITED', `one caller may have ${limit} members in a room (MAX_ROOM_SIZE_PER_CALLER), and has as many in ${room}; leave it elsewhere first`, { bound: 'places' })
    }
  }

  /**
   * Checks that a publish may open those of its rooms that do not exist, and counts them as open while it is on its way.
   * @returns those rooms, for `opened`
   * @throws Refusal ROOMS_FULL
   */
  open (rooms: ReadonlySet<string>): string[] {
    const fresh = [...rooms].filter(room => room !== PUBLIC && this.#options.rooms.get(room) === undefined)
    this.#checkFree(fresh.filter(room => !this.#opening.has(room)).length, this.#opening.size)
    step(this.#opening, fresh, 1)
    return fresh
  }

  /** The publish has arrived or failed. */
  opened (rooms: readonly string[]): void {
    step(this.#opening, rooms, -1)
  }

  #checkFree (fresh: number, opening: number): void {
    const limit = this.#options.limits().maxRooms
    if (limit > 0 && fresh > 0 && this.#options.rooms.named + opening + fresh > limit) {
      throw new Refusal('ROOMS_FULL', `${limit} rooms may exist (MAX_ROOMS), and this would open ${fresh} more; use an existing room or try again later`)
    }
  }

  #declare (): void {
    // While a place is being asked for it is not known whether the group counts it already; the count follows then.
    const settled = [...this.#changed].filter(room => !this.#asking.has(room))
    this.#changed = new Set()
    if (settled.length === 0) return
    this.#options.group.declare(new Map(settled.map(room => [room, this.countOf(room)])))
    this.#options.onChanged(settled)
  }

  /** Members in this process, and newcomers that have a place. */
  countOf (room: string): number {
    return (this.#options.rooms.get(room)?.members.size ?? 0) + (this.#coming.get(room) ?? 0)
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
  `${rooms.length > 1 ? 'rooms' : 'room'} ${rooms.join(', ')} ${rooms.length > 1 ? 'have' : 'has'} all ${limit} members (MAX_ROOM_SIZE); try again when a member has left`, { rooms })
