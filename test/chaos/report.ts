// The table of a run, in Markdown and as JSON.

import { writeFileSync } from 'node:fs'
import type { RoundResult, RunOptions } from './run.ts'
import type { Verdict } from './verdict.ts'

const SUMS = ['attempted', 'ok', 'fail', 'info', 'received', 'lost', 'twice', 'outOfOrder', 'resets', 'reconnects'] as const
const HEAD = ['fault', 'store', 'profile', 'rounds', 'failed', 'attempted', 'ok', 'refused', 'unknown', 'received', 'lost', 'twice', 'out of order', 'resets', 'reconnects', 'back: p50', 'worst p99', 'worst']

function tableOfRounds (results: readonly RoundResult[]): string {
  const groups = new Map<string, RoundResult[]>()
  for (const result of results) {
    const name = `${result.fault} ${result.store} ${result.profile}`
    groups.set(name, [...groups.get(name) ?? [], result])
  }
  return [HEAD, HEAD.map((_, index) => index < 3 ? '---' : '--:'), ...[...groups.values()].map(rowOf)].map(row => `| ${row.join(' | ')} |`).join('\n')
}

function rowOf (group: readonly RoundResult[]): unknown[] {
  const [{ fault, store, profile }] = group as [RoundResult, ...RoundResult[]]
  const of = (name: keyof Verdict['counts']): number[] => group.map(({ counts }) => counts[name]).sort((a, b) => a - b)
  const isBack = of('reconnects').some(count => count > 0)
  const seconds = (ms: number | undefined): string => isBack ? `${((ms ?? 0) / 1000).toFixed(1)} s` : '-'
  const failed = group.filter(({ failures }) => failures.length > 0).length
  const times = [of('awayP50')[Math.floor(group.length / 2)], of('awayP99').at(-1), of('awayMax').at(-1)]
  return [fault, store, profile, group.length, failed, ...SUMS.map(name => of(name).reduce((sum, count) => sum + count, 0)), ...times.map(seconds)]
}

/** @returns the table */
export function writeReport (results: readonly RoundResult[], options: Omit<RunOptions, 'faults'>, file: string | undefined): string {
  const table = tableOfRounds(results)
  if (file !== undefined) {
    writeFileSync(file, `${table}\n`)
    writeFileSync(file.replace(/(\.md)?$/, '.json'), `${JSON.stringify({ options, results }, null, 2)}\n`)
  }
  return table
}
