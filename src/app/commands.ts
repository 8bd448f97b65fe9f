// The built-in commands, and the operator's own from COMMANDS_MODULE. A command is a schema for its
// arguments and a handler; whichever door it came through is not its affair.

import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { Ajv } from 'ajv'
import type { Command, CommandContext } from '../core/command.ts'
import { NAME, PUBLIC } from '../core/event.ts'
import { MAX_BATCH } from '../core/gateway.ts'
import type { Gateway } from '../core/gateway.ts'

export interface CommandDefinition<Args = never> {
  /** A JSON Schema for `args`; without one no arguments are taken. */
  readonly schema?: object
  /** One sentence for whoever may want to run it. */
  readonly description?: string
  readonly handler: (args: Args, context: CommandContext) => unknown
}

export interface BuiltInOptions {
  readonly gateway: Gateway
  /** Figures for `stats` that only the app knows. */
  readonly stats: () => object
  /** What `tune` takes, by name, as JSON Schemas. */
  readonly tunable?: Record<string, object>
  /** Changes settings of all processes. @throws Refusal BAD_COMMAND with every problem */
  readonly tune: (changes: Record<string, unknown>) => Promise<{ previous: object, now: object }>
  /** Begins a clean drain of all processes and returns. */
  readonly shutdown: () => Promise<void>
}

// The first problem is enough: arguments with a hundred thousand would take as long to complain about.
const ajv = new Ajv({ strict: false })
const MAX_COMPLAINT = 500
const NO_ARGS = { type: 'object', additionalProperties: false }
const ROOM = { type: 'string', pattern: `${NAME.source}|^${PUBLIC}$` }

/** Makes a definition a command. @throws Error for a schema that is none */
export function compile ({ schema = NO_ARGS, description, handler }: CommandDefinition): Command {
  const validate = ajv.compile(schema)
  return {
    check: args => validate(args) ? null : ajv.errorsText(validate.errors, { dataVar: 'args' }).slice(0, MAX_COMPLAINT),
    schema,
    description,
    handler
  }
}

export function registerBuiltIns ({ gateway, stats, tunable = {}, tune, shutdown }: BuiltInOptions): void {
  const define = <Args>(name: string, description: string, schema: object, handler: (args: Args, context: CommandContext) => unknown): void =>
    gateway.commands.register(name, compile({ schema, description, handler }), 'built-in')

  define('ping', 'Answers with the time of the gateway.', NO_ARGS, () => ({ pong: true, time: Date.now() }))
  define('stats', 'The figures of the process that answers.', NO_ARGS, () => stats())
  define('rooms', 'The rooms with their members over all processes, keys and last id.', NO_ARGS, async () => ({ rooms: await gateway.view.presence() }))
  define<{ event?: unknown, events?: unknown[] }>('publish', `Publishes one event, or up to ${MAX_BATCH} of them, all or none.`, {
    type: 'object',
    additionalProperties: false,
    properties: { event: { type: 'object' }, events: { type: 'array', minItems: 1, maxItems: MAX_BATCH } },
    oneOf: [{ required: ['event'] }, { required: ['events'] }]
  }, async ({ event, events = [event] }, { publish }) => ({ ids: await publish(events) }))
  for (const [name, paused, description] of [
    ['pause', true, 'Refuses what is published to a room until resume; it stays readable, and a restart keeps it so.'],
    ['resume', false, 'Takes up again what is published to a room that was paused.']
  ] as const) {
    define<{ room: string }>(name, description, { type: 'object', additionalProperties: false, required: ['room'], properties: { room: ROOM } }, async ({ room }) => {
      await gateway.operator.pause(room, paused)
      return { room, paused }
    })
  }
  // What is wrong is told by the table of settings in better words; to whoever makes a form, the schema says what there is.
  gateway.commands.register('tune', {
    ...compile({
      schema: { type: 'object', minProperties: 1, maxProperties: 50, propertyNames: { maxLength: 64 } },
      description: 'Changes ticks and limits of all processes until the next restart.',
      handler: async (changes: Record<string, unknown>) => await tune(changes)
    }),
    schema: { type: 'object', minProperties: 1, additionalProperties: false, properties: tunable }
  }, 'built-in')
  define<{ session?: string, room?: string }>('disconnect', 'Ends one session, or all that joined a room; the clients may come back.', {
    type: 'object',
    additionalProperties: false,
    properties: { session: { type: 'string' }, room: ROOM },
    oneOf: [{ required: ['session'] }, { required: ['room'] }]
  }, async target => ({ ended: await gateway.operator.disconnect(target) }))
  define<{ room: string, type?: string, key?: string }>('clear', 'Deletes the present values of a room, or those of one type or key; never facts.', {
    type: 'object',
    additionalProperties: false,
    required: ['room'],
    properties: { room: ROOM, type: { type: 'string' }, key: { type: 'string' } }
  }, async ({ room, type, key }) => ({ removed: await gateway.operator.clear(room, type, key) }))
  define('shutdown', 'Drains and ends all processes.', NO_ARGS, async () => {
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
    if (!NAME.test(name)) throw new Error(`COMMANDS_MODULE ${path}: ${JSON.stringify(name)} cannot be a command's name`)
    if (gateway.commands.names.includes(name)) throw new Error(`COMMANDS_MODULE ${path}: the command ${name} is built in; choose another name`)
    if (typeof definition?.handler !== 'function') throw new Error(`COMMANDS_MODULE ${path}: the command ${name} has no handler function`)
    if (definition.description !== undefined && typeof definition.description !== 'string') throw new Error(`COMMANDS_MODULE ${path}: the description of ${name} must be a string`)
    try {
      gateway.commands.register(name, compile(definition as CommandDefinition))
    } catch (error) {
      throw new Error(`COMMANDS_MODULE ${path}: the schema of ${name} is not valid: ${(error as Error).message}`)
    }
  }
  return names
}
