// One request in progress for each connection, and an end to answers that nobody reads.
//
// Node hands on every request of a packet at once: 50 KB of pipelined requests are 1,400 answers made in one turn of the event
// loop, all in memory. Here the next one begins in a turn of its own, when the answer before it was taken. A request that
// has not begun holds nothing but itself: no file is opened whose connection may be gone by then.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Troubles } from '../core/figures/troubles.ts'

export interface TurnsOptions {
  /** How long an answer may wait for a client that does not read, ms. */
  readonly slowClientTimeoutMs: () => number
  /** Called for each connection that was ended because its answer was not read. */
  readonly onSlow: () => void
  readonly troubles: Troubles
}

/** Requests that wait, over all connections: some 14 KB each. One packet holds up to 2,400; nobody who means well sends that many. */
const MAX_WAITING = 4000
/** Bytes of unread answers, over all connections. Beyond them the oldest are ended. */
const MAX_UNREAD_BYTES = 128 * 1024 * 1024

/** By connection with a request in progress: what waits behind it. */
const queues = new WeakMap<Socket, Array<() => void>>()

/** Whether a request of this connection is in progress. */
export const isBusy = (socket: Socket): boolean => queues.has(socket)

/** Whether further requests wait behind the one in progress. */
export const isQueued = (socket: Socket): boolean => (queues.get(socket)?.length ?? 0) > 0

/** By connection: its last request, and what answers it in place of its route where the rest of it never comes. */
const latest = new WeakMap<Socket, IncomingMessage>()
const failed = new WeakMap<Socket, () => void>()

/** Calls back once the requests that came whole on this connection are answered; what comes is no HTTP, or not in time. */
export function afterTurns (socket: Socket, act: () => void): void {
  const queue = queues.get(socket)
  if (queue === undefined) return act()
  if (latest.get(socket)?.complete !== false) queue.push(act)
  else if (queue.length > 0) failed.set(socket, act)
  // The request in progress waits for a body that will not come.
  else act()
}

/**
 * Ends a connection whose packet is still being parsed. What else is in it makes no requests: Node would keep them all until it
 * has seen the connection close, which is after every other connection was read.
 */
function cut (socket: Socket): void {
  socket.destroy()
  const { parser } = socket as { parser?: { onIncoming: () => number } | null }
  if (parser) parser.onIncoming = () => 0
}

export default fp(async (app: FastifyInstance, { slowClientTimeoutMs, onSlow, troubles }: TurnsOptions) => {
  let waiting = 0
  /** Bytes at the moment each answer was handed over; the oldest first. */
  const unread = new Map<ServerResponse, number>()
  let unreadBytes = 0

  app.addHook('onRequest', (request, { raw: response }, done) => {
    const { socket } = request.raw
    const queue = queues.get(socket)
    latest.set(socket, request.raw)
    if (queue === undefined) {
      queues.set(socket, [])
      begin(request.raw, response)
      done()
      return
    }
    if (waiting >= MAX_WAITING) {
      troubles.bounds.pipelined++
      cut(socket)
      return
    }
    waiting++
    // What has arrived is handled; nothing more is read until it is.
    socket.pause()
    queue.push(() => {
      waiting--
      if (socket.destroyed) return
      const fail = failed.get(socket)
      if (fail !== undefined && !request.raw.complete) {
        fail()
        return
      }
      if (queue.length === 0) socket.resume()
      // The time of the answer before it; Node ends it only where nothing waits.
      socket.setTimeout(0)
      begin(request.raw, response)
      done()
    })
  })

  function begin ({ socket }: IncomingMessage, response: ServerResponse): void {
    response.once('prefinish', () => watch(response))
    // With a listener Node leaves the connection to it; one that is idle between two requests (KEEP_ALIVE_TIMEOUT) Node ends itself.
    response.once('timeout', () => end(socket))
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
      troubles.bounds.unread++
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
}, { name: 'turns' })
