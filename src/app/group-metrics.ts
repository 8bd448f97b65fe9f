// Combines the metrics of several workers. Counters are summed. Values that every worker has alike, because each holds the
// whole log, are not; the aggregator of each gauge says which.
//
// A counter must never fall: Prometheus would take that for a restart and count everything again. The counts of a worker
// are therefore kept when it is gone or does not answer.

import { AggregatorRegistry } from 'prom-client'

/** The metrics of one process, in the form sent between processes. */
export type ProcessMetrics = readonly MetricValues[]

interface MetricValues {
  readonly name: string
  readonly type: unknown
  readonly values: ReadonlyArray<{ readonly value: number }>
}

/** Counts the events of the log. Every worker reads all of them, so a sum would count each event once per worker. */
export const EVENTS = 'signalbox_events_total'
export const READY = 'signalbox_ready'

export class GroupMetrics<Worker> {
  /** The last metrics of each worker. */
  readonly #last = new Map<Worker, ProcessMetrics>()
  /** The counts of workers that are gone. */
  #past: ProcessMetrics = []
  #events = 0
  /** For each worker: events of the group that it did not count, because they came before its start. */
  readonly #missedEvents = new Map<Worker, number>()

  /** Call when a worker is gone. */
  delete (worker: Worker): void {
    this.#past = sum([this.#past, counts(this.#last.get(worker))])
    this.#last.delete(worker)
    this.#missedEvents.delete(worker)
  }

  /** @param answers the metrics of each worker that listens; null if it did not answer in time */
  async describe (answers: ReadonlyMap<Worker, ProcessMetrics | null>): Promise<string> {
    const answered = [...answers].filter((answer): answer is [Worker, ProcessMetrics] => answer[1] !== null)
    const silent = [...answers.keys()].filter(worker => answers.get(worker) === null)
    for (const [worker, metrics] of answered) this.#last.set(worker, metrics)
    this.#countEvents(answered)
    const present = sum([...answered.map(([, metrics]) => metrics), this.#past, ...silent.map(worker => counts(this.#last.get(worker)))])
    const text = await AggregatorRegistry.aggregate([present.map(metric => {
      if (metric.name === EVENTS) return withValue(metric, this.#events)
      // A worker that does not answer is not ready either.
      return metric.name === READY && silent.length > 0 ? withValue(metric, 0) : metric
    })]).metrics()
    return silent.length === 0 ? text : `# ${silent.length} of ${answers.size} workers did not answer in time.\n${text}`
  }

  #countEvents (answered: ReadonlyArray<[Worker, ProcessMetrics]>): void {
    const counted = answered.map(([worker, metrics]) => ({ worker, count: metrics.find(({ name }) => name === EVENTS)?.values[0]?.value ?? 0 }))
    const known = counted.filter(({ worker }) => this.#missedEvents.has(worker))
    if (known.length > 0) this.#events = Math.max(this.#events, ...known.map(({ worker, count }) => count + (this.#missedEvents.get(worker) as number)))
    else this.#events += Math.max(0, ...counted.map(({ count }) => count))
    for (const { worker, count } of counted) if (!this.#missedEvents.has(worker)) this.#missedEvents.set(worker, this.#events - count)
  }
}

const counts = (metrics: ProcessMetrics = []): ProcessMetrics => metrics.filter(({ type }) => type === 'counter' || type === 'histogram')

const sum = (all: readonly ProcessMetrics[]): ProcessMetrics => AggregatorRegistry.aggregate([...all]).getMetricsAsArray() as unknown as ProcessMetrics

const withValue = (metric: MetricValues, value: number): MetricValues => ({ ...metric, values: metric.values.map(labelled => ({ ...labelled, value })) })
