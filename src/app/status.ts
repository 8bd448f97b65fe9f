// What the gateway says of itself: profile, rooms, health, and where the paths of the other profile have gone.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import { refuse } from './errors.ts'
import { farewell, isReturning } from './farewell.ts'
import { version } from './package.ts'
import { errorSchema } from './schemas.ts'

export type ProfileName = 'SSE' | 'WEBSOCKET'

/** Where each profile is mounted. */
export const PATHS: Record<ProfileName, string> = { SSE: '/api/events/stream', WEBSOCKET: '/api/events/ws' }

export interface StatusOptions {
  gateway: Gateway
  profile: ProfileName
  pingIntervalMs: number
  controlHttp: boolean
}

export default async function status (app: FastifyInstance, { gateway, profile, pingIntervalMs, controlHttp }: StatusOptions): Promise<void> {
  app.get('/api/profile', {
    schema: { tags: ['status'], summary: 'What is mounted here: a client asks this first' }
  }, async (_request, reply) => {
    reply.header('Cache-Control', 'no-store')
    return {
      profile,
      stream: profile === 'SSE' ? PATHS.SSE : null,
      websocket: profile === 'WEBSOCKET' ? PATHS.WEBSOCKET : null,
      control: controlHttp ? '/api/control' : null,
      tickMs: Math.round(gateway.tickMs),
      pingIntervalMs,
      version,
      features: []
    }
  })

  app.get('/api/rooms', {
    schema: { tags: ['status'], summary: 'Rooms with members, keys and last id' }
  }, async () => ({ rooms: await gateway.view.presence() }))

  app.get('/healthz', { schema: { tags: ['status'], summary: 'Liveness: the process answers' } }, async () => ({ status: 'ok' }))

  app.get('/readyz', {
    schema: { tags: ['status'], summary: 'Readiness: new work is taken', response: { 503: errorSchema } }
  }, async () => {
    const { notReady } = gateway
    if (notReady !== null) throw new Refusal(notReady.code, notReady.reason)
    const { warnings } = gateway
    return { status: 'ready', ...(warnings.length === 0 ? {} : { warnings }) }
  })

  const missing: ProfileName = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
  app.get(PATHS[missing], {
    schema: { hide: true }
  }, async (request, reply) => {
    const refusal = new Refusal('PROFILE_NOT_MOUNTED', `${PATHS[missing]} is not mounted: this gateway runs the profile ${profile}, at ${PATHS[profile]}`, gateway.returnAfterMs())
    return await (missing === 'SSE' && isReturning(request) ? farewell(reply, refusal, gateway.returnAfterMs()) : refuse(reply, refusal))
  })
}
