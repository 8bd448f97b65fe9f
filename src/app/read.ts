// GET /api/events: what a stream would bring, read once over plain HTTP.

import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import type { ReadAnswer } from '../core/polls.ts'
import { cursorOf } from './bye.ts'
import { checkParameters, joinsOfQuery } from './joins.ts'
import { partFrom } from './parting.ts'
import { deliveredSchema, errorSchema, subscriptionQuery } from './schemas.ts'

const PARAMETERS = ['rooms', 'types', 'join', 'lastEventId', 'wait', 'ticket']
const MAX_WAIT_SECONDS = 60

const answerSchema = {
  type: 'object',
  required: ['position', 'cursor', 'reset', 'more', 'events'],
  properties: {
    position: { type: 'string', enum: ['new', 'resumed', 'reset'] },
    cursor: { type: 'string', description: 'the position behind this answer: the next lastEventId, here or of a stream or a socket' },
    reset: {
      type: ['object', 'null'],
      required: ['reason', 'missed'],
      properties: { reason: { type: 'string', enum: ['trimmed', 'unknown', 'ahead', 'subscription'] }, missed: { type: ['integer', 'null'] } }
    },
    more: { type: 'boolean', description: 'ask again at once' },
    events: { type: 'array', items: deliveredSchema }
  }
}

export default async function read (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  /** Of waits: a drain answers them, and the answers are sent before connections are closed. */
  const waiting = new Set<ServerResponse>()

  app.get('/api/events', {
    config: { access: 'ticket', isShed: true },
    schema: {
      tags: ['events'],
      summary: 'Read once, without a stream',
      description: 'Without a cursor the present values; with one what is new since: facts in order and newest values. At most a bundle\'s worth; `more`: ask again at once. The cursor is also the ETag: `If-None-Match` gets 304 where nothing is new.',
      querystring: {
        type: 'object',
        properties: {
          ...subscriptionQuery,
          wait: { type: 'number', minimum: 0, maximum: MAX_WAIT_SECONDS, default: 0, description: 'with a cursor: seconds to wait where nothing is new' }
        }
      },
      response: { 200: answerSchema, 304: { type: 'null', description: 'nothing is new' }, '4xx': errorSchema, 503: errorSchema }
    }
  }, async (request, reply) => {
    const query = request.query as Record<string, unknown>
    checkParameters(query, PARAMETERS, 'a read')
    const joins = joinsOfQuery(query)
    const waitMs = waitOf(query.wait) * 1000
    const held = tagsOf(request.headers['if-none-match'])
    // A wait needs to know since when.
    const cursor = cursorOf(request) ?? (waitMs === 0 ? null : held.at(-1) ?? null)
    const answer = await whileWanted(request, reply, waitMs > 0, async signal =>
      await gateway.read({ joins, cursor, held, waitMs, identity: request.identity, signal }))
    reply.header('Cache-Control', 'no-store').header('ETag', `"${answer.cursor}"`)
    if (answer.isUnmodified) return await reply.code(304).send()
    return await reply.type('application/json; charset=utf-8').send(textOf(answer))
  })

  async function whileWanted<T> ({ raw: { socket } }: FastifyRequest, { raw: response }: FastifyReply, waits: boolean, act: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    if (!waits) return await act(undefined)
    const unwanted = new AbortController()
    const end = (): void => unwanted.abort()
    waiting.add(response)
    response.once('close', () => {
      waiting.delete(response)
      end()
    })
    // Who has closed his side is most likely gone. If not, an answer that comes early does no harm.
    socket.once('end', end)
    try {
      return await act(unwanted.signal)
    } finally {
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
  return [...(header ?? '').matchAll(/"([^"]+)"/g)].map(([, tag = '']) => tag.replace(/-(?:gzip|br|deflate)$/, ''))
}
