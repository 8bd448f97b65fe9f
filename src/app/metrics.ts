// GET /metrics for Prometheus: metrics of the process and of the gateway. The core counts in plain numbers, which are read
// only for a scrape: counting costs nothing else.
//
// With several workers, a scrape reaches any one of them. Each therefore answers for all (see group-metrics.ts).

import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Aggregator, Metric } from 'prom-client'
import type { IntakeFigures } from '../core/backing.ts'
import type { Gateway } from '../core/gateway.ts'
import { BOUNDS_MS } from '../core/figures/latency.ts'
import type { Latency } from '../core/figures/latency.ts'
import { EVENTS, READY } from './group-metrics.ts'
import type { ProcessMetrics } from './group-metrics.ts'
import type { Mounted } from './mounted.ts'
import type { ForeignOrigins } from './origin.ts'
import type { Savings } from './savings.ts'
import { refusals, textOf } from './schemas.ts'

/** Exchange of metrics between the workers of a primary. */
export interface MetricsExchange {
  /** Sets the function that reads this worker's own metrics. */
  provide (read: () => Promise<ProcessMetrics>): void
  /** The metrics of all workers as text; null if they do not arrive in time. */
  metricsOfAll (): Promise<string | null>
}

export interface MetricsOptions {
  readonly gateway: Gateway
  readonly mounted: Pick<Mounted, 'name'>
  readonly savings: Savings
  readonly foreign: ForeignOrigins
  readonly intake?: IntakeFigures | undefined
  readonly metricsExchange?: MetricsExchange | undefined
}

