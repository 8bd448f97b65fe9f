// Finds rooms by how their names begin, also those that are not among the busiest, which is all that the reports list.

import { byId } from './element.ts'
import type { RoomReport } from './reports.ts'
import type { SignIn } from './sign-in.ts'

/** While somebody types, one request is enough. */
const PAUSE_MS = 300
/** Members and keys of what was found are asked for again. */
const AGAIN_MS = 5000

export interface FoundRooms {
  readonly rooms: readonly RoomReport[]
  /** There are further ones. */
  readonly more: boolean
}

export class RoomSearch {
  readonly #field = byId<HTMLInputElement>('room-search')
  readonly #signIn: Pick<SignIn, 'fetch'>
  readonly #limit: number
  readonly #changed: () => void
  #found: FoundRooms | null = null
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param limit how many rooms are shown. @param changed called when there is something new to draw */
  constructor (signIn: Pick<SignIn, 'fetch'>, limit: number, changed: () => void) {
    this.#signIn = signIn
    this.#limit = limit
    this.#changed = changed
    this.#field.addEventListener('input', () => {
      clearTimeout(this.#timer)
      if (this.prefix === '') {
        this.#found = null
        changed()
      } else this.#timer = setTimeout(() => { void this.#ask() }, PAUSE_MS)
    })
  }

  get prefix (): string {
    return this.#field.value.trim()
  }

  /** What the last answer found; null while nothing is searched, or no answer has come yet. */
  get found (): FoundRooms | null {
    return this.#found
  }

  async #ask (): Promise<void> {
    const { prefix } = this
    if (prefix === '') return
    const response = await this.#signIn.fetch(`/api/rooms?limit=${this.#limit}&prefix=${encodeURIComponent(prefix)}`).catch(() => null)
    const found = response?.ok === true ? await response.json().catch(() => null) as FoundRooms | null : null
    // The field may have changed meanwhile.
    if (this.prefix !== prefix) return
    this.#found = found ?? this.#found
    // Another answer for the same text may have set it.
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { void this.#ask() }, AGAIN_MS)
    this.#changed()
  }
}
