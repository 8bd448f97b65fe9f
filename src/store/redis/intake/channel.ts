// Messages published on the channel, as publishers of the earlier system send them. Redis gives each message to every
// subscriber once and keeps none. All workers therefore listen. The holder of the lease takes messages in; the others
// learn from the log which ones it has taken in (see unconfirmed.ts). The next holder continues with the rest.

import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import { Redis } from 'ioredis'
import { Wakeup } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Gateway } from '../../../core/gateway.ts'
import type { Logger } from '../../../core/logger.ts'
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
  /** This process's name in the deployment, in base64url. */
  readonly worker: string
  readonly channel: string
  readonly gateway: Gateway
  readonly deadLetters: DeadLetters
  readonly clock: Clock
  /** The subscription began or ended. */
  readonly onChange: () => void
  /** Messages had to be dropped for lack of memory. */
  readonly onDrop: (count: number) => void
  /** Redis ended the subscription; what that means, in words. */
  readonly onCutOff: (warning: string) => void
  readonly log: Pick<Logger, 'warn'>
}

export interface ChannelCounters {
  taken: number
  refused: number
  dropped: number
}

/** Events in one publish: a few milliseconds of this process's time. */
const BATCH = 250
const BATCH_CHARACTERS = 1024 * 1024
const TIMEOUT_MS = 2500
/** Interval of checking whether the connection still answers. */
const LOOK_MS = 1000
const DIGEST_LENGTH = 22

export class Channel {
  readonly wakeup: Wakeup
  readonly #options: ChannelOptions
  readonly #counters: ChannelCounters
  readonly #client: RedisClient
  readonly #unconfirmed: UnconfirmedMessages
  /** Messages by the number they were sent to the log with. */
  readonly #sent = new Map<number, ChannelMessage>()
  #count = 0
  #subscribed = false
  /** When the subscription ended, or when listening began. */
  #deafSince: number
  #isReported = false
  #asking = false
  #closed = false

  constructor (options: ChannelOptions, counters: ChannelCounters) {
    const { store, clock } = options
    this.#options = options
    this.#counters = counters
    this.wakeup = new Wakeup(clock)
    this.#unconfirmed = new UnconfirmedMessages(clock)
    this.#deafSince = clock.now()
    this.#client = store.connect('channel', TIMEOUT_MS, reason => this.#report(reason))
  }

