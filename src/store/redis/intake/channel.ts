// What is published on the channel, as publishers of the earlier system do. Redis hands each message to every subscriber
// once, and keeps none: so all workers listen, the one that holds the lease takes in, and the others know from the log
// what it has taken in (see unconfirmed.ts). Whoever holds the lease next goes on with what is left.

import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import { Redis } from 'ioredis'
import { Wakeup } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Gateway } from '../../../core/gateway.ts'
import { admit, readEvent } from './admit.ts'
import type { Arrival, Term } from './admit.ts'
import { reasonOf, replaceIfSilent } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import { UnconfirmedMessages } from './unconfirmed.ts'
import type { ChannelMessage } from './unconfirmed.ts'
import type { RedisStore } from '../log/store.ts'
import { KEPT_CHARACTERS } from './dead-letters.ts'
import type { DeadLetters, DeadLetter } from './dead-letters.ts'

export interface ChannelOptions {
  readonly store: RedisStore
  /** A base64url name. */
  readonly worker: string
  readonly channel: string
  readonly gateway: Gateway
  readonly deadLetters: DeadLetters
  readonly clock: Clock
  /** The subscription began or ended. */
  readonly onChange: () => void
  readonly log: { warn (details: object, message: string): void }
}

export interface ChannelCounters {
  taken: number
  refused: number
  dropped: number
}

/** Events in one publish: some milliseconds of this process's time. */
const BATCH = 250
const BATCH_CHARACTERS = 1024 * 1024
const TIMEOUT_MS = 2500
/** Between two looks whether the connection still answers. */
const LOOK_MS = 1000
const DIGEST_LENGTH = 22

export class Channel {
  readonly wakeup: Wakeup
  readonly #options: ChannelOptions
  readonly #counters: ChannelCounters
  readonly #client: RedisClient
  readonly #unconfirmed: UnconfirmedMessages
  /** Messages under the number they were sent to the log with. */
  readonly #sent = new Map<number, ChannelMessage>()
  #count = 0
  #subscribed = false
  /** When the subscription ended, or listening began. */
  #deafSince: number
  #isTold = false
  #asking = false
  #closed = false

  constructor (options: ChannelOptions, counters: ChannelCounters) {
    const { store, clock } = options
    this.#options = options
    this.#counters = counters
    this.wakeup = new Wakeup(clock)
    this.#unconfirmed = new UnconfirmedMessages(clock)
    this.#deafSince = clock.now()
    this.#client = store.connect('channel', TIMEOUT_MS, reason => this.#tell(reason))
  }

