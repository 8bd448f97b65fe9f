// Counters that only rise, of several processes, as rates per second. Each process counts from its own start: one that
// counts less than before is another one, and what it has counted until now is no rate yet.

import type { CounterReport } from './reports.ts'

const NAMES = ['events', 'owed', 'delivered', 'bundles', 'bytes'] as const

export type Throughput = Readonly<Record<typeof NAMES[number], number>>

/** A process that has said nothing for so much longer than the others is counted no more. */
const SILENT_MS = 5000

interface Reading {
  readonly at: number
  readonly counters: CounterReport
  readonly rate: Throughput | null
}

export class Throughputs {
  readonly #readings = new Map<string, Reading>()

  /** @param at when the process counted so, by its own clock */
  take (process: string, at: number, counters: CounterReport): void {
    const last = this.#readings.get(process)
    if (last !== undefined && at <= last.at) return
    this.#readings.set(process, { at, counters, rate: last === undefined ? null : rateBetween(last, { at, counters }) })
  }

  forget (process: string): void {
    this.#readings.delete(process)
  }

  /** Of all processes together; null while none is known. */
  get total (): Throughput | null {
    const newest = Math.max(...[...this.#readings.values()].map(({ at }) => at))
    const rates = [...this.#readings.values()].flatMap(({ at, rate }) => rate === null || newest - at > SILENT_MS ? [] : [rate])
    if (rates.length === 0) return null
    const sum = (name: keyof Throughput): number => rates.reduce((sum, rate) => sum + rate[name], 0)
    // Every process takes in every event of the log, so they all count the same ones.
    return { events: Math.max(...rates.map(({ events }) => events)), owed: sum('owed'), delivered: sum('delivered'), bundles: sum('bundles'), bytes: sum('bytes') }
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
