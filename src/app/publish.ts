// POST /api/events: publishing over HTTP.

import { inspect } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { MAX_KEY } from '../core/command.ts'
import { Refusal } from '../core/errors.ts'
import { MAX_BATCH } from '../core/event.ts'
import type { Gateway } from '../core/gateway.ts'
import { limitRoutes } from './limit.ts'
import { onceName } from './once.ts'
import { batchSchema, eventSchema, idempotencyHeader, idsSchema, refusals } from './schemas.ts'

const PATH = '/api/events'

export default async function publish (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  await limitRoutes(app, 'PUBLISH_RATE_LIMIT', gateway.rates.publish, () => gateway.limits.publishRateLimit)

  app.post(PATH, {
    config: { isShed: true },
    schema: {
      tags: ['events'],
      operationId: 'publish',
      summary: `Publish one event, or up to ${MAX_BATCH} of them`,
      description: 'All or nothing. The response is sent when the events are durable. The body may be gzipped.',
      headers: idempotencyHeader,
      body: {
        content: {
          'application/json': { schema: { oneOf: [eventSchema, batchSchema] } },
          'application/x-ndjson': { schema: { type: 'string', description: 'an event on each line' } }
        }
      },
      response: { 202: idsSchema, ...refusals }
    }
  }, (request, reply) => {
    const { body } = request
    if (body === undefined || body === null) throw new Refusal('BAD_EVENT', 'the body is empty; send an event, or an array of them, as JSON')
    const key = keyOf(request.headers['idempotency-key'])
    const { identity, fingerprint } = request
    const once = key === undefined ? undefined : { key: onceName(`POST ${PATH}`, identity.caller, key), fingerprint }
    // Neither this function nor the reply is waited for: that would be 1.4 of the 21 KB that a single event allocates.
    gateway.publish(Array.isArray(body) ? body : [body], { once, identity }).then(ids => reply.code(202).send({ ids })).catch((error: unknown) => reply.send(asError(error)))
  })
}

/** Fastify takes only an Error for a failure, and the store of a program may reject with anything. */
const asError = (error: unknown): Error => error instanceof Error ? error : new Error(`it was rejected with ${inspect(error)}`)

function keyOf (header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  if (typeof header !== 'string' || header.length < 1 || header.length > MAX_KEY) {
    throw new Refusal('BAD_EVENT', `an Idempotency-Key has 1 to ${MAX_KEY} characters`)
  }
  return header
}
