// The table of a run, in Markdown and as JSON.

import { writeFileSync } from 'node:fs'
import { addCounts, quantile } from './counts.ts'
import type { RoundResult, RunOptions } from './run.ts'

const HEAD = ['fault', 'store', 'profile', 'rounds', 'failed', 'attempted', 'ok', 'fail', 'unknown', 'received', 'lost', 'twice', 'out of order', 'resets', 'reconnects', 'back p50', 'p99', 'max']

export function tableOf (results: readonly RoundResult[]): string {
  const groups = new Map<string, RoundResult[]>()
  for (const result of results) {
    const name = `${result.fault} ${result.store} ${result.profile}`
    groups.set(name, [...groups.get(name) ?? [], result])
  }
  const rows = [...groups.values()].map(group => {
    const [{ fault, store, profile }] = group as [RoundResult, ...RoundResult[]]
    const { attempted, ok, fail, info, received, resets, reconnects, back } = addCounts(group.map(({ counts }) => counts))
    const sum = (name: 'lost' | 'twice' | 'disorder'): number => group.reduce((total, result) => total + result[name], 0)
    const seconds = (share: number): string => back.length === 0 ? '-' : `${((quantile(back, share) as number) / 1000).toFixed(1)} s`
    return [fault, store, profile, group.length, group.filter(({ failures }) => failures.length > 0).length, attempted, ok, fail, info, received, sum('lost'), sum('twice'), sum('disorder'), resets, reconnects, seconds(0.5), seconds(0.99), seconds(1)]
  })
  return [HEAD, HEAD.map((_, index) => index < 3 ? '---' : '--:'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n')
}

/** @returns the table */
export function writeReport (results: readonly RoundResult[], options: Omit<RunOptions, 'faults'>, file: string | undefined): string {
  const table = tableOf(results)
  if (file !== undefined) {
    writeFileSync(file, `${table}\n`)
    writeFileSync(file.replace(/(\.md)?$/, '.json'), `${JSON.stringify({ options, results: results.map(({ counts: { back, ...counts }, ...result }) => ({ ...result, counts, backMs: [0.5, 0.99, 1].map(share => quantile(back, share)) })) }, null, 2)}\n`)
  }
  return table
}
