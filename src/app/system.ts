// The gateway's own figures: for the command `stats`, and as keyed events of the room `@system`, a key for each
// process, while somebody listens there, on whichever process. Who ends takes its key away; that of a process which
// could not is taken away by the others.

import os from 'node:os'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { SYSTEM } from '../core/event.ts'
import type { Gateway } from '../core/gateway.ts'
import { version } from './package.ts'

const TYPE = 'gateway'
const REPORT_MS = 1000
/** A report that was not renewed for so long may be of a process that is gone. */
const OLD_MS = 10_000
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

export interface SystemOptions {
  readonly gateway: Gateway
  readonly profile: string
  readonly store: string
  /** Under which this process reports: where others share the log, its name in the deployment. */
  readonly key: string
  /** Which worker of its primary this is, from 1. */
  readonly worker: number
}

export default fp(async (app: FastifyInstance, { gateway, profile, store, key, worker }: SystemOptions) => {
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
      host: os.hostname(),
      pid: process.pid,
      worker,
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

  let reported = false
  let reporting: Promise<void> | null = null
  const report = async (): Promise<void> => {
    // Nobody to tell, nothing to write.
    if (gateway.trouble !== null || await gateway.membersOf(SYSTEM) === 0) return
    reported = true
    await gateway.report(TYPE, key, stats())
    for (const [other, at] of gateway.reported(TYPE)) {
      if (other === key || Date.now() - at < OLD_MS || await gateway.isAlive(other)) continue
      await gateway.clear(SYSTEM, TYPE, other)
    }
  }

  const timer = setInterval(() => {
    // Nothing was recorded yet: NaN.
    lagMs = Math.max(0, (delay.percentile(99) || 0) / 1e6 - LAG_RESOLUTION_MS)
    delay.reset()
    reporting ??= report()
      .catch(err => app.log.warn({ err }, 'the gateway\'s own figures could not be published'))
      .finally(() => { reporting = null })
  }, REPORT_MS).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    delay.disable()
    await reporting
    // Where it cannot be written now, the others will see that this process is gone.
    if (reported) await gateway.report(TYPE, key, null).catch(() => {})
  })
}, { name: 'system' })
