// The rules applied to a record: what they found, how much there was to find it in, and both as text.

import { readHistory } from './history.ts'
import type { Recorded } from './history.ts'
import { Recording } from './recording.ts'
import type { Place } from './recording.ts'
import { RULES } from './rules/index.ts'
import { absences } from './rules/liveness.ts'
import type { Rule, Violation } from './rules/rule.ts'

interface Finding {
  readonly rule: Rule
  readonly violations: readonly Violation[]
  /** Events, publishes or connections concerned, of all violations. */
  readonly count: number
}

interface Counts {
  readonly chains: number
  readonly attempted: number
  readonly ok: number
  readonly fail: number
  readonly info: number
  /** Of unknown outcome, and received. */
  readonly recovered: number
  readonly received: number
  readonly lost: number
  readonly twice: number
  readonly outOfOrder: number
  /** Values that a chain was not sent, because newer ones came first. */
  readonly folded: number
  readonly resets: number
  readonly reconnects: number
  /** How long chains were away, in ms. */
  readonly awayP50: number
  readonly awayP99: number
  readonly awayMax: number
}

export interface Verdict {
  readonly verdict: 'pass' | 'fail' | 'unknown'
  readonly findings: readonly Finding[]
  readonly counts: Counts
}

/** Most violations of a rule that are kept; all are counted. */
const KEPT = 1000
const SUBSTANCE = 12

function find (rule: Rule, recording: Recording): Finding {
  const violations: Violation[] = []
  let count = 0
  for (const violation of rule.check(recording)) {
    count += violation.count
    if (violations.length < KEPT) violations.push(violation)
  }
  return { rule, violations, count }
}

function countAll (recording: Recording, findings: readonly Finding[]): Counts {
  const of = (rule: number): number => findings.find(finding => finding.rule.number === rule)?.count ?? 0
  const chains = [...recording.chains.values()]
  const away = chains.flatMap(absences).map(({ ms }) => ms).filter(ms => ms < Infinity).sort((a, b) => a - b)
  const quantile = (share: number): number => Math.round(away[Math.max(0, Math.ceil(away.length * share) - 1)] ?? 0)
  const outcomes = { ok: 0, fail: 0, info: 0 }
  for (const { outcome } of recording.publishes) outcomes[outcome] += 1
  const resets = chains.reduce((sum, { marks }) => sum + marks.filter(({ f }) => f === 'reset').length, 0)
  return {
    chains: chains.length,
    attempted: recording.publishes.length,
    ...outcomes,
    recovered: recording.events.filter(({ isReal, publish, chain }) => isReal && publish?.outcome === 'info' && chain !== null).length,
    received: chains.reduce((sum, { received }) => sum + received, 0),
    lost: of(3),
    twice: of(5),
    outOfOrder: of(6),
    folded: countFolded(recording),
    resets,
    reconnects: away.length,
    awayP50: quantile(0.5),
    awayP99: quantile(0.99),
    awayMax: quantile(1)
  }
}

/** Between two values of a key that a chain got one after the other. */
function countFolded (recording: Recording): number {
  const places = new Map(recording.keys.flatMap(events => events.map((event, index) => [event, index] as const)))
  let folded = 0
  for (const chain of recording.chains.values()) {
    const last = new Map<number, number>()
    chain.walk(recording.events, {
      received: event => {
        const place = places.get(event)
        if (place === undefined) return
        folded += Math.max(0, place - (last.get(event.place) ?? place) - 1)
        last.set(event.place, place)
      }
    })
  }
  return folded
}

export function judge (lines: Iterable<Recorded>, rules: readonly Rule[] = RULES): Verdict {
  const recording = new Recording(lines)
  const findings = rules.map(rule => find(rule, recording)).filter(({ violations }) => violations.length > 0)
  const isBad = findings.some(({ rule }) => rule.number !== SUBSTANCE)
  return { verdict: isBad ? 'fail' : findings.length > 0 ? 'unknown' : 'pass', findings, counts: countAll(recording, findings) }
}

const SHOWN = 3
const BEFORE = 4
const AFTER = 2

/** The lines around violations, of the same chain, and those that belong to them. Read again: nothing of them was kept. */
function contexts (paths: readonly string[], violations: readonly Violation[]): Map<Violation, string[]> {
  const found = new Map(violations.map(violation => [violation, { before: [] as string[], after: [] as string[], see: [] as string[] }]))
  const isAt = (place: Place | undefined, { file, number }: Recorded): boolean => place?.file === file && place.number === number
  for (const recorded of readHistory(...paths)) {
    const { line, file, number } = recorded
    const text = `${paths[file]}:${number} ${JSON.stringify(line)}`
    for (const [{ chain, at, see }, lines] of found) {
      if (see?.some(place => isAt(place, recorded)) === true) lines.see.push(text)
      if (at === undefined || file !== at.file || number > at.number + 1e5) continue
      const isOfChain = chain === undefined ? number === at.number : 'chain' in line && line.chain === chain
      if (!isOfChain) continue
      if (number <= at.number) {
        lines.before.push(text)
        if (lines.before.length > BEFORE) lines.before.shift()
      } else if (lines.after.length < AFTER) {
        lines.after.push(text)
      }
    }
  }
  return new Map([...found].map(([violation, { before, after, see }]) => [violation, [...see, ...before, ...after]]))
}

export const tableOf = ({ counts }: Pick<Verdict, 'counts'>): string =>
  Object.entries(counts).map(([name, value]) => `${name.replaceAll(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)} ${value}`).join(' · ')

/** @param paths of the record, for the lines around what was found */
export function describe (result: Verdict, paths: readonly string[] = []): string {
  const shown = result.findings.flatMap(({ violations }) => violations.slice(0, SHOWN))
  const context = paths.length > 0 && shown.length > 0 ? contexts(paths, shown) : new Map<Violation, string[]>()
  const lines = [`${result.verdict.toUpperCase()}  ${tableOf(result)}`]
  for (const { rule, violations, count } of result.findings) {
    lines.push('', `${rule.number}. ${rule.name}: ${violations.length}${violations.length === KEPT ? ' or more' : ''} violations, ${count} in all. ${rule.holds}`)
    for (const violation of violations.slice(0, SHOWN)) lines.push(`   ${violation.what}`, ...(context.get(violation) ?? []).map(text => `      ${text}`))
  }
  return lines.join('\n')
}

export const EXIT_CODES = { pass: 0, fail: 1, unknown: 3 } as const
