// The overview: facts about the gateway, four figures against their targets with a line of their history, and the verdict.

import { byId, make, mark, write } from './element.ts'
import { savedBytes, savedCpu, savedMessages, sum, worst } from './figures.ts'
import type { WorstFigure } from './figures.ts'
import { count, duration, many, ms, NONE, percent, share, short } from './format.ts'
import type { GatewayReport, ProcessReport, Reports } from './reports.ts'
import type { Samples } from './samples.ts'
import { Sparkline } from './sparkline.ts'
import type { StatusLine } from './status.ts'
import { verdictOf } from './verdict.ts'
import type { Level } from './verdict.ts'
import { workerOf } from './workers.ts'

interface FigureTarget {
  readonly id: string
  /** Its name in the verdict. */
  readonly name: string
  readonly limit: number
  readonly figure: (report: GatewayReport) => number | null | undefined
  readonly column: string
  /** The text if the gateway reports but has no such figure. */
  readonly without: string
  readonly format: (value: unknown) => string
  /** The limit as text. */
  readonly bound: string
}

const TARGETS: readonly FigureTarget[] = [
  { id: 'latency', name: 'latency', limit: 150, figure: ({ latencyMs }) => latencyMs?.p95, column: 'latency', without: 'Nothing delivered in the last 10 s', format: ms, bound: '150 ms' },
  { id: 'lag', name: 'event-loop lag', limit: 30, figure: ({ lagP99Ms }) => lagP99Ms, column: 'lag', without: 'No data yet', format: ms, bound: '30 ms' },
  { id: 'backlog', name: 'backlog', limit: 60_000, figure: ({ backlogMs }) => backlogMs, column: 'backlog', without: 'No data yet', format: value => typeof value === 'number' && value >= 1000 ? duration(value / 1000) : ms(value), bound: '60 s' }
]

const SIGNS: Readonly<Record<Exclude<Level, 'well'>, string>> = { look: '▲', broken: '✕', unknown: '○' }

export class Overview {
  readonly #reports: Reports
  readonly #samples: Samples
  readonly #status: StatusLine
  readonly #cards = new Map<string, Card>()
  #missed: readonly FigureTarget[] = []
  #isKnown = false
  readonly #saved = new Card('saved', { columns: ['savedMessages', 'savedCpu'], atLeast: 1 })

  constructor (reports: Reports, samples: Samples, status: StatusLine) {
    this.#reports = reports
    this.#samples = samples
    this.#status = status
    for (const { id, column, limit } of TARGETS) this.#cards.set(id, new Card(id, { columns: [column], target: limit, atLeast: limit / 2 }))
  }

  draw (): void {
    const gateways = this.#reports.of('gateway')
    this.#drawFacts(gateways)
    const missed = TARGETS.filter(target => this.#drawTarget(target, gateways))
    this.#isKnown = gateways.length > 0
    this.#drawSaved(gateways)
    this.#missed = missed
  }

  #drawFacts (gateways: ReadonlyArray<ProcessReport<GatewayReport>>): void {
    const uptimes = gateways.flatMap(({ data }) => data.uptimeSeconds ?? [])
    const youngest = Math.min(...uptimes)
    const oldest = Math.max(...uptimes)
    // After a rolling restart the workers differ in age.
    const both = `${duration(youngest)} to ${duration(oldest)}`
    write(byId('uptime'), uptimes.length === 0 ? NONE : oldest - youngest > 60 ? both : duration(oldest))
    write(byId('workers-count'), gateways.length === 0 ? NONE : count(gateways.length))
    write(byId('store'), storeOf(gateways[0]?.data.store))
    write(byId('sessions-count'), count(sum(gateways, ({ sessions }) => sessions?.count)) + over(gateways))
    write(byId('tick'), ms(worst(gateways, ({ tickMs }) => tickMs)?.value))
    write(byId('version'), gateways[0]?.data.version ?? '')
  }

