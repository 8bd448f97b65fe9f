// The built-in commands, and the operator's from COMMANDS_MODULE. A command is a schema for its arguments and a handler;
// it does not depend on the transport it was called over.

import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { MAX_KEY } from '../core/command.ts'
import type { Command, CommandContext } from '../core/command.ts'
import { MAX_BATCH, NAME, PUBLIC } from '../core/event.ts'
import { MAX_SESSIONS } from '../core/explainer.ts'
import { MAX_PAGE_ROOMS } from '../core/figures/view.ts'
import type { RoomPage } from '../core/figures/view.ts'
import type { Gateway } from '../core/gateway.ts'
import type { DisconnectTarget } from '../core/operator.ts'
import { Refusal } from '../core/errors.ts'
import { RIGHTS } from '../core/grants.ts'
import { ID } from '../core/id.ts'
import { boundedCheckOf, checkOf } from './argument-check.ts'
import { checkLimit } from './limit.ts'
import { PROFILE_NAMES } from './mounted.ts'
import { onceNames } from './once.ts'
import type { SwitchRequest, SwitchResult } from './switch.ts'

export interface CommandDefinition<Args = never> {
  /** A JSON Schema for `args`. Default: no arguments are allowed. */
  readonly schema?: object
  /** One sentence for users of the command. */
  readonly description?: string
  /** It changes nothing: a repeat with the same Idempotency-Key runs it again, and its result is not kept. */
  readonly readOnly?: boolean
  readonly handler: (args: Args, context: CommandContext) => unknown
}

export interface BuiltInOptions {
  readonly gateway: Gateway
  /** The result of `stats`. */
  readonly stats: () => object
  /** The result of `recent`. */
  readonly recent: () => Promise<object>
  /** The settings `tune` accepts, by name, as JSON Schemas. */
  readonly tunable?: Record<string, object>
  /** Changes settings of all processes. @throws Refusal BAD_COMMAND with every problem */
  readonly tune: (changes: Record<string, unknown>) => Promise<{ previous: object, now: object }>
  /** Changes the profile of all processes, or of one. @throws Refusal; Error: nothing has changed */
  readonly switchProfile: (request: SwitchRequest) => Promise<SwitchResult>
  /** Copies the store, where it can be copied. */
  readonly backUp?: (() => Promise<object>) | undefined
  /** Starts a drain of all processes and returns. */
  readonly shutdown: () => Promise<void>
}

const NO_ARGS = { type: 'object', additionalProperties: false }
const ROOM = { type: 'string', pattern: `${NAME.source}|^${PUBLIC}$` }

/** Compiles a definition to a command. @throws Error if its schema is not valid */
export function compile ({ schema = NO_ARGS, description, readOnly, handler }: CommandDefinition): Command {
  return { check: boundedCheckOf(schema), schema, description, readOnly, handler }
}

