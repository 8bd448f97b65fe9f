// Tokens that are not accepted cost as much to verify as good ones, some 200 us. After one of them, what else comes from its
// address and is not known yet waits for its turn: bad tokens take a twenty-fifth of the event loop at most, and a good one
// from behind the same NAT comes late instead of being refused. A ticket that was used, or has expired, is no attempt: a native
// EventSource comes back with it.

import { Refusal } from '../../core/errors.ts'
import type { Clock } from '../../core/clock.ts'
import { OutdatedRefusal } from './tickets.ts'

/** From one turn of an address to the next. */
const PAUSE_MS = 5
/** Requests of one address that wait, each on a connection of its own: for 5 s at most. */
const MAX_WAITING = 1000

interface Waiting {
  readonly isGone: () => boolean
  readonly go: () => void
}

export class FailedAttempts {
  readonly #clock: Pick<Clock, 'after'>
  /** By address, in order; there from a failure until nobody waits any more. */
  readonly #lines = new Map<string, Waiting[]>()

  constructor (clock: Pick<Clock, 'after'>) {
    this.#clock = clock
  }

  /**
   * Verifies a token or ticket, when it is the turn of its address.
   * @param isGone whether nobody waits for the outcome any more
   * @throws Refusal RATE_LIMITED, and what `verify` throws
   */
  async verify<T> (address: string, isGone: () => boolean, verify: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(address)
    if (line !== undefined) {
      if (line.length >= MAX_WAITING) throw new Refusal('RATE_LIMITED', `${MAX_WAITING} requests of this address wait for their tokens to be verified, after one that was not accepted; try again in a moment`, { bound: 'attempts' })
      await new Promise<void>(resolve => line.push({ isGone, go: resolve }))
    }
    try {
      return await verify()
    } catch (error) {
      if (error instanceof Refusal && error.statusCode === 401 && !(error instanceof OutdatedRefusal) && !this.#lines.has(address)) {
        this.#lines.set(address, [])
        this.#pause(address)
      }
      throw error
    }
  }

  #pause (address: string): void {
    this.#clock.after(PAUSE_MS, () => {
      const line = this.#lines.get(address) ?? []
      let next = line.shift()
      // Who has gone costs nothing: the line is no longer than the address has connections.
      while (next?.isGone() === true) next = line.shift()
      if (next === undefined) this.#lines.delete(address)
      else {
        next.go()
        this.#pause(address)
      }
    })
  }
}
