// Where a session stands in the log. Four words, one for each thing:
//   position  a pair of ids (read.ts): every fact up to `facts` and every value up to `state` was sent; a third one while
//             values wait for their pace
//   track     a position that moves, with the part of the subscription it covers and the messages pending for it
//   standing  all tracks of a session. The first covers what the session has heard from the start; each further
//             one is a later join, apart until it has caught up
//   cursor    a standing as text (cursor.ts), which the client keeps and brings back
//
// Nothing here knows of sessions, connections or time: tracks and the rooms go in, tracks come out. Where history no
// longer reaches back to a track, the track begins again with a snapshot and a `reset` is pending for it. A gap is
// always reported, never passed over.

import { digestOfRoom, digestOfSignature, formatLaterTrack, formatTrack, parseCursor } from './cursor.ts'
import type { Cursor } from './cursor.ts'
import { SYSTEM } from './event.ts'
import type { Entry } from './event.ts'
import { intersect, isAll, isNone, matches, NONE, unite, without } from './filter.ts'
import type { Filter } from './filter.ts'
import { compareIds, isAfter, isId, latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Position, RoomSource, Turn } from './read.ts'
import type { Room } from './room.ts'
import type { Listener, Rooms } from './rooms.ts'
import type { Lineage } from './store.ts'
import type { Parts } from './subscription.ts'

/** Why a client could not resume from its cursor. */
export type ResetReason = 'trimmed' | 'unknown' | 'ahead' | 'subscription'

/** A `reset` message that is still to be sent. */
export interface PendingReset {
  readonly reason: ResetReason
  /** Facts that were missed; null where that is not known. */
  readonly missed: number | null
}

/** A position that moves with what is sent. */
export interface Track {
  /** What it covers: room -> types. */
  parts: Parts
  /** Every fact up to here was sent. */
  facts: Id
  /** Every value up to here was sent. */
  state: Id
  /** Every deletion up to here was sent: they have waited with the values. Absent: up to the further one of both. */
  deletions?: Id | undefined
  /** A snapshot is under way: a `ready` message is pending. */
  snapshot: boolean
  /** The head when the snapshot was begun here: what was deleted before is not in it. */
  asOf: Id
  reset: PendingReset | null
  /** It begins with the oldest fact of history, and nothing was sent yet. */
  fromStart?: true
  /** Of a read that was answered in part: the side that goes first in the next one, where it is not the values. */
  turn?: 'facts'
  /** The last reading left values pending: whoever stands here may hold older values than those at `state`. */
  inPart?: boolean
  /** `state` before each of the last bundles with values, the oldest first: of values that came since then it is known in which bundle they were, or would have been. */
  steps?: Id[]
  /** Deletions up to here were left out: the values had not begun, and waited. Not kept by `merge`. */
  without?: Id | undefined
}

const NO_ROOMS: ReadonlySet<string> = new Set()
/** Events of other types that are passed in search of a pending one: ten thousand sessions are asked in one turn. */
const MAX_PASSED = 100

/** Bundles of a track that are remembered, for `explain`: 16 bytes each. */
const MAX_STEPS = 8

/** A newcomer's track: facts from here on, and first the value of every key, which is the snapshot. */
export function newcomer (parts: Parts, facts: Id): Track {
  return { parts, facts, state: ORIGIN, snapshot: true, asOf: ORIGIN, reset: null }
}

/** The track of a client that asks for all that history holds. */
export function fromStart (parts: Parts, rooms: Rooms<Listener>): Track {
  return { ...newcomer(parts, rooms.floor), fromStart: true }
}

/**
 * The tracks of a connection's first join.
 * @param text the cursor or event id as the client brought it; null for a newcomer
 * @param signature of the subscription joined
 */
export function begin (parts: Parts, text: string | null, signature: string, rooms: Rooms<Listener>): Track[] {
  if (text === null) return [newcomer(parts, rooms.head)]
  if (isId(text)) return [fromFact(parts, text, rooms)]
  const cursor = parseCursor(text)
  const verdict = cursor === null ? 'unknown' : judgeCursor(cursor, rooms)
  const tracks = cursor === null || verdict !== 'known' ? [newcomer(parts, rooms.head)] : tracksOf(cursor, parts)
  if (verdict !== 'known') {
    reset(tracks, verdict, null)
    return tracks
  }
  if (cursor?.subscription !== digestOfSignature(signature)) reset(tracks, 'subscription', 0)
  checkFloor(tracks, rooms, null)
  checkDeletions(tracks, rooms)
  return tracks
}

