// A session's connection over an SSE response. fastify-sse-v2 opens the response; from then on frames go to
// the socket itself: the response would chunk every client's copy anew, and hold it back until the next tick
// of the process, which makes `pending` say that bytes are held where none are.

import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Bundle, Connection, EndReason, Notice } from '../../src/core/connection.ts'
import { STREAM_HEADERS } from '../../src/app/bye.ts'
import { PARTING_MS } from '../../src/app/parting.ts'
import { frame, HEARTBEAT, LAST_CHUNK, namedEvent, unchunked } from './frame.ts'

export class SseConnection implements Connection {
  #socket: Socket | null = null
  #chunked = true
  #ended = false

  /** Until the stream is open nothing can be taken. */
  get pending (): number {
    return this.#socket === null ? 1 : this.#socket.writableLength
  }

  /** The stream is open: its socket is ours. */
  attach (socket: Socket, chunked: boolean): void {
    this.#socket = socket
    this.#chunked = chunked
  }

  send (bundle: Bundle): number {
    bundle.frame ??= frame(bundle)
    return this.#write(bundle.frame)
  }

  tell (message: Notice): void {
    const { kind, cursor, ...data } = message
    this.sendMessage(kind, data, cursor)
  }

  /** A named event of the profile's own. */
  sendMessage (event: string, data: object, id: string | null): void {
    this.#write(namedEvent(event, data, id))
  }

  ping (): void {
    this.#write(HEARTBEAT)
  }

  close (reason: EndReason, retryMs: number): void {
    if (reason === 'SLOW') {
      // It takes nothing, so there is nobody to say goodbye to. It comes back with its cursor.
      this.destroy()
      return
    }
    this.sendMessage('bye', { reason, retryMs }, null)
    this.#ended = true
    const socket = this.#socket
    if (socket === null) return
    if (this.#chunked) socket.write(LAST_CHUNK)
    socket.end()
    setTimeout(() => socket.destroy(), PARTING_MS).unref()
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

/**
 * Opens the stream: status, headers and `retry:`.
 * @returns the socket once all that has been written; null where the client has gone meanwhile
 */
export async function openStream (reply: FastifyReply, retryMs: number): Promise<{ socket: Socket, chunked: boolean } | null> {
  const { raw } = reply
  // Asked for in one packet with another request, it waits for that one's answer.
  if (raw.socket === null && !reply.request.raw.socket.destroyed) {
    await new Promise<void>(resolve => { raw.once('socket', () => resolve()).once('close', resolve) })
  }
  const { socket } = raw
  if (socket === null || socket.destroyed) return null
  reply.headers(STREAM_HEADERS)
  // fastify-sse-v2 sets its own spelling of Cache-Control right before this.
  raw.flushHeaders = () => {
    raw.setHeader('Cache-Control', STREAM_HEADERS['Cache-Control'])
    raw.removeHeader('x-no-compression')
    ServerResponse.prototype.flushHeaders.call(raw)
  }
  const opened = new Promise<void>(resolve => {
    // The plugin leaves a stream piped into the response, for events it will never be given: once it has
    // written `retry:` it is let go.
    raw.once('pipe', source => {
      source.once('data', () => {
        source.unpipe(raw)
        source.destroy()
        setImmediate(resolve)
      })
    })
    raw.once('close', resolve)
  })
  reply.sse({ retry: retryMs })
  await opened
  if (socket.destroyed) return null
  freeHttpState(raw, socket)
  return { socket, chunked: raw.chunkedEncoding }
}

/** What of Node's parser is used to let go of it, as Node does with one it does not use again (`freeParser` in lib/_http_common.js). */
interface HttpParser {
  unconsume (): void
  remove (): void
  close (): void
}

/**
 * Node keeps with a socket what it needs for the requests still to come: parser, request, response and all they know of,
 * 10.7 of the 15.9 KB that a stream had on the heap. Behind a stream that never ends nothing can come.
 */
function freeHttpState (response: ServerResponse, socket: Socket): void {
  response.detachSocket(socket)
  socket.removeAllListeners()
  // Who says more than its one request, or nothing any more, is done with.
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

/** Functions of their own: one made above would keep alive all that is known there. */
function destroy (this: Socket): void { this.destroy() }
function close (parser: HttpParser): void { parser.close() }
