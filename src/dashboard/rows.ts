// A table with one row per item, up to a limit. Unchanged rows and cells are left alone, to keep the selection, the focus
// and the element under the pointer.

import { make, mark, show, write } from './element.ts'
import { count } from './format.ts'

interface RowsColumn<Item> {
  readonly head: string
  readonly text?: (item: Item) => string
  /** For cells with more than a text. */
  readonly fill?: (cell: HTMLTableCellElement, item: Item) => void
  readonly isNumber?: boolean
  /** Hidden on narrow screens. */
  readonly isMinor?: boolean
  /** Names the row's item: on one line, cut if it is very long. */
  readonly isName?: boolean
  /** Its texts may be long and wrap. */
  readonly isLong?: boolean
}

export interface RowsOptions<Item> {
  readonly label: string
  readonly columns: ReadonlyArray<RowsColumn<Item>>
  readonly keyOf: (item: Item) => string
  readonly limit?: number
}

export class Rows<Item> {
  readonly element: HTMLElement
  readonly #options: RowsOptions<Item>
  readonly #scroller: HTMLElement
  readonly #body = make('tbody')
  readonly #empty = make('p', { class: 'hint' })
  readonly #more = make('p', { class: 'hint' })
  readonly #rows = new Map<string, HTMLTableRowElement>()

  constructor (options: RowsOptions<Item>) {
    this.#options = options
    const heads = options.columns.map(column => make('th', { scope: 'col', class: classOf(column) }, column.head))
    const table = make('table', {}, make('thead', {}, make('tr', {}, ...heads)), this.#body)
    this.#scroller = make('div', { class: 'scroller', role: 'group', 'aria-label': options.label }, table)
    reachable(this.#scroller, table)
    this.element = make('div', { class: 'rows' }, this.#scroller, this.#empty, this.#more)
    show(this.#scroller, false)
  }

  /** @param empty the text if there are no items. @param total of how many these are the first; null: there are others, nobody has counted them */
  draw (items: readonly Item[], empty: string, total: number | null = items.length): void {
    const { limit = 100, keyOf } = this.#options
    const shown = items.slice(0, limit)
    show(this.#scroller, shown.length > 0)
    show(this.#empty, shown.length === 0)
    write(this.#empty, empty)
    show(this.#more, total === null || total > shown.length)
    write(this.#more, total === null ? 'and others' : `and ${count(total - shown.length)} more`)
    const keys = new Set(shown.map(keyOf))
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue
      row.remove()
      this.#rows.delete(key)
    }
    // A row that the user points at or is about to press must not move.
    const holds = this.#body.matches(':hover, :focus-within')
    let before: Element | null = this.#body.firstElementChild
    for (const item of shown) {
      const known = this.#rows.get(keyOf(item))
      const row = known ?? this.#newRow(keyOf(item))
      this.#fill(row, item)
      if (known !== undefined && holds) continue
      if (known === undefined && holds) this.#body.append(row)
      else if (row !== before) this.#body.insertBefore(row, before)
      else before = before.nextElementSibling
    }
  }

  #newRow (key: string): HTMLTableRowElement {
    const cells = this.#options.columns.map((column, index) => index === 0 ? make('th', { scope: 'row', class: classOf(column) }) : make('td', { class: classOf(column) }))
    const row = make('tr', {}, ...cells)
    this.#rows.set(key, row)
    return row
  }

  #fill (row: HTMLTableRowElement, item: Item): void {
    this.#options.columns.forEach(({ text, fill, isName = false }, index) => {
      const cell = row.cells[index] as HTMLTableCellElement
      if (text !== undefined) write(cell, text(item))
      if (isName) mark(cell, { title: cell.textContent ?? '' })
      fill?.(cell, item)
    })
  }
}

/** Makes the table scrollable by keyboard, but only while a part of it is out of sight. */
function reachable (scroller: HTMLElement, content: HTMLElement): void {
  const observer = new ResizeObserver(() => {
    const isCut = scroller.scrollWidth > scroller.clientWidth || scroller.scrollHeight > scroller.clientHeight
    mark(scroller, { tabindex: isCut ? 0 : undefined })
  })
  observer.observe(scroller)
  observer.observe(content)
}

const classOf = ({ isNumber = false, isMinor = false, isName = false, isLong = false }: RowsColumn<never>): string | undefined =>
  [isNumber ? 'number' : '', isMinor ? 'minor' : '', isName ? 'name' : '', isLong ? 'long' : ''].filter(name => name !== '').join(' ') || undefined
