// Rate limits of routes, over a count that another door may share (the WebSocket's control messages hit
// the same one). Before anything else of the request is looked at.

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Rate } from '../core/rate.ts'
import { callerOf } from './caller.ts'

/**
 * A hook for routes that are to be limited. Without a limit it costs nothing: the plugin's own way round took 3 us a request.
 * @param max requests a second and caller just now; 0 = no limit
 */
export async function limited (app: FastifyInstance, name: string, rate: Rate, max: () => number): Promise<onRequestHookHandler> {
  class SharedWindow {
    incr (caller: string, done: (error: Error | null, result?: { current: number, ttl: number }) => void): void {
      rate.hit(caller, max()).then(({ count, resetMs }) => done(null, { current: count, ttl: resetMs }), done)
    }

    child (): SharedWindow {
      return this
    }
  }
  await app.register(rateLimit, {
    global: false,
    store: SharedWindow,
    timeWindow: 1000,
    max,
    keyGenerator: callerOf,
    errorResponseBuilder: (_request, { ttl }) => tooMany(name, max(), ttl)
  })
  const limit = app.rateLimit() as unknown as (request: FastifyRequest, reply: FastifyReply) => Promise<void>
  return (request, reply, done) => {
    if (max() === 0) done()
    else limit(request, reply).then(() => done(), done)
  }
}

export const tooMany = (name: string, max: number, resetMs: number): Refusal =>
  new Refusal('RATE_LIMITED', `${max} requests a second are allowed (${name}); try again in ${resetMs} ms`, resetMs)