  start (): void {
    const client = this.#client
    // Our subscription is awaited and its failure seen; ioredis's own could not be.
    if (client instanceof Redis) client.options.autoResubscribe = false
    client.on('ready', () => { void this.#subscribe() })
    client.on('close', () => this.#lost())
    client.on('messageBuffer', (_channel: unknown, message: Buffer) => this.#receive(message))
    client.connect().catch(() => {})
    this.#look()
  }

  /** 0 while subscribed, else the ms since the subscription ended. */
  get deafMs (): number {
    return this.#subscribed ? 0 : Math.max(1, this.#options.clock.now() - this.#deafSince)
  }

  /** Age in ms of the oldest message whose outcome is unknown; 0 if there is none. */
  get waitingMs (): number {
    const { since } = this.#unconfirmed
    return since === undefined ? 0 : this.#options.clock.now() - since
  }

  /** A message was taken in, as the log says, or refused for good, as the holder of the lease says. */
  done (source: string): void {
    const [worker, number] = source.slice(1 + DIGEST_LENGTH).split('.')
    if (worker === this.#options.worker) {
      const message = this.#sent.get(Number(number))
      if (message !== undefined) this.#taken(message)
    } else {
      const message = this.#unconfirmed.strikeAlike(source.slice(1, 1 + DIGEST_LENGTH))
      // This worker has sent it without effect.
      if (message !== undefined) this.#sent.delete(message.number)
      else this.#checkExpected()
    }
  }

  /** Forgets all messages: which ones were taken in is no longer known. @returns how many there were */
  forget (): number {
    this.#sent.clear()
    return this.#unconfirmed.clear()
  }

  /** Takes in until the term is over. @throws LeaseLost, Refusal, and errors of the connection */
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
    const refusedEvents: Array<DeadLetter & { readonly message: ChannelMessage }> = []
    const dropped: ChannelMessage[] = []
    const refuse = (message: ChannelMessage, why: Error): void => { refusedEvents.push({ from: 'channel', text: message.text ?? '', why, message }) }
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
    if (refusedEvents.length === 0 && dropped.length === 0) return
    await deadLetters.setAside(refusedEvents, term.token)
    this.#counters.refused += refusedEvents.length
    if (dropped.length > 0) this.#options.onDrop(dropped.length)
    const done = [...dropped, ...refusedEvents.map(({ message }) => message)]
    const sources = done.map(message => this.#sourceOf(message))
    for (const message of done) this.#strike(message)
    // A worker that misses the note finds out when it tries.
    await store.note('refused', sources.join(' ')).catch(() => {})
  }

  #sourceOf (message: ChannelMessage): `c${string}` {
    if (message.number === 0) {
      message.number = ++this.#count
      this.#sent.set(message.number, message)
    }
    return `c${message.digest}${this.#options.worker}.${message.number}`
  }

  /** This worker's append is in the log: the append was answered, or the entry came back, or both. */
  #taken (message: ChannelMessage): void {
    if (this.#strike(message)) this.#counters.taken++
  }

  #strike (message: ChannelMessage): boolean {
    this.#unconfirmed.strike(message)
    return this.#sent.delete(message.number)
  }

  #receive (bytes: Buffer): void {
    const { gateway } = this.#options
    const digest = hash('sha256', bytes, 'base64url').slice(0, DIGEST_LENGTH)
    const most = gateway.limits.maxHttpBufferSize
    const flaw = bytes.length > most
      ? new Refusal('TOO_LARGE', `an event may hold ${most} bytes (MAX_HTTP_BUFFER_SIZE); this one has ${bytes.length}`)
      : isUtf8(bytes) ? null : new Refusal('BAD_EVENT', 'not valid UTF-8')
    // As text: a slice of the socket's buffer would keep the whole buffer in memory.
    const text = (flaw === null ? bytes : bytes.subarray(0, KEPT_CHARACTERS)).toString('utf8')
    if (!this.#unconfirmed.add(digest, text, flaw)) this.#options.onDrop(1)
    this.wakeup.wake()
  }

  /**
   * Messages published before a PING arrive before its answer. A message that the log has by then, and that has not arrived,
   * will not arrive. In a cluster the nodes forward messages to each other, and the answer of one proves nothing.
   */
  #checkExpected (): void {
    const { expected } = this.#unconfirmed
    if (expected === null || this.#asking || !this.#subscribed || !(this.#client instanceof Redis)) return
    this.#asking = true
    this.#client.ping().then(() => {
      this.#unconfirmed.expectNot(expected)
      this.#asking = false
      this.#checkExpected()
    }, () => { this.#asking = false })
  }

  async #subscribe (): Promise<void> {
    const { channel, onChange } = this.#options
    try {
      await this.#client.subscribe(channel)
    } catch (error) {
      return this.#report(reasonOf(error))
    }
    // The connection may have been lost since the answer.
    if (this.#closed || this.#subscribed || this.#client.status !== 'ready') return
    this.#subscribed = true
    this.#isReported = false
    this.#checkExpected()
    onChange()
  }

  #lost (): void {
    if (!this.#subscribed) return
    this.#subscribed = false
    this.#deafSince = this.#options.clock.now()
    this.#options.onChange()
    this.#explainLoss(this.#deafSince)
  }

  /** Redis cuts off a subscriber that falls behind, and this connection only. */
  #explainLoss (at: number): void {
    const { store, clock, channel, log, onCutOff } = this.#options
    clock.after(LOOK_MS, () => {
      if (this.#closed || store.trouble !== null || Math.abs(store.lostAt - at) < LOOK_MS) return
      const warning = `Redis ended the subscription to channel ${channel} and no other connection: it does that to a subscriber that falls behind (client-output-buffer-limit pubsub, by default 32mb 8mb 60). What was published until it was back was not heard`
      log.warn({ channel }, warning)
      onCutOff(warning)
    })
  }

  /** A dead connection is as quiet as a channel on which nothing is published. */
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

  #report (reason: string): void {
    const { channel, log } = this.#options
    if (this.#closed || this.#isReported) return
    this.#isReported = true
    log.warn({ channel, reason }, `channel ${channel} cannot be subscribed to now: ${reason}`)
  }
}
