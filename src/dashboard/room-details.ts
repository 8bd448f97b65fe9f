// One open room, as its members receive it. It has a separate connection for as long as it is open.

import { connect } from '../client/index.ts'
import type { Box, Event } from '../client/index.ts'
import { make, mark, show, write } from './element.ts'
import { clock, many } from './format.ts'
import { here } from './here.ts'
import { RoomValues } from './room-values.ts'
import { Rows } from './rows.ts'
import type { Screen } from './screen.ts'
import type { SignIn } from './sign-in.ts'
import { fillValue } from './value.ts'

const MAX_FACTS = 20

export class RoomDetails {
  readonly room: string
  readonly element: HTMLElement
  /** The session of its connection; empty before the first. */
  session = ''
  readonly #box: Box
  readonly #screen: Screen
  readonly #facts: Event[] = []
  readonly #state = make('p', { class: 'hint' })
  readonly #filter = make('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' })
  readonly #heading: HTMLElement
  readonly #sides: HTMLElement
  readonly #factsHeading = make('h4', {}, 'Facts, newest first')
  readonly #values = new RoomValues()
  readonly #factRows = new Rows<Event>({
    label: 'Facts',
    keyOf: ({ id }) => id,
    limit: MAX_FACTS,
    columns: [
      { head: 'At', text: ({ timestamp }) => clock(timestamp) },
      { head: 'Type', isMinor: true, text: ({ type }) => type },
      { head: 'Fact', isLong: true, fill: (cell, { data }) => fillValue(cell, data) }
    ]
  })

  constructor (room: string, screen: Screen, signIn: SignIn, done: () => void) {
    this.room = room
    this.#screen = screen
    this.#heading = make('h3', { tabindex: -1 }, `Room ${room}, live`)
    const close = make('button', { type: 'button' }, 'Close')
    close.addEventListener('click', done)
    this.#sides = make('div', { class: 'sides' }, this.#values.element, make('div', {}, this.#factsHeading, this.#factRows.element))
    this.element = make('div', { class: 'card' },
      make('div', { class: 'bar' }, this.#heading, this.#state, make('label', {}, 'Filter ', this.#filter), close),
      this.#sides)
    this.#filter.addEventListener('input', () => this.draw())
    this.#box = connect(here(), { rooms: [room], share: !signIn.isNeeded, token: signIn.tokens() })
    this.#box.on('event', event => {
      if (event.key === undefined) this.#facts.splice(0, this.#facts.length, event, ...this.#facts.slice(0, MAX_FACTS - 1))
      screen.ask()
    })
    this.#box.on('hello', ({ session }) => { this.session = session })
    this.#box.on('status', () => screen.ask())
    this.#box.on('ready', () => screen.ask())
  }

  show (): void {
    this.#screen.add(this.element, () => this.draw())
    this.draw()
    this.#heading.focus()
  }

  draw (): void {
    const wanted = this.#filter.value.trim().toLowerCase()
    const all = [...this.#box.state.entries()]
    const values = wanted === '' ? all : all.filter(({ type, key = '' }) => key.toLowerCase().includes(wanted) || type.toLowerCase().includes(wanted))
    write(this.#state, this.#sentence(all.length))
    this.#values.draw(values.sort(byName), this.#box.status.state !== 'connected' ? 'Waiting for the first values.' : wanted === '' ? 'This room has no values.' : 'No key or type matches.')
    // Without facts the values take the whole width.
    mark(this.#sides, { 'data-alone': this.#facts.length === 0 })
    show(this.#factsHeading, this.#facts.length > 0)
    show(this.#factRows.element, this.#facts.length > 0)
    this.#factRows.draw(this.#facts, '')
  }

  #sentence (values: number): string {
    const { status } = this.#box
    switch (status.state) {
      case 'connecting': return status.reason === undefined ? 'connecting' : `not connected yet: ${status.reason}`
      case 'catching-up': return 'catching up'
      case 'connected': return many(values, 'value')
      case 'stale': return `interrupted; the last values, from ${clock(status.since)}`
      case 'refused': return `refused: ${status.reason}`
      case 'closed': return 'closed'
    }
  }

  close (): void {
    this.#box.close()
    this.#screen.remove(this.element)
    this.element.remove()
  }
}

const byName = (a: Event, b: Event): number => a.type === b.type ? compare(a.key ?? '', b.key ?? '') : compare(a.type, b.type)
const collator = new Intl.Collator('en', { numeric: true })
const compare = (a: string, b: string): number => collator.compare(a, b)
