// The profile WEBSOCKET: one socket for events, rooms and commands, throttled in both directions.

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { RawData, WebSocket } from 'ws'
import { callerOf } from '../../src/app/caller.ts'
import { answerBare } from '../../src/app/errors.ts'
import { partFrom } from '../../src/app/farewell.ts'
import { checkOrigin } from '../../src/app/origin.ts'
import { PATHS } from '../../src/app/status.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { readJson } from '../../src/core/json.ts'
import { actionOf } from './actions.ts'
import { CLOSE, WsConnection } from './connection.ts'
import { PongWatch } from './pong-watch.ts'

export interface WebSocketOptions {
  gateway: Gateway
  pingTimeoutMs: number
  /** Largest message, bytes. */
  maxPayload: number
  /** Origins of other sites that may connect. */
  origins: readonly string[]
}

/** So many messages that could not be served, within so many ms, end a connection. */
const MAX_ERRORS = 20
const ERROR_WINDOW_MS = 10_000
/** Between two looks whether a client has taken its answers, ms. */
const LOOK_MS = 50
/** Messages of one client that may wait for a join of its to be through. */
const MAX_WAITING = 100
/** Longest `ref`, in characters. */
const MAX_REF = 200
/** Fragments of one message: far more than any client makes, far fewer than it takes to hurt. */
const MAX_FRAGMENTS = 1024

