// A session's connection over an SSE response. fastify-sse-v2 opens the response; after that, frames are written to the
// socket itself. The response would chunk the frame again for every client and hold it back until the next tick of the
// process, and `pending` would report bytes that the system could take.

import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Bundle, Connection, EndReason, Notice } from '../../src/core/connection.ts'
import { STREAM_HEADERS } from '../../src/app/bye.ts'
import { blocksOf, GZIP_HEADER, MIN_SINGLE_BYTES } from '../../src/app/compression.ts'
import { breakOff } from '../../src/app/parting.ts'
import { endTurns } from '../../src/app/turns.ts'
import { compressed, COMPRESSED_HEARTBEAT, frame, HEARTBEAT, namedEvent, unchunked } from './frame.ts'

export class SseConnection implements Connection {
  readonly format = 'SSE'
  #socket: Socket | null = null
  #chunked = true
  #compressed = false
  #ended = false

  /** 1 until the stream is open: before that nothing can be sent. */
  get pending (): number {
    return this.#socket === null ? 1 : this.#socket.writableLength
  }

  /** Call when the stream is open: from now on this connection writes to the socket. */
  attach ({ socket, chunked, compressed }: OpenStream): void {
    this.#socket = socket
    this.#chunked = chunked
    this.#compressed = compressed
  }

  send (bundle: Bundle): number {
    bundle.frame ??= frame(bundle)
    if (!this.#compressed) return this.#write(bundle.frame)
    bundle.compressed ??= compressed(bundle.frame)
    return this.#write(bundle.compressed)
  }

  tell (message: Notice): void {
    const { kind, cursor, ...data } = message
    this.sendMessage(kind, data, cursor)
  }

  /** Sends a named event; with `id` it is also a position. */
  sendMessage (event: string, data: object, id: string | null): void {
    const message = namedEvent(event, data, id)
    this.#write(this.#compressed ? compressed(message, MIN_SINGLE_BYTES) : message)
  }

  ping (cursor: string | null): void {
    if (cursor === null) this.#write(this.#compressed ? COMPRESSED_HEARTBEAT : HEARTBEAT)
    else this.sendMessage('position', {}, cursor)
  }

  close (reason: EndReason, retryMs: number): void {
    if (reason === 'SLOW') {
      // It reads nothing, so it would not read `bye` either. It returns with its cursor.
      this.destroy()
      return
    }
    this.sendMessage('bye', { reason, retryMs }, null)
    this.#ended = true
    if (this.#socket !== null) breakOff(this.#socket)
  }

  destroy (): void {
    this.#ended = true
    this.#socket?.destroy()
  }

  #write (bytes: Buffer): number {
    if (this.#socket === null || this.#ended || !this.#socket.writable) return 0
    this.#socket.write(this.#chunked ? bytes : unchunked(bytes))
    return bytes.length
  }
}

/** A stream whose headers and first message are written. */
export interface OpenStream {
  readonly socket: Socket
  readonly chunked: boolean
  readonly compressed: boolean
}

/** The first message of a stream. */
export interface Opening {
  readonly event: string
  readonly data: object
  /** Null: it is no position. */
  readonly id: string | null
  readonly retryMs: number
}

/**
 * Opens the stream: status, headers and the first message, which also says when to come back: an event with `retry:` alone
 * is an empty message to some clients.
 * @param compressed whether the whole stream is one gzip body
 * @returns the socket once these are written; null if the client has disconnected meanwhile
 */
export async function openStream (reply: FastifyReply, { event, data, id, retryMs }: Opening, compressed: boolean): Promise<OpenStream | null> {
  const { raw } = reply
  // A pipelined request gets its socket only after the response before it has ended.
  if (raw.socket === null && !reply.request.raw.socket.destroyed) {
    await new Promise<void>(resolve => { raw.once('socket', () => resolve()).once('close', resolve) })
  }
  const { socket } = raw
  if (socket === null || socket.destroyed) return null
  reply.headers(STREAM_HEADERS)
  // fastify-sse-v2 sets its own Cache-Control right before it calls flushHeaders.
  raw.flushHeaders = () => {
    raw.setHeader('Cache-Control', STREAM_HEADERS['Cache-Control'])
    raw.removeHeader('x-no-compression')
    ServerResponse.prototype.flushHeaders.call(raw)
  }
  if (compressed) {
    reply.header('Content-Encoding', 'gzip')
    // The plugin writes the first message as text.
    raw.write = (text: Buffer) => ServerResponse.prototype.write.call(raw, Buffer.concat([GZIP_HEADER, blocksOf(text, MIN_SINGLE_BYTES)]), 'latin1')
  }
  // What is piped is limited in time by turns.ts, with a timer that Node keeps as long as the socket. A stream is limited by its session.
  raw.removeAllListeners('pipe')
  const opened = new Promise<void>(resolve => {
    // The plugin leaves a stream piped into the response, for later events. It gets none: after the first it is
    // unpiped and destroyed.
    raw.once('pipe', source => {
      source.once('data', () => {
        source.unpipe(raw)
        source.destroy()
        setImmediate(resolve)
      })
    })
    raw.once('close', resolve)
  })
  reply.sse({ event, data: JSON.stringify(data), retry: retryMs, ...(id === null ? {} : { id }) })
  await opened
  if (socket.destroyed) return null
  freeHttpState(raw, socket)
  return { socket, chunked: raw.chunkedEncoding, compressed }
}

/** The methods of Node's HTTP parser that release it, as Node does itself (`freeParser` in lib/_http_common.js). */
interface HttpParser {
  unconsume (): void
  remove (): void
  close (): void
}

/**
 * Frees what Node keeps with a socket for further requests: parser, request, response and everything they refer to. That
 * was 10.7 of the 15.9 KB that a stream used on the heap. After a stream that never ends no further request can be served.
 */
function freeHttpState (response: ServerResponse, socket: Socket): void {
  response.detachSocket(socket)
  endTurns(socket)
  socket.removeAllListeners()
  socket.setTimeout(0)
  // A client that sends more than its one request, or closes its side, is disconnected.
  socket.on('data', destroy)
  socket.on('end', destroy)
  socket.on('error', destroy)
  const { parser } = socket as { parser?: HttpParser | null }
  if (!parser) return
  parser.unconsume()
  parser.remove()
  Object.assign(socket, { parser: null })
  setImmediate(close, parser)
}

/** Top-level functions: a closure above would keep its whole scope alive. */
function destroy (this: Socket): void { this.destroy() }
function close (parser: HttpParser): void { parser.close() }
