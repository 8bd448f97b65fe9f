// The HTTP server under the routes, with explicit limits instead of the wide defaults of Node and Fastify. It does not listen by itself.

import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { answerClientError, MAX_HEADER_BYTES, refuse, translate } from './errors.ts'

export interface ServerOptions {
  readonly log: FastifyBaseLogger
  /** Largest body, bytes. */
  readonly maxHttpBufferSize: number
  /** Proxies whose forwarded headers are trusted. Empty: none. */
  readonly trustProxy: readonly string[]
}

/** Time limits for the headers and for the whole request: a slower client would hold a socket for nothing. */
const HEADERS_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 60_000

export function createServer ({ log, maxHttpBufferSize, trustProxy }: ServerOptions): FastifyInstance {
  return Fastify({
    loggerInstance: log,
    // Logging a line per request would cost more than handling the request.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: maxHttpBufferSize,
    trustProxy: trustProxy.length === 0 ? false : [...trustProxy],
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: MAX_HEADER_BYTES },
    // By then the streams were ended by `bye`; connections still open belong to clients that do not close.
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    // While draining, the gateway refuses with codes of the contract. Fastify's own 503 would stop a native EventSource for good.
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => { void refuse(reply, translate(error, maxHttpBufferSize)) },
    clientErrorHandler: answerClientError,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 200 }
  })
}
