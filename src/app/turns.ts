// One request in progress for each connection, and an end to answers that nobody reads.
//
// Node hands on every request of a packet at once: 50 KB of pipelined requests are 1,400 answers made in one turn of the event
// loop, all in memory. Here the next one begins in a turn of its own, when the answer before it was taken. A request that
// has not begun holds nothing but itself: no file is opened whose connection may be gone by then.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface TurnsOptions {
  /** How long an answer may wait for a client that does not read, ms. */
  readonly slowClientTimeoutMs: () => number
  /** Called for each connection that was ended because its answer was not read. */
  readonly onSlow: () => void
}

/** Requests that wait, over all connections: some 3 KB each. One packet holds up to 2,400; nobody who means well sends that many. */
const MAX_WAITING = 10_000
/** Bytes of unread answers, over all connections. Beyond them the oldest are ended. */
const MAX_UNREAD_BYTES = 128 * 1024 * 1024

/** By connection with a request in progress: what waits behind it. */
const queues = new WeakMap<Socket, Array<() => void>>()
/** The request in progress. */
const current = new WeakMap<Socket, IncomingMessage>()

/** Whether a request of this connection is in progress. */
export const isBusy = (socket: Socket): boolean => queues.has(socket)

/** Whether further requests wait behind the one in progress. */
export const isQueued = (socket: Socket): boolean => (queues.get(socket)?.length ?? 0) > 0

/**
 * Calls back once the requests that came before on this connection are answered. One whose body will never be complete is not
 * among them: it is what the connection ends with.
 */
export function afterTurns (socket: Socket, act: () => void): void {
  const queue = queues.get(socket)
  if (queue === undefined || current.get(socket)?.complete === false) act()
  else queue.push(act)
}

export default fp(async (app: FastifyInstance, { slowClientTimeoutMs, onSlow }: TurnsOptions) => {
  let waiting = 0
  /** Bytes at the moment each answer was handed over; the oldest first. */
  const unread = new Map<ServerResponse, number>()
  let unreadBytes = 0

  app.addHook('onRequest', (request, { raw: response }, done) => {
    const { socket } = request.raw
    const queue = queues.get(socket)
    if (queue === undefined) {
      queues.set(socket, [])
      begin(request.raw, response)
      done()
      return
    }
    if (waiting >= MAX_WAITING) {
      socket.destroy()
      return
    }
    waiting++
    // What has arrived is handled; nothing more is read until it is.
    socket.pause()
    queue.push(() => {
      waiting--
      if (socket.destroyed) return
      if (queue.length === 0) socket.resume()
      // The time of the answer before it; Node ends it only where nothing waits.
      socket.setTimeout(0)
      begin(request.raw, response)
      // Its body is not complete, so what is behind it is no request but the end of the connection (`afterTurns`).
      if (!request.raw.complete && queue.length > 0) queue.shift()?.()
      else done()
    })
  })

  function begin (request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    current.set(socket, request)
    response.once('prefinish', () => watch(response))
    // A file is sent piece by piece: `prefinish` comes only after its last one was taken.
    response.once('pipe', () => limit(socket))
    response.once('close', () => {
      forget(response)
      next(socket)
    })
  }

  function next (socket: Socket): void {
    const queue = queues.get(socket) ?? []
    const act = queue.shift()
    if (act === undefined) {
      queues.delete(socket)
      return
    }
    // A turn of its own: other connections are served in between.
    setImmediate(() => {
      act()
      if (socket.destroyed) for (const rest of queue.splice(0)) rest()
    })
  }

  /** The answer is complete; the system may not have taken all of it. */
  function watch (response: ServerResponse): void {
    const { socket } = response
    const bytes = socket?.writableLength ?? 0
    if (socket === null || bytes === 0) return
    limit(socket)
    unread.set(response, bytes)
    unreadBytes += bytes
    for (const oldest of unread.keys()) {
      if (unreadBytes <= MAX_UNREAD_BYTES) break
      forget(oldest)
      end(oldest.socket)
    }
  }

  function forget (response: ServerResponse): void {
    unreadBytes -= unread.get(response) ?? 0
    unread.delete(response)
  }

  /** Ends the connection when the system takes no byte for so long. Node sets its own timeout again once the answer is taken. */
  function limit (socket: Socket): void {
    socket.setTimeout(slowClientTimeoutMs())
  }

  function end (socket: Socket | null): void {
    onSlow()
    socket?.destroy()
  }

  app.server.on('timeout', (socket: Socket) => {
    // An idle connection between two requests ends by the same event (KEEP_ALIVE_TIMEOUT).
    if (isBusy(socket)) onSlow()
    socket.destroy()
  })
}, { name: 'turns' })
