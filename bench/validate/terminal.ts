// A run's findings on a terminal of 100 columns.

import type { Measurement } from '../measure.ts'
import { definitions, machine } from './findings.ts'
import type { Report } from './findings.ts'
import { COLUMNS, rows, SAVINGS, savings, TRUTHS, truths, truthSentence } from './rows.ts'
import type { Column } from './rows.ts'

const WIDTH = 100
const LABEL = 13
const GAP = '  '

export function summary (report: Report): string {
  const { workloads, measurements, verdict } = report
  const sentence = truthSentence(report)
  const saved = savings(report)
  return [
    ...table(COLUMNS, workloads.flatMap(({ name }) => [
      [name],
      ...rows(report, name).map(({ measurement: { profile, coalesced }, cells }) => [coalesced ? `  ${profile}` : '    at once', ...cells.map(({ text, met }) => met === false ? `${text}!` : text)])
    ]), true),
    '',
    wrap(`! misses its target. "at once": unbundled, each event sent at once, over the same transport${measurements.every(({ coalesced }) => coalesced) ? '' : '; saved: CPU of an event published, against that'}. In brackets: nothing to save in that workload, not judged. ~: the server's own estimate, not judged. Latency: from publish to receipt, see the report.`),
    ...saved.length === 0
      ? []
      : [
          '',
          'Of the bytes there would be, saved by',
          ...table(SAVINGS, saved.map(({ measurement, cells }) => [labelOf(measurement), ...cells]))
        ],
    ...sentence === null
      ? []
      : [
          '',
          'What the server says of itself, beside what was seen from outside',
          ...table(TRUTHS, truths(report).map(({ measurement, cells }) => [labelOf(measurement), ...cells])),
          '',
          wrap(sentence)
        ],
    '',
    wrap(machine()),
    wrap((definitions(report).at(-1) as readonly [string, string])[1]),
    ...verdict.caveats.map(caveat => wrap(`- ${caveat}`))
  ].join('\n')
}

const labelOf = ({ workload, profile }: Measurement): string => `${workload} ${profile === 'SSE' ? 'SSE' : 'WS'}`

/** Columns of figures under their names, units and targets. */
function table (columns: readonly Column[], lines: ReadonlyArray<readonly string[]>, targets = false): string[] {
  // In two lines, or it would be too wide.
  const tops = columns.map(({ name }) => name.split(' ').slice(0, -1).join(' '))
  const all = [
    ['', ...tops],
    ['', ...columns.map(({ name }) => name.split(' ').at(-1) as string)],
    ['', ...columns.map(({ unit }) => unit)],
    ...targets ? [['target', ...columns.map(({ target }) => target)]] : [],
    ...lines
  ]
  const widths = columns.map((_, index) => Math.max(...all.map(line => line[index + 1]?.length ?? 0)))
  const label = Math.max(LABEL, ...all.map(([name = '']) => name.length))
  return all.map(([name = '', ...cells]) => [name.padEnd(label), ...cells.map((cell, index) => cell.padStart(widths[index] as number))].join(GAP).trimEnd())
}

/** Breaks a text between words. */
export function wrap (text: string, width = WIDTH): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line].join('\n')
}
