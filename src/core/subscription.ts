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
  /** Values may come as patches (bases.ts). Of several joins of a room the last one counts. */
  readonly patch?: boolean
}

/** For every room, the types that are heard. Rooms with none are absent. */
export type Parts = ReadonlyMap<string, Filter>

/** Bounds one join: every read carries its filter. */
const MAX_TYPES = 100
/** Bounds one message. */
export const MAX_NAMES = 1000
/** Bounds the lists of types a cursor may have to spell out, in characters: a cursor must fit into a header. */
export const MAX_SPELLING = 4000

/** In the name of a subscription: what follows concerns the feed. No room's name has it. */
const FEED = '!'
/** Behind the name of a room whose values may be patches. */
const PATCH = '*'
const NO_ROOMS: ReadonlySet<string> = new Set()

/** What is asked of one room: every type, some types, or both, since types also concern the public feed. */
interface Wish {
  readonly all: boolean
  /** Sorted. Rooms with the same types share the list. */
  readonly types: TypeList | null
  /** Those of `types` that concern the public feed: of joins whose rights cover it. */
  readonly feed: TypeList | null
  readonly patch: boolean
}

interface TypeList {
  readonly names: readonly string[]
  readonly text: string
}

export class Subscription {
  /**
   * The subscriptions of all sessions, by name: thousands of clients ask for the same and share one object, which saves
   * 1 KB a client. What was refused, or has no session any more, is not kept.
   */
  static readonly #held = new Map<string, Subscription>()

  static readonly none = new this(new Map(), '')

  /** The types heard in each room, those of the public feed that a join with types implies among them. */
  readonly parts: Parts
  /** Equal for subscriptions that hear the same, in both profiles and in every process. */
  readonly signature: string
  /** The rooms joined by name. */
  readonly rooms: ReadonlySet<string>
  /** The rooms whose values may come as patches. */
  readonly patched: ReadonlySet<string>
  /** Equal where bundles are: the signature, and what may be a patch. */
  readonly shape: string

  readonly #wishes: ReadonlyMap<string, Wish>
  readonly #name: string
  #holders = 0

  private constructor (wishes: ReadonlyMap<string, Wish>, name: string) {
    this.#wishes = wishes
    this.#name = name
    this.rooms = new Set(wishes.keys())
    this.parts = partsOf(wishes)
    this.signature = sign(this.parts)
    this.patched = patchedOf(wishes, this.parts)
    this.shape = `${this.signature}${[...this.patched].sort().join()}`
  }

