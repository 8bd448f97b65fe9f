// What a program does with its gateway: the verbs of the gateway, as a program says them.

import type { Config } from '../../config/index.ts'
import { digest, MAX_KEY } from '../core/command.ts'
import { Refusal } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { PUBLIC } from '../core/event.ts'
import { PROGRAM } from '../core/identity.ts'
import type { Outcome } from '../core/ledger.ts'
import { parseJoins } from '../core/subscription.ts'
import type { Signalbox as Root } from '../signalbox.ts'

/** An event to be published; `Events` maps types to the data of their events. */
export type NewEvent<Events extends object = Record<string, unknown>> = {
  [Type in keyof Events & string]: {
    readonly type: Type
    /** Who hears it. Absent: a public event. */
    readonly room?: string | null | undefined
    /** Present: state, the newest value per (room, type, key) wins. Absent: a fact, every one is delivered. */
    readonly key?: string | null | undefined
    /** Any JSON value; null on a keyed event deletes the key. */
    readonly data: Events[Type] | null
    /** Milliseconds since 1970. Absent: now. */
    readonly timestamp?: number | null | undefined
    /** Seconds after which the value of a key ends by itself. */
    readonly ttl?: number | null | undefined
  }
}[keyof Events & string]

/** An event as it is read; `Events` maps types to the data of their events. */
export type ReadEvent<Events extends object = Record<string, unknown>> = {
  [Type in keyof Events & string]: Omit<Event, 'type' | 'data'> & { readonly type: Type, readonly data: Events[Type] | null }
}[keyof Events & string]

export interface Once {
  /** Makes a repeat return the first answer, for idempotencyTtl seconds. */
  readonly idempotencyKey?: string | undefined
}

export interface ReadRequest {
  /** Rooms, each with the types of `types` or with its own. Default: the public feed. */
  readonly rooms?: ReadonlyArray<string | { readonly room: string, readonly types?: readonly string[] }> | undefined
  /** Default: every type. */
  readonly types?: readonly string[] | undefined
  /** The cursor of an earlier answer. Without it: the present values. */
  readonly lastEventId?: string | null | undefined
  /** Seconds to wait where nothing is new since `lastEventId`, 0 to 60. Default 0. */
  readonly wait?: number | undefined
}

export interface ReadAnswer<Events extends object = Record<string, unknown>> {
  /** `new`: the present values; `resumed`: what is new since the cursor; `reset`: forget what you have, these are the present values. */
  readonly position: 'new' | 'resumed' | 'reset'
  /** The next `lastEventId`, here or of a page's stream. */
  readonly cursor: string
  readonly reset: { readonly reason: string, readonly missed: number | null } | null
  /** Ask again at once. */
  readonly more: boolean
  readonly events: ReadonlyArray<ReadEvent<Events>>
}

/** What became of a command. One that failed is thrown, with the code COMMAND_FAILED. */
export interface CommandAnswer {
  readonly id: string
  readonly command: string
  /** `running`: it takes longer than commandTimeout; `unknown`: it was started, and its outcome was lost. */
  readonly status: 'done' | 'running' | 'unknown'
  readonly result?: unknown
  /** The result was too large to be kept for a repeat. */
  readonly resultOmitted?: true | undefined
}

/** A gateway in this process. What it refuses is thrown as an error with `code` and `statusCode`, as in docs/protocol.md. */
export interface Signalbox<Events extends object = Record<string, unknown>> {
  /**
   * Publishes one event, or up to 1000: all or none.
   * @returns their ids, once the events are durable
   */
  publish<Typed extends object = Events> (events: NewEvent<Typed> | ReadonlyArray<NewEvent<Typed>>, options?: Once): Promise<string[]>
  /** Reads once, without a stream: what GET /api/events answers. */
  read<Typed extends object = Events> (request?: ReadRequest): Promise<ReadAnswer<Typed>>
  /** Runs a command, as POST /api/control does. */
  control (command: string, args?: Readonly<Record<string, unknown>>, options?: Once): Promise<CommandAnswer>
  /** Refuses what is new, finishes what is under way, and ends all connections so that clients come back. Closing does it too. Idempotent. */
  drain (): Promise<void>
}

const MAX_WAIT_SECONDS = 60

export function verbsOf (root: Root, { shutdownTimeout }: Pick<Config, 'shutdownTimeout'>): Signalbox {
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
      const shared = types === undefined ? {} : { types }
      const joins = parseJoins((rooms.length === 0 ? [PUBLIC] : rooms).map(wish => typeof wish === 'string' ? { room: wish, ...shared } : { ...shared, ...wish }))
      const { position, cursor, reset, more, entries } = await root.gateway.read({ joins, cursor: lastEventId === '' ? null : lastEventId, waitMs: wait * 1000 })
      return { position, cursor, reset, more, events: entries.map(({ json }) => JSON.parse(json)) }
    },

    async control (command, args, { idempotencyKey } = {}) {
      return answerOf(await root.control({ command, ...(args === undefined ? {} : { args }), idempotencyKey, identity: PROGRAM }))
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
