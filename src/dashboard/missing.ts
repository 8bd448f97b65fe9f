// What the page does not show, because it is not granted: said, in place of panels that stay empty.

import { byId, make, show } from './element.ts'
import { SYSTEM } from './reports.ts'
import type { SignIn } from './sign-in.ts'

const PUBLIC = '@public'

/** By room, the sections that live on it and what they are to a reader. */
const SECTIONS = [
  { room: SYSTEM, ids: ['overview', 'traffic', 'rooms', 'sessions', 'workers', 'troubles', 'settings'], what: 'Figures, rooms, sessions, workers, errors and settings' },
  { room: PUBLIC, ids: ['machine', 'feed'], what: 'This machine and the public feed' }
] as const

export class Missing {
  /** The rooms that the page listens to. */
  readonly rooms: readonly string[]
  /** Whether it hears the gateway's figures. */
  readonly hasFigures: boolean

  constructor (signIn: Pick<SignIn, 'may'>) {
    const lacking = SECTIONS.filter(({ room }) => !signIn.may('subscribe', room))
    this.hasFigures = lacking.every(({ room }) => room !== SYSTEM)
    const rooms = [PUBLIC, SYSTEM].filter(room => lacking.every(section => section.room !== room))
    // With nothing granted the gateway is asked all the same: it has the last word.
    this.rooms = rooms.length === 0 ? [SYSTEM] : rooms
    show(byId('missing'), lacking.length > 0)
    byId('missing-list').replaceChildren(...lacking.map(({ what, room }) => make('li', {}, `${what}: this needs the grant `, make('code', {}, `subscribe: ${room}`), ', which you do not have.')))
    for (const id of lacking.flatMap(({ ids }) => ids)) {
      show(byId(id), false)
      const link = document.querySelector<HTMLElement>(`#menu a[href="#${id}"]`)
      if (link !== null) show(link, false)
    }
  }
}
