// A small line of a figure's history, without axes: the figure itself is beside it. The target is drawn if it is within the
// scale.

import { makeSvg, mark } from './element.ts'
import type { TimeSeries } from './time-series.ts'

const WIDTH = 200
const HEIGHT = 40
const SPAN_MS = 120_000
/** A line that has just begun is not squeezed into a corner: it covers at least this span. */
const SHORTEST_SPAN_MS = 30_000

export interface SparklineOptions {
  /** Columns of the series, in drawing order. */
  readonly columns: readonly string[]
  /** Minimum full scale: noise near zero should not look like mountains. */
  readonly atLeast?: number
  readonly target?: number
}

export class Sparkline {
  readonly element: SVGSVGElement
  readonly #options: SparklineOptions
  readonly #lines: SVGPathElement[]
  readonly #area: SVGPathElement
  readonly #target: SVGLineElement

  constructor (options: SparklineOptions) {
    this.#options = options
    this.#area = makeSvg('path', { class: 'area' })
    this.#target = makeSvg('line', { class: 'target', x1: 0, x2: WIDTH, visibility: 'hidden' })
    this.#lines = options.columns.map((_, index) => makeSvg('path', { class: `line line-${index + 1}` }))
    // The figures are in the text beside it.
    this.element = makeSvg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, this.#area, this.#target, ...this.#lines)
  }

  draw (history: TimeSeries): void {
    const { columns, atLeast = 1, target } = this.#options
    const { times } = history
    const end = times.at(-1) ?? 0
    const span = Math.min(SPAN_MS, Math.max(SHORTEST_SPAN_MS, end - (times[0] ?? end)))
    const first = Math.max(0, times.findIndex(at => at >= end - span))
    const shown = columns.map(name => history.column(name))
    let top = atLeast
    for (const column of shown) for (let i = first; i < column.length; i++) top = Math.max(top, (column[i] ?? 0) * 1.15)
    const x = (i: number): number => WIDTH - (end - (times[i] ?? end)) / span * WIDTH
    const y = (value: number): number => HEIGHT - 1 - value / top * (HEIGHT - 2)
    this.#lines.forEach((line, index) => mark(line, { d: pathOf(shown[index] ?? [], first, x, y, false) }))
    mark(this.#area, { d: pathOf(shown[0] ?? [], first, x, y, true) })
    const inView = target !== undefined && target <= top
    mark(this.#target, { visibility: inView ? undefined : 'hidden', y1: inView ? y(target).toFixed(1) : 0, y2: inView ? y(target).toFixed(1) : 0 })
  }
}

/** A path through the points, interrupted at gaps; closed down to the baseline for an area. */
function pathOf (column: ReadonlyArray<number | null>, first: number, x: (i: number) => number, y: (value: number) => number, closed: boolean): string {
  let path = ''
  let from: number | null = null
  const close = (to: number): void => {
    if (closed && from !== null) path += `L${x(to).toFixed(1)} ${HEIGHT}L${x(from).toFixed(1)} ${HEIGHT}Z`
    from = null
  }
  for (let i = first; i < column.length; i++) {
    const value = column[i] ?? null
    if (value === null) {
      close(i - 1)
      continue
    }
    path += `${from === null ? 'M' : 'L'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`
    from ??= i
  }
  close(column.length - 1)
  return path
}
