// The messages of a WebSocket client, and the answers to them.

import { commandResponse, parseCommandRequest } from '../../src/app/command-request.ts'
import { checkLimit } from '../../src/app/limit.ts'
import { make, MEMBERSHIP, readAction } from '../../src/app/membership.ts'
import type { ClientMessage, ServerMessage } from '../../src/app/membership.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import type { Session } from '../../src/core/session.ts'

type Action = (gateway: Gateway, session: Session, message: ClientMessage) => ServerMessage | Promise<ServerMessage>

/** `changesSubscription`: later messages of the client wait until it is done. */
const ACTIONS: Record<string, { readonly fields: readonly string[], readonly changesSubscription?: true, readonly run: Action }> = {
  join: { fields: MEMBERSHIP.join.fields, changesSubscription: true, run: async (_, session, message) => await make(MEMBERSHIP.join.read(message), session) },
  leave: { fields: MEMBERSHIP.leave.fields, changesSubscription: true, run: (_, session, message) => make(MEMBERSHIP.leave.read(message), session) },
  pace: { fields: MEMBERSHIP.pace.fields, changesSubscription: true, run: (_, session, message) => make(MEMBERSHIP.pace.read(message), session) },
  control: { fields: ['command', 'args', 'idempotencyKey'], run: control },
  ping: { fields: [], run: () => ({ event: 'pong', data: { time: Date.now() } }) }
}

/**
 * Parses a message.
 * @returns a function that runs its action, and whether later messages have to wait for it
 * @throws Refusal BAD_MESSAGE
 */
export function actionOf (value: unknown): { changesSubscription: boolean, run: (gateway: Gateway, session: Session) => ServerMessage | Promise<ServerMessage> } {
  const { action, message } = readAction(value, ACTIONS)
  return { changesSubscription: action.changesSubscription === true, run: (gateway, session) => action.run(gateway, session, message) }
}

async function control (gateway: Gateway, session: Session, { command, args, idempotencyKey }: ClientMessage): Promise<ServerMessage> {
  await checkLimit('CONTROL_RATE_LIMIT', gateway.rates.control, gateway.limits.controlRateLimit, session.identity.caller)
  if (idempotencyKey !== undefined && typeof idempotencyKey !== 'string') throw new Refusal('BAD_MESSAGE', 'idempotencyKey must be a string')
  const { status, body } = commandResponse(await gateway.control({
    ...parseCommandRequest({ command, ...(args === undefined ? {} : { args }) }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    identity: session.identity
  }))
  return { event: status >= 400 ? 'error' : 'result', data: body }
}
