// Counters that only rise, of several processes, as rates per second. Each process counts from its own start: one that
// counts less than before is another one, and what it has counted until now is no rate yet.

import type { CounterReport } from './reports.ts'

const NAMES = ['events', 'owed', 'delivered', 'bundles', 'bytes'] as const

export type Rate = Readonly<Record<typeof NAMES[number], number>>

/** A process that has said nothing for so much longer than the others is counted no more. */
const SILENT_MS = 5000

interface Track {
  readonly at: number
  readonly counters: CounterReport
  readonly rate: Rate | null
}

export class Rates {
  readonly #tracks = new Map<string, Track>()

  /** @param at when the process counted so, by its own clock */
  take (process: string, at: number, counters: CounterReport): void {
    const last = this.#tracks.get(process)
    if (last !== undefined && at <= last.at) return
    this.#tracks.set(process, { at, counters, rate: last === undefined ? null : rateBetween(last, { at, counters }) })
  }

  forget (process: string): void {
    this.#tracks.delete(process)
  }

  /** Of all processes together; null while none is known. */
  get total (): Rate | null {
    const newest = Math.max(...[...this.#tracks.values()].map(({ at }) => at))
    const rates = [...this.#tracks.values()].flatMap(({ at, rate }) => rate === null || newest - at > SILENT_MS ? [] : [rate])
    if (rates.length === 0) return null
    const sum = (name: keyof Rate): number => rates.reduce((sum, rate) => sum + rate[name], 0)
    // Every process takes in every event of the log, so they all count the same ones.
    return { events: Math.max(...rates.map(({ events }) => events)), owed: sum('owed'), delivered: sum('delivered'), bundles: sum('bundles'), bytes: sum('bytes') }
  }

  /** Of one process. */
  of (process: string): Rate | null {
    return this.#tracks.get(process)?.rate ?? null
  }
}

function rateBetween (before: { at: number, counters: CounterReport }, after: { at: number, counters: CounterReport }): Rate | null {
  const seconds = (after.at - before.at) / 1000
  const rises = NAMES.map(name => [name, ((after.counters[name] ?? 0) - (before.counters[name] ?? 0)) / seconds] as const)
  return rises.some(([, rise]) => rise < 0) ? null : Object.fromEntries(rises) as Record<typeof NAMES[number], number>
}
