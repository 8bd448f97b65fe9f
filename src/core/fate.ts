// What became of an event at one session. There is no record of who was sent what. It follows from where the session began to
// hear the event's room and type (hearing.ts), how far it was sent them (its tracks), and whether the event is still what a
// reader would find: a value may have been replaced since, and then it depends on which came first, that or the bundle.

import { matches } from './filter.ts'
import { compareIds, isAfter, latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Hearing } from './hearing.ts'
import type { ResetReason, Track } from './standing.ts'
import type { Parts } from './subscription.ts'

/** An event that is known. */
export interface KnownEvent {
  readonly id: Id
  readonly room: string
  readonly type: string
  /** Null: a fact. */
  readonly key: string | null
  readonly deletion: boolean
  /** A value that is no longer present: the id of the entry that took its place. */
  readonly next: Id | null
  /** And the newest entry of its key; whether that is a deletion. */
  readonly newest: Id | null
  readonly isEnded: boolean
}

/**
 * What a session waits for: `tick` its turn, `backlog` earlier events that go out bundle by bundle, `slow` its connection to
 * take what it was sent, `pace` the time its values may go out, `hidden` a pace other than null, `away` its client's return.
 */
type Wait = 'tick' | 'backlog' | 'slow' | 'pace' | 'hidden' | 'away'

/** What is known of a session. */
export interface Account {
  readonly hearings: readonly Hearing[]
  readonly tracks: readonly Track[]
  /** What its next facts wait for, and its next values. */
  readonly factsWait: Wait
  readonly valuesWait: Wait
}

export type Fate =
  /** It was handed to the session's connection. */
  | { readonly fate: 'delivered' }
  /** A newer value of its key went out in its place, or will. `certain: false`: it may have been delivered before. */
  | { readonly fate: 'folded', readonly into: Id, readonly certain?: false, readonly reason?: Wait }
  /** `before`: the session began to hear its room later; `resumed`: by a cursor from behind it. */
  | { readonly fate: 'not heard', readonly reason: 'room' | 'types' | 'grant' | 'before', readonly resumed?: true, readonly certain?: false }
  /** `certain: false`: it is sent again after a reset, and may have been delivered before. */
  | { readonly fate: 'pending', readonly reason: Wait, readonly certain?: false }
  /** The client was told that it may have missed it, or begins again with the present values. */
  | { readonly fate: 'reset', readonly reason: ResetReason }

const DELIVERED: Fate = { fate: 'delivered' }

/** @param mayHear whether the session's rights cover a room */
export function fateOf (event: KnownEvent, account: Account, mayHear: (room: string) => boolean = () => true): Fate {
  const hearing = account.hearings.find(({ parts }) => hears(parts, event))
  const track = account.tracks.find(({ parts }) => hears(parts, event))
  if (hearing === undefined || track === undefined) {
    return { fate: 'not heard', reason: account.hearings.some(({ parts }) => parts.has(event.room)) ? 'types' : mayHear(event.room) ? 'room' : 'grant' }
  }
  if (event.key === null) return factFate(event.id, hearing, track, account)
  if (event.deletion) return deletionFate(event.id, hearing, track, account)
  return event.next === null
    ? valueFate(event.id, hearing, track, account)
    : replacedFate(event, event.next, hearing, track, account)
}

/** As it was at the end of a session, or of its hearing a room. @param head the log's head then */
export function fateAtEnd (event: KnownEvent, account: Account, head: Id): Fate {
  const fate = fateOf(event, account)
  if (fate.fate === 'pending' && isAfter(event.id, head)) return { ...fate, reason: 'away' }
  if (fate.fate !== 'folded') return fate
  const { reason, ...folded } = fate
  return folded
}

const hears = (parts: Parts, { room, type }: KnownEvent): boolean => {
  const filter = parts.get(room)
  return filter !== undefined && matches(filter, type)
}

const isUpTo = (id: Id, position: Id): boolean => compareIds(id, position) <= 0

/** Whether the bundle that passed a value was read before `next` took its place; null: not known any more. */
function wasRead (id: Id, next: Id, { state, steps = [], inPart = false }: Track): boolean | null {
  const ends = [...steps, state]
  const at = ends.findIndex(end => isUpTo(id, end))
  if (at === 0 && steps.length > 0) return isAfter(next, state) && !inPart ? true : null
  const end = ends[at] as Id
  if (isUpTo(next, end)) return false
  // Of a bundle that held only a part of the values the end is not the moment of reading.
  return at === ends.length - 1 && inPart ? null : true
}

/** Whether it may have been sent before its session's values began again. */
const mayPrecedeReset = (id: Id, { reset, at }: Hearing): boolean => reset !== null && isUpTo(id, at)

function before ({ isResumed, isMerged }: Hearing): Fate {
  return { fate: 'not heard', reason: 'before', ...isResumed ? { resumed: true } : {}, ...isMerged ? { certain: false } : {} }
}

function factFate (id: Id, hearing: Hearing, track: Track, { factsWait }: Account): Fate {
  if (isUpTo(id, hearing.facts)) return hearing.missed === null ? before(hearing) : { fate: 'reset', reason: hearing.missed }
  return isUpTo(id, track.facts) ? DELIVERED : { fate: 'pending', reason: factsWait }
}

/** It goes out with the side that passes it first. */
function deletionFate (id: Id, hearing: Hearing, track: Track, { factsWait, valuesWait }: Account): Fate {
  if (isUpTo(id, hearing.deletions)) return hearing.reset === null ? before(hearing) : { fate: 'reset', reason: hearing.reset }
  // Nobody needs to be told of the end of what he was not sent.
  if (isUpTo(id, track.without ?? ORIGIN)) return before(hearing)
  if (isUpTo(id, track.deletions ?? latest(track.facts, track.state))) return DELIVERED
  return { fate: 'pending', reason: valuesWait === 'pace' || valuesWait === 'hidden' ? valuesWait : factsWait }
}

function valueFate (id: Id, hearing: Hearing, track: Track, { valuesWait }: Account): Fate {
  if (isUpTo(id, hearing.state)) return before(hearing)
  if (isUpTo(id, track.state)) return DELIVERED
  return { fate: 'pending', reason: valuesWait, ...mayPrecedeReset(id, hearing) ? { certain: false } : {} }
}

/** @param next the id of the entry that took its place */
function replacedFate ({ id, newest, isEnded }: KnownEvent, next: Id, hearing: Hearing, track: Track, { valuesWait }: Account): Fate {
  if (isUpTo(id, hearing.state)) return before(hearing)
  if (isUpTo(next, hearing.at)) {
    if (hearing.reset !== null) return { fate: 'reset', reason: hearing.reset }
    // A newcomer's snapshot had the newer one already. Who came back was sent it in place of this one.
    if (!hearing.isResumed) return before(hearing)
  }
  const isDelivered = isUpTo(id, track.state) ? wasRead(id, next, track) : false
  if (isDelivered === true) return DELIVERED
  const isCertain = isDelivered === false && !mayPrecedeReset(id, hearing)
  return {
    fate: 'folded',
    into: newest ?? next,
    ...isCertain ? {} : { certain: false },
    ...!isEnded && isAfter(newest ?? next, track.state) ? { reason: valuesWait } : {}
  }
}
