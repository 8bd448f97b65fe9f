// The built-in commands, and the operator's own from COMMANDS_MODULE. A command is a schema for its
// arguments and a handler; whichever door it came through is not its affair.

import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { Ajv } from 'ajv'
import type { Command, CommandContext } from '../core/command.ts'
import { NAME, PUBLIC } from '../core/event.ts'
import type { Gateway } from '../core/gateway.ts'

export interface CommandDefinition<Args = never> {
  /** A JSON Schema for `args`; without one no arguments are taken. */
  readonly schema?: object
  readonly handler: (args: Args, context: CommandContext) => unknown
}

export interface BuiltInOptions {
  readonly gateway: Gateway
  /** Figures for `stats` that only the app knows. */
  readonly stats: () => object
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
export function compile ({ schema = NO_ARGS, handler }: CommandDefinition): Command {
  const validate = ajv.compile(schema)
  return {
    check: args => validate(args) ? null : ajv.errorsText(validate.errors, { dataVar: 'args' }).slice(0, MAX_COMPLAINT),
    handler
  }
}

export function registerBuiltIns ({ gateway, stats, tune, shutdown }: BuiltInOptions): void {
  const define = <Args>(name: string, schema: object, handler: (args: Args, context: CommandContext) => unknown): void =>
    gateway.commands.register(name, compile({ schema, handler }))

  define('ping', NO_ARGS, () => ({ pong: true, time: Date.now() }))
  define('stats', NO_ARGS, () => stats())
  define('rooms', NO_ARGS, async () => ({ rooms: await gateway.presence() }))
  define<{ event?: unknown, events?: unknown[] }>('publish', {
    type: 'object',
    additionalProperties: false,
    properties: { event: { type: 'object' }, events: { type: 'array', minItems: 1, maxItems: 1000 } },
    oneOf: [{ required: ['event'] }, { required: ['events'] }]
  }, async ({ event, events = [event] }, { publish }) => ({ ids: await publish(events) }))
  for (const [name, paused] of [['pause', true], ['resume', false]] as const) {
    define<{ room: string }>(name, { type: 'object', additionalProperties: false, required: ['room'], properties: { room: ROOM } }, async ({ room }) => {
      await gateway.pause(room, paused)
      return { room, paused }
    })
  }
  define<Record<string, unknown>>('tune', { type: 'object', minProperties: 1, maxProperties: 50, propertyNames: { maxLength: 64 } }, async changes => await tune(changes))
  define<{ session?: string, room?: string }>('disconnect', {
    type: 'object',
    additionalProperties: false,
    properties: { session: { type: 'string' }, room: ROOM },
    oneOf: [{ required: ['session'] }, { required: ['room'] }]
  }, async target => ({ ended: await gateway.disconnect(target) }))
  define<{ room: string, type?: string, key?: string }>('clear', {
    type: 'object',
    additionalProperties: false,
    required: ['room'],
    properties: { room: ROOM, type: { type: 'string' }, key: { type: 'string' } }
  }, async ({ room, type, key }) => ({ removed: await gateway.clear(room, type, key) }))
  define('shutdown', NO_ARGS, async () => {
    await shutdown()
    return { draining: true }
  })
}

/**
 * Loads the operator's commands: `export default { name: { schema, handler } }`.
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
    try {
      gateway.commands.register(name, compile(definition as CommandDefinition))
    } catch (error) {
      throw new Error(`COMMANDS_MODULE ${path}: the schema of ${name} is not valid: ${(error as Error).message}`)
    }
  }
  return names
}
