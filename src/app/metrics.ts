// GET /metrics for Prometheus: metrics of the process and of the gateway. The core counts in plain numbers, which are read
// only for a scrape: counting costs nothing else.
//
// With several workers, a scrape reaches any one of them. Each therefore answers for all (see group-metrics.ts). Only what must be
// known of each worker by itself carries the label `worker`. The profile is a label of `signalbox_info` alone: on every series it
// would rename them all in a rollback, just when somebody looks.

import { readdir } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Aggregator, Metric } from 'prom-client'
import type { Backing, IntakeFigures } from '../core/backing.ts'
import { CODES } from '../core/errors.ts'
import { Durations } from '../core/figures/durations.ts'
import { BOUNDS_MS } from '../core/figures/latency.ts'
import type { Gateway } from '../core/gateway.ts'
import { fileLimit } from './file-limit.ts'
import { EVENTS, READY } from './group-metrics.ts'
import type { ProcessMetrics } from './group-metrics.ts'
import type { Mounted } from './mounted.ts'
import type { ForeignOrigins } from './origin.ts'
import { version } from './package.ts'
import type { Savings } from './savings.ts'
import { refusals, textOf } from './schemas.ts'
import type { StatusOptions } from './status.ts'

/** Exchange of metrics between the workers of a primary. */
export interface MetricsExchange {
  /** Sets the function that reads this worker's own metrics. */
  provide (read: () => Promise<ProcessMetrics>): void
  /** The metrics of all workers as text; null if they do not arrive in time. */
  metricsOfAll (): Promise<string | null>
}

export interface MetricsOptions {
  readonly gateway: Gateway
  /** See StatusOptions. */
  readonly warnings: StatusOptions['warnings']
  readonly mounted: Pick<Mounted, 'name'>
  /** The kind of store. */
  readonly store: Backing['kind']
  /** Which worker this is, from 1; and how many there should be. */
  readonly worker: number
  readonly workers: number
  /** The worst event-loop lag of the last seconds, ms. */
  readonly lagMs: () => number
  /** HISTORY_TTL; 0 for no limit. */
  readonly historyTtlMs: number
  /** Lines of the log that were dropped. Default: none ever are. */
  readonly droppedLines?: (() => number) | undefined
  readonly savings: Savings
  readonly foreign: ForeignOrigins
  readonly intake?: IntakeFigures | undefined
  /** Access to the metrics of the other workers, if there are several. */
  readonly metricsExchange?: MetricsExchange | undefined
}

/** Where nothing bounds history, and nothing was trimmed: a number that JSON can pass on to another process. */
const YEAR_MS = 31_536_000_000

