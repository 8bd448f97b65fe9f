// The room remembers; a client is only a subscription and a cursor.
//
// A room keeps three lists in id order: its present values (the newest of each key), its facts, and the deletions of
// keys. History holds the last two; values outlive it. Everything a client is sent is read from these lists by position:
// there is no queue per client, and no last value that could be dropped.

import type { Base, Bases } from './bases.ts'
import { Audience } from './figures/audience.ts'
import { fieldOf } from './event.ts'
import type { Entry } from './event.ts'
import { isAfter, latest } from './id.ts'
import type { Id } from './id.ts'
import { Log } from './log.ts'
import type { KeyName, Replacements } from './replacements.ts'
import { valueBytes } from './state-bytes.ts'

/** A present value, linked to its neighbours in id order. */
export interface Value {
  entry: Entry
  older: Value | null
  newer: Value | null
  /** Its place in the index of its room. */
  place: number
  /** An earlier value of its key, for patches; see bases.ts. */
  base: Base | null
  /** Whose value it is, once one was replaced; see replacements.ts. */
  name: KeyName | null
}

/** Steps from the newest value before the index is asked: readers in step are there already. */
const NEAR = 8
/** Places left behind by values that moved or ended stay in the index until they are half of it. */
const COMPACT_FROM = 64

export class Room<Member> {
  readonly name: string
  /** The sessions that hear this room. */
  readonly members = new Set<Member>()
  /** How many of them hear which types. */
  audience = new Audience()
  /** Members with nothing pending: the next event wakes them. */
  idle = new Set<Member>()
  /** Members whose values wait for their pace: the next fact wakes them. Null: there are none. */
  held: Set<Member> | null = null
  /** Publishing to the room is refused. */
  paused = false
  readonly facts = new Log()
  readonly deletions = new Log()
  /** A reader whose position is below this id may have lost entries of this room. */
  floor: Id
  /** The newest deletion that history no longer holds, or a later id. */
  deletionFloor: Id
  /** The newest entry the room has had, also where history no longer holds it. */
  lastId: Id | null = null
  /** What its present values take; see state-bytes.ts. */
  stateBytes = 0
  /** Facts that were trimmed from history. */
  trimmed = 0
  #second = -1
  #count = 0
  #countBefore = 0

  readonly #bases: Bases | null
  readonly #replacements: Replacements | null
  /** The head when it was last read to its end for patches, null: never; the tick of that, and when it ended at the latest, monotonic ms. */
  #readTo: Id | null = null
  #readInTick = -1
  #readUntil = -Infinity

  readonly #values = new Map<string, Value>()
  #oldest: Value | null = null
  #newest: Value | null = null
  /** The values in id order, with places left behind, and the ids of all places: a slow reader finds its position in log n steps. */
  #index: Array<Value | null> = []
  #ids: Id[] = []

  /** @param bases null: nobody will ask for patches @param replacements null: nor what became of a value */
  constructor (name: string, floor: Id, bases: Bases | null = null, replacements: Replacements | null = null) {
    this.name = name
    this.floor = this.deletionFloor = floor
    this.#bases = bases
    this.#replacements = replacements
  }

  get keys (): number {
    return this.#values.size
  }

  /** The present value of a field (`fieldOf`). */
  value (field: string): Entry | undefined {
    return this.#values.get(field)?.entry
  }

  /** No entries and no members are left: the room may be forgotten. */
  get vacant (): boolean {
    return this.members.size === 0 && this.#values.size === 0 && this.facts.size === 0 && this.deletions.size === 0 && !this.paused
  }

  /** An event came, in this second of the clock. */
  count (second: number): void {
    if (second !== this.#second) {
      this.#countBefore = this.eventsPerSecond(second)
      this.#second = second
      this.#count = 0
    }
    this.#count++
  }

