// The last message of a stream that is refused. A native EventSource gives up for good on any status but 200, so a
// returning client whose refusal may pass gets a stream after all: when to come back, why, and its end.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from '../core/errors.ts'

/** Headers of a stream besides its type: neither caches nor proxies may hold it back. */
export const STREAM_HEADERS = {
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no'
} as const

export const isReturning = (request: FastifyRequest): boolean => request.headers['last-event-id'] !== undefined

/** @param retryMs when this client should come back: each gets another time, so that they do not return all at once */
export async function sayBye (reply: FastifyReply, refusal: Refusal, retryMs: number): Promise<FastifyReply> {
  reply.server.troubles.refused(refusal)
  return await reply
    .code(200)
    .type('text/event-stream; charset=utf-8')
    .headers(STREAM_HEADERS)
    .send(`retry: ${retryMs}\nevent: bye\ndata: ${JSON.stringify({ reason: refusal.code, retryMs })}\n\n`)
}
