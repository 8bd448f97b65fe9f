// A track: how far a session has come with a part of what it hears. The first covers what was heard from the
// start, each further one a later join until it has caught up.

import { digestOfRoom } from './cursor.ts'
import type { Cursor, ResetReason } from './cursor.ts'
import { intersect, isNone, NONE, unite, without } from './filter.ts'
import type { Filter } from './filter.ts'
import { latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Parts } from './subscription.ts'

export interface Track {
  /** What it covers: room -> types. */
  parts: Parts
  /** Every fact up to here was sent. */
  facts: Id
  /** Every value up to here was sent. */
  state: Id
  /** A snapshot is under way: `ready` is owed. */
  snapshot: boolean
  /** A `reset` is owed. */
  reset: { readonly reason: ResetReason, readonly missed: number | null } | null
}

/** Facts from here on, and first the value of every key: that is the snapshot. */
export function newcomer (parts: Parts, facts: Id): Track {
  return { parts, facts, state: ORIGIN, snapshot: true, reset: null }
}

/** What was sent of the values no longer counts, and the client is to be told so. */
export function reset (tracks: readonly Track[], reason: ResetReason, missed: number | null): void {
  for (const track of tracks) {
    track.state = ORIGIN
    track.snapshot = true
    track.reset = { reason, missed }
  }
}

/** Moves every track as far as a reading went; null is the whole way to the head. */
export function advance (tracks: readonly Track[], facts: Id | null, state: Id | null, head: Id): void {
  for (const track of tracks) {
    track.facts = facts === null ? head : latest(track.facts, facts)
    track.state = state === null ? head : latest(track.state, state)
  }
}

/** Tracks that stand in the same place are one, the first of them. */
export function merge (tracks: Track[]): Track[] {
  if (tracks.length < 2) return tracks
  const standing = new Map<string, Track>()
  for (const track of tracks) {
    const place = `${track.facts}~${track.state}~${track.snapshot}~${track.reset?.reason}`
    const first = standing.get(place)
    if (first === undefined) standing.set(place, track)
    else first.parts = new Map([...first.parts, ...[...track.parts].map(([room, filter]) => [room, unite(first.parts.get(room) ?? NONE, filter)] as const)])
  }
  return [...standing.values()]
}

/** The tracks without what is no longer heard. */
export function narrow (tracks: readonly Track[], heard: Parts): Track[] {
  return tracks.filter(track => {
    const rest = [...track.parts].map(([room, filter]) => [room, intersect(filter, heard.get(room) ?? NONE)] as const)
    track.parts = new Map(rest.filter(([, filter]) => !isNone(filter)))
    return track.parts.size > 0
  })
}

/** The tracks a cursor tells of, as far as they are still heard; what it does not name apart is the first's. */
export function tracksOf (cursor: Cursor, parts: Parts): Track[] {
  const rest = new Map(parts)
  const digests = new Map(cursor.later.length === 0 ? [] : [...parts.keys()].map(room => [room, digestOfRoom(room)]))
  const later = cursor.later.flatMap(({ facts, state, snapshot, parts: named }): Track[] => {
    const covered = new Map<string, Filter>()
    for (const [room, filter] of rest) {
      const theirs = intersect(named.get(digests.get(room) as string) ?? NONE, filter)
      if (isNone(theirs)) continue
      covered.set(room, theirs)
      const left = without(filter, theirs)
      if (isNone(left)) rest.delete(room)
      else rest.set(room, left)
    }
    return covered.size === 0 ? [] : [{ parts: covered, facts, state, snapshot, reset: null }]
  })
  const { facts, state, snapshot } = cursor.main
  return merge([...(rest.size === 0 ? [] : [{ parts: rest, facts, state, snapshot, reset: null }]), ...later])
}
