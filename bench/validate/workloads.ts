// Workloads by name. Each event is a separate request, at irregular times, to one room that all viewers have joined.

import { around, times } from '../measure.ts'
import type { Workload } from '../measure.ts'
import type { Source } from '../publisher.ts'

export interface Named extends Workload {
  /** One sentence. */
  readonly what: string
  /** Whether bundling has anything to save here. */
  readonly saves: boolean
  readonly warmUp: readonly Source[]
  /** How many times as long as others it is measured, for it has few events. */
  readonly longer: number
}

const GAUGES = 50
const WRITERS = 10

/** Events a second where the load is 1. */
const RATES = { dashboard: 1000, log: 300, mix: 400, sparse: 5 }

export const NAMES = Object.keys(RATES) as readonly Name[]
export type Name = keyof typeof RATES

/** @param load how many times as many events a second; the sparse one stays what it is */
export function workload (name: Name, load: number): Named {
  const rate = RATES[name] * (name === 'sparse' ? 1 : load)
  const gauges = (perSecond: number): Source[] => times(GAUGES, index => ({ key: () => `gauge-${index}`, gapMs: around(1000 * GAUGES / perSecond, 0.5) }))
  const log = (perSecond: number): Source[] => times(WRITERS, () => ({ key: () => null, gapMs: around(1000 * WRITERS / perSecond, 0.5) }))
  const described = (what: string, sources: readonly Source[]): Named => ({ name, rate, what, sources, warmUp: sources, saves: true, longer: 1 })
  switch (name) {
    case 'dashboard':
      return described(`${GAUGES} hot keys, ${told(rate)} updates a second together: gauges, of which a viewer needs the newest value`, gauges(rate))
    case 'log':
      return described(`${told(rate)} facts a second, un-keyed: every viewer gets every one`, log(rate))
    case 'mix':
      return described(`${GAUGES} keys with ${told(rate * 0.75)} updates a second together, and ${told(rate * 0.25)} facts a second`, [...gauges(rate * 0.75), ...log(rate * 0.25)])
    case 'sparse': {
      let turn = 0
      // Never closer than a tick at its floor, so no two are ever bundled.
      const source = { key: () => turn++ % 2 === 0 ? null : 'only', gapMs: around(1000 / rate, 0.4) }
      return {
        ...described(`${told(rate)} events a second, by turns a fact and a value, at least 120 ms apart: each goes out at once and by itself, so there is nothing to bundle and no CPU to save`, [source]),
        // By itself it would take a minute to warm anything up.
        warmUp: log(100 * load),
        saves: false,
        longer: 1.5
      }
    }
  }
}

const told = (rate: number): string => rate.toLocaleString('en', { maximumFractionDigits: 1 })
