// POST /api/ticket: a ticket for what cannot send headers.

import type { FastifyInstance } from 'fastify'
import type { Gateway } from '../core/gateway.ts'
import type { Authority } from './auth/authority.ts'
import { limitRoutes } from './limit.ts'
import { errorSchema } from './schemas.ts'

export default async function ticket (app: FastifyInstance, { gateway, authority }: { gateway: Gateway, authority: Authority }): Promise<void> {
  await limitRoutes(app, 'CONTROL_RATE_LIMIT', gateway.rates.control, () => gateway.limits.controlRateLimit)

  app.post('/api/ticket', {
    schema: {
      tags: ['events'],
      summary: 'Get a ticket for a stream or a socket',
      description: 'For clients that cannot send headers: `?ticket=` works once, with the rights and the life of the token. Counts towards CONTROL_RATE_LIMIT.',
      response: {
        200: { type: 'object', properties: { ticket: { type: 'string' }, expiresIn: { type: 'integer', description: 'seconds' } } },
        '4xx': errorSchema,
        503: errorSchema
      }
    }
  }, async ({ identity }, reply) => {
    reply.header('Cache-Control', 'no-store')
    return await authority.ticketFor(identity)
  })
}
