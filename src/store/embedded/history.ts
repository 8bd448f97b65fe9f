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

interface HistoryItem {
  readonly id: Id
  readonly size: number
  /** Whether it is the last of its page: trimming it deletes the page from the disk. */
  readonly endsPage: boolean
}

/** Fewer trimmed items than this are not worth copying the queue for. */
const MIN_GARBAGE = 1024

export class HistoryQueue {
  readonly #limits: HistoryLimits
  #items: HistoryItem[] = []
  /** Index of the oldest item that is not trimmed. */
  #start = 0
  #bytes = 0
  #settled = { start: 0, end: 0, bytes: 0 }

  constructor (limits: HistoryLimits) {
    this.#limits = limits
  }

  get size (): number {
    return this.#items.length - this.#start
  }

  push (id: Id, size: number, endsPage: boolean): void {
    this.#items.push({ id, size, endsPage })
    this.#bytes += size
  }

  /** Whether a limit is exceeded. @param ended when facts that are too old now were given, ms since 1970 */
  due (ended: number): boolean {
    const oldest = this.#items[this.#start]
    if (oldest === undefined) return false
    const { historySize, historyBytes, historyTtlMs } = this.#limits
    return (historySize > 0 && this.size > historySize) ||
      (historyBytes > 0 && this.#bytes > historyBytes) ||
      (historyTtlMs > 0 && millisOf(oldest.id) < ended)
  }

  /** Removes the oldest items until no limit is exceeded, at most `max`. */
  trim (ended: number, max = Infinity): readonly HistoryItem[] {
    const from = this.#start
    while (this.#start - from < max && this.due(ended)) this.#bytes -= (this.#items[this.#start++] as HistoryItem).size
    return this.#items.slice(from, this.#start)
  }

  settle (): void {
    if (this.#start > MIN_GARBAGE && this.#start * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#start = 0
    }
    this.#settled = { start: this.#start, end: this.#items.length, bytes: this.#bytes }
  }

  /** Rolls back to the last `settle`. */
  undo (): void {
    this.#items.length = this.#settled.end
    this.#start = this.#settled.start
    this.#bytes = this.#settled.bytes
  }

  * [Symbol.iterator] (): Generator<Id> {
    for (let at = this.#start; at < this.#items.length; at++) yield (this.#items[at] as HistoryItem).id
  }
}
