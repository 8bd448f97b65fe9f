// Sessions whose rights end at a time. One timer for all: twice a second it looks whether a time has come.

import type { Clock } from './clock.ts'

const LOOK_MS = 500
/** Sessions ended in one turn: those of one login may all end at once. */
const SLICE = 200

export class Deadlines<Member> {
  readonly #clock: Pick<Clock, 'wall' | 'after' | 'soon'>
  readonly #onDue: (member: Member) => void
  /** By the time at which they end, ms since 1970. */
  readonly #members = new Map<number, Set<Member>>()
  #next = Infinity
  #stop: (() => void) | null = null

  /** @param options.onDue ends the member, which calls `delete` */
  constructor (options: { clock: Pick<Clock, 'wall' | 'after' | 'soon'>, onDue: (member: Member) => void }) {
    this.#clock = options.clock
    this.#onDue = options.onDue
  }

  add (member: Member, at: number): void {
    const members = this.#members.get(at) ?? new Set()
    this.#members.set(at, members.add(member))
    this.#next = Math.min(this.#next, at)
    this.#stop ??= this.#clock.after(LOOK_MS, this.#look)
  }

  delete (member: Member, at: number): void {
    const members = this.#members.get(at)
    members?.delete(member)
    if (members?.size === 0) this.#members.delete(at)
  }

  stop (): void {
    this.#stop?.()
    this.#members.clear()
  }

  readonly #look = (): void => {
    if (this.#clock.wall() >= this.#next && !this.#endSome()) {
      this.#clock.soon(this.#look)
      return
    }
    this.#stop = this.#members.size === 0 ? null : this.#clock.after(LOOK_MS, this.#look)
  }

  /** @returns whether all that were due have been ended */
  #endSome (): boolean {
    const now = this.#clock.wall()
    let left = SLICE
    this.#next = Infinity
    for (const [at, members] of this.#members) {
      if (at > now) {
        this.#next = Math.min(this.#next, at)
        continue
      }
      for (const member of members) {
        if (left-- === 0) {
          this.#next = at
          return false
        }
        this.#onDue(member)
      }
    }
    return true
  }
}
