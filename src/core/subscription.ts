// A subscription: what a session has asked for, and from that the types it hears in every room. A join that names types
// hears those types of the public feed too (contract, section 3). The feed is one more room here; no other file knows
// the difference.

import { createHash } from 'node:crypto'
import { Refusal } from './errors.ts'
import { NAME, PUBLIC, SYSTEM } from './event.ts'
import { ALL, isNone, NONE, only, without } from './filter.ts'
import type { Filter } from './filter.ts'

/** One request: a room (or the feed, `@public`) and, optionally, types. */
export interface Join {
  readonly room: string
  /** Absent: every type. */
  readonly types?: readonly string[]
}

/** For every room, the types that are heard. Rooms with none are absent. */
export type Parts = ReadonlyMap<string, Filter>

/** Bounds one join: every read carries its filter. */
const MAX_TYPES = 100
/** Bounds one message. */
const MAX_JOINS = 1000
/** Bounds the subscriptions kept for sharing. */
const MAX_RECENT = 1000
/** Bounds the lists of types a cursor may have to spell out, in characters: a cursor must fit into a header. */
const MAX_SPELLING = 4000

export class Subscription {
  static readonly none = new Subscription([])
  /** Thousands of clients ask for the same subscription and share one object, which saves 1 KB a client. The most recent ones are kept. */
  static readonly #recent = new Map<string, Subscription>()

  /** The joins, one for each room and list of types. */
  readonly joins: readonly Join[]
  /** The types heard in each room, those of the public feed that a join with types implies among them. */
  readonly parts: Parts
  /** Equal for subscriptions that hear the same, in both profiles and in every process. */
  readonly signature: string
  /** The rooms joined by name. */
  readonly rooms: ReadonlySet<string>

  private constructor (joins: readonly Join[]) {
    this.joins = joins
    this.rooms = new Set(joins.map(join => join.room))
    const heard = new Map<string, Set<string> | null>()
    const hear = (room: string, types: readonly string[]): void => {
      const set = heard.get(room)
      if (set === null) return
      if (set === undefined) heard.set(room, new Set(types))
      else for (const type of types) set.add(type)
    }
    for (const { room, types } of joins) {
      if (types === undefined) {
        heard.set(room, null)
      } else {
        hear(room, types)
        hear(PUBLIC, types)
      }
    }
    this.parts = new Map([...heard].map(([room, types]) => [room, types === null ? ALL : only(types)]))
    this.signature = sign(this.parts)
  }

  /** @throws Refusal BAD_SUBSCRIPTION where it would name more than a cursor can carry */
  with (joins: readonly Join[]): Subscription {
    const merged = new Map(this.joins.map(join => [nameOf(join), join]))
    const before = merged.size
    for (const join of joins) merged.set(nameOf(join), join)
    if (merged.size === before) return this
    const lists = new Set([...merged.values()].map(({ types = [] }) => types.join()))
    const spelling = [...lists].reduce((sum, list) => sum + list.length, 0)
    if (spelling > MAX_SPELLING) throw bad('a connection may not name so many different types; leave types out for every type')
    return Subscription.#of([...merged.values()])
  }

  static #of (joins: readonly Join[]): Subscription {
    const name = joins.map(nameOf).join(';')
    const known = Subscription.#recent.get(name)
    if (known !== undefined) return known
    const subscription = new Subscription(joins)
    if (Subscription.#recent.size >= MAX_RECENT) Subscription.#recent.delete(Subscription.#recent.keys().next().value as string)
    Subscription.#recent.set(name, subscription)
    return subscription
  }

  without (rooms: readonly string[]): Subscription {
    return new Subscription(this.joins.filter(join => !rooms.includes(join.room)))
  }
}

/** The types and rooms that `after` hears and `before` did not. */
export function added (before: Parts, after: Parts): Parts {
  // A first join, as most are: sessions share the object.
  if (before.size === 0) return after
  const fresh = new Map<string, Filter>()
  for (const [room, filter] of after) {
    const rest = without(filter, before.get(room) ?? NONE)
    if (!isNone(rest)) fresh.set(room, rest)
  }
  return fresh
}

/**
 * Checks what a client asks to hear.
 * @param joins as they came: rooms with or without types; none at all: the public feed
 * @throws Refusal BAD_SUBSCRIPTION
 */
export function parseJoins (joins: ReadonlyArray<{ room: unknown, types?: unknown }>): Join[] {
  if (joins.length > MAX_JOINS) throw bad(`a join may name ${MAX_JOINS} rooms; this one names ${joins.length}`)
  const requested = joins.length === 0 ? [{ room: PUBLIC }] : joins
  return requested.map(({ room, types }: { room: unknown, types?: unknown }): Join => {
    if (typeof room !== 'string' || !(NAME.test(room) || room === PUBLIC || room === SYSTEM)) {
      throw bad(`room ${show(room)} is not a room's name: 1 to 128 characters of A-Z a-z 0-9 _ . : / -, or ${PUBLIC} for the public feed, or ${SYSTEM}`)
    }
    if (types === undefined) return { room }
    if (!Array.isArray(types) || types.length === 0) throw bad('types must name at least one type; leave it out for every type')
    for (const type of types) {
      if (typeof type !== 'string' || !NAME.test(type)) throw bad(`type ${show(type)} must be 1 to 128 characters of A-Z a-z 0-9 _ . : / -`)
    }
    const sorted = [...new Set(types as string[])].sort()
    if (sorted.length > MAX_TYPES) throw bad(`a subscription may name ${MAX_TYPES} types; leave types out for every type`)
    return { room, types: sorted }
  })
}

/** @throws Refusal BAD_SUBSCRIPTION where a connection would be in more rooms than it may */
export function checkRooms (count: number, limit: number): void {
  if (limit > 0 && count > limit) {
    throw bad(`a connection may join ${limit} rooms (MAX_ROOMS_PER_CLIENT); this makes ${count}`)
  }
}

const nameOf = (join: Join): string => join.types === undefined ? join.room : `${join.room}=${join.types.join()}`

function sign (parts: Parts): string {
  const text = [...parts]
    .map(([room, filter]) => filter.inverted ? room : `${room}=${[...filter.types].sort().join()}`)
    .sort()
    .join(';')
  // A digest long enough to stand for the text itself: frames are shared by it.
  return createHash('sha256').update(text).digest('base64url')
}

const bad = (message: string): Refusal => new Refusal('BAD_SUBSCRIPTION', message)
const show = (value: unknown): string => typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : `of type ${Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value}`
