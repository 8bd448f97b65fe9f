// The HTTP server under the routes, with what frameworks leave wide set explicitly. It listens nowhere by itself.

import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { answerClientError, MAX_HEADER_BYTES, refuse, translate } from './errors.ts'

export interface ServerOptions {
  readonly log: FastifyBaseLogger
  /** Largest body, bytes. */
  readonly maxHttpBufferSize: number
  /** Proxies whose forwarded headers count; none: nobody's. */
  readonly trustProxy: readonly string[]
}

/** Time a client has for its headers, and for its whole request: one that takes longer holds a socket for nothing. */
const HEADERS_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 60_000

export function createServer ({ log, maxHttpBufferSize, trustProxy }: ServerOptions): FastifyInstance {
  return Fastify({
    loggerInstance: log,
    // One line per request would be most of the work of a gateway.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: maxHttpBufferSize,
    trustProxy: trustProxy.length === 0 ? false : [...trustProxy],
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: MAX_HEADER_BYTES },
    // By then the streams were ended with a word; connections that are still open belong to clients that do not close.
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    // The gateway itself refuses while it drains, in the contract's words; Fastify's own 503 would end a native EventSource for good.
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => { void refuse(reply, translate(error, maxHttpBufferSize)) },
    clientErrorHandler: answerClientError,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 200 }
  })
}
