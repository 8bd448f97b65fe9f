// A value in a cell: a few lines of it, or all of it on request.

import { make, mark, show, write } from './element.ts'
import { count, NONE, shorten } from './format.ts'

/** About three lines. */
const MAX_TEXT = 200

const present = new WeakMap<HTMLElement, unknown>()

export function fillValue (cell: HTMLElement, value: unknown): void {
  present.set(cell, value)
  const [text, button] = cell.childElementCount === 0 ? newParts(cell) : cell.children as unknown as [HTMLElement, HTMLButtonElement]
  const line = JSON.stringify(value) ?? NONE
  const isLong = line.length > MAX_TEXT
  const isOpen = isLong && button.getAttribute('aria-expanded') === 'true'
  mark(text, { class: isOpen ? 'whole' : undefined })
  write(text, isOpen ? JSON.stringify(value, null, 2) : shorten(line, MAX_TEXT))
  show(button, isLong)
  write(button, isOpen ? 'Show less' : isLong ? `Show all ${count(line.length)} characters` : '')
}

function newParts (cell: HTMLElement): [HTMLElement, HTMLButtonElement] {
  const button = make('button', { type: 'button', class: 'link', 'aria-expanded': 'false' })
  button.addEventListener('click', () => {
    mark(button, { 'aria-expanded': button.getAttribute('aria-expanded') === 'true' ? 'false' : 'true' })
    fillValue(cell, present.get(cell))
  })
  const text = make('span')
  cell.append(text, button)
  return [text, button]
}
