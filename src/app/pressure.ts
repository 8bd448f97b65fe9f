// Load is shed before the process stands still: while the event loop stays far behind, or the heap is nearly full of what is
// in use, publishing and new connections are refused with 503 OVERLOADED at the cost of a look at the address. What is
// connected goes on, and so do /healthz, /readyz and /metrics.
//
// A busy gateway is not shed: its turns are short however many follow each other. Neither is one long turn.

import { constants, performance, PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Brings new work: refused while too much is under way. */
    isShed?: boolean
  }
}

const SAMPLE_MS = 100
/** Turns of the event loop so long ... */
const LATE_MS = 200
/** ... so often in a row are too many. One that is shorter than half ends it. */
const LATE_TURNS = 4
/** Share of the heap limit in use after a full collection from which new work is refused. */
const FULL = 0.9

export class Pressure {
  #lastAt = performance.now()
  #late = 0
  #isFull = false
  readonly #timer: NodeJS.Timeout
  readonly #collections: PerformanceObserver

  constructor () {
    this.#timer = setInterval(() => {
      const now = performance.now()
      this.sample(now - this.#lastAt - SAMPLE_MS)
      this.#lastAt = now
      // What has been given up since may wait long for the next full collection.
      if (this.#isFull) this.collected(shareInUse())
    }, SAMPLE_MS).unref()
    this.#collections = new PerformanceObserver(list => {
      // Only after a full collection it is known what is in use; before, most may be garbage.
      const collections = list.getEntries() as unknown as Array<{ readonly detail?: { readonly kind?: number } }>
      if (collections.some(({ detail }) => detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR)) this.collected(shareInUse())
    })
    this.#collections.observe({ entryTypes: ['gc'] })
  }

  /** @param lateMs how much later than asked for a turn came */
  sample (lateMs: number): void {
    if (lateMs >= LATE_MS) this.#late++
    else if (lateMs < LATE_MS / 2 || this.#late < LATE_TURNS) this.#late = 0
  }

  /** @param share of the heap limit in use after a full collection */
  collected (share: number): void {
    this.#isFull = share >= FULL
  }

  /** What there is too much of; null while there is not. */
  get bound (): 'load' | 'memory' | null {
    if (this.#late >= LATE_TURNS) return 'load'
    return this.#isFull ? 'memory' : null
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#collections.disconnect()
  }
}

function shareInUse (): number {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
  return used / limit
}

export default fp(async (app: FastifyInstance, { pressure, returnAfterMs }: { pressure: Pressure, returnAfterMs: () => number }) => {
  app.addHook('onRequest', async ({ routeOptions }) => {
    const { bound } = pressure
    if (bound === null || routeOptions.config.isShed !== true) return
    throw new Refusal('OVERLOADED', `this gateway has more ${bound === 'load' ? 'to do than it can' : 'in memory than it should'}; try again later`, returnAfterMs(), bound)
  })
}, { name: 'pressure' })
