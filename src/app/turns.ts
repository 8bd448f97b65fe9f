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

interface TurnsOptions {
  /** How long an answer may wait for a client that does not read, ms. */
  readonly slowClientTimeoutMs: () => number
  /** Called for each connection that was ended because its answer was not read in that time. */
  readonly onSlow: () => void
  readonly troubles: Troubles
}

/** Requests that wait, over all connections: some 14 KB each. One packet holds up to 2,400; nobody who means well sends that many. */
const MAX_WAITING = 4000
/** Bytes of unread answers, over all connections. Beyond them the oldest are ended. */
const MAX_UNREAD_BYTES = 128 * 1024 * 1024

/** The requests of a connection. Kept as long as it, so that no map changes with each request. */
interface Line {
  /** Whether a request is in progress. */
  isBusy: boolean
  /** What waits behind it. */
  readonly queue: Array<() => void>
  latest: IncomingMessage
  /** Answers the latest request in place of its route where the rest of it never comes. */
  fail: (() => void) | null
}

const lines = new WeakMap<Socket, Line>()

/** Whether a request of this connection is in progress. */
export const isBusy = (socket: Socket): boolean => lines.get(socket)?.isBusy === true

/** Whether further requests wait behind the one in progress. */
export const isQueued = (socket: Socket): boolean => (lines.get(socket)?.queue.length ?? 0) > 0

/** Calls back once the requests that came whole on this connection are answered; what comes is no HTTP, or not in time. */
export function afterTurns (socket: Socket, act: () => void): void {
  const line = lines.get(socket)
  if (line?.isBusy !== true) return act()
  if (line.latest.complete) line.queue.push(act)
  else if (line.queue.length > 0) line.fail = act
  // The request in progress waits for a body that will not come.
  else act()
}

/** No further request comes on this connection, which stays open: its last one need not be kept. */
export const endTurns = (socket: Socket): void => { lines.delete(socket) }

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
    let line = lines.get(socket)
    if (line === undefined) lines.set(socket, line = { isBusy: false, queue: [], latest: request.raw, fail: null })
    line.latest = request.raw
    if (!line.isBusy) {
      line.isBusy = true
      begin(response)
      done()
      return
    }
    const { queue } = line
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
      if (line.fail !== null && !request.raw.complete) {
        line.fail()
        return
      }
      if (queue.length === 0) socket.resume()
      // The time of the answer before it; Node ends it only where nothing waits.
      socket.setTimeout(0)
      begin(response)
      done()
    })
  })

  // The same listeners for every response, and none to take off again.
  function begin (response: ServerResponse): void {
    response.on('prefinish', onPrefinish)
    // With a listener Node leaves the connection to it; one that is idle between two requests (KEEP_ALIVE_TIMEOUT) Node ends itself.
    response.on('timeout', onTimeout)
    // A file is sent piece by piece: `prefinish` comes only after its last one was taken.
    response.on('pipe', onPipe)
    response.on('close', onClose)
  }

  function onPrefinish (this: ServerResponse): void { watch(this) }
  function onTimeout (this: ServerResponse): void {
    onSlow()
    this.req.socket.destroy()
  }
  function onPipe (this: ServerResponse): void { limit(this.req.socket) }
  function onClose (this: ServerResponse): void {
    forget(this)
    next(this.req.socket)
  }

  function next (socket: Socket): void {
    const line = lines.get(socket)
    if (line === undefined) return
    const { queue } = line
    const act = queue.shift()
    if (act === undefined) {
      line.isBusy = false
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
      oldest.socket?.destroy()
    }
  }

  function forget (response: ServerResponse): void {
    const bytes = unread.get(response)
    if (bytes === undefined) return
    unreadBytes -= bytes
    unread.delete(response)
  }

  /** Ends the connection when the system takes no byte for so long. Node sets its own timeout again once the answer is taken. */
  function limit (socket: Partial<Pick<Socket, 'setTimeout'>>): void {
    // A request that a program injects comes by no connection.
    socket.setTimeout?.(slowClientTimeoutMs())
  }
}, { name: 'turns' })
