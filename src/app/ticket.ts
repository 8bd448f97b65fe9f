// POST /api/ticket: a ticket for what cannot send headers.

import type { FastifyInstance } from 'fastify'
import type { Gateway } from '../core/gateway.ts'
import type { Authority } from './auth/authority.ts'
import { limitRoutes } from './limit.ts'
import { refusals, ticketSchema } from './schemas.ts'

/** Viewers who share a token come back at once after a restart. */
const MAX_A_SECOND = 100

export default async function ticket (app: FastifyInstance, { gateway, authority }: { gateway: Gateway, authority: Authority }): Promise<void> {
  await limitRoutes(app, 'tickets of one caller', gateway.rates.ticket, () => MAX_A_SECOND)

  app.post('/api/ticket', {
    // Secrets stand in no compressed text.
    config: { compresses: false },
    schema: {
      tags: ['events'],
      operationId: 'createTicket',
      summary: 'Get a ticket for a stream or a socket',
      description: `For clients that cannot send headers: \`?ticket=\` works once, with the rights and the life of the token. A caller may have ${MAX_A_SECOND} a second.`,
      response: { 200: ticketSchema, ...refusals }
    }
  }, async ({ identity }, reply) => {
    reply.header('Cache-Control', 'no-store')
    return await authority.ticketFor(identity)
  })
}
