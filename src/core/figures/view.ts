// A read-only view of the gateway: figures and lists for /api/rooms, /metrics, `@system` and the built-in commands.

import { secondOf } from '../clock.ts'
import type { Clock, LogClock } from '../clock.ts'
import { SYSTEM } from '../event.ts'
import type { Group } from '../group.ts'
import { compareIds, millisOf, ORIGIN } from '../id.ts'
import type { Id } from '../id.ts'
import type { Room } from '../room.ts'
import type { Rooms } from '../rooms.ts'
import type { Session } from '../session.ts'
import { Top } from './top.ts'

export interface RoomView {
  readonly room: string
  readonly members: number
  readonly keys: number
  readonly lastId: Id | null
  readonly paused: boolean
}

/** A part of the list of rooms, which is in order of name. */
export interface RoomPage {
  /** Most rooms in it. */
  readonly limit: number
  /** Only rooms behind this name. */
  readonly after: string
  /** Only rooms whose name begins with this. */
  readonly prefix: string
  /** Rooms for which this is false are left out. */
  readonly isListed: (room: string) => boolean
}

/** Most rooms in a page, and how many where nothing is said. */
export const MAX_PAGE_ROOMS = 1000
export const PAGE_ROOMS = 100

/** The traffic of a room, as this process knows it. */
export interface RoomTraffic {
  readonly room: string
  readonly members: number
  readonly keys: number
  /** Events of the last whole second. */
  readonly eventsPerSecond: number
  readonly paused: boolean
}

export interface SessionView {
  readonly session: string
  /** Of its token; null without one. */
  readonly subject: string | null
  readonly address: string
  /** The first of its rooms; and how many there are. */
  readonly rooms: readonly string[]
  readonly roomCount: number
  /** Age of its oldest pending event. */
  readonly behindMs: number
  readonly stalled: boolean
  readonly pendingBytes: number
  readonly ageSeconds: number
}

/** The first items of a list, and its length. */
export interface Excerpt<Item> {
  readonly total: number
  readonly first: readonly Item[]
}

export interface ViewOptions {
  readonly clock: Clock
  readonly logClock: Pick<LogClock, 'now'>
  readonly group: Group
  readonly rooms: Rooms<Session>
  readonly sessions: ReadonlySet<Session>
  readonly stalls: { readonly size: number }
  readonly polls: { readonly waiting: number }
}

export class View {
  readonly #options: ViewOptions

  constructor (options: ViewOptions) {
    this.#options = options
  }

