// One point a second from the gateway's reports, for all lines over time.

import type { Box, Event } from '../client/index.ts'
import type { RecentFigures } from '../core/figures/system.ts'
import { savedCpu, savedMessages, worst } from './figures.ts'
import { SYSTEM } from './reports.ts'
import type { GatewayReport, ProcessReport, Reports } from './reports.ts'
import { Throughputs } from './throughput.ts'
import type { Throughput } from './throughput.ts'
import { TimeSeries } from './time-series.ts'

const COLUMNS = ['events', 'replaced', 'delivered', 'owed', 'bundles', 'bytes', 'plainBytes', 'latency', 'lag', 'savedMessages', 'savedCpu', 'backlog'] as const
/** Ten minutes. */
const LIMIT = 600
const GAP_MS = 3500
/** Reports of several processes arrive one after another within a second. Together they are one point. */
const POINT_MS = 900

export class Samples {
  readonly history = new TimeSeries(COLUMNS, LIMIT, GAP_MS)
  readonly #rates = new Throughputs()
  readonly #reports: Reports
  #pointAt = -Infinity

  constructor (box: Pick<Box, 'on'>, reports: Reports) {
    this.#reports = reports
    box.on('event', event => {
      if (event.room === SYSTEM && event.type === 'gateway' && event.key !== undefined) this.#take(event.key, event)
    })
  }

  /** Of all processes; null while unknown. */
  get rate (): Throughput | null {
    return this.#rates.total
  }

  rateOf (process: string): Throughput | null {
    return this.#rates.of(process)
  }

  #take (process: string, { data, timestamp }: Event): void {
    const report = data as GatewayReport | null
    if (report === null) return this.#rates.forget(process)
    this.#rates.take(process, timestamp, report.counters ?? {})
    if (timestamp - this.#pointAt < POINT_MS) return
    this.#pointAt = timestamp
    // After the bundle, when the state holds all of it.
    queueMicrotask(() => this.#point(timestamp))
  }

  #point (at: number): void {
    // Rates need two reports; a point without them would be a hole behind what `fill` has put there.
    if (this.rate !== null) this.history.push(at, pointOf(this.#reports.of('gateway'), this.#rates))
  }

  /** Draws what the gateway remembers from before this page was opened. */
  fill (processes: ReadonlyArray<Partial<RecentFigures>>): void {
    const rates = new Throughputs()
    const reports = new Map<string, ProcessReport<GatewayReport>>()
    const points: Array<[number, ReturnType<typeof pointOf>]> = []
    const samples = processes.flatMap(({ key = '', samples = [] }) => samples.map(sample => ({ key, at: sample.at, data: sample })))
    let pointAt = -Infinity
    for (const report of samples.sort((a, b) => a.at - b.at)) {
      rates.take(report.key, report.at, report.data.counters ?? {})
      reports.set(report.key, report)
      if (report.at - pointAt < POINT_MS) continue
      pointAt = report.at
      const current = [...reports.values()].filter(({ at }) => report.at - at < GAP_MS)
      points.push([report.at, pointOf(current, rates)])
    }
    this.history.fill(points, POINT_MS)
  }
}

/** The figures of all processes at one moment. */
function pointOf (reports: ReadonlyArray<ProcessReport<GatewayReport>>, rates: Throughputs): Record<string, number | null | undefined> {
  const rate = rates.total
  return {
    ...(rate === null ? {} : { ...rate, replaced: Math.max(0, rate.owed - rate.delivered) }),
    latency: worst(reports, ({ latencyMs }) => latencyMs?.p95)?.value,
    lag: worst(reports, ({ lagP99Ms }) => lagP99Ms)?.value,
    savedMessages: savedMessages(reports, key => rates.of(key)?.owed),
    savedCpu: savedCpu(reports),
    backlog: worst(reports, ({ backlogMs }) => backlogMs)?.value
  }
}
