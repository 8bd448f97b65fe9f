// Whether a connection has caught up: all present values have come, and what had happened when it was made.

import { isBefore } from './wire.ts'
import type { Delivery, Hello, ProfileName, Status } from './wire.ts'

/** A client that was sent nothing for so long has nothing left to catch up with. */
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
        // Present values run ahead of facts that are still owed.
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
