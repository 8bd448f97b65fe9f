// Rates per second from the counters of several processes. A process counts from its start, so a lower count means a new
// process, and its first reading gives no rate.

import type { CounterReport } from './reports.ts'

const NAMES = ['events', 'owed', 'delivered', 'bundles', 'bytes', 'plainBytes', 'wholeBytes', 'unbundledBytes'] as const

export type Throughput = Readonly<Record<typeof NAMES[number], number>>

/** A process that is silent for this much longer than the others is no longer counted. */
const SILENT_MS = 5000

interface CounterReading {
  readonly at: number
  readonly counters: CounterReport
  readonly rate: Throughput | null
}

export class Throughputs {
  readonly #readings = new Map<string, CounterReading>()

  /** @param at time of the reading, by the process's clock */
  take (process: string, at: number, counters: CounterReport): void {
    const last = this.#readings.get(process)
    if (last !== undefined && at <= last.at) return
    this.#readings.set(process, { at, counters, rate: last === undefined ? null : rateBetween(last, { at, counters }) })
  }

  forget (process: string): void {
    this.#readings.delete(process)
  }

  /** Of all processes together; null while unknown. */
  get total (): Throughput | null {
    const newest = Math.max(...[...this.#readings.values()].map(({ at }) => at))
    const rates = [...this.#readings.values()].flatMap(({ at, rate }) => rate === null || newest - at > SILENT_MS ? [] : [rate])
    if (rates.length === 0) return null
    const sum = (name: keyof Throughput): number => rates.reduce((sum, rate) => sum + rate[name], 0)
    // Every process reads every event of the log, so all of them count the same events.
    return { ...Object.fromEntries(NAMES.map(name => [name, sum(name)])) as Throughput, events: Math.max(...rates.map(({ events }) => events)) }
  }

  /** Of one process. */
  of (process: string): Throughput | null {
    return this.#readings.get(process)?.rate ?? null
  }
}

function rateBetween (before: { at: number, counters: CounterReport }, after: { at: number, counters: CounterReport }): Throughput | null {
  const seconds = (after.at - before.at) / 1000
  const rises = NAMES.map(name => [name, ((after.counters[name] ?? 0) - (before.counters[name] ?? 0)) / seconds] as const)
  return rises.some(([, rise]) => rise < 0) ? null : Object.fromEntries(rises) as Record<typeof NAMES[number], number>
}
