// Rate limits of routes. The count may be shared with another transport: control messages over WebSocket use the same one.
// The limit is checked before anything else in the request but who asks: a subject has one count, from whichever address.

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, onRequestHookHandler } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Rate } from '../core/rate.ts'

/**
 * Limits the routes registered in this scope.
 * @param max current limit, requests per second and caller; 0 = no limit
 */
export async function limitRoutes (app: FastifyInstance, name: string, rate: Rate, max: () => number): Promise<void> {
  class RateStore {
    incr (caller: string, done: (error: Error | null, result?: { current: number, ttl: number }) => void): void {
      rate.hit(caller, max()).then(({ count, resetMs }) => done(null, { current: count, ttl: resetMs }), done)
    }

    child (): RateStore {
      return this
    }
  }
  await app.register(rateLimit, {
    global: false,
    store: RateStore,
    timeWindow: 1000,
    max,
    keyGenerator: ({ identity }) => identity.caller,
    errorResponseBuilder: (_request, { ttl }) => tooMany(name, max(), ttl)
  })
  const limit = app.rateLimit()
  app.addHook('onRoute', route => {
    if (route.config?.rateLimit === false) return
    const limited: onRequestHookHandler = (request, reply, done) => {
      // The plugin would ask for caller and exceptions first, and wait for each.
      if (max() === 0) done()
      else limit.call(app, request, reply).then(() => done(), done)
    }
    route.onRequest = [...[route.onRequest ?? []].flat(), limited]
  })
}

/** Counts a request that came another way than by a limited route. @throws Refusal RATE_LIMITED */
export async function checkLimit (name: string, rate: Rate, max: number, caller: string): Promise<void> {
  const { count, resetMs } = await rate.hit(caller, max)
  if (max > 0 && count > max) throw tooMany(name, max, resetMs)
}

const tooMany = (name: string, max: number, resetMs: number): Refusal =>
  new Refusal('RATE_LIMITED', `${max} requests a second are allowed (${name}); try again in ${resetMs} ms`, { retryMs: resetMs, bound: 'rate' })
