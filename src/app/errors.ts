// Every error response, in one shape. A refusal by the gateway has its own message; errors of Fastify are translated to the
// codes of the contract; details of any other error are only logged.

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import type { Troubles } from '../core/figures/troubles.ts'
import { isReturning, sayBye } from './bye.ts'
import { PARTING_MS } from './parting.ts'
import { afterTurns } from './turns.ts'

const JSON_TYPE = 'application/json; charset=utf-8'

declare module 'fastify' {
  interface FastifyInstance {
    troubles: Troubles
  }
  interface FastifyContextConfig {
    /** A stream of events: returning clients are refused by a stream with `bye`, see bye.ts. */
    isStream?: boolean
  }
}

export default fp(async (app: FastifyInstance, { gateway }: { gateway: Gateway }) => {
  app.decorate('troubles', gateway.troubles)
  app.setErrorHandler(async (error: FastifyError | Refusal, request, reply) => {
    const refusal = error instanceof Refusal ? error : translate(error, app.initialConfig.bodyLimit)
    if (refusal.statusCode >= 500 && !(error instanceof Refusal)) request.log.error({ err: error }, 'a request failed')
    // The route, not the address: there may be a ticket in it.
    else request.log.debug({ code: refusal.code, route: request.routeOptions.url }, refusal.message)
    if (request.routeOptions.config.isStream === true && refusal.retryMs !== undefined && isReturning(request)) return sayBye(reply, refusal, gateway.returnAfterMs())
    return await refuse(reply, refusal)
  })
}, { name: 'errors' })

/** Sends a refusal as the response. */
export async function refuse (reply: FastifyReply, refusal: Refusal): Promise<FastifyReply> {
  reply.server.troubles.refused(refusal, reply.request.ip)
  if (refusal.statusCode === 401) reply.header('WWW-Authenticate', 'Bearer')
  const retryAfter = retryAfterOf(refusal)
  if (retryAfter !== null) reply.header('Retry-After', retryAfter)
  return await reply.code(refusal.statusCode).type(JSON_TYPE).send(JSON.stringify(refusal.body))
}

/** The header Retry-After, seconds. A 409 may be temporary too, but its duration is unknown: only 429 and 503 have it. */
const retryAfterOf = ({ statusCode, retryMs }: Refusal): number | null =>
  retryMs !== undefined && (statusCode === 429 || statusCode === 503) ? Math.ceil(retryMs / 1000) : null

/** Answers what is not valid HTTP, directly on its socket, and behind the answers to the requests before it. */
export function answerClientError (error: NodeJS.ErrnoException, socket: Socket, maxHeaderBytes: number): void {
  if (error.code === 'ECONNRESET') return
  afterTurns(socket, () => {
    if (socket.destroyed || !socket.writable) return
    switch (error.code) {
      case 'HPE_HEADER_OVERFLOW': return answerBare(socket, '431 Request Header Fields Too Large', new Refusal('TOO_LARGE', `address and headers of a request may not exceed ${Math.floor(maxHeaderBytes / 1024)} KiB; name fewer rooms and types`))
      case 'ERR_HTTP_REQUEST_TIMEOUT': return answerBare(socket, '408 Request Timeout', new Refusal('BAD_REQUEST', 'the request took too long to arrive'))
      default: return answerBare(socket, '400 Bad Request', new Refusal('BAD_REQUEST', 'this is not valid HTTP/1.1'))
    }
  })
}

/**
 * Answers on a socket without a reply, and closes it. What the client still sends is read for a moment and discarded:
 * closing a socket with unread bytes resets the connection, and the client may lose the answer (RFC 9112, 9.6).
 * @param status code and phrase; the body repeats both
 * @param headers lines of further headers
 */
export function answerBare (socket: Duplex, status: string, refusal: Refusal, headers = ''): void {
  const body = JSON.stringify({ ...refusal.body, statusCode: Number(status.slice(0, 3)), error: status.slice(4) })
  const retryAfter = retryAfterOf(refusal)
  socket.on('error', () => {})
  socket.end(`HTTP/1.1 ${status}\r\n${headers}${retryAfter === null ? '' : `Retry-After: ${retryAfter}\r\n`}Connection: close\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  socket.once('end', () => socket.destroy())
  socket.resume()
  setTimeout(() => socket.destroy(), PARTING_MS).unref()
}

/** Translates an error of Fastify to a refusal with a code of the contract. */
export function translate (error: FastifyError, maxHttpBufferSize: number | undefined): Refusal {
  switch (error.statusCode) {
    case 413: return new Refusal('TOO_LARGE', `a body may not exceed ${maxHttpBufferSize} bytes (MAX_HTTP_BUFFER_SIZE)`)
    case 415: return new Refusal('UNSUPPORTED_MEDIA_TYPE', 'send Content-Type: application/json, or application/x-ndjson (also application/ndjson, application/jsonl) for events')
    case 503: return new Refusal('DRAINING', 'the gateway is shutting down; try again in a moment')
    default: break
  }
  // Its own message repeats the address, in which there may be a ticket.
  if (error.code === 'FST_ERR_BAD_URL') return new Refusal('BAD_REQUEST', 'the path is not valid: behind each % come two hexadecimal digits, and together they are UTF-8')
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) return new Refusal('BAD_REQUEST', error.message)
  return internalError()
}

/** An error that is not the client's fault. The details are in the log only. */
export const internalError = (): Refusal => new Refusal('INTERNAL', 'the gateway failed to handle this; see its log for details')
