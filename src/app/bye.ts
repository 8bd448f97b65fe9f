// Refusing a stream with status 200. A native EventSource gives up for good on any other status. A returning client whose
// refusal is temporary therefore gets a short stream: when to retry, the reason, and the end.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from '../core/errors.ts'
import { cursorOfRequest } from './joins.ts'
import { breakOff } from './parting.ts'

/** Headers of a stream besides its type: caches and proxies must not hold it back. */
export const STREAM_HEADERS = {
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no'
} as const

export const isReturning = (request: FastifyRequest): boolean => request.headers['last-event-id'] !== undefined || cursorOfRequest(request) !== null

/** @param retryMs time after which this client should reconnect; different for each client, so that they do not all return at once */
export function sayBye (reply: FastifyReply, refusal: Refusal, retryMs: number): FastifyReply {
  reply.server.troubles.refused(refusal, reply.request.ip)
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, { ...reply.getHeaders() as Record<string, string>, 'Content-Type': 'text/event-stream; charset=utf-8', ...STREAM_HEADERS, Connection: 'keep-alive' })
  raw.write(`retry: ${retryMs}\nevent: bye\ndata: ${JSON.stringify({ reason: refusal.code, retryMs })}\n\n`)
  if (raw.socket !== null) breakOff(raw.socket)
  return reply
}
