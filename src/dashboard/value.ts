// A value in a cell: a few lines of it, or all of it on request.

import { make, mark, show, write } from './element.ts'
import { count, NONE, shorten } from './format.ts'

/** About three lines. */
const MAX_TEXT = 200

interface Texts {
  readonly line: string
  /** All of it, made only where it is shown. */
  readonly whole: () => string
}

const present = new WeakMap<HTMLElement, Texts>()

/** As JSON. */
export function fillValue (cell: HTMLElement, value: unknown): void {
  fill(cell, { line: JSON.stringify(value) ?? NONE, whole: () => JSON.stringify(value, null, 2) })
}

/** Below a heading that says what it is a text needs no quotation marks. */
export function fillMember (cell: HTMLElement, value: unknown): void {
  if (typeof value === 'string') fill(cell, { line: value, whole: () => value })
  else fillValue(cell, value)
}

function fill (cell: HTMLElement, texts: Texts): void {
  present.set(cell, texts)
  const [text, button] = cell.childElementCount === 0 ? newParts(cell) : cell.children as unknown as [HTMLElement, HTMLButtonElement]
  const { line, whole } = texts
  const isLong = line.length > MAX_TEXT
  const isOpen = isLong && button.getAttribute('aria-expanded') === 'true'
  mark(text, { class: isOpen ? 'whole' : undefined })
  write(text, isOpen ? whole() : shorten(line, MAX_TEXT))
  show(button, isLong)
  write(button, isOpen ? 'Show less' : isLong ? `Show all ${count(line.length)} characters` : '')
}

function newParts (cell: HTMLElement): [HTMLElement, HTMLButtonElement] {
  const button = make('button', { type: 'button', class: 'link', 'aria-expanded': 'false' })
  button.addEventListener('click', () => {
    mark(button, { 'aria-expanded': button.getAttribute('aria-expanded') === 'true' ? 'false' : 'true' })
    fill(cell, present.get(cell) as Texts)
  })
  const text = make('span')
  cell.append(text, button)
  return [text, button]
}
