// Plots as SVG inside the page: coloured by its style sheet, sized by its columns, read aloud by their labels.

import { markup } from '../markup.ts'
import type { Markup } from '../markup.ts'

export interface Line {
  readonly name: string
  /** Class of the style sheet. */
  readonly kind: string
  readonly points: ReadonlyArray<readonly [ms: number, share: number]>
}

const WIDTH = 420
const HEIGHT = 240
const LEFT = 40
const RIGHT = 10
const TOP = 16
const BOTTOM = 34
const DECADES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000]

/** The share of events that took at most so long; time on a logarithmic scale, with the target's line. */
export function distribution (title: string, lines: readonly Line[], targetMs: number): Markup {
  const slowest = Math.max(targetMs * 2, ...lines.flatMap(({ points }) => points.map(([ms]) => ms)))
  const most = DECADES.find(ms => ms >= slowest) ?? slowest
  const x = (ms: number): number => LEFT + (WIDTH - LEFT - RIGHT) * Math.log10(Math.max(1, ms)) / Math.log10(most)
  const y = (share: number): number => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
  return markup`<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">
${[0, 0.25, 0.5, 0.75, 0.95].map(share => markup`<line class="grid${share === 0.95 ? ' p95' : ''}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(y(share))}" y2="${at(y(share))}"/><text class="tick" x="${LEFT - 5}" y="${at(y(share) + 4)}" text-anchor="end">${share * 100} %</text>`)}
${DECADES.filter(ms => ms <= most).map(ms => markup`<line class="grid" x1="${at(x(ms))}" x2="${at(x(ms))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/><text class="tick" x="${at(x(ms))}" y="${HEIGHT - BOTTOM + 14}" text-anchor="middle">${ms >= 1000 ? `${ms / 1000} s` : ms}</text>`)}
<line class="target" x1="${at(x(targetMs))}" x2="${at(x(targetMs))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/><text class="target" x="${at(x(targetMs) + 4)}" y="${TOP - 4}" text-anchor="middle">${targetMs} ms</text>
<text class="tick" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 5}" text-anchor="middle">from publish to receipt, ms</text>
${lines.map(({ name, kind, points }) => markup`<polyline class="${kind}" points="${points.map(([ms, share]) => `${at(x(ms))},${at(y(share))}`).join(' ')}"><title>${name}</title></polyline>`)}
</svg>`
}

export interface Bar {
  readonly name: string
  readonly kind: string
  /** Null where it was not measured. */
  readonly value: number | null
  readonly text: string
}

const BAR = 17
const NAME = 120
const VALUE = 62

/** Bars in groups, each with its name and figure, on one scale. @param target where its line is; null: none */
export function bars (title: string, groups: ReadonlyArray<{ readonly name: string, readonly bars: readonly Bar[] }>, target: number | null = null): Markup {
  const most = Math.max(target ?? 0, ...groups.flatMap(({ bars }) => bars.map(({ value }) => value ?? 0))) || 1
  const length = (value: number): number => (WIDTH - NAME - VALUE) * value / most
  let y = 4
  const drawn = groups.map(({ name, bars }) => {
    const head = markup`<text class="group" x="0" y="${y + 12}">${name}</text>`
    y += BAR
    const lines = bars.map(({ name, kind, value, text }) => {
      const line = markup`<text class="name" x="${NAME - 6}" y="${y + 12}" text-anchor="end">${name}</text><rect class="${kind}" x="${NAME}" y="${y + 2}" width="${at(Math.max(1, length(value ?? 0)))}" height="${BAR - 5}" rx="2"/><text class="value" x="${at(NAME + length(value ?? 0) + 5)}" y="${y + 12}">${text}</text>`
      y += BAR
      return line
    })
    y += 7
    return [head, ...lines]
  })
  const line = target === null ? null : markup`<line class="target" x1="${at(NAME + length(target))}" x2="${at(NAME + length(target))}" y1="2" y2="${y}"/>`
  return markup`<svg viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${title}">${line}${drawn}</svg>`
}

const at = (place: number): string => place.toFixed(1)
