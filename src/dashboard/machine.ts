// This machine, if the demo feed publishes its figures: a small monitoring page, fed as any backend would feed one.

import type { Box, Event } from '../client/index.ts'
import { byId, make, mark, show, write } from './element.ts'
import { bytes, bytesPerSecond, clock, count, duration, percent, shorten } from './format.ts'
import type { Reports } from './reports.ts'
import { Rows } from './rows.ts'
import { Sparkline } from './sparkline.ts'
import { TimeSeries } from './time-series.ts'

/** Types and keys of the demo feed. The feed is public, so others may publish anything to it. */
const KEYS: ReadonlyMap<string, RegExp> = new Map(Object.entries({
  cpu: /^(total|core-\d+)$/,
  memory: /^total$/,
  load: /^average$/,
  disk: /^data$/,
  'disk-traffic': /^/,
  network: /^/,
  process: /^gateway$/,
  host: /^this$/
}))
/** Figures arrive twice a second. After this long without one the page shows that they are old. */
const STALE_MS = 10_000
const LIMIT = 300
const GAP_MS = 3500
/** Minimum full scale of a line, bytes per second: a heartbeat stays a small bump. */
const CALM_BYTES = 65_536

export const isMachine = ({ room, type, key }: Event): boolean => room === undefined && key !== undefined && KEYS.get(type)?.test(key) === true

/** A field of an event's data, which may be anything. */
const field = (event: Event | undefined, name: string): unknown => (event?.data as Record<string, unknown> | null | undefined)?.[name]

const number = (value: unknown): number => typeof value === 'number' && Number.isFinite(value) ? value : 0

