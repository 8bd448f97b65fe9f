// The gateway's own figures: for the command `stats`, and as keyed events of the room `@system` while
// somebody listens there.

import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { SYSTEM } from '../core/event.ts'
import type { Gateway } from '../core/gateway.ts'
import { version } from './package.ts'

const REPORT_MS = 1000
const LAG_RESOLUTION_MS = 10

declare module 'fastify' {
  interface FastifyInstance {
    /** The gateway's figures just now. */
    stats: () => object
  }
}

/** Tells the share of the event loop in use since it was last asked, 0 to 1. */
export function eventLoopLoad (): () => number {
  let last = performance.eventLoopUtilization()
  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    return utilization
  }
}

export default fp(async (app: FastifyInstance, { gateway, profile, store }: { gateway: Gateway, profile: string, store: string }) => {
  const startedAt = Date.now()
  const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
  delay.enable()
  /** 99th percentile of the last second. */
  let lagMs = 0

  const stats = (): object => {
    const rooms = gateway.rooms
    return {
      profile,
      store,
      version,
      pid: process.pid,
      uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
      tickMs: Math.round(gateway.tickMs),
      sessions: gateway.sessions,
      rooms: rooms.length,
      keys: rooms.reduce((keys, room) => keys + room.keys, 0),
      history: gateway.history,
      backlogMs: gateway.backlogMs,
      lagP99Ms: Number(lagMs.toFixed(1)),
      memoryBytes: process.memoryUsage.rss(),
      counters: gateway.counters
    }
  }
  app.decorate('stats', stats)

  const timer = setInterval(() => {
    // Nothing was recorded yet: NaN.
    lagMs = Math.max(0, (delay.percentile(99) || 0) / 1e6 - LAG_RESOLUTION_MS)
    delay.reset()
    // Nobody to tell, nothing to write.
    if ((gateway.room(SYSTEM)?.members ?? 0) === 0 || gateway.trouble !== null) return
    gateway.report('gateway', '1', stats()).catch(err => app.log.warn({ err }, 'the gateway\'s own figures could not be published'))
  }, REPORT_MS).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    delay.disable()
  })
}, { name: 'system' })