export function registerBuiltIns ({ gateway, stats, recent, tunable = {}, tune, switchProfile, backUp, shutdown }: BuiltInOptions): void {
  const define = <Args>(name: string, description: string, schema: object, handler: (args: Args, context: CommandContext) => unknown): void =>
    gateway.commands.register(name, { check: checkOf(schema), schema, description, handler }, 'built-in')
  const defineReadOnly = <Args>(name: string, description: string, schema: object, handler: (args: Args, context: CommandContext) => unknown): void =>
    gateway.commands.register(name, { check: checkOf(schema), schema, description, handler, readOnly: true }, 'built-in')

  defineReadOnly('ping', 'Returns the time of the gateway.', NO_ARGS, () => ({ pong: true, time: Date.now() }))
  defineReadOnly('whoami', 'Tells the caller who it is: its subject, when its rights end, and what it may do.', NO_ARGS, (_args, { identity: { subject, expiresAt, grants: { lists } } }) =>
    ({ subject, expiresAt, grants: lists === null ? null : Object.fromEntries(RIGHTS.map(right => [right, lists[right] ?? []])) }))
  defineReadOnly('stats', 'Returns the figures of the process that answers.', NO_ARGS, () => stats())
  defineReadOnly('recent', 'Returns the figures of all processes, one sample a second of the last five minutes.', NO_ARGS, async () => await recent())
  defineReadOnly<Partial<RoomPage>>('rooms', 'Lists the rooms in order of name, with their members over all processes, keys and last id.', {
    type: 'object',
    additionalProperties: false,
    properties: { limit: { type: 'integer', minimum: 1, maximum: MAX_PAGE_ROOMS }, after: { type: 'string' }, prefix: { type: 'string' } }
  }, async page => await gateway.view.presence(page))
  define<{ event?: unknown, events?: unknown[] }>('publish', `Publishes one event, or up to ${MAX_BATCH} of them, all or none.`, {
    type: 'object',
    additionalProperties: false,
    properties: { event: { type: 'object' }, events: { type: 'array', minItems: 1, maxItems: MAX_BATCH } },
    oneOf: [{ required: ['event'] }, { required: ['events'] }]
  }, async ({ event, events = [event] }, { publish, caller, identity }) => {
    await checkLimit('PUBLISH_RATE_LIMIT', gateway.rates.publish, gateway.limits.publishRateLimit, caller)
    return { ids: await publish(events, identity) }
  })
  for (const [name, paused, description] of [
    ['pause', true, 'Refuses events for a room until resume; the room stays readable, and a restart does not resume it.'],
    ['resume', false, 'Accepts events for a paused room again.']
  ] as const) {
    define<{ room: string }>(name, description, { type: 'object', additionalProperties: false, required: ['room'], properties: { room: ROOM } }, async ({ room }) => {
      await gateway.operator.pause(room, paused)
      return { room, paused }
    })
  }
  // The table of settings checks the values and explains errors better than a schema. The schema shown is for building forms.
  gateway.commands.register('tune', {
    check: checkOf({ type: 'object', minProperties: 1, maxProperties: 50, propertyNames: { maxLength: 64 } }),
    description: 'Changes ticks and limits of all processes until the next restart.',
    handler: async (changes: Record<string, unknown>) => await tune(changes),
    schema: { type: 'object', minProperties: 1, additionalProperties: false, properties: tunable }
  }, 'built-in')
  define<DisconnectTarget>('disconnect', 'Ends one session, all sessions in a room, or all of a subject of tokens; the clients may reconnect.', {
    type: 'object',
    additionalProperties: false,
    properties: { session: { type: 'string' }, room: ROOM, subject: { type: 'string' } },
    oneOf: [{ required: ['session'] }, { required: ['room'] }, { required: ['subject'] }]
  }, async target => ({ ended: await gateway.operator.disconnect(target) }))
  define<{ room: string, type?: string, key?: string }>('clear', 'Deletes the current values of a room, or those of one type or key; never facts.', {
    type: 'object',
    additionalProperties: false,
    required: ['room'],
    properties: { room: ROOM, type: { type: 'string' }, key: { type: 'string' } }
  }, async ({ room, type, key }) => ({ removed: await gateway.operator.clear(room, type, key) }))
  define<SwitchRequest>('switch', 'Changes the profile of all processes, or of one, while the gateway runs; connected clients return over the other one and miss nothing.', {
    type: 'object',
    additionalProperties: false,
    required: ['profile'],
    properties: { profile: { type: 'string', enum: PROFILE_NAMES }, worker: { type: ['integer', 'string'], description: 'one process: its number, or its key in @system' } }
  }, async request => await switchProfile(request))
  defineReadOnly<{ event?: string, idempotencyKey?: string, session?: string, limit?: number }>('explain', 'Tells what became of an event at each session: an event by its id, or by the Idempotency-Key you published it with.', {
    type: 'object',
    additionalProperties: false,
    properties: {
      event: { type: 'string', pattern: ID.source },
      idempotencyKey: { type: 'string', minLength: 1, maxLength: MAX_KEY },
      session: { type: 'string' },
      limit: { type: 'integer', minimum: 1, maximum: MAX_SESSIONS }
    },
    oneOf: [{ required: ['event'] }, { required: ['idempotencyKey'] }]
  }, async ({ event, idempotencyKey = '', session, limit }, { caller }) =>
    await gateway.operator.explainer.explain({ event: event ?? onceNames(caller, idempotencyKey), session, limit }))
  define('backup', 'Copies the data directory as it is now into its folder backups, while everything goes on; the newest three are kept.', NO_ARGS, async () => {
    if (backUp === undefined) throw new Refusal('BAD_COMMAND', 'backup copies a data directory, and this gateway has none: what it holds is in Redis, in memory, or in the store of its program; docs/operations.md, "Backup and restore", says what to do')
    return await backUp()
  })
  define('shutdown', 'Drains and stops all processes.', NO_ARGS, async () => {
    await shutdown()
    return { draining: true }
  })
}

/**
 * Loads the operator's commands: `export default { name: { schema, description, handler } }`.
 * @throws Error with a sentence for the operator
 */
export async function loadCommands (path: string, gateway: Gateway): Promise<string[]> {
  let definitions: unknown
  try {
    definitions = ((await import(pathToFileURL(resolve(path)).href)) as { default?: unknown }).default
  } catch (error) {
    throw new Error(`COMMANDS_MODULE ${path} cannot be loaded: ${(error as Error).message}`)
  }
  if (typeof definitions !== 'object' || definitions === null) {
    throw new Error(`COMMANDS_MODULE ${path} must have a default export { name: { schema, handler } }`)
  }
  const names = Object.keys(definitions)
  for (const name of names) {
    const definition = (definitions as Record<string, Partial<CommandDefinition> | undefined>)[name]
    if (!NAME.test(name)) throw new Error(`COMMANDS_MODULE ${path}: ${JSON.stringify(name)} is not a valid name for a command`)
    if (gateway.commands.names.includes(name)) throw new Error(`COMMANDS_MODULE ${path}: the command ${name} is built in; choose another name`)
    if (typeof definition?.handler !== 'function') throw new Error(`COMMANDS_MODULE ${path}: the command ${name} has no handler function`)
    if (definition.readOnly !== undefined && typeof definition.readOnly !== 'boolean') throw new Error(`COMMANDS_MODULE ${path}: readOnly of ${name} must be true or false`)
    if (definition.description !== undefined && typeof definition.description !== 'string') throw new Error(`COMMANDS_MODULE ${path}: the description of ${name} must be a string`)
    try {
      gateway.commands.register(name, compile(definition as CommandDefinition))
    } catch (error) {
      throw new Error(`COMMANDS_MODULE ${path}: the schema of ${name} is not valid: ${(error as Error).message}`)
    }
  }
  return names
}
