// Navigation to the sections: a row of links, or a menu if there is no room for a row.

import { byId } from './element.ts'

/** The same width as in dashboard.css. */
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
