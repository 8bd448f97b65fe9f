// Refusing a stream with status 200. A native EventSource gives up for good on any other status. A returning client whose
// refusal is temporary therefore gets a short stream: when to retry, the reason, and the end.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from '../core/errors.ts'
import { breakOff } from './parting.ts'

/** Headers of a stream besides its type: caches and proxies must not hold it back. */
export const STREAM_HEADERS = {
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no'
} as const

/**
 * The cursor that a client brings: the header, or where that is absent or empty the query. Of several, the last one that is
 * not empty: a page adds its newest behind one that its address had from the start.
 */
export function cursorOf (request: FastifyRequest): string | null {
  const { lastEventId } = request.query as Record<string, unknown>
  // Node joins several headers by a comma and a space, which no cursor holds.
  const header = [request.headers['last-event-id'] ?? []].flat().flatMap(text => text.split(', '))
  const given = [...[lastEventId ?? []].flat().map(String), ...header].map(text => text.trim()).filter(text => text !== '')
  return given.at(-1) ?? null
}

export const isReturning = (request: FastifyRequest): boolean => request.headers['last-event-id'] !== undefined || cursorOf(request) !== null

/** @param retryMs time after which this client should reconnect; different for each client, so that they do not all return at once */
export function sayBye (reply: FastifyReply, refusal: Refusal, retryMs: number): FastifyReply {
  reply.server.troubles.refused(refusal)
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, { ...reply.getHeaders() as Record<string, string>, 'Content-Type': 'text/event-stream; charset=utf-8', ...STREAM_HEADERS, Connection: 'keep-alive' })
  raw.write(`retry: ${retryMs}\nevent: bye\ndata: ${JSON.stringify({ reason: refusal.code, retryMs })}\n\n`)
  if (raw.socket !== null) breakOff(raw.socket)
  return reply
}