/** The bare id of a fact is a position among the facts; it says nothing of values. Those deleted since may be held. */
function fromFact (parts: Parts, id: Id, rooms: Rooms<Listener>): Track {
  const track: Track = { ...newcomer(parts, id), deletions: id }
  const held = rooms.history.find(id)
  if (held !== undefined && !held.deletion) return track
  const trimmed = rooms.floor !== ORIGIN && compareIds(id, rooms.floor) <= 0
  track.facts = trimmed ? rooms.floor : rooms.head
  track.deletions = undefined
  track.reset = { reason: trimmed ? 'trimmed' : 'unknown', missed: null }
  return track
}

/** The tracks a cursor names, as far as they are still heard; what it does not name apart belongs to the first. */
function tracksOf (cursor: Cursor, parts: Parts): Track[] {
  const rest = new Map(parts)
  const digests = new Map(cursor.later.length === 0 ? [] : [...parts.keys()].map(room => [room, digestOfRoom(room)]))
  const later = cursor.later.flatMap(({ parts: named, ...position }): Track[] => {
    const covered = new Map<string, Filter>()
    for (const [room, filter] of rest) {
      const theirs = intersect(named.get(digests.get(room) as string) ?? NONE, filter)
      if (isNone(theirs)) continue
      covered.set(room, theirs)
      const left = without(filter, theirs)
      if (isNone(left)) rest.delete(room)
      else rest.set(room, left)
    }
    return covered.size === 0 ? [] : [{ parts: covered, ...position, asOf: ORIGIN, reset: null }]
  })
  return merge([...(rest.size === 0 ? [] : [{ parts: rest, ...cursor.main, asOf: ORIGIN, reset: null }]), ...later])
}

/** Takes what the cursor said of turns; the session or the read keeps it from then on. */
export function takeTurn ([main]: readonly Track[]): Turn {
  const turn = main?.turn ?? 'values'
  delete main?.turn
  return turn
}

/**
 * Whether the log still holds what was sent in an epoch up to some positions: the epoch is the current one, or the
 * positions lie before every seam since. Whether history reaches back to them is another question (`checkFloor`).
 */
export function judge (from: string, positions: readonly Position[], lineage: Lineage, head: Id): 'known' | 'unknown' | 'ahead' {
  const index = lineage.epochs.findIndex(({ epoch }) => epoch === from)
  if (index === -1) return 'unknown'
  let reach = head
  for (const { seam } of lineage.epochs.slice(index + 1)) {
    if (compareIds(seam, reach) < 0) reach = seam
  }
  const furthest = positions.reduce((id, { facts, state }) => latest(id, latest(facts, state)), ORIGIN)
  return isAfter(furthest, reach) ? 'ahead' : 'known'
}

const judgeCursor = ({ epoch, main, later }: Cursor, { lineage, head }: Rooms<Listener>): ReturnType<typeof judge> =>
  judge(epoch, [main, ...later], lineage, head)

/** Whether a cursor may name a position that this process has not read yet: another process may be ahead. */
export function isBeyond (text: string, rooms: Rooms<Listener>): boolean {
  if (isId(text)) return isAfter(text, rooms.head)
  const cursor = parseCursor(text)
  return cursor !== null && judgeCursor(cursor, rooms) !== 'known'
}

/** The position a client has once it has received what was sent so far, as a cursor. */
export function cursorOf (tracks: readonly Track[], signature: string, { head, lineage }: Rooms<Listener>): string {
  const [main = { facts: head, state: head, snapshot: false }, ...later] = tracks
  const first = `${lineage.epoch}~${digestOfSignature(signature)}~${formatTrack(main)}`
  return [first, ...later.map(track => formatLaterTrack(track, track.parts))].join('!')
}

/** Discards what was sent of the values; a `reset` and a new snapshot are pending then. */
export function reset (tracks: readonly Track[], reason: ResetReason, missed: number | null): void {
  for (const track of tracks) {
    track.state = ORIGIN
    if (track.steps !== undefined) track.steps.length = 0
    track.deletions = undefined
    track.snapshot = true
    track.reset = { reason, missed }
  }
}

/**
 * The log was loaded again because it had lost entries: tracks go on where the log still holds what was sent in
 * `epoch`, and begin again at the head where it does not.
 */
export function relocate (tracks: readonly Track[], epoch: string, { head, lineage }: Rooms<Listener>): void {
  const verdict = judge(epoch, tracks, lineage, head)
  if (verdict === 'known') return
  reset(tracks, verdict, null)
  for (const track of tracks) track.facts = head
}

