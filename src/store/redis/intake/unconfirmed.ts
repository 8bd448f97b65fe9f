// What a worker has heard on the channel and does not know to be in the log yet. All workers hear each message, one of
// them takes it in, and the others strike it when the log says so: by its digest, the oldest of those alike. Each of two
// messages alike counts, so this is a multiset and not a set.
//
// The log may be quicker than the subscription: then the digest is kept until its message comes. It must not be kept
// when the message will not come, because this worker was not listening: it would strike another one like it.

import type { Clock } from '../../../core/clock.ts'

export interface ChannelMessage {
  readonly digest: string
  /** null where there was no room for it any more: then it only counts. */
  readonly text: string | null
  /** What is wrong with it before its text is read; null for nothing. */
  readonly flaw: Error | null
  /** When it came. */
  readonly at: number
  /** For whoever sends it on; 0 at first. */
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
/** Where nobody can say that a message will not come any more, it will not after this. */
const EARLY_MS = 30_000

/** Things in the order they came, and the oldest of those alike. */
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

  /** When the oldest message came; undefined where there is none. */
  get since (): number | undefined {
    return this.#messages.oldest?.at
  }

  /** @returns false where there was no room for any trace of it */
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

  /** The oldest one with this digest is done with. @returns it, where it has come yet */
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

  /** This one is done with. */
  strike (message: ChannelMessage): void {
    if (!this.#messages.has(message)) return
    this.#messages.delete(message)
    if (message.text === null) return
    this.#texts--
    this.#characters -= message.text.length
  }

  /** The oldest ones, which stay until they are struck. */
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

  /** The newest digest whose message has not come yet; null where there is none. */
  get expected (): number | null {
    return this.#early.size === 0 ? null : this.#serial
  }

  /** The messages of the digests up to this one will not come any more. */
  expectNot (upTo: number): void {
    for (let mark = this.#early.oldest; mark !== undefined && mark.serial <= upTo; mark = this.#early.oldest) this.#early.delete(mark)
  }

  #isStale ({ at }: EarlyDigest): boolean {
    return this.#clock.now() - at > EARLY_MS
  }
}
