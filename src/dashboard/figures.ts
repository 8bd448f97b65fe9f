// The figures of all processes combined into those of one gateway: the worst if each process has the target, the sum if
// they share the work.

import type { GatewayReport, ProcessReport } from './reports.ts'

type Gateways = ReadonlyArray<ProcessReport<GatewayReport>>

export interface WorstFigure {
  readonly value: number
  /** The process with this figure. */
  readonly key: string
}

/** The highest value of a figure; null if no process reports it. */
export function worst (reports: Gateways, figureOf: (report: GatewayReport) => number | null | undefined): WorstFigure | null {
  let found: WorstFigure | null = null
  for (const { key, data } of reports) {
    const value = figureOf(data)
    if (typeof value === 'number' && (found === null || value > found.value)) found = { value, key }
  }
  return found
}

/** The sum of a figure; undefined if no process reports it. */
export function sum (reports: Gateways, figureOf: (report: GatewayReport) => number | undefined): number | undefined {
  const values = reports.map(({ data }) => figureOf(data)).filter(value => typeof value === 'number')
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0)
}

/**
 * The share of messages saved, each process weighted by the messages it would have sent without bundling.
 * @param owedOf those messages per second, by process
 */
export function savedMessages (reports: Gateways, owedOf: (key: string) => number | undefined): number | null {
  const shares = reports.flatMap(({ key, data }) => typeof data.saved?.messages === 'number' ? [{ share: data.saved.messages, owed: owedOf(key) ?? 0 }] : [])
  if (shares.length === 0) return null
  const owed = shares.reduce((sum, { owed }) => sum + owed, 0)
  return shares.reduce((sum, process) => sum + process.share * (owed === 0 ? 1 / shares.length : process.owed / owed), 0)
}

/**
 * The shares of the bytes there would be without any of them that bundling, patches and compression save.
 * @returns null where nothing was to be sent, or the gateway does not count it
 */
export function savedBytes ({ unbundledBytes, wholeBytes, plainBytes, bytes }: Readonly<Record<'unbundledBytes' | 'wholeBytes' | 'plainBytes' | 'bytes', number>>): { readonly bundling: number, readonly patches: number, readonly compression: number } | null {
  if (unbundledBytes === 0) return null
  // Events count when they come, and again when they are sent, which may be in the next report.
  const saved = (more: number, less: number): number => Math.max(0, more - less) / unbundledBytes
  return { bundling: saved(unbundledBytes, wholeBytes), patches: saved(wholeBytes, plainBytes), compression: saved(plainBytes, bytes) }
}

/** The share of CPU saved. A process that used u and saved the share s would have used u / (1 - s) without bundling. */
export function savedCpu (reports: Gateways): number | null {
  let used = 0
  let without = 0
  for (const { data: { saved, cpuPercent } } of reports) {
    if (typeof saved?.cpu !== 'number') continue
    const own = Math.max(0.01, cpuPercent ?? 0)
    used += own
    without += own / Math.max(0.001, 1 - saved.cpu)
  }
  return without === 0 ? null : 1 - used / without
}
