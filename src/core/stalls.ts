// Connections that hold bytes the system has not taken. Most go on with the `drain` event of their socket; a sweep finds
// those that emptied without one, and ends those that have not emptied in time.

import type { Clock } from './clock.ts'

/** A session whose connection holds bytes back. */
export interface Holder {
  readonly connection: { readonly pending: number }
  /** The connection is empty: the session goes on. It calls `delete`, as does one that ends. */
  drained (): void
}

const SWEEP_MS = 100

export class Stalls<Member extends Holder> {
  readonly #clock: Clock
  readonly #limitMs: () => number
  readonly #onSlow: (member: Member) => void
  readonly #since = new Map<Member, number>()
  #stop: (() => void) | null = null

  /** @param options.limitMs how long a connection may hold bytes back; `onSlow` ends it */
  constructor (options: { clock: Clock, limitMs: () => number, onSlow: (member: Member) => void }) {
    this.#clock = options.clock
    this.#limitMs = options.limitMs
    this.#onSlow = options.onSlow
  }

  get size (): number {
    return this.#since.size
  }

  add (member: Member): void {
    if (!this.#since.has(member)) this.#since.set(member, this.#clock.now())
    this.#stop ??= this.#clock.after(SWEEP_MS, this.#sweep)
  }

  delete (member: Member): void {
    this.#since.delete(member)
  }

  stop (): void {
    this.#stop?.()
    this.#since.clear()
  }

  readonly #sweep = (): void => {
    this.#stop = null
    const now = this.#clock.now()
    for (const [member, since] of this.#since) {
      if (member.connection.pending === 0) member.drained()
      else if (now - since >= this.#limitMs()) this.#onSlow(member)
    }
    if (this.#since.size > 0) this.#stop ??= this.#clock.after(SWEEP_MS, this.#sweep)
  }
}
