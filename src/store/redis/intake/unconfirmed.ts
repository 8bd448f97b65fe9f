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

/** Messages that may wait, and their characters; beyond that only their number is kept, up to MAX_MESSAGES. */
export const MAX_TEXTS = 50_000
export const MAX_CHARACTERS = 16 * 1024 * 1024
const MAX_MESSAGES = 100_000
const MAX_EARLY = 100_000
/** After this a message is not expected any more, in case nothing else can tell. */
const EARLY_MS = 30_000

interface Link<T> {
  readonly thing: T
  before: Link<T> | null
  after: Link<T> | null
}

/** A list in the order of arrival. An array or a Set would look again and again at what was removed from its beginning. */
class Chain<T> {
  first: Link<T> | null = null
  #last: Link<T> | null = null

  append (thing: T): Link<T> {
    const link: Link<T> = { thing, before: this.#last, after: null }
    if (this.#last === null) this.first = link
    else this.#last.after = link
    this.#last = link
    return link
  }

  remove ({ before, after }: Link<T>): void {
    if (before === null) this.first = after
    else before.after = after
    if (after === null) this.#last = before
    else after.before = before
  }
}

/** A queue that finds the oldest of the items with a digest, in the same time however many there are. */
class Queue<T extends { readonly digest: string }> {
  #all = new Chain<T>()
  readonly #alike = new Map<string, Chain<T>>()
  readonly #links = new Map<T, { readonly inAll: Link<T>, readonly inAlike: Link<T> }>()

  get size (): number {
    return this.#links.size
  }

  get oldest (): T | undefined {
    return this.#all.first?.thing
  }

  add (thing: T): void {
    let alike = this.#alike.get(thing.digest)
    if (alike === undefined) this.#alike.set(thing.digest, alike = new Chain())
    this.#links.set(thing, { inAll: this.#all.append(thing), inAlike: alike.append(thing) })
  }

  oldestAlike (digest: string): T | undefined {
    return this.#alike.get(digest)?.first?.thing
  }

  has (thing: T): boolean {
    return this.#links.has(thing)
  }

  delete (thing: T): void {
    const links = this.#links.get(thing)
    if (links === undefined) return
    this.#links.delete(thing)
    this.#all.remove(links.inAll)
    const alike = this.#alike.get(thing.digest) as Chain<T>
    alike.remove(links.inAlike)
    if (alike.first === null) this.#alike.delete(thing.digest)
  }

  clear (): void {
    this.#all = new Chain()
    this.#alike.clear()
    this.#links.clear()
  }

  * [Symbol.iterator] (): Iterator<T> {
    for (let link = this.#all.first; link !== null; link = link.after) yield link.thing
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
