// How many messages of one connection come within a second. A window begins with the first message after the one before it.

const WINDOW_MS = 1000

export class MessageWindow {
  #startedAt = -Infinity
  #count = 0

  /** Counts a message. @returns how many have come in this window */
  count (now: number): number {
    if (now - this.#startedAt >= WINDOW_MS) {
      this.#startedAt = now
      this.#count = 0
    }
    return ++this.#count
  }

  /** Time until the next window, ms. */
  leftMs (now: number): number {
    return Math.ceil(this.#startedAt + WINDOW_MS - now)
  }
}
