// What somebody asks to hear, and where he stands, as it is in a message, in a body, in an address or in headers.

import type { FastifyRequest } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Code } from '../core/errors.ts'
import { PUBLIC } from '../core/event.ts'
import { readJson } from '../core/json.ts'
import { checkNames, parseJoins } from '../core/subscription.ts'
import type { Join } from '../core/subscription.ts'
import { MAX_PACE_MS } from '../core/value-pace.ts'

/** Refuses what is no join at all; what it names is judged with BAD_SUBSCRIPTION. */
type Shape = Extract<Code, 'BAD_MESSAGE' | 'BAD_SUBSCRIPTION'>

/** What asks for patches: JSON Merge Patch. */
const PATCH = 'merge'

/**
 * The joins of a list of rooms: names, or `{ room, types }`.
 * @param rooms none: the public feed
 * @param types of those that have none of their own; undefined: every type
 * @param patch `merge`: values may come as patches
 * @throws Refusal
 */
export function joinsOf (rooms: readonly unknown[], types: unknown, shape: Shape, patch?: unknown): Join[] {
  checkNames(rooms.length)
  const isPatched = parsePatch(patch, shape)
  const wishes = rooms.length === 0 ? [PUBLIC] : rooms
  const joins = parseJoins(wishes.map(wish => {
    if (typeof wish !== 'object' || wish === null) return { room: wish, ...(types === undefined ? {} : { types }) }
    const { room, types: own = types, ...rest } = wish as Record<string, unknown>
    if (Object.keys(rest).length > 0) throw new Refusal(shape, 'an entry of rooms is a name or { "room", "types" }')
    return { room, ...(own === undefined ? {} : { types: own }) }
  }))
  return isPatched ? joins.map(join => ({ ...join, patch: true })) : joins
}

/** @throws Refusal */
function parsePatch (patch: unknown, shape: Shape): boolean {
  if (patch === undefined || patch === null || patch === '') return false
  if (patch !== PATCH) throw new Refusal(shape, `patch must be ${PATCH}, the one kind of patches there is (RFC 7396); leave it out for whole values`)
  return true
}

/**
 * The joins of an address: `rooms` and `types`, or `join`.
 * @throws Refusal BAD_SUBSCRIPTION
 */
export function joinsOfQuery ({ rooms, types, join, patch }: Record<string, unknown>): Join[] {
  const named = listOf(rooms)
  const wanted = listOf(types)
  if (join === undefined) return joinsOf(named, wanted.length === 0 ? undefined : wanted, 'BAD_SUBSCRIPTION', patch)
  if (named.length > 0 || wanted.length > 0) throw bad('give join, or rooms and types: an entry of join names its own types')
  const list = typeof join === 'string' ? readJson(join, 'BAD_SUBSCRIPTION') : null
  if (!Array.isArray(list)) throw bad('join must be a JSON array of names, or of { "room", "types" }, such as ["plant-1",{"room":"plant-2","types":["alarm"]}]')
  return joinsOf(list, undefined, 'BAD_SUBSCRIPTION', patch)
}

/**
 * The cursor that a client brings: the header, or where that is absent or empty the query. Of several, the last one that is
 * not empty: a page adds its newest behind one that its address had from the start.
 */
export function cursorOfRequest (request: FastifyRequest): string | null {
  const { lastEventId } = request.query as Record<string, unknown>
  // Node joins several headers by a comma and a space, which no cursor holds.
  const header = [request.headers['last-event-id'] ?? []].flat().flatMap(text => text.split(', '))
  const given = [...[lastEventId ?? []].flat().map(String), ...header].map(text => text.trim()).filter(text => text !== '')
  return given.at(-1) ?? null
}

/** How often values go out at most, ms; null: never. @throws Refusal */
export function paceOf (value: unknown, shape: Shape): number | null {
  if (value === null) return null
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_PACE_MS) return value
  throw new Refusal(shape, `paceMs must be a whole number from 0 to ${MAX_PACE_MS}, the ms from one bundle with values to the next; or null, for no values until it is set again`)
}

/** The pace of an address; undefined where it has none. @throws Refusal BAD_SUBSCRIPTION */
export function paceOfQuery ({ paceMs }: Record<string, unknown>): number | null | undefined {
  if (paceMs === undefined) return undefined
  return paceOf(paceMs === 'null' ? null : /^\d+$/.test(String(paceMs)) ? Number(paceMs) : NaN, 'BAD_SUBSCRIPTION')
}

/**
 * Refuses parameters that there are not; those that begin with `_` are nobody's business.
 * @throws Refusal BAD_SUBSCRIPTION
 */
export function checkParameters (query: Record<string, unknown>, known: readonly string[], taker: string): void {
  const unknown = Object.keys(query).find(name => !known.includes(name) && !name.startsWith('_'))
  if (unknown !== undefined) throw bad(`unknown parameter ${JSON.stringify(unknown.slice(0, 40))}; ${taker} takes ${known.join(', ')}`)
}

function listOf (value: unknown): string[] {
  return [value ?? ''].flat().flatMap(text => String(text).split(',')).map(name => name.trim()).filter(name => name !== '')
}

const bad = (message: string): Refusal => new Refusal('BAD_SUBSCRIPTION', message)
