// GET /api/events: what a stream would bring, read once over plain HTTP.

import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import { MAX_WAIT_SECONDS } from '../core/polls.ts'
import type { ReadAnswer } from '../core/polls.ts'
import { checkParameters, cursorOfRequest, joinsOfQuery } from './joins.ts'
import { partFrom } from './parting.ts'
import { readSchema, refusals, subscriptionQuery } from './schemas.ts'

const PARAMETERS = ['rooms', 'types', 'join', 'lastEventId', 'patch', 'wait', 'ticket']
/** Cursors of If-None-Match that are looked at, the last ones: each is a read of its own. */
const MAX_HELD = 4

export default async function read (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  /** Of waits: a drain answers them, and the answers are sent before connections are closed. */
  const waiting = new Set<ServerResponse>()

  app.get('/api/events', {
    config: { access: 'ticket', usesTicket: true, isShed: true },
    schema: {
      tags: ['events'],
      operationId: 'readEvents',
      summary: 'Read once, without a stream',
      description: 'Without a cursor the present values; with one what is new since: facts in order and newest values. At most a bundle\'s worth; `more`: ask again at once. The cursor is also the ETag: `If-None-Match` gets 304 where nothing is new.',
      querystring: {
        type: 'object',
        properties: {
          ...subscriptionQuery,
          wait: { type: 'number', minimum: 0, maximum: MAX_WAIT_SECONDS, default: 0, description: 'with a cursor: seconds to wait where nothing is new' }
        }
      },
      response: { 200: readSchema, 304: { type: 'null', description: 'Nothing is new since the cursor in If-None-Match.' }, ...refusals }
    }
  }, async (request, reply) => {
    const query = request.query as Record<string, unknown>
    checkParameters(query, PARAMETERS, 'a read')
    const joins = joinsOfQuery(query)
    const waitMs = waitOf(query.wait) * 1000
    const held = tagsOf(request.headers['if-none-match'])
    // A wait needs to know since when.
    const cursor = cursorOfRequest(request) ?? (waitMs === 0 ? null : held.at(-1) ?? null)
    const answer = await whileWanted(request, reply, waitMs > 0, async signal =>
      await gateway.read({ joins, cursor, held, waitMs, identity: request.identity, signal }))
    // A refusal leaves the ticket as it was.
    await request.useTicket()
    reply.header('Cache-Control', 'no-store').header('ETag', `"${answer.cursor}"`)
    if (answer.isUnmodified) return await reply.code(304).send()
    return await reply.type('application/json; charset=utf-8').send(textOf(answer))
  })

  async function whileWanted<T> ({ raw: { socket } }: FastifyRequest, { raw: response }: FastifyReply, waits: boolean, act: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    if (!waits) return await act(undefined)
    const unwanted = new AbortController()
    const end = (): void => unwanted.abort()
    waiting.add(response)
    response.once('close', () => waiting.delete(response))
    response.once('close', end)
    // Who has closed his side is most likely gone. If not, an answer that comes early does no harm.
    socket.once('end', end)
    try {
      return await act(unwanted.signal)
    } finally {
      // Each response closes, and an abort that nobody hears costs 20 us.
      response.off('close', end)
      socket.off('end', end)
    }
  }

  app.addHook('preClose', async () => await partFrom(waiting))
}

/** The events are JSON already. */
function textOf ({ position, cursor, reset, more, entries }: ReadAnswer): string {
  return `{"position":"${position}","cursor":${JSON.stringify(cursor)},"reset":${JSON.stringify(reset)},"more":${more},"events":[${entries.map(({ json }) => json).join()}]}`
}

/** @throws Refusal BAD_SUBSCRIPTION */
function waitOf (value: unknown): number {
  if (value === undefined) return 0
  const seconds = typeof value === 'string' && /^\d{1,3}(?:\.\d+)?$/.test(value) ? Number(value) : NaN
  if (!(seconds <= MAX_WAIT_SECONDS)) throw new Refusal('BAD_SUBSCRIPTION', `wait must be a number of seconds from 0 to ${MAX_WAIT_SECONDS}`)
  return seconds
}

/** The cursors in If-None-Match. A proxy that compresses answers makes tags weak (nginx), or adds the coding to them (Apache). */
function tagsOf (header: string | undefined): string[] {
  const tags = [...(header ?? '').matchAll(/"([^"]+)"/g)].map(([, tag = '']) => tag.replace(/-(?:gzip|br|deflate)$/, ''))
  return [...new Set(tags)].slice(-MAX_HELD)
}
