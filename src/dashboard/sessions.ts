// Who listens, those furthest behind first.

import type { Box } from '../client/index.ts'
import { byId, make, mark, show, write } from './element.ts'
import { sum } from './figures.ts'
import { bytes, count, duration, ms } from './format.ts'
import type { Reports, SessionReport } from './reports.ts'
import type { RoomsPanel } from './rooms.ts'
import { Rows } from './rows.ts'

const LIMIT = 20
/** Tabs of a browser share their connections, but for those of a page without locks. */
const OWN = 'locks' in navigator ? 'this browser' : 'this page'
/** Further behind than any tick makes it. */
const SLOW_MS = 1000

export class SessionsPanel {
  readonly #reports: Reports
  readonly #rows = new Rows<SessionReport>({
    label: 'Sessions',
    keyOf: ({ session }) => session,
    limit: LIMIT,
    columns: [
      { head: 'Session', fill: (cell, { session }) => this.#fillName(cell, session) },
      { head: 'Behind', isNumber: true, fill: fillBehind },
      { head: 'Rooms', isLong: true, text: roomsOf },
      { head: 'Waiting', isNumber: true, isMinor: true, text: ({ pendingBytes }) => bytes(pendingBytes) },
      { head: 'Age', isNumber: true, isMinor: true, text: ({ ageSeconds }) => duration(ageSeconds) }
    ]
  })

  /** Of the page's connection. */
  #own = ''
  readonly #rooms: Pick<RoomsPanel, 'session'>

  /** @param rooms where another connection of this page may be open */
  constructor (box: Pick<Box, 'on'>, reports: Reports, rooms: Pick<RoomsPanel, 'session'>) {
    this.#reports = reports
    this.#rooms = rooms
    box.on('hello', ({ session }) => { this.#own = session })
    byId('sessions-place').append(this.#rows.element)
  }

  draw (): void {
    const told = this.#reports.of('sessions').map(({ data }) => data)
    const sessions = told.flatMap(({ sessions }) => sessions ?? []).sort((a, b) => (b.behindMs ?? 0) - (a.behindMs ?? 0))
    const total = told.length === 0 ? sum(this.#reports.of('gateway'), ({ sessions }) => sessions?.count) : told.reduce((sum, { total }) => sum + (total ?? 0), 0)
    write(byId('sessions-total'), count(total))
    this.#rows.draw(sessions, told.length === 0 ? 'No data yet.' : 'Nobody listens.', told.length === 0 ? 0 : total)
  }

  #fillName (cell: HTMLElement, session: string): void {
    const [name, tag] = cell.childElementCount === 0
      ? [cell.appendChild(make('span')), cell.appendChild(make('span', { class: 'tag' }, OWN))]
      : cell.children as unknown as [HTMLElement, HTMLElement]
    write(name, session)
    show(tag, session === this.#own || session === this.#rooms.session)
  }
}

function roomsOf ({ rooms = [], roomCount = rooms.length }: SessionReport): string {
  return `${rooms.join(', ')}${roomCount > rooms.length ? ` and ${count(roomCount - rooms.length)} more` : ''}`
}

function fillBehind (cell: HTMLElement, { behindMs, stalled = false }: SessionReport): void {
  const text = cell.querySelector('span') ?? cell.appendChild(make('span'))
  const isSlow = stalled || (behindMs ?? 0) >= SLOW_MS
  mark(text, { class: isSlow ? 'slow' : undefined })
  write(text, `${isSlow ? '▲ ' : ''}${behindMs === 0 ? 'in step' : ms(behindMs)}${stalled ? ', stalled' : ''}`)
}
