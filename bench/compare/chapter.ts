// The result of a scenario: a table, how far its targets are met, a plot.

import { figureOf, ratioOf } from './rounds.ts'
import type { Series, Spread } from './rounds.ts'

export interface Column {
  readonly head: string
  readonly cell: (series: Series, all: readonly Series[]) => string
}

export interface Verdict {
  readonly target: string
  /** Its measurements. */
  readonly found: string
  readonly met: boolean
}

export interface Plot {
  readonly name: string
  readonly title: string
  /** The longer the worse, or the better. */
  readonly better: 'less' | 'more'
  readonly bars: readonly Bar[]
}

interface Bar {
  readonly name: string
  readonly spread: Spread
  readonly text: string
}

export interface Chapter {
  readonly id: string
  readonly title: string
  /** How it is measured, in sentences. */
  readonly method: string
  readonly columns: readonly Column[]
  readonly series: readonly Series[]
  readonly verdicts: readonly Verdict[]
  readonly plots: readonly Plot[]
}

export type Format = (value: number) => string

export const plain: Format = value => value >= 100 ? Math.round(value).toLocaleString('en') : value >= 10 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2)
export const us: Format = value => value.toFixed(value < 100 ? 1 : 0)
export const share: Format = value => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`
const times: Format = value => `${value.toFixed(2)}x`

function spreadText (spread: Spread | null, format: Format = plain): string {
  if (spread === null) return ''
  const { median, least, most } = spread
  return least === most ? format(median) : `${format(median)} (${format(least)} to ${format(most)})`
}

/** A column with the spread of a figure. */
export const column = (head: string, figure: string, format: Format = plain): Column => ({ head, cell: series => spreadText(figureOf(series, figure), format) })

/** A column with how many times that of another variant it is. */
export const against = (base: string, figure: string): Column => ({
  head: `x ${base}`,
  cell: (series, all) => series.variant === base ? '1' : spreadText(ratioOf(series, all.find(({ variant }) => variant === base), figure), times)
})

/** A figure of one variant; null where that was not measured. */
export function figureIn (series: readonly Series[], variant: string, figure: string): Spread | null {
  const found = series.find(one => one.variant === variant)
  return found === undefined ? null : figureOf(found, figure)
}

/** Whether a figure's median keeps a limit. */
export function atMost (series: readonly Series[], variant: string, figure: string, limit: number, target: string, format: Format): Verdict[] {
  const spread = figureIn(series, variant, figure)
  return spread === null ? [] : [{ target: `${variant}: ${target}`, found: spreadText(spread, format), met: spread.median <= limit }]
}

export function atLeast (series: readonly Series[], variant: string, figure: string, limit: number, target: string, format: Format): Verdict[] {
  return atMost(series, variant, figure, Infinity, target, format).map(verdict => ({ ...verdict, met: (figureIn(series, variant, figure)?.median ?? 0) >= limit }))
}

/** Whether it costs no more than so many times another one. */
export function ratioAtMost (series: readonly Series[], variant: string, base: string, figure: string, limit: number, name = base): Verdict[] {
  const ratio = ratioOf(series.find(one => one.variant === variant), series.find(one => one.variant === base), figure)
  return ratio === null ? [] : [{ target: `${variant}: at most ${Number(limit.toFixed(3))} x ${name}`, found: spreadText(ratio, times), met: ratio.median <= limit }]
}

/** No lost connection, no stale value, nothing missing. */
export function noFaults (series: readonly Series[], variants: readonly string[]): Verdict[] {
  return series.filter(({ variant }) => variants.includes(variant)).map(({ variant, rounds, failed }) => {
    const faults = [...rounds.flatMap(({ faults }) => faults), ...(failed === null ? [] : [failed])]
    return { target: `${variant}: nothing lost, late or stale`, found: faults[0] ?? 'none', met: faults.length === 0 }
  })
}

export function plot (name: string, title: string, series: readonly Series[], figure: string, format: Format, better: Plot['better'] = 'less'): Plot {
  return {
    name,
    title,
    better,
    bars: series.flatMap(one => {
      const spread = figureOf(one, figure)
      return spread === null ? [] : [{ name: one.variant, spread, text: format(spread.median) }]
    })
  }
}