  start (): void {
    const client = this.#client
    // Ours knows when it has begun; that of the package nobody could wait for, nor hear fail.
    if (client instanceof Redis) client.options.autoResubscribe = false
    client.on('ready', () => { void this.#subscribe() })
    client.on('close', () => this.#lost())
    client.on('messageBuffer', (_channel: unknown, message: Buffer) => this.#hear(message))
    client.connect().catch(() => {})
    this.#look()
  }

  /** 0 while it hears what is published, else the ms since it does not. */
  get deafMs (): number {
    return this.#subscribed ? 0 : Math.max(1, this.#options.clock.now() - this.#deafSince)
  }

  /** Age in ms of the oldest message that is not known to be done with; 0 where there is none. */
  get waitingMs (): number {
    const { since } = this.#unconfirmed
    return since === undefined ? 0 : this.#options.clock.now() - since
  }

  /** The log says that a message was taken in, or whoever had to that it never will be. */
  done (source: string): void {
    const [worker, number] = source.slice(1 + DIGEST_LENGTH).split('.')
    if (worker === this.#options.worker) {
      const message = this.#sent.get(Number(number))
      if (message !== undefined) this.#taken(message)
    } else {
      const message = this.#unconfirmed.strikeAlike(source.slice(1, 1 + DIGEST_LENGTH))
      // Sent from here in vain.
      if (message !== undefined) this.#sent.delete(message.number)
      else this.#askWhetherItComes()
    }
  }

  /** What of all this was taken in is not known any more. @returns how many messages are forgotten */
  forget (): number {
    this.#sent.clear()
    return this.#unconfirmed.clear()
  }

  /** Takes in until the term is over. @throws LeaseLost, Refusal, and what becomes of a connection */
  async run (term: Term): Promise<void> {
    while (!term.over) {
      const messages = this.#unconfirmed.first(BATCH, BATCH_CHARACTERS)
      if (messages.length === 0) await this.wakeup.wait(LOOK_MS)
      else await this.#take(messages, term)
    }
  }

  close (): void {
    this.#closed = true
    this.#client.disconnect()
  }

  async #take (messages: readonly ChannelMessage[], term: Term): Promise<void> {
    const { gateway, store, clock, deadLetters } = this.#options
    const arrivals: Array<Arrival & { readonly message: ChannelMessage }> = []
    const turnedDown: Array<DeadLetter & { readonly message: ChannelMessage }> = []
    const dropped: ChannelMessage[] = []
    const refuse = (message: ChannelMessage, why: Error): void => { turnedDown.push({ from: 'channel', text: message.text ?? '', why, message }) }
    for (const message of messages) {
      if (message.text === null) {
        dropped.push(message)
        continue
      }
      try {
        if (message.flaw !== null) throw message.flaw
        arrivals.push({ source: this.#sourceOf(message), ...readEvent(message.text), message })
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        refuse(message, error)
      }
    }
    await admit(arrivals, {
      gateway,
      store,
      clock,
      term,
      holdBack: () => false,
      onTaken: given => { for (const { message } of given) this.#taken(message) },
      onRefused: ({ message }, why) => refuse(message, why)
    })
    if (turnedDown.length === 0 && dropped.length === 0) return
    await deadLetters.setAside(turnedDown, term.token)
    this.#counters.refused += turnedDown.length
    this.#counters.dropped += dropped.length
    const done = [...dropped, ...turnedDown.map(({ message }) => message)]
    const sources = done.map(message => this.#sourceOf(message))
    for (const message of done) this.#strike(message)
    // A worker that is not told finds out when it tries.
    await store.note('refused', sources.join(' ')).catch(() => {})
  }

  #sourceOf (message: ChannelMessage): `c${string}` {
    if (message.number === 0) {
      message.number = ++this.#count
      this.#sent.set(message.number, message)
    }
    return `c${message.digest}${this.#options.worker}.${message.number}`
  }

  /** This worker's append is in the log: it was answered, or came back, or both. */
  #taken (message: ChannelMessage): void {
    if (this.#strike(message)) this.#counters.taken++
  }

  #strike (message: ChannelMessage): boolean {
    this.#unconfirmed.strike(message)
    return this.#sent.delete(message.number)
  }

  #hear (bytes: Buffer): void {
    const { gateway } = this.#options
    const digest = hash('sha256', bytes, 'base64url').slice(0, DIGEST_LENGTH)
    const most = gateway.limits.bundleBytes
    const flaw = bytes.length > most
      ? new Refusal('TOO_LARGE', `an event may hold ${most} bytes (MAX_HTTP_BUFFER_SIZE); this one has ${bytes.length}`)
      : isUtf8(bytes) ? null : new Refusal('BAD_EVENT', 'not valid UTF-8')
    // Text, because a slice of what the socket read would keep all of that.
    const text = (flaw === null ? bytes : bytes.subarray(0, KEPT_CHARACTERS)).toString('utf8')
    if (!this.#unconfirmed.add(digest, text, flaw)) this.#counters.dropped++
    this.wakeup.wake()
  }

  /**
   * What was published before a PING is here before its answer: what is in the log then and was not heard will not be.
   * In a cluster the nodes pass messages on, so nothing is said by an answer of one of them.
   */
  #askWhetherItComes (): void {
    const { expected } = this.#unconfirmed
    if (expected === null || this.#asking || !this.#subscribed || !(this.#client instanceof Redis)) return
    this.#asking = true
    this.#client.ping().then(() => {
      this.#unconfirmed.expectNot(expected)
      this.#asking = false
      this.#askWhetherItComes()
    }, () => { this.#asking = false })
  }

  async #subscribe (): Promise<void> {
    const { channel, onChange } = this.#options
    try {
      await this.#client.subscribe(channel)
    } catch (error) {
      return this.#tell(reasonOf(error))
    }
    // Between the answer and here the connection may have gone.
    if (this.#closed || this.#subscribed || this.#client.status !== 'ready') return
    this.#subscribed = true
    this.#isTold = false
    this.#askWhetherItComes()
    onChange()
  }

  #lost (): void {
    if (!this.#subscribed) return
    this.#subscribed = false
    this.#deafSince = this.#options.clock.now()
    this.#options.onChange()
  }

  /** A connection into nowhere is as quiet as one on which nothing is published. */
  #look (): void {
    this.#options.clock.after(LOOK_MS, () => {
      if (this.#closed) return
      const client = this.#client
      if (client.status === 'ready') {
        if (!this.#subscribed) void this.#subscribe()
        client.ping().catch(error => replaceIfSilent(client, error))
      }
      this.#look()
    })
  }

  #tell (reason: string): void {
    const { channel, log } = this.#options
    if (this.#closed || this.#isTold) return
    this.#isTold = true
    log.warn({ channel, reason }, `channel ${channel} cannot be heard just now: ${reason}`)
  }
}
