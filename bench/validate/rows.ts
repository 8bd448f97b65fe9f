// The measurements as rows of text, for the terminal and for the page.

import { percent } from '../format.ts'
import type { Measurement } from '../measure.ts'
import { plainOf, savedCpu, TARGETS } from './judge.ts'
import type { Report } from './findings.ts'

interface Cell {
  readonly text: string
  /** Whether it meets its target; null where it has none. */
  readonly met: boolean | null
}

export interface Column {
  readonly name: string
  readonly unit: string
  readonly target: string
}

export interface Row {
  readonly measurement: Measurement
  readonly cells: readonly Cell[]
}

export const COLUMNS: readonly Column[] = [
  { name: 'p50', unit: 'ms', target: '' },
  { name: 'p95', unit: 'ms', target: `< ${TARGETS.p95Ms}` },
  { name: 'p99', unit: 'ms', target: '' },
  { name: 'lag p99', unit: 'ms', target: `< ${TARGETS.lagP99Ms}` },
  { name: 'CPU', unit: '%', target: '' },
  { name: 'saved', unit: '%', target: `>= ${TARGETS.cpuSaved * 100}` },
  { name: 'messages', unit: '/s', target: '' },
  { name: 'bytes', unit: 'KiB/s', target: '' },
  { name: 'backlog', unit: 's', target: `< ${TARGETS.backlogSeconds}` },
  { name: 'lost', unit: '', target: '0' },
  { name: 'twice', unit: '', target: '0' },
  { name: 'last', unit: 'values', target: 'right' }
]

const NONE = '-'
const plain = (text: string): Cell => ({ text, met: null })
const decimals = (value: number): string => value.toFixed(value < 10 ? 1 : 0)
const whole = (value: number): string => Math.round(value).toLocaleString('en')

export function rows ({ measurements, workloads }: Report, workload: string): Row[] {
  const judged = workloads.some(({ name, saves }) => name === workload && saves)
  return measurements.filter(measurement => measurement.workload === workload).map(measurement => {
    const { coalesced, latency, lagP99Ms, serverCpu, messages, bytes, backlogSeconds, wrongs, inside } = measurement
    const target = (value: number | null, text: (value: number) => string, met: (value: number) => boolean): Cell =>
      value === null ? plain(NONE) : { text: text(value), met: coalesced ? met(value) : null }
    const none = (value: number, text = whole): Cell => ({ text: text(value), met: value === 0 })
    const saved = savedCpu(measurement, measurements)
    const estimated = plainOf(measurement, measurements) === undefined && coalesced ? inside?.savedCpu ?? null : null
    return {
      measurement,
      cells: [
        plain(latency === null ? NONE : decimals(latency.p50)),
        target(latency?.p95 ?? null, decimals, value => value < TARGETS.p95Ms),
        plain(latency === null ? NONE : decimals(latency.p99)),
        target(lagP99Ms, decimals, value => value < TARGETS.lagP99Ms),
        plain(serverCpu === null ? NONE : decimals(serverCpu * 100)),
        saved === null
          ? plain(estimated === null ? '' : `~${Math.round(estimated * 100)}`)
          : judged ? { text: String(Math.round(saved * 100)), met: saved >= TARGETS.cpuSaved } : plain(`(${Math.round(saved * 100)})`),
        plain(whole(messages)),
        plain(bytes === null ? NONE : whole(bytes / 1024)),
        target(backlogSeconds, value => value.toFixed(2), value => value < TARGETS.backlogSeconds),
        none(wrongs.lost),
        none(wrongs.twice),
        none(wrongs.stale + wrongs.disorder, value => value === 0 ? 'right' : whole(value))
      ]
    }
  })
}

export const TRUTHS: readonly Column[] = [
  { name: 'p95 inside', unit: 'ms', target: '' },
  { name: 'outside', unit: 'ms', target: '' },
  { name: 'mean inside', unit: 'ms', target: '' },
  { name: 'outside', unit: 'ms', target: '' },
  { name: 'bundles told', unit: '/s', target: '' },
  { name: 'received', unit: '/s', target: '' },
  { name: 'CPU saved told', unit: '%', target: '' },
  { name: 'measured', unit: '%', target: '' }
]

/** The server's own figures beside those measured outside. */
export function truths ({ measurements }: Report): Array<{ readonly measurement: Measurement, readonly cells: readonly string[] }> {
  const maybe = (value: number | null | undefined): string => value == null ? NONE : decimals(value)
  return measurements.flatMap(measurement => {
    const { coalesced, inside, bucketedP95Ms, delivered, messages, seconds } = measurement
    if (!coalesced || inside === null) return []
    const saved = savedCpu(measurement, measurements)
    return [{
      measurement,
      cells: [
        maybe(inside.p95Ms), maybe(bucketedP95Ms), maybe(inside.meanMs), maybe(delivered?.mean),
        whole(inside.bundles / seconds), whole(messages),
        String(Math.round(inside.savedCpu * 100)), saved === null ? NONE : String(Math.round(saved * 100))
      ]
    }]
  })
}

export const SAVINGS: readonly Column[] = [
  { name: 'bundling', unit: '%', target: '' },
  { name: 'patches', unit: '%', target: '' },
  { name: 'compression', unit: '%', target: '' },
  { name: 'sent', unit: 'KiB/s', target: '' }
]

/** Shares of the bytes saved, by each means, and what is left. */
export function savings ({ measurements }: Report): Array<{ readonly measurement: Measurement, readonly cells: readonly string[] }> {
  return measurements.flatMap(measurement => {
    const { coalesced, inside, seconds } = measurement
    if (!coalesced || inside === null || inside.savedBytes === null) return []
    const { savedBytes: { bundling, patches, compression }, bytes } = inside
    return [{ measurement, cells: [...[bundling, patches, compression].map(share => String(Math.round(share * 100))), whole(bytes / 1024 / seconds)] }]
  })
}

/** How far the two are apart, in a sentence; null where there is nothing to compare. */
export function truthSentence ({ measurements, url }: Report): string | null {
  const compared = measurements.flatMap(measurement => {
    const { coalesced, inside, delivered, messages, seconds } = measurement
    if (!coalesced || inside === null || inside.meanMs === null || delivered === null) return []
    const saved = savedCpu(measurement, measurements)
    return [{ ms: delivered.mean - inside.meanMs, bundles: inside.bundles / seconds / messages - 1, cpu: saved === null ? null : inside.savedCpu - saved }]
  })
  if (compared.length === 0) return null
  const range = (values: readonly number[], text: (value: number) => string): string => {
    const [least, most] = [text(Math.min(...values)), text(Math.max(...values))]
    return least === most ? least : `${least} to ${most}`
  }
  const cpu = compared.flatMap(({ cpu }) => cpu === null ? [] : [cpu * 100])
  const points = (value: number): string => `${value > 0 ? '+' : ''}${Math.round(value)}`
  return `Of the server's own figures: on average an event takes ${range(compared.map(({ ms }) => ms), value => value.toFixed(1))} ms longer seen from outside; ` +
    `the bundles it counts differ from those received by at most ${percent(Math.max(...compared.map(({ bundles }) => Math.abs(bundles))))}${url === null ? '' : ' (it counts those of everybody)'}` +
    `${cpu.length === 0 ? '' : `; its estimate of the CPU saved is ${range(cpu, points)} percentage points off what was measured`}.`
}
