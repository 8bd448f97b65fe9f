// Tokens that were not accepted, by address and second. Beyond a number of them an address is refused before its token is
// looked at, which costs some 100 us each.

import { Refusal } from '../../core/errors.ts'

const WINDOW_MS = 1000
const MAX_A_SECOND = 20

export class FailedAttempts {
  #startedAt = -Infinity
  readonly #counts = new Map<string, number>()

  /** @throws Refusal RATE_LIMITED */
  check (address: string): void {
    const now = performance.now()
    if (now - this.#startedAt >= WINDOW_MS) {
      this.#startedAt = now
      this.#counts.clear()
    }
    if ((this.#counts.get(address) ?? 0) < MAX_A_SECOND) return
    throw new Refusal('RATE_LIMITED', `more than ${MAX_A_SECOND} tokens or tickets of this address were not accepted within a second; try again in a moment`, Math.ceil(this.#startedAt + WINDOW_MS - now), 'attempts')
  }

  count (address: string): void {
    this.#counts.set(address, (this.#counts.get(address) ?? 0) + 1)
  }
}
