// Decides when a connection has caught up: it has received all present values, and all events from before it was made.

import { isBefore } from './wire.ts'
import type { Delivery, Hello, ProfileName, Status } from './wire.ts'

/** After this long without events nothing is left to catch up with. */
const QUIET_MS = 1000

export class CatchUp {
  readonly #setStatus: (status: Status) => void
  #profile: ProfileName = 'SSE'
  #head = ''
  #snapshot = false
  #behind = false
  #quiet: ReturnType<typeof setTimeout> | undefined

  constructor (setStatus: (status: Status) => void) {
    this.#setStatus = setStatus
  }

  take ({ kind, data }: Delivery): void {
    switch (kind) {
      case 'hello':
      case 'reset': {
        const { profile = this.#profile, head = this.#head, position } = data as Partial<Hello>
        this.#profile = profile
        this.#head = head
        this.#snapshot = position !== 'resumed'
        this.#behind = position !== 'new'
        this.#setStatus({ state: 'catching-up', profile })
        this.#wait()
        break
      }
      case 'ready':
        this.#snapshot = false
        this.#settle()
        break
      case 'events': {
        // Present values arrive ahead of pending facts, so the last fact decides.
        const last = data.findLast(({ key }) => key === undefined) ?? data.at(-1)
        if (!this.#behind || last === undefined) break
        if (isBefore(last.id, this.#head)) this.#wait()
        else this.#arrive()
      }
    }
  }

  end (): void {
    clearTimeout(this.#quiet)
  }

  #wait (): void {
    clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => this.#arrive(), QUIET_MS)
  }

  #arrive (): void {
    clearTimeout(this.#quiet)
    this.#behind = false
    this.#settle()
  }

  #settle (): void {
    if (!this.#snapshot && !this.#behind) this.#setStatus({ state: 'connected', profile: this.#profile })
  }
}
