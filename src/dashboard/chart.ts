// A chart over time by uPlot. Its legend shows the newest figures, or those under the pointer.

import { make, mark, write } from './element.ts'
import { clock } from './format.ts'
import type { TimeSeries } from './time-series.ts'
import { UPlot } from './uplot.ts'

const SPAN_MS = 300_000
/** A chart that has just begun is not stretched over its whole width. */
const SHORTEST_SPAN_MS = 60_000
const HEIGHT = 150
/** A time this near the right end, px, would be cut. */
const HALF_CLOCK = 18

interface ChartLine {
  /** A column of the history. */
  readonly column: string
  readonly name: string
  /** Lines differ in dash as well as in colour. */
  readonly dash?: readonly number[]
  readonly isFilled?: boolean
}

export interface ChartOptions {
  readonly title: string
  readonly lines: readonly ChartLine[]
  readonly format: (value: unknown) => string
  /** For the numbers on the axis. */
  readonly axis: (value: unknown) => string
  /** Axis steps are powers of two, for bytes. */
  readonly isBinary?: boolean
}

export class Chart {
  readonly element: HTMLElement
  readonly #options: ChartOptions
  readonly #figures: HTMLElement[]
  readonly #when = make('span', { class: 'hint' })
  readonly #canvas: HTMLElement
  #plot: UPlot | null = null
  #history: TimeSeries | null = null

  constructor (options: ChartOptions) {
    this.#options = options
    this.#figures = options.lines.map(() => make('dd'))
    const legend = options.lines.map(({ name }, index) => make('div', { class: `key key-${index + 1}` }, make('dt', {}, name), this.#figures[index] as HTMLElement))
    this.#canvas = make('div', { class: 'canvas', role: 'img' })
    this.element = make('figure', { class: 'card chart' },
      make('figcaption', {}, make('h3', {}, options.title), this.#when),
      make('dl', { class: 'legend' }, ...legend),
      this.#canvas)
    new ResizeObserver(() => this.#resize()).observe(this.#canvas)
    window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot?.redraw(false))
  }

  draw (history: TimeSeries): void {
    this.#history = history
    this.#plot ??= this.#newPlot()
    const end = history.times.at(-1)
    if (end !== undefined && this.#plot !== null) {
      const first = Math.max(end - SPAN_MS, Math.min(history.times[0] as number, end - SHORTEST_SPAN_MS))
      this.#plot.batch(() => {
        this.#plot?.setData([history.times.map(at => at / 1000), ...this.#options.lines.map(({ column }) => [...history.column(column)])], false)
        this.#plot?.setScale('x', { min: first / 1000, max: end / 1000 })
      })
    }
    this.#drawLegend()
  }

  #drawLegend (): void {
    const history = this.#history
    if (history === null) return
    const pointed = this.#plot?.cursor.idx ?? null
    const { lines, title, format } = this.#options
    const at = pointed ?? history.times.length - 1
    const texts = lines.map(({ column }) => format(history.column(column)[at]))
    texts.forEach((text, index) => write(this.#figures[index] as HTMLElement, text))
    write(this.#when, pointed === null ? '' : clock(history.times[pointed] as number))
    mark(this.#canvas, { 'aria-label': `${title}, the last minutes: ${lines.map(({ name }, index) => `${name} ${texts[index]}`).join(', ')}` })
  }

  #resize (): void {
    const width = this.#canvas.clientWidth
    if (this.#plot !== null && width > 0) this.#plot.setSize({ width, height: HEIGHT })
  }

  #newPlot (): UPlot | null {
    const width = this.#canvas.clientWidth
    if (width === 0) return null
    const style = getComputedStyle(this.#canvas)
    const colour = (name: string) => (): string => style.getPropertyValue(name)
    const axis = { stroke: colour('--faint'), font: `11px ${style.fontFamily}`, ticks: { show: false } }
    const plot = new UPlot({
      width,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
      axes: [
        { ...axis, size: 22, gap: 4, space: 80, grid: { show: false }, values: (plot, splits) => splits.map(at => plot.valToPos(at, 'x') > plot.over.clientWidth - HALF_CLOCK ? '' : clock(at * 1000)) },
        {
          ...axis,
          size: 52,
          gap: 6,
          space: 32,
          grid: { stroke: colour('--line'), width: 1 },
          values: (_, splits) => splits.map(this.#options.axis),
          ...(this.#options.isBinary === true ? { incrs: Array.from({ length: 40 }, (_, power) => 2 ** power) } : {})
        }
      ],
      series: [
        {},
        ...this.#options.lines.map(({ name, dash = [], isFilled = false }, index) => ({
          label: name,
          stroke: colour(`--line-${index + 1}`),
          width: 1.5,
          dash: [...dash],
          points: { show: false },
          ...(isFilled ? { fill: colour(`--fill-${index + 1}`) } : {})
        }))
      ],
      hooks: { setCursor: [() => this.#drawLegend()] }
    }, undefined, this.#canvas)
    return plot
  }
}
