// Joining and leaving rooms on an open connection: messages of a socket, and bodies that steer a stream.

import { Refusal } from '../core/errors.ts'
import { PUBLIC } from '../core/event.ts'
import type { Identity } from '../core/identity.ts'
import type { Session } from '../core/session.ts'
import { checkNames } from '../core/subscription.ts'
import { joinsOf } from './joins.ts'

/** A message of a client: an action and its fields. */
export type ClientMessage = Readonly<Record<string, unknown>>

export interface ServerMessage {
  readonly event: string
  readonly data: object
}

/** What a message changes. @param identity whose rights count; default: those of the session */
export type Change = (session: Session, identity?: Identity) => ServerMessage | Promise<ServerMessage>

/** The actions that change what a session hears: their fields, and what reads them. */
export const MEMBERSHIP = {
  join: { fields: ['room', 'rooms', 'types', 'lastEventId'], read: join },
  leave: { fields: ['room', 'rooms'], read: leave }
} as const satisfies Record<string, { readonly fields: readonly string[], readonly read: (message: ClientMessage) => Change }>

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

function join ({ room, rooms, types, lastEventId }: ClientMessage): Change {
  if (lastEventId !== undefined && lastEventId !== null && typeof lastEventId !== 'string') throw bad('lastEventId must be a string: the cursor exactly as it was received')
  const joins = joinsOf(roomsOf(room, rooms), types, 'BAD_MESSAGE')
  const cursor = lastEventId === undefined || lastEventId === '' ? null : lastEventId
  return async (session, identity) => {
    const { members, ...joined } = await session.join(joins, cursor, identity)
    return { event: 'joined', data: { rooms: Object.keys(members), members, ...joined } }
  }
}

function leave ({ room, rooms }: ClientMessage): Change {
  const named = roomsOf(room, rooms)
  const names = named.length === 0 ? [PUBLIC] : named
  if (!names.every(name => typeof name === 'string')) throw bad('room must be the name of a room')
  return session => ({ event: 'left', data: { rooms: session.leave(names), cursor: session.cursor } })
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