export default async function metrics (app: FastifyInstance, { gateway, mounted, savings, foreign, intake, metricsExchange }: MetricsOptions): Promise<void> {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const { counters } = gateway

  const counter = (name: string, help: string, value: () => number): void => {
    // eslint-disable-next-line no-new
    new Counter({ name, help, registers: [registry], collect () { this.reset(); this.inc(value()) } })
  }
  const counterBy = (label: string, name: string, help: string, values: () => Readonly<Record<string, number>>): void => {
    const total = new Counter({
      name,
      help,
      labelNames: [label],
      registers: [registry],
      collect () {
        this.reset()
        for (const [which, value] of Object.entries(values())) total.inc({ [label]: which }, value)
      }
    })
  }
  /** @param aggregator how the values of several workers are combined */
  const gauge = (name: string, help: string, aggregator: Aggregator, value: () => number | Promise<number>): void => {
    // eslint-disable-next-line no-new
    new Gauge({ name, help, registers: [registry], aggregator, async collect () { this.set(await value()) } })
  }

  counter(EVENTS, 'Events read from the log', () => counters.events)
  counter('signalbox_uncoalesced_messages_total', 'Messages there would have been without bundling: one per event and connection that receives it', () => counters.owed)
  counter('signalbox_delivered_events_total', 'Events handed to connections', () => counters.delivered)
  counter('signalbox_bundles_total', 'Bundles handed to connections', () => counters.bundles)
  counter('signalbox_sent_bytes_total', 'Bytes of bundles handed to connections, as on the wire', () => counters.bytes)
  counter('signalbox_plain_bytes_total', 'Bytes there would have been without compression', () => counters.plainBytes)
  counter('signalbox_sessions_opened_total', 'Sessions opened', () => counters.opened)
  counter('signalbox_reads_total', 'Reads answered without a stream (GET /api/events)', () => counters.reads)
  counter('signalbox_slow_sessions_ended_total', 'Sessions ended because their connection did not drain (SLOW_CLIENT_TIMEOUT)', () => counters.slow)
  counter('signalbox_commands_duplicate_total', 'Commands found to have run more than once', () => counters.duplicates)
  counter('signalbox_saved_cpu_seconds_total', 'Upper bound of the CPU time saved by bundling: messages saved, each at the cost of handing over a bundle', () => savings.cpuSeconds)
  counterBy('code', 'signalbox_refusals_total', 'Requests, messages and connections refused', () => gateway.troubles.refusals)
  counterBy('reason', 'signalbox_shed_total', 'What ran into a bound: requests and messages refused, connections ended', () => gateway.troubles.bounds)
  counterBy('origin', 'signalbox_foreign_origin_requests_total', 'Requests from pages of origins that CORS_ORIGINS does not list', () => foreign.counts)
  registry.registerMetric(deliveryHistogram(gateway.latency))
  counterBy('reason', 'signalbox_resets_total', 'Clients that were reset because their position could not be resumed', () => counters.resets)
  gauge('signalbox_workers', 'Workers included in these metrics', 'sum', () => 1)
  gauge('signalbox_sessions', 'Connected sessions', 'sum', () => gateway.view.sessions.count)
  gauge('signalbox_waiting_reads', 'Reads that wait for something new', 'sum', () => gateway.view.waits)
  gauge('signalbox_stalled_sessions', 'Sessions whose connection has unsent bytes', 'sum', () => gateway.view.sessions.stalled)
  gauge('signalbox_rooms', 'Rooms', 'max', () => gateway.view.totals.rooms)
  gauge('signalbox_keys', 'Current values over all rooms', 'max', () => gateway.view.totals.keys)
  gauge('signalbox_state_bytes', 'Memory of the current values over all rooms; STATE_BYTES limits it', 'max', () => gateway.view.totals.stateBytes)
  gauge('signalbox_patch_base_bytes', 'Memory of the earlier values that patches start from; at most 16 MiB a worker', 'sum', () => gateway.view.baseBytes)
  gauge('signalbox_history_events', 'Facts and deletions kept for resuming', 'max', () => gateway.view.history.events)
  gauge('signalbox_backlog_seconds', 'Age of the oldest event pending for a connected client', 'max', () => gateway.view.backlogMs / 1000)
  gauge('signalbox_tick_seconds', 'Length of the current tick', 'max', () => gateway.tickMs / 1000)
  gauge(READY, '1 while new work is accepted', 'min', () => gateway.notReady === null ? 1 : 0)
  const { disk } = gateway
  if (disk !== undefined) {
    counter('signalbox_store_damaged_total', 'Records of the data directory found damaged or missing', () => disk.damaged())
    gauge('signalbox_store_free_bytes', 'Space left on the disk of the data directory', 'min', async () => await disk.freeBytes().catch(() => 0))
  }
  if (intake !== undefined) {
    const bySource = (name: string, help: string, figure: 'taken' | 'refused'): void =>
      counterBy('source', name, help, () => ({ channel: intake.channel[figure], ingest: intake.ingest[figure] }))
    bySource('signalbox_intake_events_total', 'Events accepted from the channel and from the stream ingest', 'taken')
    bySource('signalbox_intake_refused_total', 'Entries of the channel and of ingest that were refused and set aside', 'refused')
    counter('signalbox_intake_dropped_total', 'Messages of the channel that were dropped because the buffer was full', () => intake.channel.dropped)
    gauge('signalbox_intake_waiting', 'Entries of ingest that wait for their room', 'sum', () => intake.ingest.waiting)
  }
  const label = (): void => { registry.setDefaultLabels({ profile: mounted.name }) }
  metricsExchange?.provide(async () => {
    label()
    return await registry.getMetricsAsJSON()
  })

  app.get('/metrics', {
    config: { access: 'metrics' },
    schema: { tags: ['status'], operationId: 'getMetrics', summary: 'Prometheus metrics', response: { 200: textOf('text/plain', 'The metrics of all workers.'), ...refusals } }
  }, async (_request, reply) => {
    reply.type(registry.contentType)
    label()
    if (metricsExchange === undefined) return await registry.metrics()
    return await metricsExchange.metricsOfAll() ?? `# Of this worker only: the metrics of the others did not arrive in time.\n${await registry.metrics()}`
  })
}

/** prom-client's histogram takes one event at a time; the core counts the events of a bundle once for all sessions that got it. */
function deliveryHistogram (latency: Latency): Metric {
  const name = 'signalbox_delivery_seconds'
  const get = (): object => {
    const { counts, sumMs } = latency.total
    let count = 0
    const buckets = counts.map((more, index) => {
      count += more
      const ms = BOUNDS_MS[index]
      return { metricName: `${name}_bucket`, labels: { le: ms === undefined ? '+Inf' : ms / 1000 }, value: count }
    })
    return {
      name,
      help: 'Time from the acceptance of an event to its hand-over to a connection that was already listening when it was accepted',
      type: 'histogram',
      aggregator: 'sum',
      values: [...buckets, { metricName: `${name}_sum`, labels: {}, value: sumMs / 1000 }, { metricName: `${name}_count`, labels: {}, value: count }]
    }
  }
  return { name, get } as unknown as Metric
}
