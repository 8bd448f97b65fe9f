// What a program does with its gateway: the verbs of the gateway, as a program says them.

import type { Config } from '../../config/index.ts'
import { joinsOf } from '../app/joins.ts'
import { MAX_WAIT_SECONDS } from '../app/read.ts'
import { digest, MAX_KEY } from '../core/command.ts'
import { Refusal } from '../core/errors.ts'
import { PROGRAM } from '../core/identity.ts'
import type { Outcome } from '../core/ledger.ts'
import type { Composition } from '../signalbox.ts'
import type { CommandAnswer, Signalbox } from './api.ts'

export function verbsOf (root: Composition, { shutdownTimeout }: Pick<Config, 'shutdownTimeout'>): Signalbox {
  return {
    async publish (events, { idempotencyKey } = {}) {
      const list: readonly unknown[] = Array.isArray(events) ? events : [events]
      if (idempotencyKey === undefined) return await root.publish(list)
      if (typeof idempotencyKey !== 'string' || idempotencyKey.length < 1 || idempotencyKey.length > MAX_KEY) throw new Refusal('BAD_EVENT', `an idempotencyKey has 1 to ${MAX_KEY} characters`)
      return await root.publish(list, { once: { key: digest('publish', PROGRAM.caller, idempotencyKey), fingerprint: digest(textOf(list)) } })
    },

    async read ({ rooms = [], types, lastEventId = null, wait = 0 } = {}) {
      if (!(typeof wait === 'number' && wait >= 0 && wait <= MAX_WAIT_SECONDS)) throw new Refusal('BAD_SUBSCRIPTION', `wait must be a number of seconds from 0 to ${MAX_WAIT_SECONDS}`)
      if (!Array.isArray(rooms)) throw new Refusal('BAD_SUBSCRIPTION', 'rooms must be an array of names, or of { room, types }')
      const joins = joinsOf(rooms, types, 'BAD_SUBSCRIPTION')
      const { position, cursor, reset, more, entries } = await root.gateway.read({ joins, cursor: lastEventId === '' ? null : lastEventId, waitMs: wait * 1000 })
      return { position, cursor, reset, more, events: entries.map(({ json }) => JSON.parse(json)) }
    },

    async control (command, args, { idempotencyKey } = {}) {
      return answerOf(await root.control({ command, ...(args === undefined ? {} : { args }), idempotencyKey, identity: PROGRAM }))
    },

    on (change, listener) {
      if (change !== 'occupied' && change !== 'vacated') throw new TypeError(`there is no event ${JSON.stringify(change)}; there are occupied and vacated`)
      if (typeof listener !== 'function') throw new TypeError('the listener must be a function: (room) => …')
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

function textOf (events: readonly unknown[]): string {
  try {
    return JSON.stringify(events)
  } catch (error) {
    throw new Refusal('BAD_EVENT', `the events cannot be written as JSON: ${(error as Error).message.split('\n', 1)[0]}`)
  }
}
