// Since when a session hears what: for each part of its subscription, where it began to be sent the events of it. With how far
// it was sent them (its tracks) this tells what became of an event: fate.ts.

import { intersect, isNone, NONE, unite } from './filter.ts'
import { latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { ResetReason, Track } from './standing.ts'
import type { Parts } from './subscription.ts'

/** A part of a subscription, and behind which ids its events were sent. Never changed, only replaced. */
export interface Hearing {
  readonly parts: Parts
  readonly facts: Id
  readonly state: Id
  readonly deletions: Id
  /** The log's head when it began, or when its values did again. */
  readonly at: Id
  /** The client brought the position: what lies before it concerns an earlier connection. */
  readonly isResumed: boolean
  /** Facts up to `facts` may have been missed, and the client was told. */
  readonly missed: ResetReason | null
  /** Its values began again, at `at`. */
  readonly reset: ResetReason | null
  /** Several that were too many to be kept apart: it is not known of each where it began. */
  readonly isMerged: boolean
}

/** Hearings of a session that are kept apart. */
const MAX_HEARINGS = 32

/**
 * What is heard after a join.
 * @param tracks those that it began
 * @param isResumed whether the client brought a position
 */
export function heardSince (hearings: readonly Hearing[], tracks: readonly Track[], head: Id, isResumed: boolean): readonly Hearing[] {
  const fresh = tracks.map(({ parts, facts, state, deletions = latest(facts, state), reset }): Hearing => {
    const reason = reset?.reason ?? null
    return { parts, facts, state, deletions, at: head, isResumed, missed: reason === 'subscription' ? null : reason, reset: reason, isMerged: false }
  })
  // A list made by spreading has room for seventeen; most sessions have one.
  const all = hearings.concat(fresh)
  while (all.length > MAX_HEARINGS) all.unshift(merged(all.shift() as Hearing, all.shift() as Hearing))
  return all
}

/**
 * Resets are pending for some tracks: their values begin again.
 * @param skips their facts go on at another place too
 */
export function heardAfterReset (hearings: readonly Hearing[], tracks: readonly Track[], head: Id, skips: boolean): readonly Hearing[] {
  return hearings.flatMap(hearing => tracks.flatMap(({ parts: named, facts, reset }) => {
    const parts = common(hearing.parts, named)
    if (parts.size === 0) return []
    if (reset === null) return { ...hearing, parts }
    const { reason } = reset
    return { ...hearing, parts, state: ORIGIN, deletions: facts, at: head, reset: reason, ...skips ? { facts, missed: reason } : {} }
  }))
}

/** Of deletions that tracks left out, those before what their parts are heard from: to be called before the tracks are merged. */
export function heardWithout (hearings: readonly Hearing[], tracks: readonly Track[]): readonly Hearing[] {
  if (tracks.length < 2 || tracks.every(({ without }) => without === undefined)) return hearings
  return hearings.flatMap(hearing => tracks.flatMap(({ parts: named, without = ORIGIN }) => {
    const parts = common(hearing.parts, named)
    return parts.size === 0 ? [] : { ...hearing, parts, deletions: latest(hearing.deletions, without) }
  }))
}

/** What is still heard after some rooms were left. */
export function stillHeard (hearings: readonly Hearing[], heard: Parts): readonly Hearing[] {
  return hearings.map(hearing => ({ ...hearing, parts: common(hearing.parts, heard) })).filter(({ parts }) => parts.size > 0)
}

function common (some: Parts, others: Parts): Parts {
  if (some === others) return some
  return new Map([...some].map(([room, filter]) => [room, intersect(filter, others.get(room) ?? NONE)] as const).filter(([, filter]) => !isNone(filter)))
}

function merged (older: Hearing, newer: Hearing): Hearing {
  const parts = new Map([...older.parts, ...[...newer.parts].map(([room, filter]) => [room, unite(older.parts.get(room) ?? NONE, filter)] as const)])
  const [facts, state, deletions, at] = (['facts', 'state', 'deletions', 'at'] as const).map(name => latest(older[name], newer[name])) as [Id, Id, Id, Id]
  return { ...newer, parts, facts, state, deletions, at, isMerged: true }
}
