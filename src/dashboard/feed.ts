// The public feed apart from the machine's figures: notices, and other publishers' events.

import type { Box, Event } from '../client/index.ts'
import { byId, make, show, write } from './element.ts'
import { ago, clock, shorten } from './format.ts'
import { isMachine } from './machine.ts'
import type { Reports } from './reports.ts'
import { Rows } from './rows.ts'
import { fillValue } from './value.ts'

const MAX_NOTICES = 12
/** The last fact is kept for this many types. */
const MAX_FACTS = 50

export class FeedPanel {
  readonly #reports: Reports
  readonly #notices: Event[] = []
  readonly #facts = new Map<string, Event>()
  readonly #rows = new Rows<Event>({
    label: 'Other public events',
    keyOf: ({ type, key }) => key === undefined ? `fact ${type}` : `value ${type}\0${key}`,
    limit: 100,
    columns: [
      { head: 'Key', isName: true, text: ({ key }) => key ?? '(last fact)' },
      { head: 'Type', text: ({ type }) => type },
      { head: 'Value', isLong: true, fill: (cell, { data }) => fillValue(cell, data) },
      { head: 'Changed', isNumber: true, text: ({ timestamp }) => ago(Date.now() - timestamp) }
    ]
  })

  constructor (box: Pick<Box, 'on'>, reports: Reports) {
    this.#reports = reports
    byId('feed-place').append(this.#rows.element)
    box.on('event', event => {
      if (event.key === undefined && event.room === undefined) this.#keep(event)
    })
  }

  #keep (event: Event): void {
    if (event.type === 'notice' && typeof (event.data as { text?: unknown } | null)?.text === 'string') {
      this.#notices.unshift(event)
      this.#notices.splice(MAX_NOTICES)
      return
    }
    this.#facts.delete(event.type)
    this.#facts.set(event.type, event)
    if (this.#facts.size > MAX_FACTS) this.#facts.delete(this.#facts.keys().next().value as string)
  }

  draw (): void {
    const events = [...this.#reports.public.filter(event => !isMachine(event)), ...this.#facts.values()]
      .sort((a, b) => a.type < b.type ? -1 : a.type > b.type ? 1 : (a.key ?? '') < (b.key ?? '') ? -1 : 1)
    this.#rows.draw(events, 'Events you publish appear here immediately.')
    this.#drawNotices()
  }

  #drawNotices (): void {
    const list = byId('notice-list')
    show(byId('notices-none'), this.#notices.length === 0)
    if (list.firstElementChild?.getAttribute('data-id') === this.#notices[0]?.id) return
    list.replaceChildren(...this.#notices.map(({ id, timestamp, data }) => {
      const text = make('span')
      write(text, shorten((data as { text: string }).text))
      return make('li', { 'data-id': id }, make('time', { datetime: new Date(timestamp).toISOString() }, clock(timestamp)), text)
    }))
  }
}
