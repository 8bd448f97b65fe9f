// A session's connection over a WebSocket.

import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { Bundle, Connection, EndReason, Notice } from '../../src/core/connection.ts'
import { MIN_SINGLE_BYTES } from '../../src/app/compression.ts'
import { PARTING_MS } from '../../src/app/parting.ts'
import { compressed, frame, heartbeat, textFrame, textMessage } from './frame.ts'

/** Close codes: RFC 6455, 7.4.1; for 1012, 1013 and 3000 the IANA registry. */
export const CLOSE = { goingAway: 1001, notText: 1003, policy: 1008, restart: 1012, tryLater: 1013, unauthorized: 3000 } as const

const CODES: Record<EndReason, number> = { DRAINING: CLOSE.restart, SWITCHED: CLOSE.restart, SLOW: CLOSE.tryLater, DISCONNECTED: CLOSE.goingAway, TOKEN_EXPIRED: CLOSE.unauthorized }

export class WsConnection implements Connection {
  readonly format = 'WEBSOCKET'
  readonly #socket: WebSocket
  /** The TCP socket below: bundles are written to it as whole frames. `ws` compresses nothing, so all pending bytes are in its buffer. */
  readonly #raw: Socket
  readonly #compressed: boolean
  readonly #onPing: (connection: WsConnection, ping: number) => void
  /** Number of the last ping, and of the last one answered. */
  #pings = 0
  #pongs = 0

  /** @param onPing called after every ping with its number, to check for the pong later */
  constructor (socket: WebSocket, raw: Socket, onPing: (connection: WsConnection, ping: number) => void) {
    this.#socket = socket
    this.#raw = raw
    this.#compressed = socket.extensions !== ''
    this.#onPing = onPing
  }

  get pending (): number {
    return this.#raw.writableLength
  }

  send (bundle: Bundle): number {
    bundle.frame ??= frame(bundle)
    // After a close frame nothing may be sent (RFC 6455, 5.5.1).
    if (this.#socket.readyState !== this.#socket.OPEN) return 0
    if (this.#compressed) bundle.compressed ??= compressed(bundle.frame)
    const bytes = this.#compressed ? bundle.compressed as Buffer : bundle.frame
    this.#raw.write(bytes)
    return bytes.length
  }

  tell (message: Notice): void {
    const { kind, ...data } = message
    this.sendMessage(kind, data)
  }

  /** Sends a message; `ref` is that of the client's message it answers. */
  sendMessage (event: string, data: object, ref?: unknown): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    const message = textFrame(textMessage(event, data, ref))
    this.#raw.write(this.#compressed ? compressed(message, MIN_SINGLE_BYTES) : message)
  }

  ping (cursor: string | null): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#raw.write(heartbeat(++this.#pings, cursor))
    this.#onPing(this, this.#pings)
  }

  /** @param payload that of the ping it answers (RFC 6455, 5.5.3); an unsolicited pong answers none */
  notePong (payload: Buffer): void {
    this.#pongs = Math.max(this.#pongs, Math.min(Number(payload.toString()) || 0, this.#pings))
  }

  /** Whether this ping or a later one was answered. While the socket is paused the answer is unknown and counts as given. */
  answered (ping: number): boolean {
    return this.#pongs >= ping || this.#socket.isPaused
  }

  close (reason: EndReason, retryMs: number): void {
    if (reason === 'SLOW') {
      // The code is queued behind the bytes the client does not read; a client that reads on after all gets it.
      this.end(CODES.SLOW, 'SLOW')
      return
    }
    this.sendMessage('bye', { reason, retryMs })
    this.end(CODES[reason], reason)
  }

  /** Closes with a code. Terminates the socket if the other side does not answer in PARTING_MS. */
  end (code: number, reason: string): void {
    this.#socket.close(code, reason)
    setTimeout(() => this.#socket.terminate(), PARTING_MS).unref()
  }

  destroy (): void {
    this.#socket.terminate()
  }
}
