// Rate limits: fixed windows of one second, one counter per caller and limit, over all processes. While the group
// cannot be asked, each process limits by its own window.

import type { Clock } from './clock.ts'
import type { Group, Hit } from './group.ts'

const WINDOW_MS = 1000
const UNCOUNTED: Hit = { count: 0, resetMs: 0 }

export class Rate {
  readonly #name: string
  readonly #clock: Clock
  readonly #group: Pick<Group, 'hit'>
  #startedAt = -Infinity
  // A window needs no timer: all counts are dropped when the second has passed.
  readonly #counts = new Map<string, number>()

  constructor (name: string, clock: Clock, group: Pick<Group, 'hit'>) {
    this.#name = name
    this.#clock = clock
    this.#group = group
  }

  /** @param max requests a window; 0 = no limit, which needs no counting */
  async hit (caller: string, max: number): Promise<Hit> {
    if (max === 0) return UNCOUNTED
    const here = this.hitHere(caller)
    // Under a flood, limit locally without asking the group. Two windows of the group may overlap one of ours.
    if (here.count > 2 * max) return here
    return await this.#group.hit(this.#name, caller) ?? here
  }

  /** Counts in this process only. */
  hitHere (caller: string): Hit {
    const now = this.#clock.now()
    const start = Math.floor(now / WINDOW_MS) * WINDOW_MS
    if (start !== this.#startedAt) {
      this.#startedAt = start
      this.#counts.clear()
    }
    const count = (this.#counts.get(caller) ?? 0) + 1
    this.#counts.set(caller, count)
    return { count, resetMs: Math.ceil(start + WINDOW_MS - now) }
  }
}
