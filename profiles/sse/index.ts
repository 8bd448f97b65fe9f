// The profile SSE: one route with a stream of bundles. Commands are sent over HTTP.

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { cursorOf } from '../../src/app/bye.ts'
import { WIRE_PROTOCOL } from '../../src/app/package.ts'
import { partFrom } from '../../src/app/parting.ts'
import { errorSchema } from '../../src/app/schemas.ts'
import { isQueued } from '../../src/app/turns.ts'
import { Refusal } from '../../src/core/errors.ts'
import { PUBLIC } from '../../src/core/event.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { parseJoins } from '../../src/core/subscription.ts'
import type { Session } from '../../src/core/session.ts'
import type { Join } from '../../src/core/subscription.ts'
import { openStream, SseConnection } from './connection.ts'

export interface SseOptions {
  readonly gateway: Gateway
  readonly path: string
}

const PARAMETERS = ['rooms', 'types', 'lastEventId', 'ticket']

export default fp(async (app: FastifyInstance, { gateway, path }: SseOptions) => {
  const connections = new Set<SseConnection>()
  /** Sockets with a stream. It never ends, so a further request on its socket could never be answered. */
  const streaming = new WeakSet<Socket>()
  app.server.prependListener('request', ({ socket }: IncomingMessage) => { if (streaming.has(socket)) socket.destroy() })
  await app.register(FastifySSEPlugin, { retryDelay: false })

  app.get(path, {
    // The HEAD route that Fastify adds would open a stream that nobody reads.
    exposeHeadRoute: false,
    config: { access: 'ticket', isStream: true, isShed: true },
    schema: {
      tags: ['events'],
      summary: 'The stream of events (SSE)',
      description: 'Each unnamed event carries a JSON array of events; its id is the cursor to come back with. Named events: hello, ready, reset, position, bye.',
      querystring: {
        type: 'object',
        properties: {
          rooms: { type: 'string', description: 'comma list; absent: the public feed' },
          types: { type: 'string', description: 'comma list; absent: every type' },
          lastEventId: { type: 'string', description: 'a cursor; the header Last-Event-ID wins' },
          ticket: { type: 'string', description: 'from POST /api/ticket, for clients that cannot send headers' }
        }
      },
      response: { 200: { type: 'string', description: 'text/event-stream' }, '4xx': errorSchema, 503: errorSchema }
    }
  }, async (request, reply) => {
    // Requests behind this one could never be answered.
    if (isQueued(request.raw.socket)) request.raw.socket.destroy()
    if (request.raw.socket.destroyed) {
      reply.hijack()
      return reply
    }
    const connection = new SseConnection()
    let session: Session | null = null
    const end = (): void => {
      session?.end()
      connections.delete(connection)
    }
    const { socket } = request.raw
    socket.once('close', end)
    streaming.add(socket)
    let joined
    try {
      const joins = parseJoins(joinsOf(request))
      session = gateway.open(connection, request.identity)
      joined = await session.join(joins, cursorOf(request))
    } catch (error) {
      end()
      socket.off('close', end)
      streaming.delete(socket)
      throw error
    }
    const { position, cursor } = joined
    connections.add(connection)
    const hello = { profile: 'SSE', protocol: WIRE_PROTOCOL, session: session.id, tickMs: Math.round(gateway.tickMs), head: gateway.view.history.head, position, cursor }
    const stream = await openStream(reply, { event: 'hello', data: hello, id: cursor, retryMs: gateway.returnAfterMs() })
    // The client disconnected while the stream was opening, or the gateway ended the session: then the stream just ends.
    if (stream === null || session.state === 'ended') {
      end()
      stream?.socket.destroy()
      return reply
    }
    // The listener added above was removed with the HTTP state of the socket.
    stream.socket.once('close', end)
    stream.socket.setNoDelay(true)
    stream.socket.on('drain', () => session.drained())
    connection.attach(stream.socket, stream.chunked)
    session.drained()
    return reply
  })

  // The drain has sent `bye` to every client by now.
  app.addHook('preClose', async () => await partFrom(connections))
}, { name: 'profile-sse', encapsulate: true })

/** The joins of a query: each room, or the public feed, with the types. */
function joinsOf (request: FastifyRequest): Join[] {
  const query = request.query as Record<string, unknown>
  const unknown = Object.keys(query).filter(name => !PARAMETERS.includes(name) && !name.startsWith('_'))
  if (unknown.length > 0) {
    throw new Refusal('BAD_SUBSCRIPTION', `unknown parameter ${JSON.stringify(unknown[0]?.slice(0, 40))}; a stream takes ${PARAMETERS.join(', ')}`)
  }
  const rooms = listOf(query.rooms)
  const types = listOf(query.types)
  return (rooms.length === 0 ? [PUBLIC] : rooms).map(room => types.length === 0 ? { room } : { room, types })
}

function listOf (value: unknown): string[] {
  return [value ?? ''].flat().flatMap(text => String(text).split(',')).map(name => name.trim()).filter(name => name !== '')
}
