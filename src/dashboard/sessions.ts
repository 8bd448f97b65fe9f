// The sessions, furthest behind first.

import type { Box } from '../client/index.ts'
import type { ControlPanel } from './control.ts'
import { byId, make, mark, show, write } from './element.ts'
import { sum } from './figures.ts'
import { bytes, count, duration, ms, NONE } from './format.ts'
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
      { head: 'Client', isLong: true, text: ({ subject, address }) => subject ?? address ?? NONE },
      { head: 'Behind', isNumber: true, fill: fillBehind },
      { head: 'Rooms', isLong: true, text: roomsOf },
      { head: 'Unsent', isNumber: true, isMinor: true, text: ({ pendingBytes }) => bytes(pendingBytes) },
      { head: 'Age', isNumber: true, isMinor: true, text: ({ ageSeconds }) => duration(ageSeconds) },
      { head: 'Action', fill: (cell, { session }) => this.#fillAction(cell, session) }
    ]
  })

  /** The session of this page's connection. */
  #own = ''
  readonly #rooms: Pick<RoomsPanel, 'session'>
  readonly #ownName: string
  readonly #control: Pick<ControlPanel, 'has' | 'prepare'>

  /** @param rooms holds the session of the open room, which is this page's too */
  constructor (box: Pick<Box, 'on'>, reports: Reports, rooms: Pick<RoomsPanel, 'session'>, isShared: boolean, control: Pick<ControlPanel, 'has' | 'prepare'>) {
    // Tabs of a browser share a connection, unless the page has no locks.
    this.#ownName = isShared && 'locks' in navigator ? 'this browser' : 'this page'
    this.#reports = reports
    this.#rooms = rooms
    this.#control = control
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

  #fillAction (cell: HTMLElement, session: string): void {
    let button = cell.querySelector('button')
    if (button === null) {
      button = cell.appendChild(make('button', { type: 'button', class: 'link', 'aria-label': `Disconnect ${session}` }, 'Disconnect'))
      button.addEventListener('click', () => this.#control.prepare('disconnect', { session }))
    }
    show(button, this.#control.has('disconnect'))
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