export default async function metrics (app: FastifyInstance, options: MetricsOptions): Promise<void> {
  const { gateway, warnings, mounted, store, worker, workers, lagMs, historyTtlMs, droppedLines = () => 0, savings, foreign, intake, metricsExchange } = options
  const registry = new Registry()
  const all = (): Registry => Registry.merge([processMetrics(), registry])
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
  /** @param labels whose values the value belongs to, as they are at each scrape */
  const gaugeOf = (name: string, help: string, labels: () => Readonly<Record<string, string | number>>, value: () => number): void => {
    // eslint-disable-next-line no-new
    new Gauge({ name, help, labelNames: Object.keys(labels()), registers: [registry], aggregator: 'max', collect () { this.reset(); this.set(labels(), value()) } })
  }
  const histogram = (name: string, help: string, boundsMs: readonly number[], read: () => Recorded): void => registry.registerMetric(histogramOf(name, help, boundsMs, read))

  gaugeOf('signalbox_info', 'What runs: always 1', () => ({ version, profile: mounted.name, store }), () => 1)
  gauge(READY, '1 while new work is accepted', 'min', () => gateway.notReady === null ? 1 : 0)
  gauge('signalbox_store_up', '1 while the store can be used', 'min', () => gateway.isStoreUp ? 1 : 0)
  gauge('signalbox_warnings', 'Warnings of /readyz', 'max', () => warnings().length)
  gauge('signalbox_workers', 'Workers included in these metrics', 'sum', () => 1)
  gauge('signalbox_workers_expected', 'Workers there should be (WORKERS)', 'max', () => workers)
  gaugeOf('signalbox_worker_start_time_seconds', 'When the process of a worker started, since 1970', () => ({ worker }), () => Math.round(performance.timeOrigin) / 1000)
  gaugeOf('signalbox_event_loop_lag_seconds', 'Event-loop lag of a worker: the worst of the 99th percentiles of the last 15 seconds', () => ({ worker }), () => lagMs() / 1000)

  counter(EVENTS, 'Events read from the log', () => counters.events)
  counter('signalbox_uncoalesced_messages_total', 'Messages there would have been without bundling: one per event and connection that receives it', () => counters.owed)
  counter('signalbox_delivered_events_total', 'Events handed to connections', () => counters.delivered)
  counter('signalbox_bundles_total', 'Bundles handed to connections', () => counters.bundles)
  counter('signalbox_sent_bytes_total', 'Bytes of bundles handed to connections, as on the wire', () => counters.bytes)
  counter('signalbox_plain_bytes_total', 'Bytes there would have been without compression', () => counters.plainBytes)
  counter('signalbox_whole_bytes_total', 'Bytes there would have been without compression and patches', () => counters.wholeBytes)
  counter('signalbox_unbundled_bytes_total', 'Bytes there would have been without compression, patches and bundling: each event whole to every connection that hears it', () => counters.unbundledBytes)
  counter('signalbox_sessions_opened_total', 'Sessions opened', () => counters.opened)
  counter('signalbox_reads_total', 'Reads answered without a stream (GET /api/events)', () => counters.reads)
  counter('signalbox_slow_sessions_ended_total', 'Sessions, and connections with an answer over HTTP, ended because the client did not take what it was sent (SLOW_CLIENT_TIMEOUT)', () => counters.slow)
  counter('signalbox_commands_duplicate_total', 'Commands found to have run more than once', () => counters.duplicates)
  counter('signalbox_log_lines_dropped_total', 'Lines of the log that were dropped because nobody read them', droppedLines)
  counter('signalbox_saved_cpu_seconds_total', 'Upper bound of the CPU time saved by bundling: messages saved, each at the cost of handing over a bundle', () => savings.cpuSeconds)
  // Each code from the start: of a series that begins with its first refusal, rate() would miss that one.
  counterBy('code', 'signalbox_refusals_total', 'Requests, messages and connections refused', () => Object.fromEntries(CODES.map(code => [code, gateway.troubles.refusals[code] ?? 0])))
  counterBy('reason', 'signalbox_shed_total', 'What ran into a bound: requests and messages refused, connections ended', () => gateway.troubles.bounds)
  counterBy('origin', 'signalbox_foreign_origin_requests_total', 'Requests from pages of origins that CORS_ORIGINS does not list', () => foreign.counts)
  counterBy('reason', 'signalbox_resets_total', 'Clients that were reset because their position could not be resumed', () => counters.resets)

  histogram('signalbox_publish_seconds', 'Time from a publish to its events being durable, of accepted ones', Durations.BOUNDS_MS, () => gateway.durations.publish)
  histogram('signalbox_append_seconds', 'The part of it that the store took, waiting for other publishers included', Durations.BOUNDS_MS, () => gateway.durations.append)
  histogram('signalbox_delivery_seconds', 'Time from the acceptance of an event to its hand-over to a connection that was already listening when it was accepted', BOUNDS_MS, () => gateway.latency.total)
  const { disk, writes } = gateway
  if (writes !== undefined) {
    histogram('signalbox_store_write_seconds', 'Time of one write to the store, which many publishers share: with its fsync, or to Redis and back', Durations.BOUNDS_MS, () => writes)
  }

  gauge('signalbox_sessions', 'Connected sessions', 'sum', () => gateway.view.sessions.count)
  gauge('signalbox_sessions_limit', 'Connections there may be, waiting reads included (MAX_CLIENTS); 0 for no limit', 'sum', () => gateway.limits.maxClients)
  gauge('signalbox_waiting_reads', 'Reads that wait for something new', 'sum', () => gateway.view.waits)
  gauge('signalbox_stalled_sessions', 'Sessions whose connection has unsent bytes', 'sum', () => gateway.view.sessions.stalled)
  gauge('signalbox_rooms', 'Rooms', 'max', () => gateway.view.totals.rooms)
  gauge('signalbox_rooms_limit', 'Rooms there may be (MAX_ROOMS); 0 for no limit', 'max', () => gateway.limits.maxRooms)
  gauge('signalbox_keys', 'Current values over all rooms', 'max', () => gateway.view.totals.keys)
  gauge('signalbox_state_bytes', 'Memory of the current values over all rooms', 'max', () => gateway.view.totals.stateBytes)
  gauge('signalbox_state_limit_bytes', 'Memory that the current values may take (STATE_BYTES)', 'min', () => gateway.limits.stateBytes)
  gauge('signalbox_patch_base_bytes', 'Memory of the earlier values that patches start from; at most 16 MiB a worker', 'sum', () => gateway.view.baseBytes)
  gauge('signalbox_history_events', 'Facts and deletions kept for resuming', 'max', () => gateway.view.history.events)
  gauge('signalbox_history_reach_seconds', 'How long a client may be away and still be resumed; at most HISTORY_TTL', 'min', () =>
    Math.min(gateway.view.reachMs, historyTtlMs === 0 ? YEAR_MS : historyTtlMs) / 1000)
  gauge('signalbox_backlog_seconds', 'Age of the oldest event pending for a connected client', 'max', () => gateway.view.backlogMs / 1000)
  const files = fileLimit()
  // `process_open_fds` and `process_max_fds` are sums over the workers, in which one that is at its limit does not show.
  if (files < Infinity) gauge('signalbox_open_files_ratio', 'Open files of a worker by those it may have: of the worker that is nearest to its limit', 'max', async () => (await readdir('/proc/self/fd')).length / files)
  gauge('signalbox_tick_seconds', 'Length of the current tick', 'max', () => gateway.tickMs / 1000)
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
  metricsExchange?.provide(async () => await all().getMetricsAsJSON())

  app.get('/metrics', {
    config: { access: 'metrics' },
    schema: { tags: ['status'], operationId: 'getMetrics', summary: 'Prometheus metrics', response: { 200: textOf('text/plain', 'The metrics of all workers.'), ...refusals } }
  }, async (_request, reply) => {
    reply.type(registry.contentType)
    if (metricsExchange === undefined) return await all().metrics()
    return await metricsExchange.metricsOfAll() ?? `# Of this worker only: the metrics of the others did not arrive in time.\n${await all().metrics()}`
  })
}

let ofProcess: Registry | null = null

/** Once in a process, which may have several gateways: it observes the garbage collector for good, and would keep each of them in memory. */
function processMetrics (): Registry {
  if (ofProcess === null) collectDefaultMetrics({ register: ofProcess = new Registry() })
  return ofProcess
}

/** What a histogram is made of: how many by bound, the last ones beyond all, and the sum of all. */
interface Recorded {
  readonly counts: readonly number[]
  readonly sumMs: number
}

/** prom-client's histogram takes one value at a time, and looks its labels up for each; the core counts by itself. */
function histogramOf (name: string, help: string, boundsMs: readonly number[], read: () => Recorded): Metric {
  const get = (): object => {
    const { counts, sumMs } = read()
    let count = 0
    const buckets = counts.map((more, index) => {
      count += more
      const ms = boundsMs[index]
      return { metricName: `${name}_bucket`, labels: { le: ms === undefined ? '+Inf' : ms / 1000 }, value: count }
    })
    return {
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: [...buckets, { metricName: `${name}_sum`, labels: {}, value: sumMs / 1000 }, { metricName: `${name}_count`, labels: {}, value: count }]
    }
  }
  return { name, get } as unknown as Metric
}
