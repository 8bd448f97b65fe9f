// The sessions, furthest behind first.

import type { Box } from '../client/index.ts'
import { byId, make, mark, show, write } from './element.ts'
import { sum } from './figures.ts'
import { bytes, count, duration, ms } from './format.ts'
import type { Reports, SessionReport } from './reports.ts'
import type { RoomsPanel } from './rooms.ts'
import { Rows } from './rows.ts'

const LIMIT = 20
/** Longer than any tick would delay it. */
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
      { head: 'Unsent', isNumber: true, isMinor: true, text: ({ pendingBytes }) => bytes(pendingBytes) },
      { head: 'Age', isNumber: true, isMinor: true, text: ({ ageSeconds }) => duration(ageSeconds) }
    ]
  })

  /** The session of this page's connection. */
  #own = ''
  readonly #rooms: Pick<RoomsPanel, 'session'>
  readonly #ownName: string

  /** @param rooms holds the session of the open room, which is this page's too */
  constructor (box: Pick<Box, 'on'>, reports: Reports, rooms: Pick<RoomsPanel, 'session'>, isShared: boolean) {
    // Tabs of a browser share a connection, unless the page has no locks.
    this.#ownName = isShared && 'locks' in navigator ? 'this browser' : 'this page'
    this.#reports = reports
    this.#rooms = rooms
    box.on('hello', ({ session }) => { this.#own = session })
    byId('sessions-place').append(this.#rows.element)
  }

  draw (): void {
    const lists = this.#reports.of('sessions').map(({ data }) => data)
    const sessions = lists.flatMap(({ sessions }) => sessions ?? []).sort((a, b) => (b.behindMs ?? 0) - (a.behindMs ?? 0))
    const total = lists.length === 0 ? sum(this.#reports.of('gateway'), ({ sessions }) => sessions?.count) : lists.reduce((sum, { total }) => sum + (total ?? 0), 0)
    write(byId('sessions-total'), count(total))
    this.#rows.draw(sessions, lists.length === 0 ? 'No data yet.' : 'No sessions.', lists.length === 0 ? 0 : total)
  }

  #fillName (cell: HTMLElement, session: string): void {
    const [name, tag] = cell.childElementCount === 0
      ? [cell.appendChild(make('span')), cell.appendChild(make('span', { class: 'tag' }, this.#ownName))]
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
  write(text, `${isSlow ? '▲ ' : ''}${behindMs === 0 ? 'up to date' : ms(behindMs)}${stalled ? ', stalled' : ''}`)
}
