// The gateway's own figures: for the command `stats`, and as keyed events of the room `@system`, a key for each
// process, while somebody listens there, on whichever process. Who ends takes its key away; that of a process which
// could not is taken away by the others.

import os from 'node:os'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { SYSTEM } from '../core/event.ts'
import type { Gateway, Report } from '../core/gateway.ts'
import { Load } from './load.ts'
import { version } from './package.ts'
import type { Saving } from './saving.ts'

const TYPES = ['gateway', 'rooms', 'sessions', 'troubles', 'settings'] as const
const REPORT_MS = 1000
/** A report that was not renewed for so long may be of a process that is gone. */
const OLD_MS = 10_000
const MAX_ROOMS = 50
const MAX_SESSIONS = 20
const MAX_ROOMS_OF_SESSION = 5

declare module 'fastify' {
  interface FastifyInstance {
    /** The gateway's figures just now. */
    stats: () => object
  }
}

/** A setting as it may be shown: without secrets. */
export interface SettingView {
  readonly name: string
  readonly value: string | number | boolean
  readonly meaning: string
  readonly unit?: string
  readonly tunable: boolean
  readonly isDefault: boolean
}

export interface SystemOptions {
  readonly gateway: Gateway
  readonly profile: string
  readonly store: string
  /** Under which this process reports: where others share the log, its name in the deployment. */
  readonly key: string
  /** Which worker of its primary this is, from 1. */
  readonly worker: number
  readonly saving: Saving
  readonly settings: () => readonly SettingView[]
}

export default fp(async (app: FastifyInstance, { gateway, profile, store, key, worker, saving, settings }: SystemOptions) => {
  const startedAt = Date.now()
  const load = new Load()
  const sample = (): void => {
    load.sample()
    saving.sample({ ...gateway.counters, cpuMs: load.cpuMs })
  }
  sample()

  const stats = (): object => {
    return {
      profile,
      store,
      version,
      host: os.hostname(),
      pid: process.pid,
      worker,
      uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
      tickMs: Math.round(gateway.tickMs),
      sessions: gateway.view.sessions,
      ...gateway.view.totals,
      history: gateway.view.history,
      backlogMs: gateway.view.backlogMs,
      latencyMs: gateway.latency.recent,
      saved: saving.recent,
      lagP99Ms: rounded(load.lagP99Ms),
      cpuPercent: rounded(load.cpuPercent),
      memoryBytes: process.memoryUsage.rss(),
      counters: { ...gateway.counters, servingMs: rounded(gateway.counters.servingMs) }
    }
  }
  app.decorate('stats', stats)

  /** The settings as they were told last. */
  let told = ''
  let reported = false
  let reporting: Promise<void> | null = null
  const report = async (): Promise<void> => {
    // Nobody to tell, nothing to write.
    if (gateway.notReady !== null || await gateway.view.membersOf(SYSTEM) === 0) return
    reported = true
    const { total, first } = gateway.view.busiest(MAX_ROOMS)
    const sessions = gateway.view.furthestBehind(MAX_SESSIONS, MAX_ROOMS_OF_SESSION)
    const now = settings()
    const text = JSON.stringify(now)
    await gateway.report([
      { type: 'gateway', key, data: stats() },
      { type: 'rooms', key, data: { total, rooms: first } },
      { type: 'sessions', key, data: { total: sessions.total, sessions: sessions.first } },
      { type: 'troubles', key, data: { recent: gateway.troubles.recent } },
      ...text === told && gateway.reported(['settings']).has(key) ? [] : [{ type: 'settings', key, data: { settings: now } }]
    ] satisfies Report[])
    told = text
    for (const [other, at] of gateway.reported(TYPES)) {
      if (other === key || Date.now() - at < OLD_MS || await gateway.isAlive(other)) continue
      for (const type of TYPES) await gateway.clear(SYSTEM, type, other)
    }
  }

  const timer = setInterval(() => {
    sample()
    reporting ??= report()
      .catch(err => app.log.warn({ err }, 'the gateway\'s own figures could not be published'))
      .finally(() => { reporting = null })
  }, REPORT_MS).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    load.stop()
    await reporting
    // Where it cannot be written now, the others will see that this process is gone.
    if (reported) await gateway.report(TYPES.map(type => ({ type, key, data: null }))).catch(() => {})
  })
}, { name: 'system' })

const rounded = (figure: number): number => Number(figure.toFixed(1))
