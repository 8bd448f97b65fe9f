// The gateway's own figures, for the command `stats` and as keyed events of the room `@system`, one key per process. They
// are published only while that room has members on any process. A process removes its key at its end; if it cannot, the
// others remove it.

import os from 'node:os'
import { SYSTEM } from '../core/event.ts'
import type { FigureSample, GatewayFigures, RecentFigures, SettingView, SystemFigures } from '../core/figures/system.ts'
import type { Gateway } from '../core/gateway.ts'
import type { Logger } from '../core/logger.ts'
import { ProcessLoad } from './load.ts'
import type { Mounted } from './mounted.ts'
import { version } from './package.ts'
import type { Savings } from './savings.ts'

const TYPES = ['gateway', 'rooms', 'sessions', 'troubles', 'settings'] as const satisfies ReadonlyArray<keyof SystemFigures>
const REPORT_MS = 1000
/** Five minutes, some 100 KB. */
const MAX_SAMPLES = 300
/** A report older than this may belong to a process that is gone. */
const OLD_MS = 10_000
/** Seconds: a Prometheus that asks that often misses none. */
const LAGS = 15
const MAX_LISTED_ROOMS = 50
const MAX_LISTED_SESSIONS = 20
const MAX_ROOMS_OF_SESSION = 5

export interface SystemOptions {
  readonly gateway: Gateway
  readonly mounted: Pick<Mounted, 'name'>
  readonly store: string
  /** The key of this process's reports: its name in the deployment where others share the log. */
  readonly key: string
  /** Which worker of its primary this is, from 1. */
  readonly worker: number
  readonly savings: Savings
  readonly settings: () => readonly SettingView[]
  readonly log: Pick<Logger, 'warn'>
}

/** An event for each type, with the data of that type. */
type FigureReport = { [Type in keyof SystemFigures]: { readonly type: Type, readonly key: string, readonly data: SystemFigures[Type] } }[keyof SystemFigures]

export class SystemReports {
  readonly #options: SystemOptions
  readonly #startedAt = Date.now()
  readonly #load = new ProcessLoad()
  /** The settings as last reported. */
  #reportedSettings = ''
  #hasReported = false
  #reporting: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined
  /** The last ones; kept also while nobody watches, for those who are called when something is wrong. */
  readonly #samples: FigureSample[] = []

  constructor (options: SystemOptions) {
    this.#options = options
    options.gateway.operator.onOrder('recent', (): RecentFigures => ({ key: options.key, samples: this.#samples }))
    this.#sample()
  }

  start (): void {
    const { log } = this.#options
    this.#timer ??= setInterval(() => {
      this.#sample()
      this.#reporting ??= this.#report()
        .catch(err => log.warn({ err }, 'cannot publish the gateway\'s own figures'))
        .finally(() => { this.#reporting = null })
    }, REPORT_MS).unref()
  }

  /** Removes this process's reports. If that fails, the other processes notice that this one is gone and remove them. */
  async stop (): Promise<void> {
    const { gateway, key } = this.#options
    clearInterval(this.#timer)
    this.#load.stop()
    await this.#reporting
    if (this.#hasReported) await gateway.operator.report(TYPES.map(type => ({ type, key, data: null }))).catch(() => {})
  }

  /** What the processes of the deployment remember of the last five minutes. */
  async recent (): Promise<{ processes: unknown[] }> {
    return { processes: await this.#options.gateway.operator.orderAll('recent') }
  }

  /** The worst event-loop lag of the last 15 s, ms: a Prometheus that asks that often misses none. */
  get worstLagMs (): number {
    return Math.max(...this.#samples.slice(-LAGS).map(({ lagP99Ms }) => lagP99Ms))
  }

  /** Current figures of this process. */
  stats (): GatewayFigures {
    const { gateway, mounted, store, worker, savings } = this.#options
    const load = this.#load
    return {
      profile: mounted.name,
      store,
      version,
      host: os.hostname(),
      pid: process.pid,
      worker,
      uptimeSeconds: Math.round((Date.now() - this.#startedAt) / 1000),
      tickMs: Math.round(gateway.tickMs),
      sessions: gateway.view.sessions,
      ...gateway.view.totals,
      history: gateway.view.history,
      backlogMs: gateway.view.backlogMs,
      latencyMs: gateway.latency.recent,
      saved: savings.recent,
      lagP99Ms: rounded(load.lagP99Ms),
      cpuPercent: rounded(load.cpuPercent),
      memoryBytes: process.memoryUsage.rss(),
      counters: { ...gateway.counters, resets: { ...gateway.counters.resets }, servingMs: rounded(gateway.counters.servingMs) }
    }
  }

  #sample (): void {
    const { gateway, savings } = this.#options
    this.#load.sample()
    savings.sample({ ...gateway.counters, cpuMs: this.#load.cpuMs })
    const { backlogMs, latencyMs, saved, lagP99Ms, cpuPercent, counters } = this.stats()
    this.#samples.push({ at: Date.now(), backlogMs, latencyMs, saved, lagP99Ms, cpuPercent, counters })
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift()
  }

  async #report (): Promise<void> {
    const { gateway, key, settings } = this.#options
    // Without a member of @system nobody would receive the report.
    if (gateway.notReady !== null || await gateway.view.membersOf(SYSTEM) === 0) return
    this.#hasReported = true
    const { total, first } = gateway.view.busiest(MAX_LISTED_ROOMS)
    const sessions = gateway.view.furthestBehind(MAX_LISTED_SESSIONS, MAX_ROOMS_OF_SESSION)
    const now = settings()
    const text = JSON.stringify(now)
    await gateway.operator.report([
      { type: 'gateway', key, data: this.stats() },
      { type: 'rooms', key, data: { total, rooms: first } },
      { type: 'sessions', key, data: { total: sessions.total, sessions: sessions.first } },
      { type: 'troubles', key, data: { recent: gateway.troubles.recent, lastMinute: gateway.troubles.lastMinute } },
      ...text === this.#reportedSettings && gateway.operator.reported(['settings']).has(key) ? [] : [{ type: 'settings' as const, key, data: { settings: now } }]
    ] satisfies FigureReport[])
    this.#reportedSettings = text
    for (const [other, ageMs] of gateway.operator.reported(TYPES)) {
      if (other === key || ageMs < OLD_MS || await gateway.operator.isAlive(other)) continue
      for (const type of TYPES) await gateway.operator.clear(SYSTEM, type, other)
    }
  }
}

const rounded = (figure: number): number => Number(figure.toFixed(1))
