// The cursor: where a session stands, as text a client keeps and brings back. Opaque to clients.
//
//   <epoch>~<subscription>~<track>                     nearly always
//   <epoch>~<subscription>~<track>!<track>~<rooms>…    while later joins are still catching up
//
// A track is `<facts>~<state>~<flag>`: every fact up to `facts` and every value up to `state` was sent;
// `state` is empty where both are the same, the flag is `s` while `ready` is owed for a snapshot; empty fields
// at the end are left out. A later
// join stands apart from the first track until it has caught up, and names what it covers, so that a client
// cut off in the middle returns to just that: `<digest of a room>.<digest of another>`, then `,<type>` for only
// some types or `,*,<type>` for all but some; several are divided by `;`. Every character may stand in a header and a URL.

import { createHash } from 'node:crypto'
import { ALL, allBut, only } from './filter.ts'
import type { Filter } from './filter.ts'
import { compareIds, isAfter, isId, latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Lineage } from './store.ts'

export interface Standing {
  readonly facts: Id
  readonly state: Id
  /** A snapshot has begun and `ready` was not yet told. */
  readonly snapshot: boolean
}

/** A later join that is still catching up. */
export interface LaterStanding extends Standing {
  /** Digest of a room's name -> types. */
  readonly parts: ReadonlyMap<string, Filter>
}

export interface Cursor {
  readonly epoch: string
  /** Digest of the subscription's signature. */
  readonly subscription: string
  readonly main: Standing
  readonly later: readonly LaterStanding[]
}

/**
 * Longer ones are not ours. The longest there can be: 33 tracks of some 60 characters, a thousand rooms of 11, and
 * twice the types a subscription may spell out (for its rooms and for the public feed).
 */
const MAX_LENGTH = 24_000
/** Joins that may be catching up apart at the same time. */
export const MAX_LATER = 32
const DIGEST_LENGTH = 10

/** What a cursor says of the subscription it came from. */
export const digestOfSignature = (signature: string): string => signature.slice(0, DIGEST_LENGTH)

export const digestOfRoom = (room: string): string =>
  createHash('sha256').update(room).digest('base64url').slice(0, DIGEST_LENGTH)

export function formatStanding ({ facts, state, snapshot }: Standing): string {
  if (facts === state) return snapshot ? `${facts}~~s` : facts
  return snapshot ? `${facts}~${state}~s` : `${facts}~${state}`
}

/** A track with the rooms it covers, for a later join. */
export function formatLater (standing: Standing, parts: ReadonlyMap<string, Filter>): string {
  const [facts, state = '', flag = ''] = formatStanding(standing).split('~')
  const groups = new Map<string, string[]>()
  for (const [room, filter] of parts) {
    const types = [filter.inverted && filter.types.size > 0 ? ',*' : '', ...[...filter.types].sort().map(type => `,${type}`)].join('')
    groups.set(types, [...groups.get(types) ?? [], digestOfRoom(room)])
  }
  return [facts, state, flag, [...groups].map(([types, rooms]) => rooms.join('.') + types).join(';')].join('~')
}

/** @returns null for what cannot be a cursor of ours */
export function parseCursor (text: string): Cursor | null {
  if (text.length > MAX_LENGTH) return null
  const [first = '', ...rest] = text.split('!')
  const [epoch, subscription, ...standing] = first.split('~')
  const main = parseStanding(standing)
  if (rest.length > MAX_LATER) return null
  const later = rest.map(parseLater)
  if (!epoch || !subscription || main === null || later.includes(null)) return null
  return { epoch, subscription, main, later: later as LaterStanding[] }
}

function parseStanding ([facts = '', state = '', flag = '', ...more]: string[]): Standing | null {
  if (!isId(facts) || !(state === '' || isId(state)) || !(flag === '' || flag === 's') || more.length > 0) return null
  return { facts, state: state === '' ? facts : state, snapshot: flag === 's' }
}

function parseLater (text: string): LaterStanding | null {
  const fields = text.split('~')
  const standing = parseStanding(fields.slice(0, 3))
  if (standing === null || fields.length !== 4) return null
  const parts = new Map<string, Filter>()
  for (const part of (fields[3] as string).split(';')) {
    const [rooms = '', ...types] = part.split(',')
    const filter = types.length === 0 ? ALL : types[0] === '*' ? allBut(types.slice(1)) : only(types)
    for (const room of rooms.split('.')) parts.set(room, filter)
  }
  return { ...standing, parts }
}

/** Why a cursor cannot be gone on from. */
export type ResetReason = 'trimmed' | 'unknown' | 'ahead' | 'subscription'

/**
 * Whether what was sent in an epoch up to some positions is what the log still holds to be so: it is the
 * current epoch, or the positions lie before every seam since. Whether history reaches back to them is
 * another question.
 */
export function judge (from: string, positions: ReadonlyArray<{ facts: Id, state: Id }>, lineage: Lineage, head: Id): 'known' | 'unknown' | 'ahead' {
  const index = lineage.epochs.findIndex(({ epoch }) => epoch === from)
  if (index === -1) return 'unknown'
  let reach = head
  for (const { seam } of lineage.epochs.slice(index + 1)) {
    if (compareIds(seam, reach) < 0) reach = seam
  }
  const furthest = positions.reduce((id, { facts, state }) => latest(id, latest(facts, state)), ORIGIN)
  return isAfter(furthest, reach) ? 'ahead' : 'known'
}
