// Refusing a stream with status 200. A native EventSource gives up for good on any other status. A returning client whose
// refusal is temporary therefore gets a short stream: when to retry, the reason, and the end.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from '../core/errors.ts'

/** Headers of a stream besides its type: caches and proxies must not hold it back. */
export const STREAM_HEADERS = {
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no'
} as const

export const isReturning = (request: FastifyRequest): boolean => request.headers['last-event-id'] !== undefined

/** @param retryMs time after which this client should reconnect; different for each client, so that they do not all return at once */
export async function sayBye (reply: FastifyReply, refusal: Refusal, retryMs: number): Promise<FastifyReply> {
  reply.server.troubles.refused(refusal)
  return await reply
    .code(200)
    .type('text/event-stream; charset=utf-8')
    .headers(STREAM_HEADERS)
    .send(`retry: ${retryMs}\nevent: bye\ndata: ${JSON.stringify({ reason: refusal.code, retryMs })}\n\n`)
}
