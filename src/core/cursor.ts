// The cursor: where a session stands (standing.ts), as text that a client keeps and brings back. Opaque to clients.
//
//   <epoch>~<subscription>~<track>                     nearly always
//   <epoch>~<subscription>~<track>!<track>~<rooms>…    while later joins are still catching up
//
// A track is `<facts>~<state>~<flag>`: every fact up to `facts` and every value up to `state` was sent. `state` is
// empty where both are the same. The flags are `s` while the `ready` of a snapshot is pending, `f` behind an answer to a
// read that had no room for a fact, `v` behind a part of the pending values, and `d` where deletions have waited with the values
// for their pace: up to `state`, or to the id that follows it. Empty fields at the end are left out. A later join has a track apart until it has caught up, and names what it covers, so that a client cut
// off in the middle returns to exactly that: `<digest of a room>.<digest of another>`, then `,<type>` for only some
// types or `,*,<type>` for all but some; several are divided by `;`. Every character may stand in a header and a URL.

import { createHash } from 'node:crypto'
import { ALL, allBut, only } from './filter.ts'
import type { Filter } from './filter.ts'
import { isAfter, isId } from './id.ts'
import type { Id } from './id.ts'
import type { Position } from './read.ts'

/** What a cursor says of a track: its position, and whether a snapshot has begun whose `ready` was not sent yet. */
export interface CursorTrack extends Position {
  readonly snapshot: boolean
  /** The side whose turn it is, where both need a bundle apart and it is not the values'. */
  readonly turn?: 'facts'
  /** The values that were pending were sent in part: of keys whose turn had not come an older one than that at `state` may be held. */
  readonly inPart?: boolean
}

/** The track of a later join that is still catching up. */
interface LaterCursorTrack extends CursorTrack {
  /** Digest of a room's name -> types. */
  readonly parts: ReadonlyMap<string, Filter>
}

export interface Cursor {
  readonly epoch: string
  /** Digest of the subscription's signature. */
  readonly subscription: string
  readonly main: CursorTrack
  readonly later: readonly LaterCursorTrack[]
}

/**
 * A longer text is no cursor of ours. The longest there can be: 33 tracks of some 60 characters, a thousand rooms of 11, and
 * twice the types a subscription may spell out (for its rooms and for the public feed).
 */
export const MAX_CURSOR = 24_000
/** Joins that may be catching up at the same time, each on a separate track. */
export const MAX_LATER = 32
const DIGEST_LENGTH = 10

/** What a cursor says of the subscription it came from. */
export const digestOfSignature = (signature: string): string => signature.slice(0, DIGEST_LENGTH)

export const digestOfRoom = (room: string): string =>
  createHash('sha256').update(room).digest('base64url').slice(0, DIGEST_LENGTH)

export function formatTrack ({ facts, state, snapshot, turn, inPart = false, deletions }: CursorTrack): string {
  // Of a snapshot that is known anyway.
  const parted = inPart && !snapshot ? 'v' : ''
  const flags = `${snapshot ? 's' : ''}${turn === undefined ? '' : 'f'}${parted}${deletions === undefined ? '' : deletions === state ? 'd' : `d${deletions}`}`
  if (facts === state) return flags === '' ? facts : `${facts}~~${flags}`
  return flags === '' ? `${facts}~${state}` : `${facts}~${state}~${flags}`
}

/** A track with the rooms it covers, for a later join. */
export function formatLaterTrack (track: CursorTrack, parts: ReadonlyMap<string, Filter>): string {
  const [facts, state = '', flag = ''] = formatTrack(track).split('~')
  const groups = new Map<string, string[]>()
  for (const [room, filter] of parts) {
    const types = [filter.inverted && filter.types.size > 0 ? ',*' : '', ...[...filter.types].sort().map(type => `,${type}`)].join('')
    groups.set(types, [...groups.get(types) ?? [], digestOfRoom(room)])
  }
  return [facts, state, flag, [...groups].map(([types, rooms]) => rooms.join('.') + types).join(';')].join('~')
}

/** @returns null for what cannot be a cursor of ours */
export function parseCursor (text: string): Cursor | null {
  if (text.length > MAX_CURSOR) return null
  const [first = '', ...rest] = text.split('!')
  const [epoch, subscription, ...fields] = first.split('~')
  const main = parseTrack(fields)
  if (rest.length > MAX_LATER) return null
  const later = rest.map(parseLaterTrack)
  if (!epoch || !subscription || main === null || later.includes(null)) return null
  return { epoch, subscription, main, later: later as LaterCursorTrack[] }
}

function parseTrack ([facts = '', state = '', flag = '', ...more]: string[]): CursorTrack | null {
  const [, s, f, v, d, id] = /^(s)?(f)?(v)?(d(.+)?)?$/.exec(flag) ?? [null]
  if (!isId(facts) || !(state === '' || isId(state)) || s === null || more.length > 0) return null
  const track = { facts, state: state === '' ? facts : state, snapshot: s !== undefined, ...(f === undefined ? {} : { turn: 'facts' as const }), ...(v === undefined ? {} : { inPart: true }) }
  if (d === undefined) return track
  const deletions: Id = id ?? track.state
  return isId(deletions) && !isAfter(deletions, facts) ? { ...track, deletions } : null
}

function parseLaterTrack (text: string): LaterCursorTrack | null {
  const fields = text.split('~')
  const track = parseTrack(fields.slice(0, 3))
  if (track === null || fields.length !== 4) return null
  const parts = new Map<string, Filter>()
  for (const part of (fields[3] as string).split(';')) {
    const [rooms = '', ...types] = part.split(',')
    const filter = types.length === 0 ? ALL : types[0] === '*' ? allBut(types.slice(1)) : only(types)
    for (const room of rooms.split('.')) parts.set(room, filter)
  }
  return { ...track, parts }
}
