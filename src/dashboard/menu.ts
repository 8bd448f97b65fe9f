// The way to the sections: a row of links, and where there is no room for one a menu.

import { byId } from './element.ts'

/** As in the style sheet. */
const NARROW = '(max-width: 40rem)'

export function fitMenu (): void {
  const menu = byId<HTMLDetailsElement>('menu')
  const narrow = window.matchMedia(NARROW)
  const fit = (): void => { menu.open = !narrow.matches }
  const close = (): void => { if (narrow.matches) menu.open = false }
  narrow.addEventListener('change', fit)
  fit()
  menu.addEventListener('click', ({ target }) => { if ((target as Element).closest('a') !== null) close() })
  menu.addEventListener('keydown', event => {
    if (event.key !== 'Escape' || !narrow.matches || !menu.open) return
    event.preventDefault()
    close()
    menu.querySelector('summary')?.focus()
  })
}
