// What a program does with its gateway: the verbs of the gateway, as a program says them.

import type { Config } from '../../config/index.ts'
import { joinsOf } from '../app/joins.ts'
import { onceName } from '../app/once.ts'
import { digest, MAX_KEY } from '../core/command.ts'
import { Refusal } from '../core/errors.ts'
import type { Code } from '../core/errors.ts'
import { PROGRAM } from '../core/identity.ts'
import { reasonOf } from '../core/json.ts'
import type { Outcome } from '../core/ledger.ts'
import { MAX_WAIT_SECONDS } from '../core/polls.ts'
import type { Composition } from '../signalbox.ts'
import type { CommandAnswer, Once, ReadRequest, Signalbox } from './api.ts'

const ONCE = { takes: ['idempotencyKey'], example: '{ idempotencyKey: \'order-7\' }' } as const
const READ = { takes: ['rooms', 'types', 'lastEventId', 'wait'], example: '{ rooms: [\'plant-1\'] }' } as const

export function verbsOf (root: Composition, { shutdownTimeout }: Pick<Config, 'shutdownTimeout'>): Signalbox {
  return {
    async publish (events, options = {}) {
      const list: readonly unknown[] = Array.isArray(events) ? events : [events]
      const key = keyOf(options, 'publish', 'BAD_EVENT')
      return await root.publish(list, key === undefined ? {} : { once: { key: onceName('publish', PROGRAM.caller, key), fingerprint: digest(textOf(list)) } })
    },

    async read (request = {}) {
      checkOptions(request, 'read', READ, 'BAD_SUBSCRIPTION')
      const { rooms = [], types, lastEventId = null, wait = 0 } = request as ReadRequest
      if (!(typeof wait === 'number' && wait >= 0 && wait <= MAX_WAIT_SECONDS)) throw bad(`wait must be a number of seconds from 0 to ${MAX_WAIT_SECONDS}`)
      if (!Array.isArray(rooms)) throw bad('rooms must be an array of names, or of { room, types }')
      if (types !== undefined && !Array.isArray(types)) throw bad('types must be an array of names; leave it out for every type')
      if (lastEventId !== null && typeof lastEventId !== 'string') throw bad('lastEventId must be a string: the cursor exactly as it was received')
      const joins = joinsOf(rooms, types, 'BAD_SUBSCRIPTION')
      const { position, cursor, reset, more, entries } = await root.gateway.read({ joins, cursor: lastEventId === '' ? null : lastEventId, waitMs: wait * 1000 })
      return { position, cursor, reset, more, events: entries.map(({ json }) => JSON.parse(json)) }
    },

    async control (command, args, options = {}) {
      const idempotencyKey = keyOf(options, 'control', 'BAD_COMMAND')
      return answerOf(await root.control({ command, ...(args === undefined ? {} : { args }), idempotencyKey, identity: PROGRAM }))
    },

    on (change, listener) {
      if (change !== 'occupied' && change !== 'vacated') throw new Refusal('BAD_REQUEST', `there is no event ${JSON.stringify(change)}; there are occupied and vacated`)
      if (typeof listener !== 'function') throw new Refusal('BAD_REQUEST', 'the listener must be a function: (room) => …')
      return root.gateway.occupancy.on(change, listener)
    },

    // Half of the time for running commands, half for everything else, as the launcher does.
    drain: async () => await root.drain(shutdownTimeout * 1000 / 2)
  }
}

/** @throws Refusal COMMAND_FAILED, with the command's id */
function answerOf ({ id, command, status, result, resultOmitted, error }: Outcome): CommandAnswer {
  if (status === 'failed') throw Object.assign(new Refusal('COMMAND_FAILED', error?.message ?? `${command} failed`), { id, command })
  return { id, command, status, ...(result === undefined ? {} : { result }), ...(resultOmitted === undefined ? {} : { resultOmitted }) }
}

/** A misspelt option would otherwise have no effect, in silence. @throws Refusal */
function checkOptions (options: unknown, verb: string, { takes, example }: { readonly takes: readonly string[], readonly example: string }, code: Code): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw new Refusal(code, `the options of ${verb} are an object, such as ${example}; leave them out where there are none`)
  const unknown = Object.keys(options).find(name => !takes.includes(name))
  if (unknown !== undefined) throw new Refusal(code, `${verb} has no option ${JSON.stringify(unknown.slice(0, 40))}; it takes ${takes.join(', ')}`)
}

/** @throws Refusal */
function keyOf (options: Once, verb: string, code: Code): string | undefined {
  checkOptions(options, verb, ONCE, code)
  const { idempotencyKey: key } = options
  if (key !== undefined && (typeof key !== 'string' || key.length < 1 || key.length > MAX_KEY)) throw new Refusal(code, `an idempotencyKey is a string of 1 to ${MAX_KEY} characters`)
  return key
}

function textOf (events: readonly unknown[]): string {
  try {
    return JSON.stringify(events)
  } catch (error) {
    throw new Refusal('BAD_EVENT', `the events cannot be written as JSON: ${reasonOf(error)}`)
  }
}

const bad = (message: string): Refusal => new Refusal('BAD_SUBSCRIPTION', message)