export class MachinePanel {
  readonly #reports: Reports
  readonly #cpu = new TimeSeries(['percent'], LIMIT, GAP_MS)
  readonly #memory = new TimeSeries(['percent'], LIMIT, GAP_MS)
  readonly #network = new TimeSeries(['received', 'sent'], LIMIT, GAP_MS)
  readonly #disk = new TimeSeries(['read', 'written'], LIMIT, GAP_MS)
  readonly #lines = {
    cpu: new Sparkline({ columns: ['percent'], atLeast: 100 }),
    memory: new Sparkline({ columns: ['percent'], atLeast: 100 }),
    network: new Sparkline({ columns: ['received', 'sent'], atLeast: CALM_BYTES }),
    disk: new Sparkline({ columns: ['read', 'written'], atLeast: CALM_BYTES })
  }

  readonly #interfaces = new Rows<Event>({
    label: 'Network interfaces',
    keyOf: ({ key = '' }) => key,
    limit: 8,
    columns: [
      { head: 'Interface', text: ({ key = '' }) => key },
      { head: '↓ received', isNumber: true, text: event => bytesPerSecond(field(event, 'receivedPerSecond')) },
      { head: '↑ sent', isNumber: true, text: event => bytesPerSecond(field(event, 'sentPerSecond')) }
    ]
  })

  readonly #disks = new Rows<Event>({
    label: 'Disks',
    keyOf: ({ key = '' }) => key,
    limit: 8,
    columns: [
      { head: 'Disk', text: ({ key = '' }) => key },
      { head: 'read', isNumber: true, text: event => bytesPerSecond(field(event, 'readPerSecond')) },
      { head: 'written', isNumber: true, text: event => bytesPerSecond(field(event, 'writtenPerSecond')) }
    ]
  })

  /** When the last figure arrived, by this page's clock: the gateway's may differ. */
  #heardAt = -Infinity

  constructor (box: Pick<Box, 'on'>, reports: Reports) {
    this.#reports = reports
    for (const name of ['cpu', 'memory', 'network', 'disk'] as const) byId(`machine-${name}`).querySelector('.line-place')?.append(this.#lines[name].element)
    byId('machine-network').append(this.#interfaces.element)
    byId('machine-disk').append(this.#disks.element)
    box.on('event', event => {
      if (isMachine(event) && event.data !== null) this.#take(event)
    })
  }

  #take (event: Event): void {
    this.#heardAt = performance.now()
    const { type, key, timestamp } = event
    if (type === 'cpu' && key === 'total') this.#cpu.push(timestamp, { percent: number(field(event, 'percent')) })
    if (type === 'memory') this.#memory.push(timestamp, { percent: number(field(event, 'percent')) })
    // Interfaces arrive in one bundle: the first one adds the point for all, after the bundle.
    if (type === 'network') queueMicrotask(() => this.#network.push(timestamp, this.#sums('network', { received: 'receivedPerSecond', sent: 'sentPerSecond' })))
    if (type === 'disk-traffic') queueMicrotask(() => this.#disk.push(timestamp, this.#sums('disk-traffic', { read: 'readPerSecond', written: 'writtenPerSecond' })))
  }

  #sums (type: string, fields: Readonly<Record<string, string>>): Record<string, number> {
    const events = this.#of(type)
    return Object.fromEntries(Object.entries(fields).map(([name, of]) => [name, number(events.reduce((sum, event) => sum + number(field(event, of)), 0))]))
  }

  #of (type: string): Event[] {
    return this.#reports.public.filter(event => event.type === type && isMachine(event))
      .sort((a, b) => (a.key ?? '').localeCompare(b.key ?? '', 'en', { numeric: true }))
  }

  #one (type: string, key: string): Event | undefined {
    return this.#reports.public.find(event => event.type === type && event.key === key)
  }

  draw (): void {
    const events = this.#reports.public.filter(isMachine)
    show(byId('machine-wait'), false)
    show(byId('machine-none'), events.length === 0)
    show(byId('machine-cards'), events.length > 0)
    if (events.length === 0) return
    this.#drawStale(events)
    this.#drawHost()
    this.#drawProcessor()
    this.#drawMemory()
    this.#drawNetwork()
    this.#drawDisk()
    this.#drawProcess()
  }

  #drawStale (events: readonly Event[]): void {
    const newest = Math.max(...events.map(({ timestamp }) => timestamp))
    // A snapshot may hold values of a feed that has ended. The gateway's report gives the gateway's current time.
    const age = Math.max(newest, ...this.#reports.of('gateway').map(({ at }) => at)) - newest
    const isStale = age > STALE_MS || performance.now() - this.#heardAt > STALE_MS
    show(byId('machine-stale'), isStale)
    if (isStale) write(byId('machine-stale'), `No new values since ${clock(newest)}: these are the last ones.`)
  }

  #drawHost (): void {
    const host = this.#one('host', 'this')
    show(byId('machine-host'), host !== undefined)
    write(byId('machine-host'), [field(host, 'name'), field(host, 'system'), field(host, 'processor')].filter(text => typeof text === 'string').map(text => shorten(text as string, 100)).concat(`up for ${duration(field(host, 'uptimeSeconds'))}`).join(' · '))
  }

  #drawProcessor (): void {
    const total = this.#one('cpu', 'total')
    const cores = this.#of('cpu').filter(({ key }) => key !== 'total').slice(0, 128)
    const load = this.#one('load', 'average')
    const card = byId('machine-cpu')
    show(card, total !== undefined)
    write(figureOf(card), percent(field(total, 'percent')))
    write(noteOf(card), load === undefined ? '' : `load ${count(field(load, 'one'))} · ${count(field(load, 'five'))} · ${count(field(load, 'fifteen'))} on ${count(field(load, 'cores'))} cores`)
    this.#lines.cpu.draw(this.#cpu)
    const list = byId('cores')
    while (list.children.length > cores.length) list.lastElementChild?.remove()
    cores.forEach((core, index) => {
      const item = list.children[index] ?? list.appendChild(make('li', {}, make('span'), meter(), make('span', { class: 'number' })))
      const [name, bar, text] = [...item.children] as [Element, HTMLMeterElement, Element]
      write(name, (core.key ?? '').replace('-', ' '))
      fill(bar, field(core, 'percent'), `${core.key} busy`)
      write(text, percent(field(core, 'percent')))
    })
  }

  #drawMemory (): void {
    const memory = this.#one('memory', 'total')
    const card = byId('machine-memory')
    show(card, memory !== undefined)
    write(figureOf(card), percent(field(memory, 'percent')))
    write(noteOf(card), `${bytes(field(memory, 'usedBytes'))} of ${bytes(field(memory, 'totalBytes'))} in use`)
    this.#lines.memory.draw(this.#memory)
    const disk = this.#one('disk', 'data')
    show(byId('machine-space'), disk !== undefined)
    fill(byId<HTMLMeterElement>('disk-meter'), field(disk, 'percent'), 'disk in use')
    write(byId('disk-text'), `${bytes(field(disk, 'freeBytes'))} of ${bytes(field(disk, 'totalBytes'))} free`)
  }

  #drawNetwork (): void {
    const events = this.#of('network')
    show(byId('machine-network'), events.length > 0)
    write(figureOf(byId('machine-network')), `↓ ${bytesPerSecond(this.#network.last('received'))}`)
    write(noteOf(byId('machine-network')), `↑ ${bytesPerSecond(this.#network.last('sent'))}`)
    this.#lines.network.draw(this.#network)
    this.#interfaces.draw(events, '')
  }

  #drawDisk (): void {
    const events = this.#of('disk-traffic')
    show(byId('machine-disk'), events.length > 0)
    write(figureOf(byId('machine-disk')), `${bytesPerSecond(this.#disk.last('written'))}`)
    write(noteOf(byId('machine-disk')), `written, and ${bytesPerSecond(this.#disk.last('read'))} read`)
    this.#lines.disk.draw(this.#disk)
    this.#disks.draw(events, '')
  }

  #drawProcess (): void {
    const own = this.#one('process', 'gateway')
    show(byId('machine-process'), own !== undefined)
    write(byId('machine-process'), `The gateway’s own process: ${percent(field(own, 'cpuPercent'))} of a core, ${bytes(field(own, 'rssBytes'))} of memory, ${bytes(field(own, 'heapUsedBytes'))} of it heap in use.`)
  }
}

const figureOf = (card: Element): Element => card.querySelector('.figure') as Element
const noteOf = (card: Element): Element => card.querySelector('.note') as Element

const meter = (): HTMLMeterElement => make('meter', { min: 0, max: 100, low: 75, high: 90, optimum: 0 })

function fill (element: HTMLMeterElement, value: unknown, name: string): void {
  mark(element, { 'aria-label': `${name}, percent` })
  if (element.value !== number(value)) element.value = number(value)
}
