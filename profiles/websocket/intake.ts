// What one WebSocket may have on its way in: one unfinished message, in so many pieces, for so long; so many control frames a
// second; and a first message in time. The messages themselves are the Conversation's.

import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { Arrivals, Sender } from '../../src/app/arrivals.ts'
import { MessageWindow } from '../../src/app/message-window.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Troubles } from '../../src/core/figures/troubles.ts'
import { CLOSE } from './connection.ts'
import type { WsConnection } from './connection.ts'
import { deflateOf } from './deflate.ts'

/** Fragments of one message: far more than any client needs, far fewer than would do harm. */
export const MAX_FRAGMENTS = 1024
/** A frame may come in so many pieces, each with some 200 bytes besides its own, and in more where they have so many bytes on average. */
const MAX_CHUNKS = 8192
const MEAN_BYTES = 256
/** What a piece takes besides its bytes. */
const PIECE_BYTES = 256
/** What inflating a message takes besides its bytes: a window of 32 KiB, and a buffer. */
const INFLATE_BYTES = 64 * 1024
/** Pings and pongs that are taken from a client in a second: browsers send none, libraries one in many seconds. */
const MAX_CONTROL_FRAMES = 100

export const maxChunks = (maxBytes: number): number => Math.max(MAX_CHUNKS, Math.ceil(maxBytes / MEAN_BYTES))

/** What ws keeps of a message that is not whole yet: fragments, and the bytes of the frame that is arriving. */
interface Receiver {
  /** 0: between two frames. */
  readonly _state: number
  /** The opcode of an unfinished message; 0: none. */
  readonly _fragmented: number
  readonly _messageLength: number
  readonly _numFragments: number
  readonly _bufferedBytes: number
  readonly _buffers: readonly Buffer[]
}

export interface IntakeOptions {
  readonly arrivals: Arrivals
  readonly troubles: Troubles
  /** Time for the first message, ms. */
  readonly requestTimeoutMs: number
}

/** Watches one socket. Its methods are called as its events come: listeners.ts. */
export class Intake implements Sender {
  readonly #socket: WebSocket
  readonly #raw: Socket
  readonly #connection: WsConnection
  readonly #options: IntakeOptions
  readonly #deflate: ReturnType<typeof deflateOf>
  /** Ends a socket that never says anything; null once it has. */
  #silence: NodeJS.Timeout | null
  /** Of control frames. */
  readonly #window = new MessageWindow()
  /** The payload of a ping that is not answered yet. */
  #ping: Buffer | null = null

  constructor (socket: WebSocket, raw: Socket, connection: WsConnection, options: IntakeOptions) {
    this.#socket = socket
    this.#raw = raw
    this.#connection = connection
    this.#options = options
    this.#deflate = deflateOf(socket)
    this.#silence = setTimeout(() => {
      options.troubles.bounds.first_message++
      connection.end(CLOSE.policy, 'no message came')
    }, options.requestTimeoutMs).unref()
  }

  giveUp (bound: 'arriving' | 'message_time'): void {
    if (bound === 'arriving') this.#connection.end(CLOSE.tryLater, 'too many messages are on their way at once')
    else this.#connection.end(CLOSE.policy, 'the message took too long to arrive (REQUEST_TIMEOUT)')
  }

  /** Bytes came; `ws` has read them. */
  noteArrival (): void {
    const { arrivals } = this.#options
    const { _state, _fragmented, _messageLength, _numFragments, _bufferedBytes, _buffers } = receiverOf(this.#socket)
    if (this.#socket.readyState !== this.#socket.OPEN || (_state === 0 && _fragmented === 0 && _bufferedBytes === 0)) arrivals.forget(this)
    else arrivals.note(this, _messageLength + _bufferedBytes + (_numFragments + _buffers.length) * PIECE_BYTES + (this.#isInflating ? INFLATE_BYTES : 0))
  }

  /** A message is whole. */
  noteMessage (): void {
    if (this.#isInflating) {
      this.#deflate?.cleanup()
      // It was inflated in a thread. ws goes on with what came behind it when this listener returns.
      queueMicrotask(() => this.noteArrival())
    }
    this.#endSilence()
  }

  notePing (payload: Buffer): void {
    if (this.#isFlood() || this.#socket.readyState !== this.#socket.OPEN) return
    // A client that reads nothing gets no more pongs; the last ping stands for those before it (RFC 6455, 5.5.3).
    if (this.#raw.writableNeedDrain) this.#ping = payload
    else this.#socket.pong(payload)
  }

  notePong (): void {
    this.#isFlood()
  }

  /** The system has taken all bytes. */
  drained (): void {
    if (this.#ping !== null) this.#socket.pong(this.#ping)
    this.#ping = null
  }

  /** `ws` could not take a message. */
  noteError ({ code }: NodeJS.ErrnoException): void {
    const { troubles } = this.#options
    if (code === 'WS_ERR_TOO_MANY_BUFFERED_PARTS') troubles.bounds.pieces++
    if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') troubles.refused(new Refusal('TOO_LARGE', 'a message may not exceed MAX_HTTP_BUFFER_SIZE'))
  }

  /** The socket is closed. */
  end (): void {
    this.#options.arrivals.forget(this)
    this.#endSilence()
  }

  get #isInflating (): boolean {
    return this.#deflate !== null && this.#deflate._inflate !== null
  }

  #endSilence (): void {
    if (this.#silence === null) return
    clearTimeout(this.#silence)
    this.#silence = null
  }

  #isFlood (): boolean {
    const count = this.#window.count(performance.now())
    if (count <= MAX_CONTROL_FRAMES) return false
    if (count === MAX_CONTROL_FRAMES + 1) {
      this.#options.troubles.bounds.pings++
      this.#connection.end(CLOSE.policy, `more than ${MAX_CONTROL_FRAMES} pings and pongs in a second`)
    }
    return true
  }
}

const receiverOf = (socket: WebSocket): Receiver => (socket as unknown as { readonly _receiver: Receiver })._receiver
