// Heartbeats: one timer for all connections, each of which beats once an interval. They are spread over the interval:
// ten thousand of them take ten small turns of the event loop instead of a large one.

import type { Clock } from './clock.ts'

const SHARES = 10

export class Pulse<Member extends { beat (): void }> {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #shares: Array<Set<Member>> = Array.from({ length: SHARES }, () => new Set<Member>())
  #turn = 0
  #members = 0
  #stop: (() => void) | null = null

  constructor (options: { clock: Clock, intervalMs: number }) {
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
  }

  add (member: Member): void {
    // Of the smallest shares the one that has just had its turn, whose next one is an interval from now. Thousands that
    // connect within a second are dealt out: a first beat may come early.
    const latest = this.#shares[this.#turn] as Set<Member>
    const share = this.#shares.reduce((smallest, share) => share.size < smallest.size ? share : smallest, latest)
    share.add(member)
    this.#members++
    this.#stop ??= this.#clock.after(this.#intervalMs / SHARES, this.#beat)
  }

  delete (member: Member): void {
    // Tried one by one: a map would keep an entry for each of them.
    if (this.#shares.some(share => share.delete(member))) this.#members--
  }

  stop (): void {
    this.#stop?.()
  }

  readonly #beat = (): void => {
    this.#turn = (this.#turn + 1) % SHARES
    for (const member of this.#shares[this.#turn] as Set<Member>) member.beat()
    this.#stop = this.#members > 0 ? this.#clock.after(this.#intervalMs / SHARES, this.#beat) : null
  }
}
