// What a round's history counts: not a verdict, which is the checker's.

import { readHistory } from './history.ts'
import type { Line } from './history.ts'

export interface Counts {
  attempted: number
  ok: number
  fail: number
  info: number
  received: number
  resets: number
  reconnects: number
  /** Times from a lost connection to the next, ms, in order. */
  back: number[]
}

const noCounts = (): Counts => ({ attempted: 0, ok: 0, fail: 0, info: 0, received: 0, resets: 0, reconnects: 0, back: [] })

/** Events are counted, not requests: the last outcome of each, an acknowledgement over all others. */
export function countsOf (files: readonly string[]): Counts {
  const counts = noCounts()
  const values = new Map<number, string>()
  const outcomes = new Map<string, 'ok' | 'fail' | 'info'>()
  const lostAt = new Map<string, number>()
  for (const { line } of readHistory(...files)) take(line)
  for (const outcome of outcomes.values()) counts[outcome]++
  counts.attempted = outcomes.size
  counts.back.sort((a, b) => a - b)
  return counts

  function take (line: Line): void {
    if (line.f === 'publish') {
      if (line.type === 'invoke') {
        const name = line.value ?? `${line.producer} deletes ${line.idem ?? line.op}`
        values.set(line.op, name)
        if (!outcomes.has(name)) outcomes.set(name, 'info')
      } else {
        const name = values.get(line.op) as string
        if (outcomes.get(name) !== 'ok') outcomes.set(name, line.type)
      }
    }
    if (line.f === 'recv') counts.received++
    if (line.f === 'reset') counts.resets++
    if (line.f === 'close' && line.by !== 'client') lostAt.set(line.chain, line.t)
    if (line.f === 'close' && line.reason === 'SILENT') lostAt.set(line.chain, line.t)
    if (line.f === 'connect' && line.type === 'ok') {
      const at = lostAt.get(line.chain)
      if (at === undefined) return
      counts.reconnects++
      counts.back.push(line.t - at)
      lostAt.delete(line.chain)
    }
  }
}

export function addCounts (all: readonly Counts[]): Counts {
  const sum = noCounts()
  for (const counts of all) {
    for (const name of ['attempted', 'ok', 'fail', 'info', 'received', 'resets', 'reconnects'] as const) sum[name] += counts[name]
    sum.back.push(...counts.back)
  }
  sum.back.sort((a, b) => a - b)
  return sum
}

/** @param sorted in ascending order */
export const quantile = (sorted: readonly number[], share: number): number | null => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null
