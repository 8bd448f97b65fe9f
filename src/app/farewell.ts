// Last words. A native EventSource gives up for good on any status but 200: so a returning client that is
// turned away for a reason that may pass gets a stream after all: when to come back, why, and its end.

import { setTimeout } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from '../core/errors.ts'

/** What a stream answers with besides its type, in both directions of proxies. */
export const STREAM_HEADERS = {
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no'
} as const

/** Time a client has to take its last words and go, ms. */
export const GRACE_MS = 1000
const LOOK_MS = 10

export const isReturning = (request: FastifyRequest): boolean => request.headers['last-event-id'] !== undefined

/** @param retryMs when this client, rather than all at once, should come back */
export async function farewell (reply: FastifyReply, refusal: Refusal, retryMs: number): Promise<FastifyReply> {
  reply.server.troubles.refused(refusal)
  return await reply
    .code(200)
    .type('text/event-stream; charset=utf-8')
    .headers(STREAM_HEADERS)
    .send(`retry: ${retryMs}\nevent: bye\ndata: ${JSON.stringify({ reason: refusal.code, retryMs })}\n\n`)
}

/** Waits for ended connections to go, and destroys those that do not. Whoever goes takes itself out of the set. */
export async function partFrom (connections: ReadonlySet<{ destroy (): void }>): Promise<void> {
  const until = performance.now() + GRACE_MS
  while (connections.size > 0 && performance.now() < until) await setTimeout(LOOK_MS)
  for (const connection of connections) connection.destroy()
}
