// Entries in id order that are appended at one end and forgotten at the other.

import type { Entry } from './event.ts'
import { compareIds } from './id.ts'
import type { Id } from './id.ts'

/** Forgotten entries stay in the array until they are half of it: one copy now and then instead of one an entry. */
const COMPACT_FROM = 64

export class Log {
  #entries: Array<Entry | undefined> = []
  #start = 0

  get size (): number {
    return this.#entries.length - this.#start
  }

  get oldest (): Entry | undefined {
    return this.#entries[this.#start]
  }

  push (entry: Entry): void {
    this.#entries.push(entry)
  }

  /** Forgets the oldest entry. */
  shift (): Entry | undefined {
    const entry = this.#entries[this.#start]
    if (entry === undefined) return undefined
    this.#entries[this.#start++] = undefined
    if (this.#start >= COMPACT_FROM && this.#start * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start)
      this.#start = 0
    }
    return entry
  }

  /** The entry at `index`, counted from the oldest. */
  at (index: number): Entry | undefined {
    return this.#entries[this.#start + index]
  }

  /** The index of the first entry behind `id`; `size` where there is none. */
  after (id: Id): number {
    let low = this.#start
    let high = this.#entries.length
    // Readers in step read from the end.
    if (high === low || compareIds((this.#entries[high - 1] as Entry).id, id) <= 0) return high - low
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareIds((this.#entries[middle] as Entry).id, id) <= 0) low = middle + 1
      else high = middle
    }
    return low - this.#start
  }

  /** The newest entry that is like this. */
  findLast (isWanted: (entry: Entry) => boolean): Entry | undefined {
    return this.#entries.findLast(entry => entry !== undefined && isWanted(entry))
  }

  find (id: Id): Entry | undefined {
    const before = this.at(this.after(id) - 1)
    return before?.id === id ? before : undefined
  }
}
