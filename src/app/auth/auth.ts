// The one hook by which every request gets its identity: both profiles, and every route that does not say otherwise.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../../core/errors.ts'
import { checkGranted } from '../../core/identity.ts'
import type { Identity } from '../../core/identity.ts'
import { isSame } from './authority.ts'
import type { Authority } from './authority.ts'
import { bearerOf } from './credentials.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks. Routes that are open to all have none. */
    identity: Identity
    /** Uses up the ticket that says so, if it is one. @throws Refusal TICKET_USED, STORE_UNAVAILABLE */
    useTicket: () => Promise<void>
  }
  interface FastifyContextConfig {
    /** `all`: nobody is asked who he is. `ticket`: a ticket in the query counts. `metrics`: METRICS_TOKEN counts. Default: a token or nothing. */
    access?: 'all' | 'ticket' | 'metrics'
    /** The route calls `useTicket` itself, when nothing can be refused any more. Default: that is done before its handler. */
    usesTicket?: boolean
  }
}

interface AuthOptions {
  readonly authority: Authority
  /** Empty: /metrics is open where the gateway is, else for those who may run `metrics`. */
  readonly metricsToken: string
}

export default fp(async (app: FastifyInstance, { authority, metricsToken }: AuthOptions) => {
  app.decorateRequest('identity')
  app.decorateRequest('useTicket', async () => {})

  app.addHook('onRoute', route => {
    const { access, usesTicket } = route.config ?? {}
    if (access === 'ticket' && usesTicket !== true) route.preHandler = [async (request: FastifyRequest) => await request.useTicket(), ...[route.preHandler ?? []].flat()]
  })

  app.addHook('onRequest', (request, reply, done) => {
    const asked = ask(request, reply)
    if (asked === undefined) done()
    else asked.then(() => done(), done)
  })

  /** Gives the request its identity, at once where nothing must be waited for. @throws Refusal */
  function ask (request: FastifyRequest, reply: FastifyReply): Promise<void> | undefined {
    const { access } = request.routeOptions.config
    // A preflight carries no credentials. What does not exist is told to everybody.
    if (access === 'all' || request.method === 'OPTIONS' || request.is404) return
    if (access === 'metrics' && metricsToken !== '') {
      const token = bearerOf(request)
      if (token !== undefined && isSame(token, metricsToken)) return
      // Everybody may do everything there, but for this.
      if (authority.isOpen) throw new Refusal('UNAUTHENTICATED', '/metrics needs METRICS_TOKEN: send it as Authorization: Bearer <token>')
    }
    const known = (identity: Identity): void => {
      request.identity = identity
      if (access === 'metrics') checkGranted(identity, 'control', ['metrics'])
    }
    const identity = authority.identify(request, reply, access === 'ticket')
    if (identity instanceof Promise) return identity.then(known)
    known(identity)
  }
}, { name: 'auth' })

/** Nobody is asked for a token by the routes of this scope. */
export function openToAll (scope: FastifyInstance): void {
  scope.addHook('onRoute', route => { route.config = { ...route.config, access: 'all' } })
}