  /**
   * Checks the request before it costs anything: what it takes to build a subscription grows with rooms and types.
   * @param maxRooms rooms a connection may be in; 0 = no limit
   * @param hearsFeed whether who joins may hear the public feed; types of a room do not concern it otherwise
   * @throws Refusal BAD_SUBSCRIPTION where it would have more rooms, or name more types than a cursor can carry
   */
  with (joins: readonly Join[], maxRooms = 0, hearsFeed = true): Subscription {
    const rooms = new Set(this.rooms)
    for (const { room } of joins) rooms.add(room)
    checkRooms(rooms.size, maxRooms)
    const widened = widen(this.#wishes, joins, hearsFeed)
    return widened === null ? this : this.#of(widened)
  }

  without (rooms: readonly string[]): Subscription {
    const left = new Set(rooms)
    return this.#of(new Map([...this.#wishes].filter(([room]) => !left.has(room))))
  }

  /** A session has this subscription now; see `release`. */
  hold (): void {
    if (this.#holders++ === 0) Subscription.#held.set(this.#name, this)
  }

  release (): void {
    if (--this.#holders === 0) Subscription.#held.delete(this.#name)
  }

  #of (wishes: ReadonlyMap<string, Wish>): Subscription {
    const name = nameOf(wishes)
    return Subscription.#held.get(name) ?? new Subscription(wishes, name)
  }
}

/** @returns the wishes with those of the joins; null where they ask for nothing else */
function widen (before: ReadonlyMap<string, Wish>, joins: readonly Join[], hearsFeed: boolean): Map<string, Wish> | null {
  const asked = new Map<string, { all: boolean, lists: Set<readonly string[]>, feeds: Set<readonly string[]>, patch: boolean }>()
  for (const { room, types, patch = false } of joins) {
    let wish = asked.get(room)
    if (wish === undefined) {
      const { all = false, types: names, feed } = before.get(room) ?? {}
      wish = { all, lists: new Set(names == null ? [] : [names.names]), feeds: new Set(feed == null ? [] : [feed.names]), patch }
      asked.set(room, wish)
    }
    wish.patch = patch
    if (types === undefined) {
      wish.all = true
      continue
    }
    wish.lists.add(types)
    if (hearsFeed) wish.feeds.add(types)
  }
  const lists = new ListTable()
  for (const { types, feed } of before.values()) {
    if (types !== null) lists.add(types)
    if (feed !== null) lists.add(feed)
  }
  const after = new Map(before)
  let isOther = false
  for (const [room, { all, lists: named, feeds, patch }] of asked) {
    const types = lists.join(named)
    const feed = lists.join(feeds)
    const wish = before.get(room)
    isOther ||= wish === undefined || wish.all !== all || wish.types?.text !== types?.text || wish.feed?.text !== feed?.text || wish.patch !== patch
    after.set(room, { all, types, feed, patch })
  }
  return isOther ? after : null
}

/** The lists of types in a subscription, each once: a hundred rooms may name the same hundred types. */
class ListTable {
  readonly #byText = new Map<string, TypeList>()
  readonly #byNames = new Map<readonly string[], TypeList>()
  #spelling = 0

  add (list: TypeList): TypeList {
    const known = this.#byText.get(list.text)
    if (known !== undefined) return known
    this.#spelling += list.text.length
    if (this.#spelling > MAX_SPELLING) throw tooMuchSpelling()
    this.#byText.set(list.text, list)
    return list
  }

  /** All types of some lists as one. */
  join (lists: ReadonlySet<readonly string[]>): TypeList | null {
    if (lists.size === 0) return null
    if (lists.size > 1) return this.#add([...union(lists)].sort())
    const [names] = lists as unknown as [readonly string[]]
    let list = this.#byNames.get(names)
    if (list === undefined) this.#byNames.set(names, list = this.#add(names))
    return list
  }

  #add (names: readonly string[]): TypeList {
    return this.add({ names, text: names.join() })
  }
}

function union (lists: Iterable<readonly string[]>): Set<string> {
  const types = new Set<string>()
  let spelling = 0
  for (const names of lists) {
    for (const type of names) {
      if (types.has(type)) continue
      types.add(type)
      spelling += type.length
    }
    if (spelling > MAX_SPELLING) throw tooMuchSpelling()
  }
  return types
}

function partsOf (wishes: ReadonlyMap<string, Wish>): Parts {
  const filters = new Map<TypeList, Filter>()
  const feeds = new Set<TypeList>()
  const parts = new Map<string, Filter>()
  for (const [room, { all, types, feed }] of wishes) {
    if (feed !== null) feeds.add(feed)
    if (types !== null && !filters.has(types)) filters.set(types, only(types.names))
    parts.set(room, all ? ALL : filters.get(types as TypeList) as Filter)
  }
  if (feeds.size > 0 && wishes.get(PUBLIC)?.all !== true) {
    const [first] = feeds as unknown as [TypeList]
    parts.set(PUBLIC, feeds.size === 1 ? filters.get(first) ?? only(first.names) : only([...feeds].flatMap(({ names }) => names)))
  }
  return parts
}

/** The feed is heard by all joins with types: all of them must take patches. */
function patchedOf (wishes: ReadonlyMap<string, Wish>, parts: Parts): ReadonlySet<string> {
  if (![...wishes.values()].some(({ patch }) => patch)) return NO_ROOMS
  const patched = new Set<string>()
  let isFeedPatched = parts.has(PUBLIC)
  for (const [room, { feed, patch }] of wishes) {
    if (patch) patched.add(room)
    else if (feed !== null || room === PUBLIC) isFeedPatched = false
  }
  if (isFeedPatched && patched.size > 0) patched.add(PUBLIC)
  else patched.delete(PUBLIC)
  return patched
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
  checkNames(joins.length)
  // Rooms that came with one list of types keep one.
  const lists = new Map<unknown, readonly string[]>()
  const requested = joins.length === 0 ? [{ room: PUBLIC }] : joins
  return requested.map(({ room, types }: { room: unknown, types?: unknown }): Join => {
    if (typeof room !== 'string' || !isRoom(room)) {
      throw bad(`room ${show(room)} is not a room's name: 1 to 128 characters of A-Z a-z 0-9 _ . : / -, or ${PUBLIC} for the public feed, or ${SYSTEM}`)
    }
    if (types === undefined) return { room }
    let list = lists.get(types)
    if (list === undefined) lists.set(types, list = parseTypes(types))
    return { room, types: list }
  })
}

/** Whether this names something to be heard: a room, the public feed or `@system`. */
export const isRoom = (name: string): boolean => NAME.test(name) || name === PUBLIC || name === SYSTEM

function parseTypes (types: unknown): readonly string[] {
  if (!Array.isArray(types) || types.length === 0) throw bad('types must name at least one type; leave it out for every type')
  if (types.length > MAX_NAMES) throw tooManyTypes()
  for (const type of types) {
    if (typeof type !== 'string' || !NAME.test(type)) throw bad(`type ${show(type)} must be 1 to 128 characters of A-Z a-z 0-9 _ . : / -`)
  }
  const sorted = [...new Set(types as string[])].sort()
  if (sorted.length > MAX_TYPES) throw tooManyTypes()
  return sorted
}

/**
 * Checks how many rooms one message names, to be called before it costs anything.
 * @throws Refusal BAD_SUBSCRIPTION
 */
export function checkNames (count: number): void {
  if (count > MAX_NAMES) throw bad(`a message may name ${MAX_NAMES} rooms; this one names ${count}`)
}

function checkRooms (count: number, limit: number): void {
  if (limit > 0 && count > limit) {
    throw bad(`a connection may join ${limit} rooms (MAX_ROOMS_PER_CLIENT); this makes ${count}`)
  }
}

/** Each list of types is spelled once. */
function nameOf (wishes: ReadonlyMap<string, Wish>): string {
  const lists = new Map<TypeList, number>()
  const place = (list: TypeList): number => {
    if (!lists.has(list)) lists.set(list, lists.size)
    return lists.get(list) as number
  }
  const rooms = Array.from(wishes, ([name, { all, types, feed, patch }]) => {
    const room = patch ? `${name}${PATCH}` : name
    if (types === null) return room
    const named = `${room}${all ? '+' : '='}${place(types)}`
    return feed === types ? named : `${named}${FEED}${feed === null ? '' : place(feed)}`
  })
  return [...rooms, ...Array.from(lists.keys(), ({ text }) => text)].join(';')
}

function sign (parts: Parts): string {
  const spelled = new Map<Filter, string>()
  const spell = (filter: Filter): string => {
    let text = spelled.get(filter)
    if (text === undefined) spelled.set(filter, text = [...filter.types].sort().join())
    return text
  }
  const text = [...parts]
    .map(([room, filter]) => filter.inverted ? room : `${room}=${spell(filter)}`)
    .sort()
    .join(';')
  // A digest long enough to stand for the text itself: frames are shared by it.
  return createHash('sha256').update(text).digest('base64url')
}

const tooMuchSpelling = (): Refusal => bad('a connection may not name so many different types; leave types out for every type')
const tooManyTypes = (): Refusal => bad(`a subscription may name ${MAX_TYPES} types; leave types out for every type`)
const bad = (message: string): Refusal => new Refusal('BAD_SUBSCRIPTION', message)
const show = (value: unknown): string => typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : `of type ${Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value}`
