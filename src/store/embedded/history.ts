// What history holds, as ids and sizes: a queue that is filled at one end and trimmed at the other by
// number, bytes and age, and that goes back to where it was when the disk did not take the change.

import { millisOf } from '../../core/id.ts'
import type { Id } from '../../core/id.ts'

/** 0 for no limit. */
export interface HistoryLimits {
  readonly historySize: number
  readonly historyBytes: number
  readonly historyTtlMs: number
}

interface HistoryItem {
  readonly id: Id
  readonly size: number
  /** The last of its page: when it is trimmed the page leaves the disk. */
  readonly endsPage: boolean
}

/** Below this a queue is not worth moving. */
const MIN_GARBAGE = 1024

export class HistoryQueue {
  readonly #limits: HistoryLimits
  #items: HistoryItem[] = []
  /** Where the queue begins; what is before it was trimmed. */
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

  /** Whether something is over a limit. */
  due (now: number): boolean {
    const oldest = this.#items[this.#start]
    if (oldest === undefined) return false
    const { historySize, historyBytes, historyTtlMs } = this.#limits
    return (historySize > 0 && this.size > historySize) ||
      (historyBytes > 0 && this.#bytes > historyBytes) ||
      (historyTtlMs > 0 && now - millisOf(oldest.id) > historyTtlMs)
  }

  /** Takes out the oldest until all limits are kept, `max` at most. */
  trim (now: number, max = Infinity): readonly HistoryItem[] {
    const from = this.#start
    while (this.#start - from < max && this.due(now)) this.#bytes -= (this.#items[this.#start++] as HistoryItem).size
    return this.#items.slice(from, this.#start)
  }

  settle (): void {
    if (this.#start > MIN_GARBAGE && this.#start * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#start)
      this.#start = 0
    }
    this.#settled = { start: this.#start, end: this.#items.length, bytes: this.#bytes }
  }

  /** Back to the last `settle`. */
  undo (): void {
    this.#items.length = this.#settled.end
    this.#start = this.#settled.start
    this.#bytes = this.#settled.bytes
  }

  * [Symbol.iterator] (): Generator<Id> {
    for (let at = this.#start; at < this.#items.length; at++) yield (this.#items[at] as HistoryItem).id
  }
}
