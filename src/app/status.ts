// The state of the gateway: profile, health.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import type { Authority } from './auth/authority.ts'
import { CONTROL_PATH } from './control.ts'
import type { Mounted } from './mounted.ts'
import { WIRE_PROTOCOL, version } from './package.ts'
import { healthSchema, profileSchema, readySchema, refusals } from './schemas.ts'

export interface StatusOptions {
  readonly gateway: Gateway
  readonly mounted: Mounted
  readonly pingIntervalMs: number
  readonly enableControlHttp: boolean
  /** COMPRESSION. */
  readonly compresses: boolean
  readonly authority: Pick<Authority, 'isOpen'>
  /** Whether a drain is about to begin: /readyz reports it early, while everything is still served (SHUTDOWN_DELAY). */
  readonly isLeaving: () => boolean
  /** What an operator should look at. */
  readonly warnings: () => readonly string[]
}

export default async function status (app: FastifyInstance, { gateway, mounted, pingIntervalMs, enableControlHttp, compresses, authority, isLeaving, warnings }: StatusOptions): Promise<void> {
  app.get('/api/profile', {
    config: { access: 'all' },
    schema: { tags: ['status'], operationId: 'getProfile', summary: 'The mounted profile: a client requests this first', response: { 200: profileSchema, ...refusals } }
  }, async (_request, reply) => {
    reply.header('Cache-Control', 'no-store')
    return {
      profile: mounted.name,
      ...mounted.paths,
      control: enableControlHttp ? CONTROL_PATH : null,
      tickMs: Math.round(gateway.tickMs),
      pingIntervalMs,
      version,
      protocol: WIRE_PROTOCOL,
      time: Date.now(),
      auth: !authority.isOpen,
      features: [...compresses ? ['compression'] : [], 'patch', 'pace']
    }
  })

  app.get('/healthz', {
    config: { access: 'all' },
    schema: { tags: ['status'], operationId: 'getHealth', summary: 'Liveness: the process answers', response: { 200: healthSchema, ...refusals } }
  }, async () => ({ status: 'ok' }))

  app.get('/readyz', {
    config: { access: 'all' },
    schema: { tags: ['status'], operationId: 'getReadiness', summary: 'Readiness: new work is accepted', response: { 200: readySchema, ...refusals } }
  }, async () => {
    const { notReady } = gateway
    if (notReady !== null) throw new Refusal(notReady.code, notReady.reason)
    if (isLeaving()) throw new Refusal('DRAINING', 'the gateway is about to shut down')
    const found = warnings()
    return { status: 'ready', ...(found.length === 0 ? {} : { warnings: found }) }
  })
}
