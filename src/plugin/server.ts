// A gateway behind any server that has Node's request and response: node:http, Express, Hono on Node, Next's custom server.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { pino } from 'pino'
import { Refusal } from '../core/errors.ts'
import { answer, below, Door, ignoreUpgrade } from './door.ts'
import { readOptions } from './options.ts'
import type { Options } from './options.ts'
import { start } from './start.ts'
import type { Signalbox } from './api.ts'

/** A gateway with a door to a server. Its functions need no `this`. */
export interface SignalboxServer<Events extends object = Record<string, unknown>> extends Signalbox<Events> {
  /**
   * Answers a request, if it is for the gateway: below the prefix, if there is one.
   * @param next called for any other. Without it that gets 404.
   */
  readonly handle: (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void
  /**
   * For the event `upgrade` of a server; needed while the profile WEBSOCKET is mounted.
   * @returns whether the request was for the gateway. If not, and nobody else listens for the event, it is answered without an upgrade.
   */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean
  /** Drains, ends all connections and closes the store. Call it before you close your server. Idempotent. */
  readonly close: () => Promise<void>
}

/**
 * Starts a gateway in this process.
 * @throws ConfigError naming every wrong option; Error with a sentence if the store cannot be opened
 */
export async function createSignalbox<Events extends object = Record<string, unknown>> (options: Options = {}): Promise<SignalboxServer<Events>> {
  const read = readOptions(options as Options & Record<string, unknown>)
  const log = read.logger ?? pino({ level: read.logLevel ?? 'warn' })
  const { verbs, inner, socketPath, paths, close } = await start(read as never, log, read.authorize)
  const door = new Door({ inner, socketPath, paths, prefix: below(read.prefix), log })
  return {
    ...verbs,
    handle (request, response, next) {
      if (door.handle(request, response)) return
      if (next !== undefined) return next()
      answer(response, new Refusal('NOT_FOUND', `there is no ${request.method ?? ''} ${(request.url ?? '').split('?', 1)[0]?.slice(0, 100) ?? ''} here; the gateway is at ${read.prefix}/`))
    },
    upgrade (request, socket, head) {
      if (door.upgrade(request, socket, head)) return true
      ignoreUpgrade(request, socket, head)
      return false
    },
    close
  }
}
