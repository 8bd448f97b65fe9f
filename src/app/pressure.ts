// While the heap is nearly full of what is in use, publishing and new connections are refused with 503 OVERLOADED at the cost of a
// look at the address. What is connected goes on, and so do /healthz, /readyz and /metrics. A gateway that has much to do
// refuses nothing here: see work-line.ts.

import { constants, PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Brings new work: refused while the heap is nearly full. */
    isShed?: boolean
  }
}

/** While it is full. */
const LOOK_MS = 100
/** Share of the heap's limit in use after a full collection from which new work is refused. */
const FULL = 0.9
/** What the limit has room for besides: new objects, which a full collection moves out of there. V8's default on 64 bits. */
const YOUNG_BYTES = 3 * 16 * 1024 * 1024

export class Pressure {
  #isFull = false
  readonly #timer: NodeJS.Timeout
  readonly #collections: PerformanceObserver

  constructor () {
    // What has been given up since may wait long for the next full collection.
    this.#timer = setInterval(() => { if (this.#isFull) this.collected(shareInUse()) }, LOOK_MS).unref()
    this.#collections = new PerformanceObserver(list => {
      // Only after a full collection it is known what is in use; before, most may be garbage.
      const collections = list.getEntries() as unknown as Array<{ readonly detail?: { readonly kind?: number } }>
      if (collections.some(({ detail }) => detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR)) this.collected(shareInUse())
    })
    this.#collections.observe({ entryTypes: ['gc'] })
  }

  /** @param share of the heap in use after a full collection */
  collected (share: number): void {
    this.#isFull = share >= FULL
  }

  get isFull (): boolean {
    return this.#isFull
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#collections.disconnect()
  }
}

function shareInUse (): number {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
  return used / (limit - YOUNG_BYTES)
}

export default fp(async (app: FastifyInstance, { pressure, returnAfterMs }: { pressure: Pressure, returnAfterMs: () => number }) => {
  app.addHook('onRequest', (request, reply, done) => {
    // Fastify makes the options anew each time they are asked for.
    if (!pressure.isFull || request.routeOptions.config.isShed !== true) return done()
    // A connection that is kept holds as much as a stream does.
    reply.header('Connection', 'close')
    throw new Refusal('OVERLOADED', 'this gateway has more in memory than it should; try again later', { retryMs: returnAfterMs(), bound: 'memory' })
  })
}, { name: 'pressure' })
