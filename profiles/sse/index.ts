// The profile SSE: one route with a stream of bundles, and one that changes what an open stream hears. Commands are sent over HTTP.

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { acceptsGzip, varyByEncoding } from '../../src/app/compression.ts'
import { checkParameters, cursorOfRequest, joinsOfQuery, paceOfQuery } from '../../src/app/joins.ts'
import { WIRE_PROTOCOL } from '../../src/app/package.ts'
import { partFrom } from '../../src/app/parting.ts'
import { changedSchema, changeSchema, paceQuery, refusals, subscriptionQuery, textOf } from '../../src/app/schemas.ts'
import { isQueued } from '../../src/app/turns.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import type { Session } from '../../src/core/session.ts'
import { openStream, SseConnection } from './connection.ts'
import { Steering } from './steering.ts'

export interface SseOptions {
  readonly gateway: Gateway
  readonly path: string
  /** @throws Refusal PROFILE_NOT_MOUNTED */
  readonly checkMounted: () => void
  /** COMPRESSION: streams of clients that accept gzip are compressed. */
  readonly compresses: boolean
}

const PARAMETERS = ['rooms', 'types', 'join', 'lastEventId', 'patch', 'paceMs', 'ticket']

export default fp(async (app: FastifyInstance, { gateway, path, checkMounted, compresses }: SseOptions) => {
  const connections = new Set<SseConnection>()
  const steering = new Steering(gateway)
  /** Sockets whose stream is about to open. It never ends, so a further request on its socket could never be answered; once it is open none is read. */
  const streaming = new WeakSet<Socket>()
  app.server.prependListener('request', ({ socket }: IncomingMessage) => { if (streaming.has(socket)) socket.destroy() })
  await app.register(FastifySSEPlugin, { retryDelay: false })

  app.get(path, {
    // The HEAD route that Fastify adds would open a stream that nobody reads.
    exposeHeadRoute: false,
    config: { profile: 'SSE', access: 'ticket', usesTicket: true, isStream: true, isShed: true },
    schema: {
      tags: ['events'],
      operationId: 'openStream',
      summary: 'The stream of events (SSE)',
      description: 'Only in the profile SSE. Each unnamed event carries a JSON array of events; its id is the cursor to come back with. Named events: hello, ready, reset, position, bye.',
      querystring: {
        type: 'object',
        properties: { ...subscriptionQuery, ...paceQuery }
      },
      response: { 200: textOf('text/event-stream', 'The stream; docs/asyncapi.yaml describes its events.'), ...refusals }
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
      if (session !== null) steering.delete(session)
      session?.end()
      connections.delete(connection)
    }
    const { socket } = request.raw
    socket.once('close', end)
    streaming.add(socket)
    let joined
    try {
      const query = request.query as Record<string, unknown>
      checkParameters(query, PARAMETERS, 'a stream')
      const joins = joinsOfQuery(query)
      const paceMs = paceOfQuery(query)
      checkMounted()
      session = gateway.open(connection, request.identity)
      joined = await session.join(joins, cursorOfRequest(request), request.identity, paceMs)
      await request.useTicket()
    } catch (error) {
      end()
      socket.off('close', end)
      streaming.delete(socket)
      throw error
    }
    const { position, cursor } = joined
    connections.add(connection)
    steering.add(session)
    const hello = { profile: 'SSE', protocol: WIRE_PROTOCOL, session: session.id, tickMs: Math.round(gateway.tickMs), head: gateway.view.history.head, position, cursor }
    if (compresses) varyByEncoding(reply)
    const compressed = compresses && acceptsGzip(request.headers['accept-encoding'])
    const stream = await openStream(reply, { event: 'hello', data: hello, id: cursor, retryMs: gateway.returnAfterMs() }, compressed)
    // The client disconnected while the stream was opening, or the gateway ended the session: then the stream just ends.
    if (stream === null || session.state === 'ended') {
      end()
      stream?.socket.destroy()
      return reply
    }
    streaming.delete(stream.socket)
    // The listener added above was removed with the HTTP state of the socket.
    stream.socket.on('close', end)
    stream.socket.setNoDelay(true)
    stream.socket.on('drain', () => session.drained())
    connection.attach(stream)
    session.drained()
    return reply
  })

  app.post<{ Params: { session: string } }>(`${path}/:session`, {
    config: { isShed: true },
    schema: {
      tags: ['events'],
      operationId: 'changeStream',
      summary: 'Join or leave rooms, or change the pace, on an open stream',
      description: 'Only in the profile SSE. The body is a socket\'s `join`, `leave` or `pace`; the answer has the data of `joined`, `left` or `paced`. Snapshot, `ready` and the cursor that counts come on the stream.',
      params: { type: 'object', properties: { session: { type: 'string', description: 'from `hello`' } } },
      body: changeSchema,
      response: { 200: changedSchema, ...refusals }
    }
  }, async ({ params, body, identity }) => await steering.steer(params.session, body, identity))

  // The drain has sent `bye` to every client by now.
  app.addHook('preClose', async () => await partFrom(connections))
}, { name: 'profile-sse', encapsulate: true })
