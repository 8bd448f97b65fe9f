// The messages of a WebSocket client, and the answers to them.

import { commandResponse, parseCommandRequest } from '../../src/app/command-request.ts'
import { checkLimit } from '../../src/app/limit.ts'
import { Refusal } from '../../src/core/errors.ts'
import { PUBLIC } from '../../src/core/event.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import type { Session } from '../../src/core/session.ts'
import { checkNames, parseJoins } from '../../src/core/subscription.ts'

export interface ServerMessage {
  readonly event: string
  readonly data: object
}

type ClientMessage = Record<string, unknown>
type Action = (gateway: Gateway, session: Session, message: ClientMessage) => ServerMessage | Promise<ServerMessage>

/** `changesSubscription`: later messages of the client wait until it is done. */
const ACTIONS: Record<string, { readonly fields: readonly string[], readonly changesSubscription?: true, readonly run: Action }> = {
  join: { fields: ['room', 'rooms', 'types', 'lastEventId'], changesSubscription: true, run: join },
  leave: { fields: ['room', 'rooms'], changesSubscription: true, run: leave },
  control: { fields: ['command', 'args', 'idempotencyKey'], run: control },
  ping: { fields: [], run: () => ({ event: 'pong', data: { time: Date.now() } }) }
}

/**
 * Parses a message.
 * @returns a function that runs its action, and whether later messages have to wait for it
 * @throws Refusal BAD_MESSAGE
 */
export function actionOf (value: unknown): { changesSubscription: boolean, run: (gateway: Gateway, session: Session) => ServerMessage | Promise<ServerMessage> } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad('a message is an object such as {"action": "join", "room": "plant-1"}')
  }
  const message = value as ClientMessage
  const name = message.action
  const action = typeof name === 'string' && Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined
  if (action === undefined) throw bad(`action must be one of ${Object.keys(ACTIONS).join(', ')}`)
  const unknown = Object.keys(message).filter(field => field !== 'action' && field !== 'ref' && !action.fields.includes(field))
  if (unknown.length > 0) {
    throw bad(`unknown field ${JSON.stringify(unknown[0]?.slice(0, 40))}; ${String(name)} takes ${[...action.fields, 'ref'].join(', ')}`)
  }
  return { changesSubscription: action.changesSubscription === true, run: (gateway, session) => action.run(gateway, session, message) }
}

async function join (_gateway: Gateway, session: Session, { room, rooms, types, lastEventId }: ClientMessage): Promise<ServerMessage> {
  if (lastEventId !== undefined && lastEventId !== null && typeof lastEventId !== 'string') throw bad('lastEventId must be a string: the cursor exactly as it was received')
  const named = roomsOf(room, rooms)
  const wishes = named.length === 0 ? [PUBLIC] : named
  const joins = parseJoins(wishes.map(wish => {
    if (typeof wish !== 'object' || wish === null) return { room: wish, ...(types === undefined ? {} : { types }) }
    const { room, types: own = types, ...rest } = wish as ClientMessage
    if (Object.keys(rest).length > 0) throw bad('an entry of rooms is a name or { "room", "types" }')
    return { room, ...(own === undefined ? {} : { types: own }) }
  }))
  const { members, ...joined } = await session.join(joins, lastEventId === undefined || lastEventId === null || lastEventId === '' ? null : lastEventId as string)
  return { event: 'joined', data: { rooms: Object.keys(members), members, ...joined } }
}

function leave (_gateway: Gateway, session: Session, { room, rooms }: ClientMessage): ServerMessage {
  const named = roomsOf(room, rooms)
  const wishes = named.length === 0 ? [PUBLIC] : named
  for (const name of wishes) {
    if (typeof name !== 'string') throw bad('room must be the name of a room')
  }
  return { event: 'left', data: { rooms: session.leave(wishes as string[]), cursor: session.cursor } }
}

async function control (gateway: Gateway, session: Session, { command, args, idempotencyKey }: ClientMessage): Promise<ServerMessage> {
  await checkLimit('CONTROL_RATE_LIMIT', gateway.rates.control, gateway.limits.controlRateLimit, session.identity.caller)
  if (idempotencyKey !== undefined && typeof idempotencyKey !== 'string') throw bad('idempotencyKey must be a string')
  const { status, body } = commandResponse(await gateway.control({
    ...parseCommandRequest({ command, ...(args === undefined ? {} : { args }) }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    identity: session.identity
  }))
  return { event: status >= 400 ? 'error' : 'result', data: body }
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
