// Joining and leaving rooms and changing the pace on an open connection: messages of a socket, and bodies that steer a stream.

import { Refusal } from '../core/errors.ts'
import { PUBLIC } from '../core/event.ts'
import type { Identity } from '../core/identity.ts'
import type { Session } from '../core/session.ts'
import { checkNames, isRoom } from '../core/subscription.ts'
import type { Join } from '../core/subscription.ts'
import { joinsOf, paceOf } from './joins.ts'

/** A message of a client: an action and its fields. */
export type ClientMessage = Readonly<Record<string, unknown>>

export interface ServerMessage {
  readonly event: string
  readonly data: object
}

/** What a message changes: only what was read of it. */
export type Change =
  | { readonly action: 'join', readonly joins: readonly Join[], readonly cursor: string | null, readonly paceMs?: number | null }
  | { readonly action: 'leave', readonly rooms: readonly string[] }
  | { readonly action: 'pace', readonly paceMs: number | null }

export type Ref = string | number | undefined

/** Longest `ref`, in characters. */
const MAX_REF = 200

/** The actions that change what a session hears, or how often: their fields, and what reads them. */
export const MEMBERSHIP = {
  join: { fields: ['room', 'rooms', 'types', 'lastEventId', 'patch', 'paceMs'], read: join },
  leave: { fields: ['room', 'rooms'], read: leave },
  pace: { fields: ['paceMs'], read: pace }
} as const satisfies Record<string, { readonly fields: readonly string[], readonly read: (message: ClientMessage) => Change }>

/**
 * @param identity whose rights count; default: those of the session
 * @throws Refusal what `Session.join` throws
 */
export function make (change: Change, session: Session, identity?: Identity): ServerMessage | Promise<ServerMessage> {
  if (change.action === 'leave') return { event: 'left', data: { rooms: session.leave(change.rooms), cursor: session.safeCursor } }
  if (change.action === 'pace') {
    session.setPace(change.paceMs)
    return { event: 'paced', data: { paceMs: change.paceMs, cursor: session.safeCursor } }
  }
  return session.join(change.joins, change.cursor, identity, change.paceMs).then(({ members, ...joined }) =>
    ({ event: 'joined', data: { rooms: Object.keys(members), members, ...joined } }))
}

/** The `ref` of a message. It is repeated in the answer, so its length is limited. @throws Refusal BAD_MESSAGE */
export function refOf (message: unknown): Ref {
  const ref = typeof message === 'object' && message !== null ? (message as { ref?: unknown }).ref : undefined
  if (ref === undefined || typeof ref === 'number' || (typeof ref === 'string' && ref.length <= MAX_REF)) return ref
  throw bad(`ref must be a number or a string of at most ${MAX_REF} characters`)
}

/**
 * Checks the shape of a message.
 * @param actions those there are, each with its fields
 * @returns its action
 * @throws Refusal BAD_MESSAGE
 */
export function readAction<Action> (value: unknown, actions: Readonly<Record<string, Action & { readonly fields: readonly string[] }>>): { readonly action: Action, readonly message: ClientMessage } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad('a message is an object such as {"action": "join", "room": "plant-1"}')
  }
  const message = value as ClientMessage
  const name = message.action
  const action = typeof name === 'string' && Object.hasOwn(actions, name) ? actions[name] : undefined
  if (action === undefined) throw bad(`action must be one of ${Object.keys(actions).join(', ')}`)
  const unknown = Object.keys(message).filter(field => field !== 'action' && field !== 'ref' && !action.fields.includes(field))
  if (unknown.length > 0) {
    throw bad(`unknown field ${JSON.stringify(unknown[0]?.slice(0, 40))}; ${String(name)} takes ${[...action.fields, 'ref'].join(', ')}`)
  }
  return { action, message }
}

function join ({ room, rooms, types, lastEventId, patch, paceMs }: ClientMessage): Change {
  if (lastEventId !== undefined && lastEventId !== null && typeof lastEventId !== 'string') throw bad('lastEventId must be a string: the cursor exactly as it was received')
  const joins = joinsOf(roomsOf(room, rooms), types, 'BAD_MESSAGE', patch)
  return { action: 'join', joins, cursor: lastEventId === undefined || lastEventId === '' ? null : lastEventId, ...(paceMs === undefined ? {} : { paceMs: paceOf(paceMs, 'BAD_MESSAGE') }) }
}

function pace ({ paceMs }: ClientMessage): Change {
  return { action: 'pace', paceMs: paceOf(paceMs, 'BAD_MESSAGE') }
}

function leave ({ room, rooms }: ClientMessage): Change {
  const named = roomsOf(room, rooms)
  const names = named.length === 0 ? [PUBLIC] : named
  if (!names.every(name => typeof name === 'string')) throw bad('room must be the name of a room')
  // What is no room's name was never joined.
  return { action: 'leave', rooms: names.filter(isRoom) }
}

function roomsOf (room: unknown, rooms: unknown): unknown[] {
  if (room !== undefined && rooms !== undefined) throw bad('give room or rooms, not both')
  if (room !== undefined) return [room]
  if (rooms === undefined) return []
  if (!Array.isArray(rooms)) throw bad('rooms must be an array of names, or of { "room", "types" }')
  checkNames(rooms.length)
  return rooms
}

const bad = (message: string): Refusal => new Refusal('BAD_MESSAGE', message)
