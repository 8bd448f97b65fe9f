// What a run says: Markdown on stdout, everything in reports/bench.json, and with --docs the tables of
// docs/performance.md and its plots.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Chapter, Verdict } from './chapter.ts'
import type { Absent } from './contenders.ts'
import { svg } from './plot.ts'
import type { Series } from './rounds.ts'

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
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

export function report (chapters: readonly Chapter[], circumstances: Circumstances, docs: boolean): void {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}, Node.js ${process.version}`
  const date = new Date().toISOString()
  mkdirSync(at('reports'), { recursive: true })
  writeFileSync(at('reports/bench.json'), JSON.stringify({
    at: date, machine, ...circumstances, chapters: chapters.map(({ columns, plots, ...chapter }) => chapter)
  }, null, 2))

  const text = [
    circumstancesText(machine, date, circumstances),
    ...chapters.map(chapter => chapterText(chapter, docs ? 'plots/' : null)),
    verdictsText(chapters)
  ].join('\n\n')
  console.log(text)
  if (!docs) return
  mkdirSync(at('docs/plots'), { recursive: true })
  for (const plot of chapters.flatMap(({ plots }) => plots)) writeFileSync(at(`docs/plots/${plot.name}.svg`), svg(plot))
  const before = readFileSync(DOCS, 'utf8')
  const [head, rest] = [before.indexOf(BEGIN), before.indexOf(END)]
  if (head === -1 || rest < head) throw new Error(`${DOCS} has no place for the tables: ${BEGIN} ... ${END}`)
  writeFileSync(DOCS, `${before.slice(0, head)}${BEGIN}\n\n${text}\n\n${before.slice(rest)}`)
}

function circumstancesText (machine: string, date: string, { pinned, rounds, quick, tookMs, absent, remarks }: Circumstances): string {
  return [
    `${machine}; ${date.slice(0, 10)}. ${pinned ? 'Servers on one core, clients and publishers on the other (`taskset`).' : '**Servers and load were not kept on different cores.**'} ${rounds} rounds, variants in turn: the median, and in brackets the least and the most; ratios are of medians, their spread of the extremes. ${Math.round(tookMs / 1000)} s in all.${quick ? ' **`--quick`: too short for more than an impression.**' : ''}`,
    ...absent.map(({ name, why }) => `- ${name}: not measured here, ${why}`),
    ...remarks.map(remark => `- ${remark}`)
  ].join('\n')
}

function chapterText ({ title, method, columns, series, plots }: Chapter, plotsAt: string | null): string {
  const measured = series.filter(({ rounds }) => rounds.length > 0)
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    `## ${title}`,
    '',
    method,
    '',
    ...(plotsAt === null ? [] : plots.flatMap(({ name, title }) => [`![${title}](${plotsAt}${name}.svg)`, ''])),
    line(['', ...columns.map(({ head }) => head)]),
    line(['---', ...columns.map(() => '--:')]),
    ...measured.map(one => line([one.variant.startsWith('Signalbox') ? `**${one.variant}**` : one.variant, ...columns.map(({ cell }) => cell(one, series))])),
    ...remarksOn(series).flatMap(remark => ['', remark])
  ].join('\n')
}

/** What a reader has to know about the numbers. */
function remarksOn (series: readonly Series[]): string[] {
  const remarks = series.flatMap(({ variant, rounds, thrown, failed }) => [
    ...(thrown.length === 0 ? [] : [`- ${variant}: ${thrown.length} of ${thrown.length + rounds.length} rounds thrown away (${[...new Set(thrown)].join('; ')})`]),
    ...(failed === null ? [] : [`- ${variant}: not measured, ${failed.split('\n')[0]}`]),
    ...[...new Set(rounds.flatMap(({ faults }) => faults))].slice(0, 2).map(fault => `- ${variant}: ${fault}`)
  ])
  return remarks.length === 0 ? [] : [remarks.join('\n')]
}

function verdictsText (chapters: readonly Chapter[]): string {
  const rows = chapters.flatMap(({ title, verdicts }) => verdicts.map(verdict => ({ title, ...verdict })))
  const missed = rows.filter(({ met }) => !met)
  const line = ({ title, target, found, met }: Verdict & { title: string }): string => `| ${met ? 'met' : '**missed**'} | ${title} | ${target} | ${found} |`
  return ['## Targets', '', `${rows.length - missed.length} of ${rows.length} met.`, '', '| | scenario | target | measured |', '|---|---|---|--:|', ...missed.map(line), ...rows.filter(({ met }) => met).map(line)].join('\n')
}
