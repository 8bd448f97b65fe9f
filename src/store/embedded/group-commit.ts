// Group commit: lets a write wait a moment for more appends. A write costs the same whatever it holds (an fsync, two thread
// switches), some 400 us of CPU, so at 1,000 appends a second it is most of what each of them costs.
//
// It pays when publishers are independent of each other. Publishers that each wait for their answer before they publish
// again would only be slowed down: all of them return soon after a write, or there is only one. Which kind is present is
// found by trying, once an append arrived during a write. A failed try is repeated at growing intervals.

import { interruptible } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'

/** With this many appends waiting, or this many bytes, the write starts: they cost more than the write itself. */
const ENOUGH = 32
const ENOUGH_BYTES = 16 * 1024
/** Appends that must come in the second half of a wait: one may be that of a publisher who is slow to come back. */
const LATE = 2
const LONGEST_REST = 1024

const isEnough = (appends: number, bytes: number): boolean => appends >= ENOUGH || bytes >= ENOUGH_BYTES

export class GroupCommit {
  readonly #clock: Clock
  readonly #ms: number
  #on = false
  /** When the oldest append came that waits to be written. */
  #firstAt = -Infinity
  /** The middle of the wait, and the appends that came behind it. */
  #halfway = Infinity
  #late = 0
  /** Writes until the next try, and until the one after it if that fails too. */
  #rest = 0
  #nextRest = 1
  #ended = false
  #wake = (): void => {}

  /** @param ms how long an append may wait for others; 0: not at all */
  constructor (clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** An append arrived; `appends` and `bytes` wait to be written now. */
  came (appends: number, bytes: number): void {
    const now = this.#clock.now()
    if (appends === 1) this.#firstAt = now
    if (now >= this.#halfway) this.#late++
    // Without this, 64 publishers in step reach 13,000 appends a second, half of what is possible.
    if (isEnough(appends, bytes)) this.#wake()
  }

  /** Before a write of `appends`: resolves when it should begin. */
  async wait (appends: number, bytes: number): Promise<void> {
    const now = this.#clock.now()
    // What came while the write before was on its way has waited already.
    const ms = this.#firstAt + this.#ms - now
    if (!this.#on || ms <= 0 || isEnough(appends, bytes) || this.#ended) return
    const { over, end } = interruptible(this.#clock, ms)
    let woken = false
    this.#wake = () => { woken = true; end() }
    this.#halfway = now + ms / 2
    this.#late = 0
    await over
    this.#wake = () => {}
    this.#halfway = Infinity
    // Publishers that the last write answered return within the first half of the wait.
    this.#on = woken || this.#late >= LATE
    this.#rest = this.#on ? 0 : this.#nextRest
    this.#nextRest = this.#on ? 1 : Math.min(2 * this.#nextRest, LONGEST_REST)
  }

  /** After a write. @param met whether an append arrived during it */
  wrote (met: boolean): void {
    if (this.#rest > 0) this.#rest--
    else if (met) this.#on = this.#ms > 0
  }

  /** No more appends will come: ends all waiting. A timer does not keep a process alive; a write that waits would be lost. */
  end (): void {
    this.#ended = true
    this.#wake()
  }
}
