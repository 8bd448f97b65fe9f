// One atomic write in the making: events, the values and history that follow from them, and records kept for a time.
// Those who are planned later see what the earlier ones put in.

import { entryOf } from '../../core/event.ts'
import { millisOf } from '../../core/id.ts'
import { expiryKey, historyKey, keyOfExpiry, pageText, recordOf, valueKey } from './record.ts'
import type { Draft, Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { LedgerRecord } from '../../core/store.ts'
import type { Change } from './disk.ts'

/** What an idempotency key was answered with. */
export interface AppendRecord {
  readonly fingerprint: string
  readonly ids: ReadonlyArray<Id | null>
}

/** Kept until a moment, in milliseconds since 1970. */
interface ExpiringRecord<T> {
  readonly until: number
  readonly value: T
}

export class Batch {
  /** Milliseconds since 1970, never before the newest id. */
  readonly now: number
  readonly entries: Entry[] = []
  readonly #changes: Change[] = []
  readonly #texts: Map<string, string | undefined>
  #n: number

  /**
   * @param head the newest id given so far
   * @param now not before `head`
   * @param texts the records that will be asked for, as the disk has them
   */
  constructor (head: Id, now: number, texts: Map<string, string | undefined>) {
    this.now = now
    this.#n = now === millisOf(head) ? Number(head.slice(head.indexOf('-') + 1)) + 1 : 0
    this.#texts = texts
  }

  /** The id the next event gets. */
  get next (): Id {
    return `${this.now}-${this.#n}`
  }

  add (draft: Draft): Entry {
    const entry = entryOf(draft, this.next)
    this.#n++
    this.entries.push(entry)
    return entry
  }

  /** Takes back the events from this one on, and their ids. */
  retract (from: number): void {
    this.#n -= this.entries.length - from
    this.entries.length = from
  }

  answerOf (key: string): AppendRecord | null { return this.#recall<AppendRecord>(key) }
  commandOf (key: string): LedgerRecord | null { return this.#recall<LedgerRecord>(key) }

  keep (key: string, value: AppendRecord | LedgerRecord, ttlMs: number): void {
    const until = this.now + ttlMs
    const text = JSON.stringify({ until, value } satisfies ExpiringRecord<unknown>)
    this.#texts.set(key, text)
    this.put(key, text)
    this.put(expiryKey(until, key), '')
  }

  forget (key: string): void {
    this.#texts.set(key, undefined)
    this.#delete(key)
  }

  /** Forgets what has run out. A record kept anew since then has a later expiry of its own and stays. */
  expire (expiries: Iterable<string>): void {
    for (const expiry of expiries) {
      this.#delete(expiry)
      const key = keyOfExpiry(expiry)
      if (this.#texts.get(key) !== undefined && this.#recall(key) === null) this.forget(key)
    }
  }

  /** @param ordinal of the first */
  putPage (page: Entry[], ordinal: number): void {
    this.put(historyKey((page.at(-1) as Entry).id), pageText(page, ordinal))
  }

  /** Of several values of a key only the last is written. */
  putValues (): void {
    const values = new Map<string, Entry>()
    for (const entry of this.entries) if (entry.key !== null) values.set(valueKey(entry), entry)
    for (const [key, entry] of values) {
      if (entry.deletion) this.#delete(key)
      else this.put(key, recordOf(entry, 0))
    }
  }

  deletePage (last: Id): void { this.#delete(historyKey(last)) }

  put (key: string, value: string): void { this.#changes.push({ type: 'put', key, value }) }

  get empty (): boolean {
    return this.#changes.length === 0
  }

  get changes (): Change[] {
    return this.#changes
  }

  #recall<T> (key: string): T | null {
    const text = this.#texts.get(key)
    if (text === undefined) return null
    try {
      const { until, value } = JSON.parse(text) as ExpiringRecord<T>
      return until > this.now ? value : null
    } catch {
      // Only a damaged disk gives back such a text; what it was is lost.
      return null
    }
  }

  #delete (key: string): void { this.#changes.push({ type: 'del', key }) }
}
