// The values of a room, a table for each type. Where they are objects of few members each member has a column: figures are
// then read down a column, and a change is seen in its place.

import type { Event } from '../client/index.ts'
import { make, show, write } from './element.ts'
import { ago, NONE } from './format.ts'
import { Rows } from './rows.ts'
import { fillMember, fillValue } from './value.ts'

/** Of one type. */
const MAX_VALUES = 200
/** With more members a row is read more easily as text. */
const MAX_MEMBERS = 6

type Members = Readonly<Record<string, unknown>>

export class RoomValues {
  readonly element = make('div', { class: 'values' })
  readonly #tables = new Map<string, TypeTable>()
  readonly #empty = make('p', { class: 'hint' })

  constructor () {
    this.element.append(this.#empty)
  }

  /**
   * @param values in the order in which they are to be shown, those of a type together
   * @param empty the text if there are none
   */
  draw (values: readonly Event[], empty: string): void {
    show(this.#empty, values.length === 0)
    write(this.#empty, empty)
    const types = new Map<string, Event[]>()
    for (const event of values) {
      const events = types.get(event.type)
      if (events === undefined) types.set(event.type, [event])
      else events.push(event)
    }
    for (const [type, table] of this.#tables) show(table.element, types.has(type))
    let before: Element = this.#empty
    for (const [type, events] of types) {
      const table = this.#tables.get(type) ?? new TypeTable(type)
      this.#tables.set(type, table)
      if (before.nextElementSibling !== table.element) before.after(table.element)
      table.draw(events)
      before = table.element
    }
  }
}

class TypeTable {
  readonly element = make('div')
  readonly #type: string
  /** Those seen so far, and whether all of each are numbers; null once there were values without members, or with too many. */
  #members: Map<string, boolean> | null = new Map()
  #rows: Rows<Event> | null = null

  constructor (type: string) {
    this.#type = type
    this.element.append(make('h4', {}, type))
  }

  draw (events: readonly Event[]): void {
    if (this.#learn(events.slice(0, MAX_VALUES)) || this.#rows === null) {
      this.#rows?.element.remove()
      this.#rows = this.#newRows()
      this.element.append(this.#rows.element)
    }
    this.#rows.draw(events, '')
  }

  /** Columns come and never go: a table that changed its shape with each value could not be read. @returns whether they changed */
  #learn (events: readonly Event[]): boolean {
    const members = this.#members
    if (members === null) return false
    let isNew = false
    for (const { data } of events) {
      if (!isMembers(data)) return this.#giveUp()
      for (const [name, value] of Object.entries(data)) {
        const isNumber = typeof value === 'number' && members.get(name) !== false
        if (members.get(name) === isNumber) continue
        members.set(name, isNumber)
        isNew = true
      }
    }
    return members.size > MAX_MEMBERS ? this.#giveUp() : isNew
  }

  #giveUp (): true {
    this.#members = null
    return true
  }

  #newRows (): Rows<Event> {
    const columns = this.#members === null
      ? [{ head: 'Value', isLong: true, fill: (cell: HTMLElement, { data }: Event) => fillValue(cell, data) }]
      : [...this.#members].map(([name, isNumber]) => isNumber
          ? { head: name, isNumber, text: ({ data }: Event) => String(member(data, name) ?? NONE) }
          : { head: name, isLong: true, fill: (cell: HTMLElement, { data }: Event) => fillMember(cell, member(data, name)) })
    return new Rows<Event>({
      label: `Values of ${this.#type}`,
      keyOf: ({ key = '' }) => key,
      limit: MAX_VALUES,
      columns: [
        { head: 'Key', isName: true, text: ({ key = '' }) => key },
        ...columns,
        { head: 'Changed', isMinor: true, isNumber: true, text: ({ timestamp }) => ago(Date.now() - timestamp) }
      ]
    })
  }
}

/** Its own: publishers call members as they like, `constructor` too. */
const member = (data: unknown, name: string): unknown => Object.hasOwn(data as Members, name) ? (data as Members)[name] : undefined

const isMembers = (data: unknown): data is Members => typeof data === 'object' && data !== null && !Array.isArray(data) && Object.keys(data).length > 0
