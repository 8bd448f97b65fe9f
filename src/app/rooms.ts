// GET /api/rooms: the list of rooms, a page at a time.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import { MAX_PAGE_ROOMS, PAGE_ROOMS } from '../core/figures/view.ts'
import type { RoomPage } from '../core/figures/view.ts'
import type { Gateway } from '../core/gateway.ts'
import { limitRoutes } from './limit.ts'
import { refusals, roomPageSchema } from './schemas.ts'

export default async function rooms (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  // Every call looks at all rooms.
  await limitRoutes(app, 'CONTROL_RATE_LIMIT', gateway.rates.control, () => gateway.limits.controlRateLimit)

  app.get('/api/rooms', {
    schema: {
      tags: ['status'],
      operationId: 'listRooms',
      summary: 'Rooms with members, keys and last id',
      description: 'Those that the caller may hear, in order of name. Where `more` is true, ask again with `after` set to the last room. Counts towards CONTROL_RATE_LIMIT.',
      querystring: {
        type: 'object',
        properties: {
          limit: { type: 'integer', minimum: 1, maximum: MAX_PAGE_ROOMS, default: PAGE_ROOMS },
          after: { type: 'string', description: 'only rooms behind this name' },
          prefix: { type: 'string', description: 'only rooms whose name begins with this' }
        }
      },
      response: { 200: roomPageSchema, ...refusals }
    }
  }, async ({ query, identity }) => await gateway.view.presence({
    ...pageOf(query as Record<string, unknown>),
    isListed: room => identity.grants.allow('subscribe', room)
  }))
}

/** @throws Refusal BAD_REQUEST */
function pageOf ({ limit, ...names }: Record<string, unknown>): Partial<RoomPage> {
  if (limit !== undefined && !(typeof limit === 'string' && /^[1-9]\d{0,3}$/.test(limit) && Number(limit) <= MAX_PAGE_ROOMS)) {
    throw new Refusal('BAD_REQUEST', `limit must be a number from 1 to ${MAX_PAGE_ROOMS}`)
  }
  for (const [name, value] of Object.entries(names)) {
    if (name !== 'after' && name !== 'prefix') throw new Refusal('BAD_REQUEST', `unknown parameter ${JSON.stringify(name.slice(0, 40))}; the list of rooms takes limit, after and prefix`)
    if (typeof value !== 'string') throw new Refusal('BAD_REQUEST', `${name} may be given once`)
  }
  return { ...names, ...(limit === undefined ? {} : { limit: Number(limit) }) }
}
