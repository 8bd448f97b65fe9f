// One atomic write in the making: events, the values and history that follow from them, and records with an expiry.
// Appends planned later in the batch see what the earlier ones added.

import { entryOf } from '../../core/event.ts'
import { millisOf } from '../../core/id.ts'
import { expiryKey, historyKey, keyOfExpiry, pageText, recordOf, valueKey } from './record.ts'
import type { Draft, Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { CommandRecord } from '../../core/store.ts'
import type { Change } from './disk.ts'

/** The answer that was given to an idempotency key. */
export interface AppendRecord {
  readonly fingerprint: string
  readonly ids: ReadonlyArray<Id | null>
}

/** A record and when it expires, in milliseconds since 1970. */
interface ExpiringRecord<T> {
  readonly until: number
  readonly value: T
}

export class Batch {
  /** Milliseconds since 1970, never before the newest id. */
  readonly now: number
  readonly entries: Entry[] = []
  readonly #changes: Change[] = []
  readonly #ended: number
  readonly #texts: Map<string, string | null | undefined>
  #n: number
  #hasKept = false

  /**
   * @param head the newest id given so far
   * @param now not before `head`
   * @param ended records with this expiry, or an earlier one, are over
   * @param texts the stored records that the batch may look up; null for a damaged one, which is lost
   */
  constructor (head: Id, now: number, ended: number, texts: Map<string, string | null | undefined>) {
    this.now = now
    this.#n = now === millisOf(head) ? Number(head.slice(head.indexOf('-') + 1)) + 1 : 0
    this.#ended = ended
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

  /** Removes the events from this index on, and their ids. */
  retract (from: number): void {
    this.#n -= this.entries.length - from
    this.entries.length = from
  }

  answerOf (key: string): AppendRecord | null { return this.#recall<AppendRecord>(key) }
  commandOf (key: string): CommandRecord | null { return this.#recall<CommandRecord>(key) }

  keep (key: string, value: AppendRecord | CommandRecord, ttlMs: number): void {
    this.#hasKept = true
    const until = this.now + ttlMs
    const text = JSON.stringify({ until, value } satisfies ExpiringRecord<unknown>)
    this.#texts.set(key, text)
    this.put(key, text)
    this.put(expiryKey(until, key), '')
  }

  /** Keeps a text for ever. @returns the one that was there, else the new one */
  keepFirst (key: string, make: () => string): string {
    const before = this.#texts.get(key)
    if (before !== undefined && before !== null) return before
    const text = make()
    this.#texts.set(key, text)
    this.put(key, text)
    return text
  }

  forget (key: string): void {
    this.#texts.set(key, undefined)
    this.#delete(key)
  }

  /** Deletes expired records. A record that was renewed since has a later expiry and stays. */
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

  /** Whether something in it is of its time: time must not be before that again. */
  get isDated (): boolean {
    return this.#hasKept || this.entries.length > 0
  }

  get empty (): boolean {
    return this.#changes.length === 0
  }

  get changes (): Change[] {
    return this.#changes
  }

  #recall<T> (key: string): T | null {
    const text = this.#texts.get(key)
    if (text === undefined || text === null) return null
    try {
      const { until, value } = JSON.parse(text) as ExpiringRecord<T>
      return until > this.#ended ? value : null
    } catch {
      // Damaged before records had checksums. The record is lost.
      return null
    }
  }

  #delete (key: string): void { this.#changes.push({ type: 'del', key }) }
}
