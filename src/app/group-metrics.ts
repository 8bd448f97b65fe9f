// The metrics of several workers as those of one: counts are summed, and what all know alike, because each holds the
// whole log, is not. The aggregator of each gauge says which.
//
// A count must never fall: Prometheus would take that for a new beginning and count the rest once more. So what a
// worker had counted stays when it is gone, or does not answer.

import { AggregatorRegistry } from 'prom-client'

/** The metrics of a process, as processes tell each other. */
export type ProcessMetrics = readonly MetricValues[]

interface MetricValues {
  readonly name: string
  readonly type: unknown
  readonly values: ReadonlyArray<{ readonly value: number }>
}

/** Every worker takes in every event: a sum would count each as often as there are workers. */
export const EVENTS = 'signalbox_events_total'
export const READY = 'signalbox_ready'

export class GroupMetrics<Worker> {
  /** What each worker told last. */
  readonly #last = new Map<Worker, ProcessMetrics>()
  /** What those that are gone had counted. */
  #past: ProcessMetrics = []
  #events = 0
  /** What is to be added to the events a worker has counted since its start, to have those of the group. */
  readonly #before = new Map<Worker, number>()

  /** The worker is gone. */
  delete (worker: Worker): void {
    this.#past = sum([this.#past, counts(this.#last.get(worker))])
    this.#last.delete(worker)
    this.#before.delete(worker)
  }

  /** @param answers of each worker that listens; null where there was none in time */
  async describe (answers: ReadonlyMap<Worker, ProcessMetrics | null>): Promise<string> {
    const answered = [...answers].filter((answer): answer is [Worker, ProcessMetrics] => answer[1] !== null)
    const silent = [...answers.keys()].filter(worker => answers.get(worker) === null)
    for (const [worker, figures] of answered) this.#last.set(worker, figures)
    this.#countEvents(answered)
    const present = sum([...answered.map(([, figures]) => figures), this.#past, ...silent.map(worker => counts(this.#last.get(worker)))])
    const text = await AggregatorRegistry.aggregate([present.map(metric => {
      if (metric.name === EVENTS) return withValue(metric, this.#events)
      // What does not answer takes no work either.
      return metric.name === READY && silent.length > 0 ? withValue(metric, 0) : metric
    })]).metrics()
    return silent.length === 0 ? text : `# ${silent.length} of ${answers.size} workers did not answer in time.\n${text}`
  }

  #countEvents (answered: ReadonlyArray<[Worker, ProcessMetrics]>): void {
    const counted = answered.map(([worker, figures]) => ({ worker, count: figures.find(({ name }) => name === EVENTS)?.values[0]?.value ?? 0 }))
    const known = counted.filter(({ worker }) => this.#before.has(worker))
    if (known.length > 0) this.#events = Math.max(this.#events, ...known.map(({ worker, count }) => count + (this.#before.get(worker) as number)))
    else this.#events += Math.max(0, ...counted.map(({ count }) => count))
    for (const { worker, count } of counted) if (!this.#before.has(worker)) this.#before.set(worker, this.#events - count)
  }
}

const counts = (figures: ProcessMetrics = []): ProcessMetrics => figures.filter(({ type }) => type === 'counter' || type === 'histogram')

const sum = (all: readonly ProcessMetrics[]): ProcessMetrics => AggregatorRegistry.aggregate([...all]).getMetricsAsArray() as unknown as ProcessMetrics

const withValue = (metric: MetricValues, value: number): MetricValues => ({ ...metric, values: metric.values.map(labelled => ({ ...labelled, value })) })
