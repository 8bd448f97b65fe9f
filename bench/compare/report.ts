// The report of a run: Markdown on stdout, everything in reports/bench.json, and with --docs the tables of
// docs/performance.md and its plots.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Chapter, Verdict } from './chapter.ts'
import type { Absent } from './contenders.ts'
import { svg } from './plot.ts'
import type { Series } from './rounds.ts'

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const JSON_FILE = at('reports/bench.json')
/** The plots in docs/performance.md: a run without --docs does not change them. */
const SHOWN_FILE = at('reports/performance.json')
const DOCS = at('docs/performance.md')
const BEGIN = '<!-- what follows is written by `npm run bench -- --docs` -->'
const END = '<!-- up to here -->'

export interface Circumstances {
  readonly pinned: boolean
  readonly rounds: number
  readonly quick: boolean
  readonly tookMs: number
  readonly absent: readonly Absent[]
  /** Sentences about this machine's limits. */
  readonly remarks: readonly string[]
}

/** A chapter as it is stored and printed. */
interface Told extends Pick<Chapter, 'id' | 'title' | 'method' | 'verdicts' | 'plots'> {
  readonly head: readonly string[]
  readonly rows: ReadonlyArray<readonly string[]>
  readonly remarks: readonly string[]
  readonly series: readonly Series[]
}

/**
 * @param order of the chapters' names
 * @param docs also into docs/performance.md, where scenarios not measured this time stay as they are
 */
export function report (chapters: readonly Chapter[], circumstances: Circumstances, order: readonly string[], docs: boolean): void {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}, Node.js ${process.version}`
  const date = new Date().toISOString()
  const told = chapters.map(tell)
  const kept = docs && existsSync(SHOWN_FILE) ? JSON.parse(readFileSync(SHOWN_FILE, 'utf8')) as Told[] : []
  const all = [...kept.map(old => told.find(({ id }) => id === old.id) ?? old), ...told.filter(({ id }) => !kept.some(old => old.id === id))]
    .sort((one, other) => order.indexOf(one.id) - order.indexOf(other.id))
  mkdirSync(at('reports'), { recursive: true })
  writeFileSync(JSON_FILE, JSON.stringify({ at: date, machine, ...circumstances, chapters: told }, null, 2))

  const text = (chapters: readonly Told[], plotsAt: string | null): string => [
    circumstancesText(machine, date, circumstances, chapters.length > told.length ? told.map(({ title }) => title) : null), ...chapters.map(chapter => chapterText(chapter, plotsAt)), verdictsText(chapters)
  ].join('\n\n')
  console.log(text(told, null))
  if (!docs) return
  writeFileSync(SHOWN_FILE, JSON.stringify(all, null, 2))
  mkdirSync(at('docs/plots'), { recursive: true })
  for (const plot of all.flatMap(({ plots }) => plots)) writeFileSync(at(`docs/plots/${plot.name}.svg`), svg(plot))
  const before = readFileSync(DOCS, 'utf8')
  const [head, rest] = [before.indexOf(BEGIN), before.indexOf(END)]
  if (head === -1 || rest < head) throw new Error(`${DOCS} has no place for the tables: ${BEGIN} ... ${END}`)
  writeFileSync(DOCS, `${before.slice(0, head)}${BEGIN}\n\n${text(all, 'plots/')}\n\n${before.slice(rest)}`)
}

function tell ({ columns, series, ...chapter }: Chapter): Told {
  const measured = series.filter(({ rounds }) => rounds.length > 0)
  return {
    ...chapter,
    head: ['', ...columns.map(({ head }) => head)],
    rows: measured.map(one => [one.variant.startsWith('Signalbox') ? `**${one.variant}**` : one.variant, ...columns.map(({ cell }) => cell(one, series))]),
    remarks: remarksOn(series),
    series
  }
}

/** @param only the chapters of this run, where there are others from before */
function circumstancesText (machine: string, date: string, { pinned, rounds, quick, tookMs, absent, remarks }: Circumstances, only: readonly string[] | null): string {
  return [
    `${machine}; ${date.slice(0, 10)}. ${pinned ? 'Servers on one core, clients and publishers on the other (`taskset`).' : '**Servers and load were not kept on different cores.**'} ${rounds === 1 ? 'One round.' : `${rounds} rounds, variants in turn: the median, and in brackets the least and the most; ratios are of medians, their spread of the extremes.`} ${Math.round(tookMs / 1000)} s ${only === null ? 'in all' : `for ${only.map(title => `"${title}"`).join(' and ')}, whatever else is here was measured before`}.${quick ? ' **`--quick`: too short for more than an impression.**' : ''}`,
    ...absent.map(({ name, why }) => `- ${name}: not measured here, ${why}`),
    ...remarks.map(remark => `- ${remark}`)
  ].join('\n')
}

function chapterText ({ title, method, head, rows, remarks, plots }: Told, plotsAt: string | null): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    `## ${title}`,
    '',
    method.trim(),
    '',
    ...(plotsAt === null ? [] : plots.flatMap(({ name, title }) => [`![${title}](${plotsAt}${name}.svg)`, ''])),
    line(head),
    line(head.map((_, index) => index === 0 ? '---' : '--:')),
    ...rows.map(line),
    ...(remarks.length === 0 ? [] : ['', ...remarks])
  ].join('\n')
}

/** Notes that a reader needs to judge the numbers. */
function remarksOn (series: readonly Series[]): string[] {
  return series.flatMap(({ variant, rounds, thrown, failed }) => [
    ...(thrown.length === 0 ? [] : [`- ${variant}: ${thrown.length} of ${thrown.length + rounds.length} rounds thrown away (${[...new Set(thrown)].join('; ')})`]),
    ...(failed === null ? [] : [`- ${variant}: not measured, ${failed.split('\n')[0]}`]),
    ...[...new Set(rounds.flatMap(({ faults }) => faults))].slice(0, 2).map(fault => `- ${variant}: ${fault}`)
  ])
}

function verdictsText (chapters: readonly Told[]): string {
  const rows = chapters.flatMap(({ title, verdicts }) => verdicts.map(verdict => ({ title, ...verdict })))
  const missed = rows.filter(({ met }) => !met)
  const line = ({ title, target, found, met }: Verdict & { title: string }): string => `| ${met ? 'met' : '**missed**'} | ${title} | ${target} | ${found} |`
  return ['## Targets', '', `${rows.length - missed.length} of ${rows.length} met, by the median; where the spread lies on both sides of a target, the run shows neither. CPU is what the kernel counts, in steps of 10 ms: a third of a microsecond for each frame of a fan-out, 20 for each publish as a deployment grows.`, '', '| | scenario | target | measured |', '|---|---|---|--:|', ...missed.map(line), ...rows.filter(({ met }) => met).map(line)].join('\n')
}
