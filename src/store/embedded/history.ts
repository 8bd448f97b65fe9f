// History as ids and sizes: a queue that grows at one end, is trimmed at the other by number, bytes and age, and can be
// rolled back when the disk did not take the change.

import { millisOf } from '../../core/id.ts'
import type { Id } from '../../core/id.ts'

/** 0: no limit. */
export interface HistoryLimits {
  readonly historySize: number
  readonly historyBytes: number
  readonly historyTtlMs: number
}

/** What was trimmed. */
interface Trimmed {
  /** The newest id of it; null where nothing was. */
  readonly last: Id | null
  /** The last ids of pages that were trimmed whole. */
  readonly pages: readonly Id[]
}

/** Fewer trimmed items than this are not worth copying the queue for. */
const MIN_GARBAGE = 1024

export class HistoryQueue {
  readonly #limits: HistoryLimits
  // Lists in place of one of objects, which the garbage collector would copy and mark: 28 bytes a fact besides its id, 57 with them.
  #ids: Id[] = []
  #sizes: number[] = []
  /** Whether it is the last of its page: trimming it deletes the page from the disk. */
  #ends: boolean[] = []
  /** Index of the oldest item that is not trimmed. */
  #start = 0
  #bytes = 0
  #settled = { start: 0, end: 0, bytes: 0 }

  constructor (limits: HistoryLimits) {
    this.#limits = limits
  }

  get size (): number {
    return this.#ids.length - this.#start
  }

  push (id: Id, size: number, endsPage: boolean): void {
    this.#ids.push(id)
    this.#sizes.push(size)
    this.#ends.push(endsPage)
    this.#bytes += size
  }

  /** Whether a limit is exceeded. @param ended when facts that are too old now were given, ms since 1970 */
  due (ended: number): boolean {
    const oldest = this.#ids[this.#start]
    if (oldest === undefined) return false
    const { historySize, historyBytes, historyTtlMs } = this.#limits
    return (historySize > 0 && this.size > historySize) ||
      (historyBytes > 0 && this.#bytes > historyBytes) ||
      (historyTtlMs > 0 && millisOf(oldest) < ended)
  }

  /** Removes the oldest items until no limit is exceeded, at most `max`. */
  trim (ended: number, max = Infinity): Trimmed {
    const from = this.#start
    const pages: Id[] = []
    for (; this.#start - from < max && this.due(ended); this.#start++) {
      this.#bytes -= this.#sizes[this.#start] as number
      if (this.#ends[this.#start] === true) pages.push(this.#ids[this.#start] as Id)
    }
    return { last: this.#start === from ? null : this.#ids[this.#start - 1] as Id, pages }
  }

  settle (): void {
    if (this.#start > MIN_GARBAGE && this.#start * 2 > this.#ids.length) {
      this.#ids = this.#ids.slice(this.#start)
      this.#sizes = this.#sizes.slice(this.#start)
      this.#ends = this.#ends.slice(this.#start)
      this.#start = 0
    }
    this.#settled = { start: this.#start, end: this.#ids.length, bytes: this.#bytes }
  }

  /** Rolls back to the last `settle`. */
  undo (): void {
    this.#ids.length = this.#sizes.length = this.#ends.length = this.#settled.end
    this.#start = this.#settled.start
    this.#bytes = this.#settled.bytes
  }

  * [Symbol.iterator] (): Generator<Id> {
    for (let at = this.#start; at < this.#ids.length; at++) yield this.#ids[at] as Id
  }
}
