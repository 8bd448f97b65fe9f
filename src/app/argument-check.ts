// Checks of a command's arguments, made from JSON Schemas. Schemas from outside are taken strictly, and neither compiling
// one nor checking with it may hold up the process: a pattern such as ^(a+)+$ takes V8 hours, and a schema that refers to
// itself may never end. V8 can stop its own code after a time, regular expressions too; only its `vm` module offers that.

import { createContext, Script } from 'node:vm'
import { Ajv } from 'ajv'
import type { Options } from 'ajv'

/** @returns what is wrong with the arguments, as a sentence; null where nothing is */
export type ArgumentCheck = (args: unknown) => string | null

const MAX_COMPLAINT = 500
/** Characters of a schema as JSON. */
const MAX_SCHEMA = 65_536
const COMPILE_MS = 1000
const CHECK_MS = 100
const TOO_LONG = 'the schema of this command takes too long to check them (a pattern such as (a+)+ does)'

/** Unknown keywords are refused: a misspelt one would check nothing. Formats only describe. */
const STRICT = { strict: true, strictTypes: false, strictTuples: false, strictRequired: false, validateFormats: false } as const
/** Checks schemas, and compiles none: a compiler keeps every schema it has had. */
const schemas = new Ajv(STRICT)

/** A check by a schema of the gateway's own. */
export function checkOf (schema: object): ArgumentCheck {
  return compile(schema, { strict: false })
}

/**
 * A check by a schema from outside.
 * @throws Error where it is not one, or cannot be used to check arguments at once
 */
export function boundedCheckOf (schema: object): ArgumentCheck {
  if (JSON.stringify(schema).length > MAX_SCHEMA) throw new Error(`it may have ${MAX_SCHEMA} characters`)
  // Compiles the schema of schemas, once. V8 stops code without running what would clean up after it: stopped in the middle of
  // this, where the machine is too busy, Ajv would take it for being compiled ever after.
  void schemas.validateSchema({})
  const compiled = bounded(COMPILE_MS, () => {
    if (schemas.validateSchema(schema, true) !== true) throw new Error('it is not a JSON Schema')
    return compile(schema, STRICT)
  })
  const check: ArgumentCheck = args => {
    try {
      return bounded(CHECK_MS, () => compiled(args))
    } catch (error) {
      return isTimeout(error) ? TOO_LONG : `they cannot be checked by the schema of this command: ${(error as Error).message}`
    }
  }
  // Most schemas that never end do not end for these arguments either.
  bounded(COMPILE_MS, () => compiled({}))
  return check
}

function compile (schema: object, options: Options): ArgumentCheck {
  // It stops at the first problem: listing a hundred thousand of them would take long.
  const ajv = new Ajv({ ...options, meta: false, validateSchema: false })
  const validate = ajv.compile(schema)
  if ('$async' in validate) throw new Error('$async is not supported: arguments are checked before the command is started')
  return args => {
    if (validate(args)) return null
    const allowed: unknown = validate.errors?.[0]?.params.allowedValues
    return `${ajv.errorsText(validate.errors, { dataVar: 'args' })}${Array.isArray(allowed) ? `: ${allowed.map(value => JSON.stringify(value)).join(', ')}` : ''}`.slice(0, MAX_COMPLAINT)
  }
}

const sandbox = createContext({ act: () => {} })
const script = new Script('act()')
/** Attempts on a machine so busy that the time passes without us. */
const MAX_ATTEMPTS = 20

/** @throws Error where it takes longer than `ms`, and what `act` throws */
function bounded<T> (ms: number, act: () => T): T {
  sandbox.act = act
  const before = process.cpuUsage()
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return script.runInContext(sandbox, { timeout: ms }) as T
      } catch (error) {
        // Of all attempts: with a small share of a processor each of them would stay below.
        const { user, system } = process.cpuUsage(before)
        if (!isTimeout(error) || (user + system) / 1000 > ms / 2 || attempt === MAX_ATTEMPTS) throw error
      }
    }
  } finally {
    sandbox.act = null
  }
}

const isTimeout = (error: unknown): boolean => (error as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
