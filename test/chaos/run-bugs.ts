// Runs the gateway with each of the planted bugs, and shows that the checker finds it: `npm run chaos -- --bugs`.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from '../tools/daemon.ts'
import { BUGS } from './bugs.ts'
import type { Bug } from './bugs.ts'
import { FAULTS } from './faults/index.ts'
import type { MakeFault } from './fault.ts'
import { plant } from './planting.ts'
import { run } from './run.ts'
import type { RunOptions } from './run.ts'

export interface Catch {
  readonly bug: Bug
  /** The round in which the expected rule named it; null: none did. */
  readonly round: number | null
  readonly seed: number
  /** Other rules that named it. */
  readonly also: readonly string[]
}

const MAX_ROUNDS = 10

export function bugsOf (names: string): readonly Bug[] {
  if (names === 'all') return BUGS
  return names.split(',').map(name => {
    const bug = BUGS.find(bug => bug.name === name)
    if (bug === undefined) throw new Error(`no such bug: ${name}; there are ${BUGS.map(({ name }) => name).join(', ')}`)
    return bug
  })
}

export async function catchBugs (t: Test, bugs: readonly Bug[], options: Omit<RunOptions, 'faults' | 'rounds'>, report: (line: string) => void): Promise<Catch[]> {
  const caught: Catch[] = []
  for (const bug of bugs) {
    const found = await catchBug(t, bug, options, report)
    caught.push(found)
    report(`${found.round === null ? 'MISSED' : 'caught'} ${bug.name} (${bug.rule}) under ${bug.fault}: ${found.round === null ? `not within ${MAX_ROUNDS} rounds` : `round ${found.round}`}, seed ${found.seed}; also: ${found.also.join(', ') || '-'}`)
  }
  return caught
}

async function catchBug (t: Test, bug: Bug, options: Omit<RunOptions, 'faults' | 'rounds'>, report: (line: string) => void): Promise<Catch> {
  const fault = FAULTS.find(make => make().name === bug.fault) as MakeFault
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-bug-'))
  let also: readonly string[] = []
  let seed = options.seed
  try {
    for (let round = 1; round <= MAX_ROUNDS; round += 1) {
      seed = options.seed + round - 1
      const lines: string[] = []
      // Records of rounds that were found out are no evidence of anything else.
      const [result] = await run(t, { ...options, keep: options.keep ?? join(folder, 'records'), profile: bug.profile ?? options.profile, ...(bug.store === undefined ? {} : { store: bug.store }), faults: [fault], rounds: 1, seed, plant: env => plant(bug, folder, env) }, line => lines.push(line))
      also = (result?.broken ?? []).filter(name => name !== bug.rule)
      if (result?.broken.includes(bug.rule) === true) return { bug, round, seed, also }
      report(`  ${bug.name} round ${round}: ${result?.broken.join(', ') || 'nothing was named'}`)
      for (const line of lines) if (process.env.CHAOS_VERBOSE !== undefined) report(`    ${line}`)
    }
    return { bug, round: null, seed, also }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export function tableOfBugs (caught: readonly Catch[]): string {
  return [
    '| bug | what it does | rule that names it | fault | round | also named by |',
    '| --- | --- | --- | --- | --: | --- |',
    ...caught.map(({ bug, round, also }) => `| \`${bug.name}\` | ${bug.about} | ${bug.rule} | \`${bug.fault}\`${bug.store === 'redis' ? ', Redis' : ''} | ${round ?? 'not caught'} | ${also.filter(name => name !== 'substance').join(', ')} |`)
  ].join('\n')
}
