// Messages that a worker got on the channel and does not know to be in the log yet. All workers get each message, one takes
// it in, and the others remove it when the log says so: by its digest, the oldest of equal messages. Equal messages are
// different events: this is a multiset, not a set.
//
// The log may be faster than the subscription: the digest is then kept until its message comes. It must not be kept if the
// message will not come because this worker was not listening: it would remove another message like it.

import type { Clock } from '../../../core/clock.ts'

export interface ChannelMessage {
  readonly digest: string
  /** null if there was no memory left for it: it then only counts. */
  readonly text: string | null
  /** What is wrong with it before its text is read; null for nothing. */
  readonly flaw: Error | null
  /** When it arrived, by the monotonic clock. */
  readonly at: number
  /** The number it was sent to the log with; 0 before. */
  number: number
}

interface EarlyDigest {
  readonly digest: string
  readonly serial: number
  readonly at: number
}

const MAX_TEXTS = 50_000
const MAX_CHARACTERS = 16 * 1024 * 1024
const MAX_MESSAGES = 100_000
const MAX_EARLY = 100_000
/** After this a message is not expected any more, in case nothing else can tell. */
const EARLY_MS = 30_000

/** A queue that finds the oldest of the items with a digest. */
class Queue<T extends { readonly digest: string }> {
  readonly #all = new Set<T>()
  readonly #alike = new Map<string, T[]>()

  get size (): number {
    return this.#all.size
  }

  get oldest (): T | undefined {
    return this.#all.values().next().value
  }

  add (thing: T): void {
    this.#all.add(thing)
    const alike = this.#alike.get(thing.digest)
    if (alike === undefined) this.#alike.set(thing.digest, [thing])
    else alike.push(thing)
  }

  oldestAlike (digest: string): T | undefined {
    return this.#alike.get(digest)?.[0]
  }

  has (thing: T): boolean {
    return this.#all.has(thing)
  }

  delete (thing: T): void {
    if (!this.#all.delete(thing)) return
    const alike = this.#alike.get(thing.digest) as T[]
    if (alike.length === 1) this.#alike.delete(thing.digest)
    else if (alike[0] === thing) alike.shift()
    else alike.splice(alike.indexOf(thing), 1)
  }

  clear (): void {
    this.#all.clear()
    this.#alike.clear()
  }

  [Symbol.iterator] (): Iterator<T> {
    return this.#all.values()
  }
}

export class UnconfirmedMessages {
  readonly #clock: Clock
  readonly #messages = new Queue<ChannelMessage>()
  readonly #early = new Queue<EarlyDigest>()
  #serial = 0
  #texts = 0
  #characters = 0

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** When the oldest message arrived; undefined if there is none. */
  get since (): number | undefined {
    return this.#messages.oldest?.at
  }

  /** @returns false if there was no memory left even to count it */
  add (digest: string, text: string, flaw: Error | null): boolean {
    const early = this.#early.oldestAlike(digest)
    if (early !== undefined) {
      this.#early.delete(early)
      if (!this.#isStale(early)) return true
    }
    if (this.#messages.size >= MAX_MESSAGES) return false
    const fits = this.#texts < MAX_TEXTS && this.#characters + text.length <= MAX_CHARACTERS
    if (fits) {
      this.#texts++
      this.#characters += text.length
    }
    this.#messages.add({ digest, text: fits ? text : null, flaw, at: this.#clock.now(), number: 0 })
    return true
  }

  /** Removes the oldest message with this digest. @returns it, if it has arrived */
  strikeAlike (digest: string): ChannelMessage | undefined {
    const message = this.#messages.oldestAlike(digest)
    if (message !== undefined) {
      this.strike(message)
      return message
    }
    for (let mark = this.#early.oldest; mark !== undefined && this.#isStale(mark); mark = this.#early.oldest) this.#early.delete(mark)
    if (this.#early.size < MAX_EARLY) this.#early.add({ digest, serial: ++this.#serial, at: this.#clock.now() })
    return undefined
  }

  /** Removes a message. */
  strike (message: ChannelMessage): void {
    if (!this.#messages.has(message)) return
    this.#messages.delete(message)
    if (message.text === null) return
    this.#texts--
    this.#characters -= message.text.length
  }

  /** The oldest messages, which stay until they are removed. */
  first (count: number, characters: number): ChannelMessage[] {
    const messages: ChannelMessage[] = []
    let sum = 0
    for (const message of this.#messages) {
      sum += message.text?.length ?? 0
      if (messages.length > 0 && (messages.length === count || sum > characters)) break
      messages.push(message)
    }
    return messages
  }

  /** Forgets all messages. @returns how many */
  clear (): number {
    const { size } = this.#messages
    this.#messages.clear()
    this.#texts = 0
    this.#characters = 0
    return size
  }

  /** Serial of the newest digest whose message has not arrived; null if there is none. */
  get expected (): number | null {
    return this.#early.size === 0 ? null : this.#serial
  }

  /** The messages of the digests up to this serial will not arrive. */
  expectNot (upTo: number): void {
    for (let mark = this.#early.oldest; mark !== undefined && mark.serial <= upTo; mark = this.#early.oldest) this.#early.delete(mark)
  }

  #isStale ({ at }: EarlyDigest): boolean {
    return this.#clock.now() - at > EARLY_MS
  }
}