  /** @returns whether the target is missed */
  #drawTarget ({ id, limit, figure, without, format, bound }: FigureTarget, gateways: ReadonlyArray<ProcessReport<GatewayReport>>): boolean {
    const found = worst(gateways, figure)
    const card = this.#cards.get(id) as Card
    const isMissed = found !== null && found.value >= limit
    card.figure(format(found?.value))
    if (found === null) card.badge('none', gateways.length === 0 ? 'No data yet' : without)
    else if (this.#status.isStale) card.badge('none', `Was ${isMissed ? 'over' : 'under'} ${bound}`)
    else card.badge(isMissed ? 'missed' : 'met', `${isMissed ? 'Over' : 'Under'} ${bound}`)
    card.note(found === null ? '' : [this.#detail(id, gateways), ofWorker(found, gateways)].filter(text => text !== '').join(' · '))
    card.line.draw(this.#samples.history)
    return isMissed
  }

  #detail (id: string, gateways: ReadonlyArray<ProcessReport<GatewayReport>>): string {
    if (id === 'latency') return `median ${ms(worst(gateways, ({ latencyMs }) => latencyMs?.p50)?.value)}, p99 ${ms(worst(gateways, ({ latencyMs }) => latencyMs?.p99)?.value)}`
    if (id === 'lag') return `CPU ${percent(sum(gateways, ({ cpuPercent }) => cpuPercent))}${over(gateways)}`
    const stalled = sum(gateways, ({ sessions }) => sessions?.stalled)
    return stalled === undefined ? '' : stalled === 0 ? 'no session is stalled' : `${many(stalled, 'session')} stalled`
  }

  #drawSaved (gateways: ReadonlyArray<ProcessReport<GatewayReport>>): void {
    const messages = savedMessages(gateways, key => this.#samples.rateOf(key)?.owed) ?? savedByCounters(this.#samples)
    const cpu = savedCpu(gateways)
    this.#saved.figure(share(messages))
    writeFigure(byId('saved-cpu'), share(cpu))
    const isKnown = messages !== null || cpu !== null
    const rate = this.#samples.rate
    if (!isKnown) this.#saved.badge('none', gateways.length === 0 ? 'No data yet' : 'Nothing to deliver in the last 10 s')
    else if (rate === null) this.#saved.badge('none', 'Counting')
    else this.#saved.badge('info', `${short(rate.bundles)} instead of ${short(rate.owed)} messages/s`)
    const bytes = rate === null ? null : savedBytes(rate)
    this.#saved.note(bytes === null ? '' : `Of the bytes, bundling saves ${share(bytes.bundling)}, patches ${share(bytes.patches)}, compression ${share(bytes.compression)}`)
    this.#saved.line.draw(this.#samples.history)
  }

  /** Writes the verdict, here and into the page's title. */
  drawVerdict (): void {
    const gateways = this.#reports.of('gateway')
    const counts = this.#reports.of('troubles').map(({ data }) => data.lastMinute)
    const [level, text] = verdictOf({
      fault: this.#status.fault,
      isWaiting: !this.#isKnown || this.#status.isWaiting,
      missed: this.#missed.map(({ name }) => name),
      stalled: sum(gateways, ({ sessions }) => sessions?.stalled) ?? 0,
      refusals: counts.reduce((sum, count) => sum + (count?.refusals ?? 0), 0),
      errors: counts.reduce((sum, count) => sum + (count?.errors ?? 0), 0),
      hasWarnings: this.#status.hasWarnings
    })
    const verdict = byId('verdict')
    mark(verdict, { 'data-kind': level })
    write(verdict, text)
    const title = level === 'well' ? 'Signalbox' : `${SIGNS[level]} Signalbox: ${text}`
    if (document.title !== title) document.title = title
  }
}

/** Only the kind of store; its location is in the settings. */
const storeOf = (store: string | undefined): string => store === undefined ? NONE : /redis/i.test(store) ? 'Redis' : /embedded/.test(store) ? 'embedded' : store

/** A sum names the number of workers. */
const over = (gateways: ReadonlyArray<unknown>): string => gateways.length < 2 ? '' : ` over ${gateways.length} workers`

/** The worst figure names its worker, if there are several. */
function ofWorker ({ key, value }: WorstFigure, gateways: ReadonlyArray<ProcessReport<GatewayReport>>): string {
  const gateway = gateways.find(gateway => gateway.key === key)
  return gateways.length < 2 || value === 0 || gateway === undefined ? '' : `worst: worker ${workerOf(gateway, gateways)}`
}

/** For gateways that do not report it. */
function savedByCounters ({ rate }: Samples): number | null {
  return rate === null || rate.owed === 0 ? null : Math.max(0, 1 - rate.bundles / rate.owed)
}

/** Writes the unit in a smaller size. */
function writeFigure (element: Element, text: string): void {
  if (element.textContent === text) return
  const [, number = text, unit = ''] = /^([<\d.,]+(?: \d+)?) (\D+)$/.exec(text) ?? []
  element.replaceChildren(number, ...(unit === '' ? [] : [make('small', {}, ` ${unit}`)]))
}

/** One figure. A shape and words show its state; the colour only repeats them. */
class Card {
  readonly line: Sparkline
  readonly #element: HTMLElement
  readonly #figure: Element
  readonly #badge: Element
  readonly #note: Element

  constructor (id: string, line: ConstructorParameters<typeof Sparkline>[0]) {
    this.#element = byId(`card-${id}`)
    this.#figure = this.#element.querySelector('.figure') as Element
    this.#badge = this.#element.querySelector('.badge') as Element
    this.#note = this.#element.querySelector('.note') as Element
    this.line = new Sparkline(line)
    this.#element.append(this.line.element)
  }

  figure (text: string): void {
    writeFigure(this.#figure, text)
  }

  badge (kind: 'met' | 'missed' | 'none' | 'info', text: string): void {
    mark(this.#badge, { 'data-kind': kind })
    mark(this.#element, { 'data-kind': kind })
    write(this.#badge, text)
  }

  note (text: string): void {
    write(this.#note, text)
  }
}
