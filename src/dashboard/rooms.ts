// Rooms: members, keys and event rates. Opening a room shows its live values.

import { byId, make, mark, write } from './element.ts'
import { count, perSecond } from './format.ts'
import type { ReportTypes, Reports, RoomReport } from './reports.ts'
import { RoomDetails } from './room-details.ts'
import { RoomSearch } from './room-search.ts'
import { Rows } from './rows.ts'
import type { Screen } from './screen.ts'
import type { SignIn } from './sign-in.ts'

const LIMIT = 50

export class RoomsPanel {
  readonly #reports: Reports
  readonly #screen: Screen
  readonly #signIn: SignIn
  readonly #rows = new Rows<RoomReport>({
    label: 'Rooms',
    keyOf: ({ room }) => room,
    limit: LIMIT,
    columns: [
      { head: 'Room', isLong: true, fill: (cell, { room, paused }) => this.#fillName(cell, room, paused === true) },
      { head: 'Members', isNumber: true, text: ({ members }) => count(members) },
      { head: 'Keys', isNumber: true, text: ({ keys }) => count(keys) },
      { head: 'Events in', isNumber: true, text: ({ eventsPerSecond }) => perSecond(eventsPerSecond) }
    ]
  })

  readonly #search: RoomSearch
  #view: RoomDetails | null = null

  constructor (reports: Reports, screen: Screen, signIn: SignIn) {
    this.#reports = reports
    this.#screen = screen
    this.#signIn = signIn
    this.#search = new RoomSearch(signIn, LIMIT, () => this.draw())
    byId('rooms-place').append(this.#rows.element)
    document.addEventListener('keydown', event => {
      // In a field, a menu or a dialog Escape means something else.
      const isElsewhere = (event.target as Element).closest('form, dialog, details') !== null || document.querySelector('dialog[open]') !== null
      if (event.key === 'Escape' && !event.defaultPrevented && !isElsewhere && this.#view !== null) this.#leave()
    })
    window.addEventListener('hashchange', () => {
      const room = roomOf(window.location.hash)
      // A link to a section scrolls there and keeps the room open.
      if (room === null) this.#writeAddress()
      else if (room !== this.#view?.room) this.#open(room)
    })
    const room = roomOf(window.location.hash)
    if (room !== null) this.#open(room)
  }

  /** The session of the open room's connection. */
  get session (): string {
    return this.#view?.session ?? ''
  }

  draw (): void {
    const { rooms, total } = roomsOf(this.#reports)
    write(byId('rooms-count'), total === undefined ? '' : count(total))
    const { found, prefix } = this.#search
    if (found === null) return this.#rows.draw(rooms, total === undefined ? 'No data yet.' : 'No rooms in use.', total)
    // The list of the gateway has no rates; the reports have those of the busiest.
    const busiest = new Map(rooms.map(room => [room.room, room]))
    this.#rows.draw(found.rooms.map(room => ({ ...busiest.get(room.room), ...room })), `No room begins with “${prefix}”.`, found.more ? null : found.rooms.length)
  }

  #fillName (cell: HTMLElement, room: string, isPaused: boolean): void {
    if (!this.#signIn.may('subscribe', room)) {
      if (cell.childElementCount === 0) cell.append(make('span', {}, room), make('span', { class: 'tag' }, 'not granted'))
      return
    }
    const button = cell.querySelector('button') ?? cell.appendChild(this.#newButton(room))
    mark(button, { 'aria-expanded': this.#view?.room === room ? 'true' : 'false' })
    const paused = cell.querySelector('.tag')
    if (isPaused && paused === null) cell.append(make('span', { class: 'tag' }, 'paused'))
    if (!isPaused) paused?.remove()
  }

  #newButton (room: string): HTMLButtonElement {
    const button = make('button', { type: 'button', class: 'link', 'aria-controls': 'room-view' }, room)
    button.addEventListener('click', () => this.#view?.room === room ? this.#leave() : this.#open(room))
    return button
  }

  #open (room: string): void {
    this.#view?.close()
    this.#view = new RoomDetails(room, this.#screen, this.#signIn, () => this.#leave())
    byId('room-view').append(this.#view.element)
    this.#view.show()
    this.#writeAddress()
    this.draw()
  }

  #leave (): void {
    const opener = this.#rows.element.querySelector<HTMLElement>('[aria-expanded=true]')
    this.#view?.close()
    this.#view = null
    window.history.replaceState(null, '', window.location.pathname + window.location.search)
    this.draw()
    opener?.focus()
  }

  /** The address names the open room: it survives a reload and can be linked to. */
  #writeAddress (): void {
    if (this.#view !== null) window.history.replaceState(null, '', `#room=${encodeURIComponent(this.#view.room)}`)
  }
}

/** The room an address asks for. */
function roomOf (hash: string): string | null {
  return new URLSearchParams(hash.slice(1).replaceAll('+', '%2B')).get('room')
}

/** The rooms of all processes combined. */
export function roomsOf (reports: Reports): { rooms: RoomReport[], total: number | undefined } {
  const lists = reports.of('rooms').map(({ data }) => data)
  const rooms = new Map<string, RoomReport>()
  for (const figures of lists.flatMap(({ rooms }) => rooms ?? [])) rooms.set(figures.room, together(rooms.get(figures.room), figures))
  const totals = lists.flatMap(({ total }: ReportTypes['rooms']) => total ?? [])
  return {
    rooms: [...rooms.values()].sort((a, b) => pace(b) - pace(a) || (b.members ?? 0) - (a.members ?? 0) || a.room.localeCompare(b.room, 'en', { numeric: true })),
    total: lists.length === 0 ? undefined : Math.max(rooms.size, ...totals)
  }
}

/** Rounded, to keep rooms with similar rates from changing places every second. */
const pace = ({ eventsPerSecond = 0 }: RoomReport): number => Math.round(Math.log2(eventsPerSecond + 1))

/** Members are per process and add up; keys and rate are the same in every process. */
function together (one: RoomReport | undefined, other: RoomReport): RoomReport {
  if (one === undefined) return other
  return {
    room: one.room,
    members: (one.members ?? 0) + (other.members ?? 0),
    keys: Math.max(one.keys ?? 0, other.keys ?? 0),
    eventsPerSecond: Math.max(one.eventsPerSecond ?? 0, other.eventsPerSecond ?? 0),
    paused: one.paused === true || other.paused === true
  }
}
