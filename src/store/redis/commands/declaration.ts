// A backend's declaration of a command: a field of `<prefix>handlers`, as JSON.

import { readJson } from '../../../core/json.ts'

export interface Declaration {
  /** Whether another backend may run it again if the first one is gone. */
  readonly retry: boolean
  /** How long one execution may take, ms. */
  readonly timeoutMs: number
  /** One sentence about it, and the JSON Schema of its arguments. */
  readonly description?: string | undefined
  readonly schema?: object
  /** @returns what is wrong with the arguments, in words; null if nothing is */
  readonly check: Check
}

export type Check = (args: unknown) => string | null

const TIMEOUT_S = 30
const MAX_TIMEOUT_S = 86_400
const MAX_DESCRIPTION = 500
const MAX_CHARACTERS = 64 * 1024
const FIELDS = ['retry', 'timeout', 'schema', 'description']

export const DEFAULT: Declaration = { retry: false, timeoutMs: TIMEOUT_S * 1000, check: () => null }

/**
 * @param compile turns a JSON Schema into a check; throws if it is not one
 * @throws Error what is wrong with it, as the rest of a sentence
 */
export function parseDeclaration (text: string, compile: (schema: object) => Check): Declaration {
  if (text.length > MAX_CHARACTERS) throw new Error(`it may have ${MAX_CHARACTERS} characters and has ${text.length}`)
  const value = readJson(text, 'BAD_COMMAND')
  if (!isObject(value)) throw new Error('it must be an object such as {"retry": false, "timeout": 30}')
  const { retry = false, timeout = TIMEOUT_S, schema, description } = value
  const unknown = Object.keys(value).find(name => !FIELDS.includes(name))
  if (unknown !== undefined) throw new Error(`unknown field ${JSON.stringify(unknown.slice(0, 40))}; there are ${FIELDS.join(', ')}`)
  if (typeof retry !== 'boolean') throw new Error('retry must be true or false')
  if (typeof timeout !== 'number' || !(timeout > 0 && timeout <= MAX_TIMEOUT_S)) throw new Error(`timeout must be a number of seconds up to ${MAX_TIMEOUT_S}`)
  if (description !== undefined && (typeof description !== 'string' || description.length > MAX_DESCRIPTION)) throw new Error(`description must be a string of at most ${MAX_DESCRIPTION} characters`)
  if (schema === undefined) return { ...DEFAULT, retry, timeoutMs: timeout * 1000, description }
  if (!isObject(schema)) throw new Error('schema must be a JSON Schema, as an object')
  // Ajv would refuse the next schema with the same $id.
  const { $id, ...rest } = schema
  try {
    return { retry, timeoutMs: timeout * 1000, description, schema, check: careful(compile(rest)) }
  } catch (error) {
    throw new Error(`schema is not valid: ${(error as Error).message}`)
  }
}

/** A backend's schema must not fail in any other way than by refusing: endless recursion, for example. */
const careful = (check: Check): Check => args => {
  try {
    return check(args)
  } catch (error) {
    return `the schema of the command cannot check them: ${(error as Error).message}`
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