  /** Sessions, and those of them whose connection holds bytes back. */
  get sessions (): { readonly count: number, readonly stalled: number } {
    return { count: this.#options.sessions.size, stalled: this.#options.stalls.size }
  }

  /** Reads that wait. */
  get waits (): number {
    return this.#options.polls.waiting
  }

  get history (): { readonly events: number, readonly head: Id, readonly floor: Id, readonly epoch: string } {
    return { events: this.#options.rooms.history.size, head: this.#options.rooms.head, floor: this.#options.rooms.floor, epoch: this.#options.rooms.lineage.epoch }
  }

  /** How long ago history begins, ms: who was away for less is resumed. Infinity while nothing was trimmed yet. */
  get reachMs (): number {
    const { rooms: { floor }, logClock } = this.#options
    return floor === ORIGIN ? Infinity : Math.max(0, logClock.now() - millisOf(floor))
  }

  /** How many rooms and present values there are, without the gateway's own, and what all values take. */
  get totals (): { readonly rooms: number, readonly keys: number, readonly stateBytes: number } {
    const totals = { rooms: 0, keys: 0, stateBytes: this.#options.rooms.stateBytes }
    for (const { name, keys } of this.#options.rooms) {
      if (name === SYSTEM) continue
      totals.rooms++
      totals.keys += keys
    }
    return totals
  }

  /** What the earlier values take that patches start from; see bases.ts. */
  get baseBytes (): number {
    return this.#options.rooms.bases.bytes
  }

  /** The rooms with most events, then those with most members; without the gateway's own figures. */
  busiest (count: number): Excerpt<RoomTraffic> {
    const second = secondOf(this.#options.clock)
    const top = new Top<{ room: Room<Session>, rate: number }>(count, (a, b) => b.rate - a.rate || b.room.members.size - a.room.members.size)
    let total = 0
    for (const room of this.#options.rooms) {
      if (room.name === SYSTEM) continue
      total++
      top.add({ room, rate: room.eventsPerSecond(second) })
    }
    return {
      total,
      first: top.items.map(({ room: { name, members, keys, paused }, rate }) => ({ room: name, members: members.size, keys, eventsPerSecond: rate, paused }))
    }
  }

  /** The sessions that are furthest behind, then those whose connection holds most bytes back. */
  furthestBehind (count: number, rooms: number): Excerpt<SessionView> {
    const { clock, logClock } = this.#options
    const [now, wall] = [clock.now(), logClock.now()]
    const top = new Top<{ session: Session, behindMs: number }>(count, (a, b) =>
      b.behindMs - a.behindMs || b.session.connection.pending - a.session.connection.pending)
    const known = new Map<string, Id | null>()
    for (const session of this.#options.sessions) {
      const oldest = session.oldestPendingId(known)
      top.add({ session, behindMs: oldest === null ? 0 : Math.max(0, wall - millisOf(oldest)) })
    }
    return {
      total: this.#options.sessions.size,
      first: top.items.map(({ session: { id, identity, subscription, connection, openedAt }, behindMs }) => ({
        session: id,
        subject: identity.subject,
        address: identity.address,
        rooms: [...subscription.rooms].slice(0, rooms),
        roomCount: subscription.rooms.size,
        behindMs,
        stalled: connection.pending > 0,
        pendingBytes: connection.pending,
        ageSeconds: Math.round((now - openedAt) / 1000)
      }))
    }
  }

  /**
   * Rooms with their members over all processes, or those of this process while the group cannot be asked.
   * @returns a page of them, and whether there are more behind it
   */
  async presence ({ limit = PAGE_ROOMS, after = '', prefix = '', isListed = () => true }: Partial<RoomPage> = {}): Promise<{ rooms: RoomView[], more: boolean }> {
    const { group, rooms } = this.#options
    const elsewhere = await group.membersElsewhere()
    const first = new FirstNames(limit + 1)
    const consider = (name: string): void => { if (name > after && name.startsWith(prefix) && !first.isBehind(name) && isListed(name)) first.add(name) }
    for (const { name } of rooms) consider(name)
    // Rooms may have members elsewhere and no events.
    for (const name of elsewhere.keys()) if (rooms.get(name) === undefined) consider(name)
    const names = first.sorted
    const page = names.slice(0, limit).map((room): RoomView => {
      const { members, keys = 0, lastId = null, paused = false } = rooms.get(room) ?? {}
      return { room, members: (members?.size ?? 0) + (elsewhere.get(room) ?? 0), keys, lastId, paused }
    })
    return { rooms: page, more: names.length > limit }
  }

  /** Members of a room over all processes. */
  async membersOf (room: string): Promise<number> {
    const elsewhere = await this.#options.group.membersElsewhere([room])
    return (this.#options.rooms.get(room)?.members.size ?? 0) + (elsewhere.get(room) ?? 0)
  }

  /** A room; undefined where there is none. */
  room (name: string): { readonly members: number, readonly paused: boolean } | undefined {
    const room = this.#options.rooms.get(name)
    return room === undefined ? undefined : { members: room.members.size, paused: room.paused }
  }

  /** Age in ms of the oldest event pending for a connected client; 0 where none is. */
  get backlogMs (): number {
    let oldest: Id | null = null
    const known = new Map<string, Id | null>()
    for (const session of this.#options.sessions) {
      const id = session.oldestPendingId(known)
      if (id !== null && (oldest === null || compareIds(id, oldest) < 0)) oldest = id
    }
    return oldest === null ? 0 : Math.max(0, this.#options.logClock.now() - millisOf(oldest))
  }
}

/** The first of many names, without sorting the many. */
class FirstNames {
  readonly #count: number
  #names: string[] = []
  /** Names behind this one are not among them. */
  #last: string | null = null

  constructor (count: number) {
    this.#count = count
  }

  /** Whether enough names are known that come before it. */
  isBehind (name: string): boolean {
    return this.#last !== null && name >= this.#last
  }

  add (name: string): void {
    if (this.isBehind(name)) return
    this.#names.push(name)
    if (this.#names.length < 2 * this.#count) return
    this.#names = this.sorted
    this.#last = this.#names.at(-1) as string
  }

  get sorted (): string[] {
    return this.#names.sort().slice(0, this.#count)
  }
}