/**
 * Where history no longer reaches back to a track, every track begins again behind the floor.
 * @param passed what `countPassed` said of these tracks, for counting what was missed; null where it is not known
 */
export function checkFloor (tracks: readonly Track[], rooms: Rooms<Listener>, passed: number | null): void {
  let trimmed: 'facts' | 'deletions' | null = null
  for (const track of tracks) {
    // What was trimmed since the join was never asked for.
    if (track.fromStart === true) {
      delete track.fromStart
      track.facts = latest(track.facts, rooms.floor)
    }
    if (track.state === ORIGIN) track.asOf = rooms.head
    const lost = lostBy(track, rooms)
    if (lost === null) continue
    if (trimmed !== 'facts') trimmed = lost
    track.facts = latest(track.facts, rooms.floor)
  }
  if (trimmed === null) return
  const missed = trimmed === 'deletions' ? 0 : passed === null ? null : count(tracks, rooms, room => room.trimmed) - passed
  reset(tracks, 'trimmed', missed)
}

/** What history no longer holds for a track. The gateway's own room has no facts, and a floor above that of history. */
function lostBy ({ parts, facts, state, asOf }: Track, rooms: Rooms<Listener>): 'facts' | 'deletions' | null {
  let lost: 'deletions' | null = null
  for (const room of parts.keys()) {
    const { floor } = rooms.peek(room)
    if (room !== SYSTEM) {
      if (compareIds(facts, floor) < 0) return 'facts'
    } else if (compareIds(latest(latest(facts, state), asOf), floor) < 0) {
      lost = 'deletions'
    }
  }
  return lost
}

/** Where history no longer has every deletion that waited with the values of a track, its values begin again. */
export function checkDeletions (tracks: readonly Track[], rooms: Rooms<Listener>): void {
  for (const track of tracks) {
    const { parts, deletions } = track
    if (deletions !== undefined && [...parts.keys()].some(room => isAfter(rooms.peek(room).deletionFloor, deletions))) reset([track], 'trimmed', 0)
  }
}

/**
 * The facts of these rooms up to where the session stands, counted from the start of the process. Known only where
 * there is one track and it hears whole rooms; null otherwise.
 */
export function countPassed (tracks: readonly Track[], rooms: Rooms<Listener>): number | null {
  const [main] = tracks
  if (main === undefined || tracks.length > 1) return null
  for (const filter of main.parts.values()) if (!isAll(filter)) return null
  return count(tracks, rooms, room => room.trimmed + room.facts.after(main.facts))
}

function count (tracks: readonly Track[], rooms: Rooms<Listener>, of: (room: Room<Listener>) => number): number {
  let sum = 0
  for (const track of tracks) for (const room of track.parts.keys()) sum += of(rooms.peek(room))
  return sum
}

/** Takes the pending resets; one message reports them all. @returns null where none is pending */
export function takeResets (tracks: readonly Track[]): (PendingReset & { readonly rooms: readonly string[] }) | null {
  let first: PendingReset | null = null
  let rooms: string[] = []
  for (const track of tracks) {
    if (track.reset === null) continue
    first ??= track.reset
    rooms = [...rooms, ...track.parts.keys()]
    // All at once: the message's cursor must not say of any track that its reset was reported when it was not.
    track.reset = null
  }
  return first === null ? null : { ...first, rooms }
}

/** Present values that are heard in these rooms: what `ready` says of a snapshot. */
export function countKeys (parts: Parts, rooms: Rooms<Listener>): number {
  let keys = 0
  for (const [name, filter] of parts) {
    const room = rooms.peek(name)
    if (isAll(filter)) keys += room.keys
    else for (let value = room.oldestValue; value !== null; value = value.newer) keys += matches(filter, value.entry.type) ? 1 : 0
  }
  return keys
}

/** Whether everything the log holds was sent, where values wait every fact. */
export function isInStep (tracks: readonly Track[], head: Id, valuesWait = false): boolean {
  for (const { facts, state } of tracks) if (facts !== head || (state !== head && !valuesWait)) return false
  return true
}

/**
 * The id of the oldest pending event; null where none is pending. Behind many events of other types the next one counts, heard or not.
 * @param since where values had to wait for their pace: the head when they might go out, from which on they are late; null: they still wait
 */
