// Lets a write wait a moment for others. It costs the same whatever it holds (an fsync, two changes of thread): at 1,000
// appends a second, each by itself, about 180 of the 310 µs of CPU that an append takes in all; waiting 4 ms takes 115
// of these away, and at 3,000 a second 45 of 116.
//
// That pays where publishers come independently of each other. Those who each wait for their answer before they publish
// again would only be slowed down: they all have come soon after a write, or there is only one. Which kind is there is
// found by trying, once somebody came while a write was on its way; a try in vain is repeated ever more rarely.

import { interruptible } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'

/** With so many waiting, or so much, there is enough to share: a hundred events cost more than the write. */
const ENOUGH = 8
const ENOUGH_BYTES = 16 * 1024
const LONGEST_REST = 1024

const isEnough = (appends: number, bytes: number): boolean => appends >= ENOUGH || bytes >= ENOUGH_BYTES

export class GroupCommit {
  readonly #clock: Clock
  readonly #ms: number
  #on = false
  #cameAt = 0
  /** Writes until the next try, and how many after that if it is in vain too. */
  #rest = 0
  #nextRest = 1
  #ended = false
  #wake = (): void => {}

  /** @param ms how long a write may wait; 0 for not at all */
  constructor (clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** Somebody came, and so many appends wait to be written now. */
  came (appends: number, bytes: number): void {
    this.#cameAt = this.#clock.now()
    // Or 64 publishers in step would be held back to 13,000 appends a second, half of what they reach.
    if (isEnough(appends, bytes)) this.#wake()
  }

  /** Before a write of so many appends: returns once it had better begin. */
  async wait (appends: number, bytes: number): Promise<void> {
    if (!this.#on || isEnough(appends, bytes) || this.#ended) return
    const halfway = this.#clock.now() + this.#ms / 2
    const { over, end } = interruptible(this.#clock, this.#ms)
    let woken = false
    this.#wake = () => { woken = true; end() }
    await over
    this.#wake = () => {}
    // Whom the last write answered came in the first half.
    this.#on = woken || this.#cameAt >= halfway
    this.#rest = this.#on ? 0 : this.#nextRest
    this.#nextRest = this.#on ? 1 : Math.min(2 * this.#nextRest, LONGEST_REST)
  }

  /** After a write. @param met somebody came meanwhile */
  wrote (met: boolean): void {
    if (this.#rest > 0) this.#rest--
    else if (met) this.#on = this.#ms > 0
  }

  /** Nobody else comes: nothing waits any more. A timer does not keep a process alive, so what is to be written would be lost. */
  end (): void {
    this.#ended = true
    this.#wake()
  }
}