export default fp(async (app: FastifyInstance, { gateway, pingTimeoutMs, maxPayload, origins }: WebSocketOptions) => {
  const connections = new Set<WsConnection>()
  const pongs = new PongWatch(pingTimeoutMs)

  await app.register(websocket, {
    options: { maxPayload, maxFragments: MAX_FRAGMENTS, perMessageDeflate: false, clientTracking: false },
    errorHandler: (error, socket, request) => {
      request.log.debug({ err: error }, 'a WebSocket broke')
      socket.terminate()
    },
    // In place of the plugin's own, which would wait for every client to answer. By now each was told goodbye.
    preClose: done => {
      pongs.stop()
      partFrom(connections).then(() => done(), done)
    }
  })

  // Node takes any Upgrade header for a wish to leave HTTP once somebody listens for upgrades. The plugin would
  // route such a request without its body and keep its socket: only what asks for the socket is passed on.
  const [upgrade] = app.server.listeners('upgrade').slice(-1) as Array<(request: IncomingMessage, socket: Duplex, head: Buffer) => void>
  app.server.removeAllListeners('upgrade')
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const wanted = request.method === 'GET' && request.url?.split('?')[0] === PATHS.WEBSOCKET && /^websocket$/i.test(request.headers.upgrade ?? '')
    if (wanted && upgrade !== undefined) upgrade(request, socket, head)
    else answerBare(socket, '400 Bad Request', new Refusal('BAD_REQUEST', `only GET ${PATHS.WEBSOCKET} can be upgraded, to a WebSocket: send the request without an Upgrade header`))
  })

  app.route({
    method: 'GET',
    url: PATHS.WEBSOCKET,
    exposeHeadRoute: false,
    schema: { tags: ['events'], summary: 'The WebSocket', description: 'JSON text messages; see docs/protocol.md.' },
    preValidation: async request => checkOrigin(request, origins),
    handler: async (_request: FastifyRequest, reply: FastifyReply) => {
      reply.header('Upgrade', 'websocket')
      throw new Refusal('UPGRADE_REQUIRED', `${PATHS.WEBSOCKET} is a WebSocket: connect with ws://, not with a plain GET`)
    },
    wsHandler: (socket, request) => converse(socket, request)
  })

  function converse (socket: WebSocket, request: FastifyRequest): void {
    const connection = new WsConnection(socket, pongs.expect)
    let session
    try {
      session = gateway.open(connection, callerOf(request))
    } catch (error) {
      // A browser sees nothing of a refused handshake; a close code it does see.
      if (!(error instanceof Refusal)) throw error
      gateway.troubles.refused(error)
      connection.say('error', { ...error.body, retryMs: error.retryMs })
      connection.say('bye', { reason: error.code, retryMs: error.retryMs })
      connection.end(error.code === 'DRAINING' ? CLOSE.restart : CLOSE.tryLater, error.code)
      return
    }
    connections.add(connection)
    request.raw.socket.on('drain', () => session.drained())
    socket.on('close', () => {
      session.end()
      connections.delete(connection)
    })
    connection.say('hello', { profile: 'WEBSOCKET', session: session.id, tickMs: Math.round(gateway.tickMs), head: gateway.view.history.head, position: 'new', cursor: null })

    let windowStart = 0
    let received = 0
    let errors: number[] = []
    /** The last change of what is heard that is under way, and how much waits behind it. */
    let moving: Promise<unknown> | null = null
    let waiting = 0
    const answer = (event: string, data: object, ref?: unknown): void => {
      connection.say(event, data, ref)
      // Who does not read its answers is not listened to any more, until it does.
      if (connection.pending > 0) stopListening()
    }
    const stopListening = (): void => {
      if (socket.isPaused) return
      socket.pause()
      listenAgain()
    }
    // Looked for, since a socket whose buffer was never full does not tell that it is empty.
    const listenAgain = (): void => {
      setTimeout(() => {
        if (connection.pending === 0 && waiting < MAX_WAITING) socket.resume()
        else if (socket.readyState === socket.OPEN) listenAgain()
      }, LOOK_MS).unref()
    }
    socket.on('message', (data: RawData, isBinary: boolean) => {
      // What was on its way when the connection was ended.
      if (socket.readyState !== socket.OPEN) return
      if (isBinary) {
        connection.end(CLOSE.notText, 'messages are text')
        return
      }
      let ref: unknown
      const fail = (error: unknown): void => {
        if (!(error instanceof Refusal)) request.log.error({ err: error }, 'a message failed')
        const refusal = error instanceof Refusal ? error : new Refusal('INTERNAL', 'something went wrong inside the gateway; its log says what')
        gateway.troubles.refused(refusal)
        answer('error', { ...refusal.body, ...(refusal.retryMs === undefined ? {} : { retryMs: refusal.retryMs }) }, ref)
        if (refusal.code !== 'BAD_MESSAGE' && refusal.code !== 'RATE_LIMITED') return
        const now = performance.now()
        errors = [...errors.filter(at => now - at < ERROR_WINDOW_MS), now]
        if (errors.length > MAX_ERRORS) connection.end(CLOSE.policy, 'too many errors')
      }
      try {
        const limit = gateway.limits.messagesPerSecond
        const now = performance.now()
        if (now - windowStart >= 1000) {
          windowStart = now
          received = 0
        }
        if (limit > 0 && ++received > limit) {
          throw new Refusal('RATE_LIMITED', `${limit} messages a second are read (MAX_EVENTS_PER_SECOND_PER_CLIENT)`, Math.ceil(windowStart + 1000 - now))
        }
        const message = readJson(data.toString(), 'BAD_MESSAGE')
        ref = refOf(message)
        const { moves, run } = actionOf(message)
        const done = (async () => {
          if (moving !== null) {
            if (++waiting >= MAX_WAITING) stopListening()
            await moving
            waiting--
          }
          const { event, data } = await run(gateway, session)
          answer(event, data, ref)
        })().catch(fail)
        if (!moves) return
        moving = done
        void done.then(() => { if (moving === done) moving = null })
      } catch (error) {
        fail(error)
      }
    })
  }
}, { name: 'profile-websocket', encapsulate: true })

/** Comes back in the answer, so it is kept short. */
function refOf (message: unknown): string | number | undefined {
  const ref = typeof message === 'object' && message !== null ? (message as { ref?: unknown }).ref : undefined
  if (ref === undefined || typeof ref === 'number' || (typeof ref === 'string' && ref.length <= MAX_REF)) return ref
  throw new Refusal('BAD_MESSAGE', `ref must be a number or a string of at most ${MAX_REF} characters`)
}