export function oldestPendingId (tracks: readonly Track[], rooms: Rooms<Listener>, since: Id | null = ORIGIN): Id | null {
  let oldest: Id | null = null
  /** @returns whether the next entry need not be looked at */
  const consider = ({ id, type }: Entry, filter: Filter, passed: number, from = id): boolean => {
    if (oldest !== null && compareIds(from, oldest) >= 0) return true
    if (!matches(filter, type) && passed < MAX_PASSED) return false
    oldest = from
    return true
  }
  for (const { parts, facts, state } of tracks) {
    for (const [name, filter] of parts) {
      const room = rooms.peek(name)
      let passed = 0
      let at = room.facts.after(facts)
      let fact = room.facts.at(at)
      while (fact !== undefined && !consider(fact, filter, passed++)) fact = room.facts.at(++at)
      if (since === null) continue
      passed = 0
      let value = room.valueAfter(state)
      while (value !== null && !consider(value.entry, filter, passed++, latest(value.entry.id, since))) value = value.newer
    }
  }
  return oldest
}

/**
 * What `read` is asked: each room from where its track stands.
 * @param patched rooms whose values may be patches, where what the reader holds is known
 */
export function sourcesOf (tracks: readonly Track[], rooms: Rooms<Listener>, patched: ReadonlySet<string> = NO_ROOMS): RoomSource[] {
  const sources: RoomSource[] = []
  for (const { parts, facts, state, deletions, snapshot, inPart = false } of tracks) {
    for (const [name, filter] of parts) sources.push({ room: rooms.peek(name), filter, facts, state, deletions, patches: !snapshot && !inPart && patched.has(name) })
  }
  return sources
}

/** Moves every track as far as a reading went; null means all the way to the head. */
export function advance (tracks: readonly Track[], facts: Id | null, state: Id | null, head: Id): void {
  for (const track of tracks) {
    track.facts = facts === null ? head : latest(track.facts, facts)
    const passed = state === null ? head : latest(track.state, state)
    if (passed !== track.state) noteStep(track)
    track.state = passed
    // Where no value was sent the client holds what it held.
    if (state !== null && state !== ORIGIN) track.inPart = true
    else if (state === null && track.inPart === true) track.inPart = false
    keepDeletions(track)
  }
}

function noteStep (track: Track): void {
  const { steps } = track
  if (steps === undefined) {
    // A list that is pushed to gets room for seventeen; many a session never has more than its snapshot.
    track.steps = [track.state]
    return
  }
  // The end of a bundle that left values pending is not the moment of its reading.
  if (track.inPart === true) steps.length = 0
  steps.push(track.state)
  if (steps.length > MAX_STEPS) steps.shift()
}

/** Moves every track as far as a reading of facts went, while values wait. */
export function advanceFacts (tracks: readonly Track[], facts: Id | null, head: Id): void {
  // Who was sent no value yet needs no deletion of an earlier one, unless he came with the id of a fact.
  for (const track of tracks) {
    if (track.state !== ORIGIN) track.deletions ??= latest(track.facts, track.state)
    track.facts = facts === null ? head : latest(track.facts, facts)
    if (track.deletions === undefined) track.without = track.facts
    keepDeletions(track)
  }
}

/** How far deletions were sent is kept apart only until the values have passed the facts; before the first value too where both are the same. */
function keepDeletions (track: Track): void {
  if (track.deletions === undefined) return
  const deletions = latest(track.deletions, track.state)
  track.deletions = track.state === ORIGIN || isAfter(track.facts, deletions) ? deletions : undefined
}

/** Tracks with the same position and the same pending messages become one, the first of them. */
export function merge (tracks: Track[]): Track[] {
  if (tracks.length < 2) return tracks
  const merged = new Map<string, Track>()
  for (const track of tracks) {
    const name = `${track.facts}~${track.state}~${track.deletions}~${track.snapshot}~${track.inPart === true}~${track.reset?.reason}`
    const first = merged.get(name)
    if (first === undefined) merged.set(name, track)
    else {
      if (isAfter(first.asOf, track.asOf)) first.asOf = track.asOf
      first.steps = [latest(first.steps?.at(-1) ?? ORIGIN, track.steps?.at(-1) ?? ORIGIN)]
      first.parts = new Map([...first.parts, ...[...track.parts].map(([room, filter]) => [room, unite(first.parts.get(room) ?? NONE, filter)] as const)])
    }
  }
  return [...merged.values()]
}

/** The tracks without what is no longer heard. */
export function narrow (tracks: readonly Track[], heard: Parts): Track[] {
  return tracks.filter(track => {
    const rest = [...track.parts].map(([room, filter]) => [room, intersect(filter, heard.get(room) ?? NONE)] as const)
    track.parts = new Map(rest.filter(([, filter]) => !isNone(filter)))
    return track.parts.size > 0
  })
}
