// The profile WEBSOCKET: one socket for events, rooms and commands, throttled in both directions.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { WebSocket } from 'ws'
import type { Arrivals } from '../../src/app/arrivals.ts'
import type { Effort } from '../../src/app/effort.ts'
import { answerBare } from '../../src/app/errors.ts'
import { WIRE_PROTOCOL } from '../../src/app/package.ts'
import { partFrom } from '../../src/app/parting.ts'
import { refusals, ticketParameter } from '../../src/app/schemas.ts'
import { endTurns } from '../../src/app/turns.ts'
import { asksForSocket, faultOf } from '../../src/app/upgrade.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import type { Identity } from '../../src/core/identity.ts'
import { WsConnection } from './connection.ts'
import { Conversation } from './conversation.ts'
import { declineOffers, DEFLATE_OPTIONS } from './deflate.ts'
import { Intake, maxChunks, MAX_FRAGMENTS } from './intake.ts'
import { listen, listenForErrors } from './listeners.ts'
import { PongWatch } from './pong-watch.ts'

export interface WebSocketOptions {
  readonly gateway: Gateway
  readonly path: string
  /** @throws Refusal PROFILE_NOT_MOUNTED */
  readonly checkMounted: () => void
  readonly arrivals: Arrivals
  readonly effort: Effort
  readonly pingTimeoutMs: number
  /** Time for a message to arrive whole, and for a socket's first one, ms. */
  readonly requestTimeoutMs: number
  /** Largest message, bytes. */
  readonly maxHttpBufferSize: number
  /** COMPRESSION: sockets of clients that offer permessage-deflate are compressed. */
  readonly compresses: boolean
}

