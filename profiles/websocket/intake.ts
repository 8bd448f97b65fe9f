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

/** Watches a socket until it closes. */
export function watchIntake (socket: WebSocket, raw: Socket, connection: WsConnection, { arrivals, troubles, requestTimeoutMs }: IntakeOptions): void {
  const sender: Sender = {
    giveUp: bound => bound === 'arriving'
      ? connection.end(CLOSE.tryLater, 'too many messages are on their way at once')
      : connection.end(CLOSE.policy, 'the message took too long to arrive (REQUEST_TIMEOUT)')
  }
  const { _receiver: receiver } = socket as unknown as { readonly _receiver: Receiver }
  const silence = setTimeout(() => {
    troubles.bounds.first_message++
    connection.end(CLOSE.policy, 'no message came')
  }, requestTimeoutMs).unref()
  let isSilent = true
  const window = new MessageWindow()
  /** The payload of a ping that is not answered yet. */
  let ping: Buffer | null = null

  const deflate = deflateOf(socket)

  // ws reads the same bytes before this listener is called.
  raw.on('data', noteArrival)
  raw.on('drain', () => {
    if (ping !== null) socket.pong(ping)
    ping = null
  })
  socket.on('message', () => {
    if (deflate !== null && deflate._inflate !== null) {
      deflate.cleanup()
      // It was inflated in a thread. ws goes on with what came behind it when this listener returns.
      queueMicrotask(noteArrival)
    }
    if (!isSilent) return
    isSilent = false
    clearTimeout(silence)
  })
  socket.on('ping', data => {
    if (isFlood() || socket.readyState !== socket.OPEN) return
    // A client that reads nothing gets no more pongs; the last ping stands for those before it (RFC 6455, 5.5.3).
    if (raw.writableNeedDrain) ping = data
    else socket.pong(data)
  })
  socket.on('pong', isFlood)
  socket.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code === 'WS_ERR_TOO_MANY_BUFFERED_PARTS') troubles.bounds.pieces++
    if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') troubles.refused(new Refusal('TOO_LARGE', 'a message may not exceed MAX_HTTP_BUFFER_SIZE'))
  })
  socket.on('close', () => {
    arrivals.forget(sender)
    clearTimeout(silence)
  })

  function noteArrival (): void {
    const { _state, _fragmented, _messageLength, _numFragments, _bufferedBytes, _buffers } = receiver
    if (socket.readyState !== socket.OPEN || (_state === 0 && _fragmented === 0 && _bufferedBytes === 0)) arrivals.forget(sender)
    else arrivals.note(sender, _messageLength + _bufferedBytes + (_numFragments + _buffers.length) * PIECE_BYTES + (deflate === null || deflate._inflate === null ? 0 : INFLATE_BYTES))
  }

  function isFlood (): boolean {
    const controlFrames = window.count(performance.now())
    if (controlFrames <= MAX_CONTROL_FRAMES) return false
    if (controlFrames === MAX_CONTROL_FRAMES + 1) {
      troubles.bounds.pings++
      connection.end(CLOSE.policy, `more than ${MAX_CONTROL_FRAMES} pings and pongs in a second`)
    }
    return true
  }
}
