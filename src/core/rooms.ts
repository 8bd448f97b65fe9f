// All rooms of this process, fed from the log: the members that an entry wakes, what history still holds, and the
// log's head.

import { Bases } from './bases.ts'
import { isHistory, PUBLIC, SYSTEM } from './event.ts'
import type { Entry } from './event.ts'
import { isAfter, latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import { Log } from './log.ts'
import { Replacements } from './replacements.ts'
import { Room } from './room.ts'
import type { Image, Lineage } from './store.ts'
import type { Parts } from './subscription.ts'

/** A member of rooms. */
export interface Listener {
  /** The first entry since it went idle, or while its values wait the first fact, was taken in: it stands at `before`. */
  wake (before: Id, isFact: boolean): void
}

/** The type, in the room `@system`, of the keyed events that say which rooms are paused. */
export const PAUSED = 'paused'

/**
 * Deletions of `@system` that each process remembers, apart from history: as many as the stream `occupancy` keeps changes. The
 * room has a floor of its own, the newest one that is forgotten.
 */
export const SYSTEM_DELETIONS = 10_000

export class Rooms<Member extends Listener> {
  lineage: Lineage = { epoch: '', epochs: [] }
  /** The newest entry taken in. */
  head: Id = ORIGIN
  /** Everything up to here may be gone from history. */
  floor: Id = ORIGIN
  /** What the present values of all rooms take, without the gateway's own; see state-bytes.ts. */
  stateBytes = 0
  /** The history of all rooms in id order. */
  history = new Log()

  readonly bases = new Bases()
  /** The gateway's own values are not among them. */
  readonly replacements = new Replacements()

  readonly #rooms = new Map<string, Room<Member>>()
  /** The floor of `@system` as the image had it. */
  #systemFloor: Id = ORIGIN

  /** Takes in an image of the log in place of everything; members stay. */
  load (image: Image): void {
    const before = [...this.#rooms.values()]
    this.#rooms.clear()
    this.bases.clear()
    this.replacements.clear()
    this.history = new Log()
    this.lineage = image.lineage
    this.head = image.head
    this.floor = image.floor
    this.#systemFloor = image.systemFloor
    for (const entry of image.values) {
      this.open(entry.room).put(entry)
      this.#switch(entry)
    }
    this.stateBytes = [...this.#rooms.values()].reduce((sum, { name, stateBytes }) => name === SYSTEM ? sum : sum + stateBytes, 0)
    for (const entry of image.history) {
      if (isHistory(entry)) {
        this.history.push(entry)
        this.open(entry.room).remember(entry)
      } else {
        // Written by an earlier version.
        const room = this.open(SYSTEM)
        this.#systemFloor = room.floor = room.deletionFloor = latest(this.#systemFloor, entry.id)
      }
    }
    for (const { name, members, audience } of before) {
      if (members.size === 0) continue
      const room = this.open(name)
      room.audience = audience
      for (const member of members) room.members.add(member)
    }
  }

  /** Takes in one entry behind the head and wakes the idle members of its room. */
  apply (entry: Entry): void {
    const room = this.open(entry.room)
    const before = room.stateBytes
    room.apply(entry)
    // The gateway's own values are nobody's to delete.
    if (entry.room !== SYSTEM) this.stateBytes += room.stateBytes - before
    if (isHistory(entry)) this.history.push(entry)
    else if (entry.deletion && room.deletions.size > SYSTEM_DELETIONS) room.forget(room.deletions.oldest as Entry)
    this.#switch(entry)
    const { head } = this
    this.head = entry.id
    const isFact = entry.key === null
    // Without ticks members are served at once, and listed anew. One may stand in both lists, as it was held or idle before.
    const { idle, held } = room
    if (isFact) room.held = null
    if (idle.size > 0) {
      room.idle = new Set()
      for (const member of idle) member.wake(head, isFact)
    }
    if (isFact && held !== null) for (const member of held) if (!idle.has(member)) member.wake(head, isFact)
  }

  /** Forgets history up to `floor`. */
  trim (floor: Id): void {
    if (!isAfter(floor, this.floor)) return
    this.floor = floor
    for (let entry = this.history.oldest; entry !== undefined && !isAfter(entry.id, floor); entry = this.history.oldest) {
      this.history.shift()
      const room = this.#rooms.get(entry.room) as Room<Member>
      room.forget(entry)
      this.#dropIfVacant(room)
    }
  }

  /** An entry that history holds, or a present value. */
  find (id: Id): Entry | undefined {
    const found = this.history.find(id) ?? this.#rooms.get(SYSTEM)?.deletions.find(id)
    if (found !== undefined) return found
    for (const room of this.#rooms.values()) {
      const value = room.lastId === null || isAfter(id, room.lastId) ? undefined : room.valueById(id)
      if (value !== undefined) return value
    }
    return undefined
  }

  get (name: string): Room<Member> | undefined {
    return this.#rooms.get(name)
  }

  /** The room as it is to be read: one that does not exist is not made. */
  peek (name: string): Room<Member> {
    return this.#rooms.get(name) ?? this.#make(name)
  }

  /** The room, made if there is none. */
  open (name: string): Room<Member> {
    let room = this.#rooms.get(name)
    if (room === undefined) {
      room = this.#make(name)
      this.#rooms.set(name, room)
    }
    return room
  }

  #make (name: string): Room<Member> {
    return name === SYSTEM ? new Room(name, this.#systemFloor, this.bases) : new Room(name, this.floor, this.bases, this.replacements)
  }

  /** Some rooms were read to their end, for patches. */
  noteReading (names: Iterable<string>, ticker: { readonly tick: number, readonly lengthMs: number }, now: number): void {
    for (const name of names) this.#rooms.get(name)?.noteReading(this.head, ticker, now)
  }

  /** From now on a member hears `after` instead of `before`. */
  move (member: Member, before: Parts, after: Parts): void {
    for (const [name, filter] of before) this.#rooms.get(name)?.audience.delete(filter)
    for (const [name, filter] of after) {
      const room = this.open(name)
      room.members.add(member)
      room.audience.add(filter)
    }
    for (const name of before.keys()) if (!after.has(name)) this.#leave(name, member)
  }

  #leave (name: string, member: Member): void {
    const room = this.#rooms.get(name)
    if (room === undefined) return
    room.members.delete(member)
    room.idle.delete(member)
    room.held?.delete(member)
    this.#dropIfVacant(room)
  }

  /** Rooms that publishers and clients made; the gateway's own do not count against MAX_ROOMS. */
  get named (): number {
    return this.#rooms.size - (this.#rooms.has(PUBLIC) ? 1 : 0) - (this.#rooms.has(SYSTEM) ? 1 : 0)
  }

  [Symbol.iterator] (): Iterator<Room<Member>> {
    return this.#rooms.values()
  }

  /** Pausing a room is itself an event of the log, so every worker hears of it and a restart keeps it. */
  #switch (entry: Entry): void {
    if (entry.room !== SYSTEM || entry.type !== PAUSED || entry.key === null) return
    const room = this.open(entry.key)
    room.paused = !entry.deletion
    this.#dropIfVacant(room)
  }

  #dropIfVacant (room: Room<Member>): void {
    if (room.vacant) this.#rooms.delete(room.name)
  }
}