  /** Events of the second before this one. */
  eventsPerSecond (second: number): number {
    if (second === this.#second) return this.#countBefore
    return second === this.#second + 1 ? this.#count : 0
  }

  /** Takes in an entry behind all earlier ones. */
  apply (entry: Entry): void {
    if (entry.deletion) this.#remove(fieldOf(entry), entry.id)
    if (entry.key === null || entry.deletion) this.remember(entry)
    else this.put(entry)
  }

  /** Takes in history without touching the values. */
  remember (entry: Entry): void {
    (entry.deletion ? this.deletions : this.facts).push(entry)
    this.#saw(entry.id)
  }

  /** Takes in the newest value of a key. */
  put (entry: Entry): void {
    const field = fieldOf(entry)
    let value = this.#values.get(field)
    if (value === undefined) {
      value = { entry, older: null, newer: null, place: 0, base: null, name: null }
      this.#values.set(field, value)
    } else {
      this.#unlink(value)
      this.stateBytes -= valueBytes(value.entry)
      this.#replacements?.add(value, entry.id)
      if (this.#readTo !== null) this.#bases?.replace(value, entry, this.#readTo)
      value.entry = entry
    }
    this.stateBytes += valueBytes(entry)
    value.older = this.#newest
    value.newer = null
    if (this.#newest === null) this.#oldest = value
    else this.#newest.newer = value
    this.#newest = value
    value.place = this.#index.push(value) - 1
    this.#ids.push(entry.id)
    this.#saw(entry.id)
  }

  /**
   * Somebody has read it to its end, for patches, and holds all present values. The first reading of a tick counts: those in
   * step share it, and who reads in between must not take their bases from them. Without sessions to serve a tick has no end.
   */
  noteReading (head: Id, { tick, lengthMs }: { readonly tick: number, readonly lengthMs: number }, now: number): void {
    if (tick === this.#readInTick && now < this.#readUntil) return
    this.#readInTick = tick
    this.#readUntil = now + lengthMs
    this.#readTo = head
  }

  /** Forgets the oldest entry of history, which is `entry`. */
  forget (entry: Entry): void {
    (entry.deletion ? this.deletions : this.facts).shift()
    if (entry.deletion) this.deletionFloor = entry.id
    else this.trimmed++
    this.floor = latest(this.floor, entry.id)
  }

  get oldestValue (): Value | null {
    return this.#oldest
  }

  /** The oldest of the present values behind `id`. */
  valueAfter (id: Id): Value | null {
    // Most readers stand near one end: in step with the newest values, or at the start of a snapshot.
    if (this.#oldest === null || isAfter(this.#oldest.entry.id, id)) return this.#oldest
    let first: Value | null = null
    let value = this.#newest
    for (let step = 0; step < NEAR; step++) {
      if (value === null || !isAfter(value.entry.id, id)) return first
      first = value
      value = value.older
    }
    let place = this.#placeAfter(id)
    while (this.#index[place] === null) place++
    return this.#index[place] ?? null
  }

  /** A present value by its id. */
  valueById (id: Id): Entry | undefined {
    const value = this.#index[this.#placeAfter(id) - 1]
    return value?.entry.id === id ? value.entry : undefined
  }

  #placeAfter (id: Id): number {
    let low = 0
    let high = this.#ids.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isAfter(this.#ids[middle] as Id, id)) high = middle
      else low = middle + 1
    }
    return low
  }

  #saw (id: Id): void {
    if (this.lastId === null || isAfter(id, this.lastId)) this.lastId = id
  }

  #remove (field: string, deletion: Id): void {
    const value = this.#values.get(field)
    if (value === undefined) return
    this.#replacements?.add(value, deletion)
    this.#values.delete(field)
    this.#unlink(value)
    this.stateBytes -= valueBytes(value.entry)
    this.#bases?.delete(value)
  }

  #unlink (value: Value): void {
    this.#index[value.place] = null
    if (this.#index.length >= COMPACT_FROM && this.#index.length > 2 * this.#values.size) this.#compact()
    if (value.older === null) this.#oldest = value.newer
    else value.older.newer = value.newer
    if (value.newer === null) this.#newest = value.older
    else value.newer.older = value.older
  }

  #compact (): void {
    this.#index = this.#index.filter(value => value !== null)
    this.#ids = this.#index.map((value, place) => {
      (value as Value).place = place
      return (value as Value).entry.id
    })
  }
}
