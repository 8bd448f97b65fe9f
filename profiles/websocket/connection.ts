// A session's connection over a WebSocket.

import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { Bundle, Connection, EndReason, Notice } from '../../src/core/connection.ts'
import { PARTING_MS } from '../../src/app/parting.ts'
import { frame, textMessage, position } from './frame.ts'

/** RFC 6455, 7.4.1, and the IANA registry for 1012 and 1013. */
export const CLOSE = { goingAway: 1001, notText: 1003, policy: 1008, restart: 1012, tryLater: 1013 } as const

const CODES: Record<EndReason, number> = { DRAINING: CLOSE.restart, SLOW: CLOSE.tryLater, DISCONNECTED: CLOSE.goingAway }

export class WsConnection implements Connection {
  readonly #socket: WebSocket
  /** Below it: whole frames go there, and all that waits waits there, since nothing of it is compressed. */
  readonly #raw: Socket
  readonly #onPing: (connection: WsConnection, ping: number) => void
  /** Number of the last ping, and of the last one answered. */
  #pings = 0
  #pongs = 0

  /** @param onPing told of every ping by its number, to look for its pong in time */
  constructor (socket: WebSocket, raw: Socket, onPing: (connection: WsConnection, ping: number) => void) {
    this.#socket = socket
    this.#raw = raw
    this.#onPing = onPing
    // Its payload says which ping it answers (RFC 6455, 5.5.3); an unasked-for one answers none.
    socket.on('pong', payload => { this.#pongs = Math.max(this.#pongs, Math.min(Number(payload.toString()) || 0, this.#pings)) })
  }

  get pending (): number {
    return this.#raw.writableLength
  }

  send (bundle: Bundle): number {
    bundle.frame ??= frame(bundle)
    // Behind a close frame nothing may follow (RFC 6455, 5.5.1).
    if (this.#socket.readyState !== this.#socket.OPEN) return 0
    this.#raw.write(bundle.frame)
    return bundle.frame.length
  }

  tell (message: Notice): void {
    if (message.kind === 'position') {
      this.#socket.send(position(message.cursor))
      return
    }
    const { kind, ...data } = message
    this.sendMessage(kind, data)
  }

  /** A message of the profile's own. */
  sendMessage (event: string, data: object, ref?: unknown): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(textMessage(event, data, ref))
  }

  ping (): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#pings++
    this.#socket.ping(String(this.#pings))
    this.#onPing(this, this.#pings)
  }

  /** Whether a ping, or a later one, was answered; or may have been, where nothing is read just now. */
  answered (ping: number): boolean {
    return this.#pongs >= ping || this.#socket.isPaused
  }

  close (reason: EndReason, retryMs: number): void {
    if (reason === 'SLOW') {
      // The code waits behind what the client does not take; it is for those that take it after all.
      this.end(CODES.SLOW, 'SLOW')
      return
    }
    this.sendMessage('bye', { reason, retryMs })
    this.end(CODES[reason], reason)
  }

  /** Closes with a code, and for good where the other side does not answer. */
  end (code: number, reason: string): void {
    this.#socket.close(code, reason)
    setTimeout(() => this.#socket.terminate(), PARTING_MS).unref()
  }

  destroy (): void {
    this.#socket.terminate()
  }
}