export default fp(async (app: FastifyInstance, { gateway, path, checkMounted, arrivals, effort, pingTimeoutMs, requestTimeoutMs, maxHttpBufferSize, compresses }: WebSocketOptions) => {
  const connections = new Set<WsConnection>()
  const pongs = new PongWatch(pingTimeoutMs, () => { gateway.troubles.bounds.pong++ })

  await app.register(websocket, {
    options: {
      maxPayload: maxHttpBufferSize,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: maxChunks(maxHttpBufferSize),
      // See intake.ts.
      autoPong: false,
      perMessageDeflate: compresses && DEFLATE_OPTIONS,
      clientTracking: false,
      // The type asks for the whole module, ws for the class.
      WebSocket: SocketWithReasons as never,
      // Some pages send a token as a protocol: it must not come back.
      handleProtocols: protocols => protocols.has(PROTOCOL) ? PROTOCOL : false
    },
    errorHandler: (error, socket, request) => {
      request.log.debug({ err: error }, 'WebSocket failed')
      socket.terminate()
    },
    // Replaces the plugin's preClose, which would wait for every client to answer. The drain has sent `bye` to each by now.
    preClose: done => {
      pongs.stop()
      partFrom(connections).then(() => done(), done)
    }
  })

  const badHandshake = (fault: string): Refusal => new Refusal('BAD_REQUEST', `this is no valid WebSocket handshake: ${fault}`)
  app.websocketServer.on('wsClientError', ({ message }, socket) =>
    answerBare(socket, '400 Bad Request', badHandshake(message), 'Sec-WebSocket-Version: 13\r\n'))

  // The plugin ends the connection of a refused handshake only where its own hook was reached. Node reads such a connection no
  // more, so the answer says that it closes: a proxy would send its next request on it.
  app.addHook('onSend', async ({ raw }, reply) => { if (isHandshake(raw)) reply.header('Connection', 'close') })
  app.addHook('onResponse', async ({ raw }) => { if (isHandshake(raw)) raw.socket.destroy() })

  // With an `upgrade` listener, Node treats every request with an Upgrade header as an upgrade. The plugin would route it
  // without its body and keep its socket. Only requests for the WebSocket are therefore passed on to the plugin.
  const [upgrade] = app.server.listeners('upgrade').slice(-1) as Array<(request: IncomingMessage, socket: Duplex, head: Buffer) => void>
  app.server.removeAllListeners('upgrade')
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (upgrade !== undefined && asksForSocket(request, path)) {
      if (compresses) declineOffers(request)
      upgrade(request, socket, head)
    } else answerBare(socket, '400 Bad Request', new Refusal('BAD_REQUEST', `only GET ${path} can be upgraded, to a WebSocket: send the request without an Upgrade header`))
  })

  app.route({
    method: 'GET',
    url: path,
    exposeHeadRoute: false,
    config: { profile: 'WEBSOCKET', access: 'ticket', isSocket: true, isShed: true },
    schema: {
      tags: ['events'],
      operationId: 'openSocket',
      summary: 'The WebSocket',
      description: 'Only in the profile WEBSOCKET. JSON text messages, which docs/asyncapi.yaml describes.',
      querystring: { type: 'object', properties: ticketParameter },
      response: { 101: { type: 'null', description: 'The socket is open.' }, ...refusals }
    },
    // A handshake is refused by HTTP, before its ticket is used up. A page that cannot read why asks by a plain GET.
    preValidation: async (request, reply) => {
      gateway.checkOpen(request.identity)
      if (!request.ws) askToUpgrade(reply)
      const fault = faultOf(request.raw.headers)
      if (fault === null) return
      reply.header('Sec-WebSocket-Version', '13')
      throw badHandshake(fault)
    },
    // From here to `gateway.open` nothing waits.
    preHandler: ({ identity }, _reply, done) => {
      try {
        checkMounted()
        gateway.checkOpen(identity)
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    handler: async (_request, reply) => askToUpgrade(reply),
    wsHandler: (socket, request) => converse(socket, request.identity, detachResponse(socket, request))
  })

  function askToUpgrade (reply: FastifyReply): never {
    reply.header('Upgrade', 'websocket')
    throw new Refusal('UPGRADE_REQUIRED', `${path} is a WebSocket: connect with ws://, not with a plain GET`)
  }

  const intakeOptions = { arrivals, troubles: gateway.troubles, requestTimeoutMs }
  const conversationOptions = { gateway, effort, onError: (err: unknown) => app.log.error({ err }, 'a WebSocket message failed') }

  function converse (socket: WebSocket, identity: Identity, raw: Socket): void {
    const connection = new WsConnection(socket, raw, pongs.expect)
    const session = gateway.open(connection, identity)
    connections.add(connection)
    listen(socket, raw, {
      connection,
      session,
      conversation: new Conversation(conversationOptions, socket, connection, session),
      intake: new Intake(socket, raw, connection, intakeOptions),
      connections
    })
    connection.sendMessage('hello', { profile: 'WEBSOCKET', protocol: WIRE_PROTOCOL, session: session.id, tickMs: Math.round(gateway.tickMs), head: gateway.view.history.head, position: 'new', cursor: null })
  }
}, { name: 'profile-websocket', encapsulate: true })

/** Whether Node handed the request over with its socket. */
const isHandshake = (request: IncomingMessage): boolean => (request as IncomingMessage & { readonly upgrade: boolean }).upgrade

/**
 * Frees request, reply and response, which are no longer needed and would stay in memory as long as the socket: 4 of the
 * 8 KB that one used.
 * @returns the TCP socket below
 */
function detachResponse (socket: WebSocket, { raw: { socket: raw } }: FastifyRequest): Socket {
  // The plugin's listener refers to request and reply.
  socket.removeAllListeners('error')
  listenForErrors(socket)
  const { _httpMessage: response } = raw as Socket & { _httpMessage?: ServerResponse | null }
  response?.detachSocket(raw)
  endTurns(raw)
  return raw
}

/** The protocol a client may name; none is needed. */
const PROTOCOL = 'signalbox'

/** ws closes with the code alone where it cannot take a message. */
const REASONS: Readonly<Record<number, string>> = {
  1002: 'not a valid frame',
  1007: 'text must be UTF-8, and what is compressed valid',
  1008: `a message may have ${MAX_FRAGMENTS} fragments, of no less than 256 bytes`,
  1009: 'a message may not exceed MAX_HTTP_BUFFER_SIZE'
}

class SocketWithReasons extends WebSocket {
  override close (code?: number, reason?: string | Buffer): void {
    super.close(code, reason ?? REASONS[code ?? 0])
  }
}
