// The HTTP server under the routes, with explicit limits instead of the wide defaults of Node and Fastify. It does not listen by itself.

import { IncomingMessage } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { MAX_CURSOR } from '../core/cursor.ts'
import { Refusal } from '../core/errors.ts'
import type { Troubles } from '../core/figures/troubles.ts'
import { MAX_NAMES, MAX_SPELLING } from '../core/subscription.ts'
import { trustOf } from './caller.ts'
import { boundConnections } from './descriptors.ts'
import { answerBare, answerClientError, refuse, translate } from './errors.ts'
import { messageClass } from './upgrade.ts'

export interface ServerOptions {
  readonly log: FastifyBaseLogger
  /** Where it is counted what ran into a limit. */
  readonly troubles: Troubles
  /** Largest body, bytes. */
  readonly maxHttpBufferSize: number
  /** Proxies whose forwarded headers are trusted. Empty: none. */
  readonly trustProxy: readonly string[]
  /** Seconds an idle connection is kept. */
  readonly keepAliveTimeout: number
  /** Seconds for a request to arrive whole. */
  readonly requestTimeout: number
  /** Rooms that an address may have to name. Node fixes the bound that follows from it: one that is tuned later counts after a restart. */
  readonly maxRoomsPerClient: number
  /** The path of the WebSocket; null while it is not mounted. */
  readonly socketPath: () => string | null
}

/** Time for the headers of a request, also for its first byte: a slower client would hold a socket for nothing. */
const HEADERS_TIMEOUT_MS = 15_000
/** Node looks this often for requests that are too slow; by default only every 30 s. */
const CHECK_MS = 1000
/** What browsers and proxies add, besides the longest cursor and the longest types, each character of which may be encoded as `%2F`. */
const OTHER_HEADER_BYTES = 13 * 1024
const BASE_HEADER_BYTES = MAX_CURSOR + 3 * MAX_SPELLING + OTHER_HEADER_BYTES
/** A room's name and a comma, encoded. */
const ROOM_BYTES = 3 * 129

export function createServer ({ log, troubles, maxHttpBufferSize, trustProxy, keepAliveTimeout, requestTimeout, maxRoomsPerClient, socketPath }: ServerOptions): FastifyInstance {
  const maxHeaderSize = BASE_HEADER_BYTES + ROOM_BYTES * Math.min(maxRoomsPerClient, MAX_NAMES)
  const app = Fastify({
    loggerInstance: log,
    // Logging a line per request would cost more than handling the request.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: maxHttpBufferSize,
    trustProxy: trustProxy.length === 0 ? false : trustOf(trustProxy),
    requestTimeout: requestTimeout * 1000,
    keepAliveTimeout: keepAliveTimeout * 1000,
    http: {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeout * 1000),
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize,
      // Checked by hosts.ts, which answers in the shape of all errors.
      requireHostHeader: false,
      IncomingMessage: messageClass(socketPath)
    },
    // By then the streams were ended by `bye`; connections still open belong to clients that do not close.
    forceCloseConnections: true,
    // While draining, the gateway refuses with codes of the contract. Fastify's own 503 would stop a native EventSource for good.
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => { void refuse(reply, translate(error, maxHttpBufferSize)) },
    clientErrorHandler: (error, socket) => {
      // Node tells again of each packet that still comes.
      if (socket.writable && error.code === 'ERR_HTTP_REQUEST_TIMEOUT') troubles.bounds.request_time++
      if (socket.writable && error.code === 'HPE_HEADER_OVERFLOW') troubles.bounds.headers++
      answerClientError(error, socket, maxHeaderSize)
    },
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 }
  })
  boundConnections(app.server, troubles)
  // A client that has sent its request and closed its side still reads the answer.
  Object.assign(app.server, { httpAllowHalfOpen: true })
  app.server.on('checkExpectation', ({ socket }: IncomingMessage, _response: ServerResponse) =>
    answerBare(socket, '417 Expectation Failed', new Refusal('EXPECTATION_FAILED', 'of expectations only 100-continue is met; send the request without Expect')))
  app.server.on('connect', (_request: IncomingMessage, socket: Duplex) =>
    answerBare(socket, '405 Method Not Allowed', new Refusal('METHOD_NOT_ALLOWED', 'this is no proxy'), 'Allow: GET, HEAD, OPTIONS, POST\r\n'))
  return app
}
