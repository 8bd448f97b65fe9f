// The messages of one WebSocket client and their answers. It accepts only as many as the rate limit allows, and none while
// the client has unread answers.

import type { RawData, WebSocket } from 'ws'
import { isLarge } from '../../src/app/effort.ts'
import type { Effort } from '../../src/app/effort.ts'
import { internalError } from '../../src/app/errors.ts'
import { refOf } from '../../src/app/membership.ts'
import type { Ref } from '../../src/app/membership.ts'
import { MessageWindow } from '../../src/app/message-window.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { readJson } from '../../src/core/json.ts'
import type { Session } from '../../src/core/session.ts'
import { actionOf } from './actions.ts'
import { CLOSE } from './connection.ts'
import type { WsConnection } from './connection.ts'

/** A connection is closed after more than MAX_ERRORS invalid or rate-limited messages within ERROR_WINDOW_MS. */
const MAX_ERRORS = 20
const ERROR_WINDOW_MS = 10_000
/** Interval for checking whether a client has read its answers, ms. */
const POLL_MS = 50
/** Messages of one client that may wait for its join or leave to finish. */
const MAX_WAITING = 100

export interface ConversationOptions {
  readonly gateway: Gateway
  readonly effort: Effort
  /** Called if a message failed and the client did not cause it. */
  readonly onError: (error: unknown) => void
}

export class Conversation {
  readonly #options: ConversationOptions
  readonly #socket: WebSocket
  readonly #connection: WsConnection
  readonly #session: Session
  readonly #window = new MessageWindow()
  /** Times of the last errors; null for most clients, which never have one. */
  #errors: readonly number[] | null = null
  /** Paused for what its last message took. */
  #hasBreak = false
  /** The last unfinished join or leave, and the number of messages that wait for it. */
  #pendingChange: Promise<unknown> | null = null
  #waiting = 0

  constructor (options: ConversationOptions, socket: WebSocket, connection: WsConnection, session: Session) {
    this.#options = options
    this.#socket = socket
    this.#connection = connection
    this.#session = session
  }

  /** Handles a message as received. */
  receive (data: RawData, isBinary: boolean): void {
    // The message was in transit when the connection was closed.
    if (this.#socket.readyState !== this.#socket.OPEN) return
    if (isBinary) {
      this.#connection.end(CLOSE.notText, 'messages are text')
      return
    }
    let ref: Ref
    try {
      this.#checkRate()
      const message = this.#read(data.toString())
      ref = refOf(message)
      const { changesSubscription, run } = actionOf(message)
      const done = this.#serve(run, ref)
      if (!changesSubscription) return
      this.#pendingChange = done
      void done.then(() => { if (this.#pendingChange === done) this.#pendingChange = null })
    } catch (error) {
      this.#fail(error, ref)
    }
  }

  /** A socket whose message took long to read pauses. Its caller may have another one, whose large message is refused meanwhile. */
  #read (text: string): unknown {
    const { effort } = this.#options
    const { caller } = this.#session.identity
    if (isLarge(text) && effort.breakOf(caller) > 0) throw effort.refusalFor(caller)
    try {
      return effort.measured(text, caller, text => readJson(text, 'BAD_MESSAGE'))
    } finally {
      this.#hasBreak = isLarge(text) && effort.breakOf(caller) > 0
      if (this.#hasBreak) this.#pause()
    }
  }

  #checkRate (): void {
    const limit = this.#options.gateway.limits.maxEventsPerSecondPerClient
    const now = performance.now()
    if (limit > 0 && this.#window.count(now) > limit) {
      throw new Refusal('RATE_LIMITED', `${limit} messages a second are accepted (MAX_EVENTS_PER_SECOND_PER_CLIENT)`, { retryMs: this.#window.leftMs(now), bound: 'messages' })
    }
  }

  async #serve (run: ReturnType<typeof actionOf>['run'], ref: Ref): Promise<void> {
    try {
      if (this.#pendingChange !== null) {
        if (++this.#waiting >= MAX_WAITING) this.#pause()
        await this.#pendingChange
        this.#waiting--
      }
      const answer = run(this.#options.gateway, this.#session)
      // Without a turn in between where there is nothing to wait for: the client's close may be in the same packet.
      const { event, data } = answer instanceof Promise ? await answer : answer
      this.#reply(event, data, ref)
    } catch (error) {
      this.#fail(error, ref)
    }
  }

  #reply (event: string, data: object, ref: Ref): void {
    this.#connection.sendMessage(event, data, ref)
    // A client with unread answers is not read until it has taken them.
    if (this.#connection.pending > 0) this.#pause()
  }

  #fail (error: unknown, ref: Ref): void {
    const { gateway, onError } = this.#options
    if (!(error instanceof Refusal)) onError(error)
    const refusal = error instanceof Refusal ? error : internalError()
    gateway.troubles.refused(refusal, this.#session.identity.address)
    this.#reply('error', { ...refusal.body, ...(refusal.retryMs === undefined ? {} : { retryMs: refusal.retryMs }) }, ref)
    if (refusal.code !== 'BAD_MESSAGE' && refusal.code !== 'RATE_LIMITED') return
    const now = performance.now()
    this.#errors = [...(this.#errors ?? []).filter(at => now - at < ERROR_WINDOW_MS), now]
    if (this.#errors.length !== MAX_ERRORS + 1) return
    gateway.troubles.bounds.errors++
    this.#connection.end(CLOSE.policy, 'too many errors')
  }

  #pause (): void {
    if (this.#socket.isPaused) return
    this.#socket.pause()
    this.#resumeOnceRead()
  }

  /** Polls: a socket whose buffer was never full emits no `drain`. */
  #resumeOnceRead (): void {
    setTimeout(() => {
      this.#hasBreak &&= this.#options.effort.breakOf(this.#session.identity.caller) > 0
      if (this.#connection.pending === 0 && this.#waiting < MAX_WAITING && !this.#hasBreak) this.#socket.resume()
      else if (this.#socket.readyState === this.#socket.OPEN) this.#resumeOnceRead()
    }, POLL_MS).unref()
  }
}
