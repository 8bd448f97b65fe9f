// What the gateway relies on beyond the documented interface of its packages and of Node. A test that fails here after an
// update names the assumption that no longer holds; the file that makes it is in brackets.

import { once } from 'node:events'
import { createServer, get, IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import rateLimit, { normalizeIP } from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import { ClassicLevel } from 'classic-level'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import { AggregatorRegistry, Counter, Registry } from 'prom-client'
import type { Metric } from 'prom-client'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { declineOffers, deflateOf, DEFLATE_OPTIONS } from '../profiles/websocket/deflate.ts'
import { frame } from '../profiles/websocket/frame.ts'

interface HttpParser { unconsume: () => void, remove: () => void, close: () => void }
type HttpSocket = Socket & { parser?: HttpParser | null, _httpMessage?: ServerResponse | null }

async function listen (t: Test, app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    app.server.closeAllConnections()
    await app.close()
  })
  return (app.server.address() as AddressInfo).port
}

/** Opens a WebSocket, and runs `act` where the route handles it. */
async function upgrade (t: Test, act: (socket: WebSocket, request: FastifyRequest) => void): Promise<WebSocket> {
  const app = Fastify()
  await app.register(websocket, { options: { perMessageDeflate: false } })
  app.get('/', { websocket: true }, act)
  const client = new WebSocket(`ws://127.0.0.1:${await listen(t, app)}/`)
  t.teardown(() => client.terminate())
  return client
}

t.test('fastify-sse-v2 sets its headers, calls flushHeaders on the response, then pipes one stream into it [profiles/sse/connection.ts]', async t => {
  const app = Fastify()
  await app.register(FastifySSEPlugin, { retryDelay: false })
  const calls: string[] = []
  const flushed: Record<string, unknown> = {}
  const first = new Promise<string>(resolve => {
    app.get('/', async (_request, reply) => {
      const { raw } = reply
      raw.flushHeaders = () => {
        calls.push('flushHeaders')
        Object.assign(flushed, raw.getHeaders())
        ServerResponse.prototype.flushHeaders.call(raw)
      }
      raw.on('pipe', source => {
        calls.push('pipe')
        source.once('data', (data: Buffer) => {
          source.unpipe(raw)
          source.destroy()
          setImmediate(() => raw.write('ours'))
          resolve(data.toString())
        })
      })
      reply.headers({ 'Cache-Control': 'mine', 'X-Mine': '1' })
      reply.sse({ retry: 1234 })
      return await reply
    })
  })
  const request = get({ port: await listen(t, app), host: '127.0.0.1' })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  const [response] = await once(request, 'response') as [IncomingMessage]
  t.same(calls, ['flushHeaders', 'pipe'], 'in this order, and each once')
  t.match(flushed, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache,no-transform', 'x-no-compression': 1, 'x-mine': '1' }, 'headers of the reply are copied; its own Cache-Control and x-no-compression are set before the flush')
  t.equal(await first, 'retry: 1234\n\n', 'the first chunk of the stream is the message given to reply.sse')
  let text = ''
  response.on('data', (data: Buffer) => { text += data.toString() })
  while (!text.includes('ours')) await once(response, 'data')
  t.equal(text, 'retry: 1234\n\nours', 'the response stays open after the stream is unpiped and destroyed')
})

t.test('fastify-sse-v2 has the first message written by `write` of the response, as bytes and in one piece [profiles/sse/connection.ts]', async t => {
  const app = Fastify()
  await app.register(FastifySSEPlugin, { retryDelay: false })
  const written: unknown[] = []
  app.get('/', async (_request, reply) => {
    const { raw } = reply
    raw.write = (piece: unknown) => {
      written.push(piece)
      return ServerResponse.prototype.write.call(raw, 'in its place', 'utf8')
    }
    reply.sse({ event: 'hello', data: 'x'.repeat(50_000) })
    return await reply
  })
  const request = get({ port: await listen(t, app), host: '127.0.0.1' })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  const [response] = await once(request, 'response') as [IncomingMessage]
  const [data] = await once(response, 'data') as [Buffer]
  t.equal(data.toString(), 'in its place')
  t.equal(written.length, 1)
  t.ok(Buffer.isBuffer(written[0]) && written[0].length > 50_000)
})

t.test('Node keeps the HTTP parser of a connection at socket.parser; unconsume, remove and close give the socket back [profiles/sse/connection.ts]', async t => {
  const server = createServer((request, response) => {
    const socket = request.socket as HttpSocket
    response.writeHead(200)
    response.flushHeaders()
    const { parser } = socket
    t.match(parser, { unconsume: Function, remove: Function, close: Function }, 'the parser is there, with the three methods')
    // Not within the parser's own callback: at the end of the message it would enter the server's list of connections again.
    setImmediate(() => {
      response.detachSocket(socket)
      socket.removeAllListeners()
      parser?.unconsume()
      parser?.remove()
      socket.parser = null
      setImmediate(() => parser?.close())
      socket.on('error', () => {})
      socket.on('data', data => { socket.end(`got ${data.toString()}`) })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  let text = ''
  client.on('data', data => { text += data.toString() })
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  while (!text.includes('\r\n\r\n')) await once(client, 'data')
  await delay(20)
  client.write('no HTTP at all')
  await once(client, 'close')
  t.match(text, /^HTTP\/1\.1 200 .*\r\n\r\ngot no HTTP at all$/s, 'what comes next is read from the socket itself, and written to it')
  t.doesNotThrow(() => server.closeIdleConnections(), 'and the server has forgotten the connection')
})

t.test('response.detachSocket separates a response and its socket in both directions [profiles/sse/connection.ts]', async t => {
  const app = Fastify()
  app.get('/', async (request, reply) => {
    const socket = request.raw.socket as HttpSocket
    t.equal(socket._httpMessage, reply.raw, 'the socket refers to its response as _httpMessage')
    reply.hijack()
    reply.raw.detachSocket(socket)
    t.equal(socket._httpMessage, null)
    t.equal(reply.raw.socket, null)
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    return await reply
  })
  t.equal((await fetch(`http://127.0.0.1:${await listen(t, app)}/`)).status, 200)
})

t.test('Node makes requests of the class it is given, says of each by `upgrade` whether it has an offer, and asks the same property once the headers are there [src/app/server.ts]', async t => {
  const asked: string[] = []
  const said: Array<boolean | null> = []
  class Message extends IncomingMessage {
    declare offered: boolean | null

    get upgrade (): boolean {
      asked.push(`${this.method} ${this.url} ${this.headers.upgrade ?? ''} ${this.socket.remoteAddress}`)
      return this.offered === true && this.url === '/yes'
    }

    set upgrade (offered: boolean | null) {
      said.push(offered)
      this.offered = offered
    }
  }
  const seen: string[] = []
  const server = createServer({ IncomingMessage: Message }, (request, response) => {
    t.ok(request instanceof Message)
    request.on('data', (body: Buffer) => seen.push(`${request.method} ${request.url} ${body.toString()}`))
    request.on('end', () => response.end('answered'))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    seen.push(`upgrade ${request.url}`)
    t.ok(request instanceof Message)
    setImmediate(() => socket.end(`given away ${head.toString()}`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  let text = ''
  client.on('data', data => { text += data.toString() })
  const offer = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n'
  client.write(`POST /no HTTP/1.1\r\n${offer}Content-Length: 4\r\n\r\nbody`)
  // Not in one packet: Node passes over what stands behind an offer that is not taken up.
  while (!text.endsWith('answered')) await once(client, 'data')
  client.write(`GET /plain HTTP/1.1\r\nHost: x\r\n\r\nGET /yes HTTP/1.1\r\n${offer}\r\nhead`)
  await once(client, 'close')
  t.same(seen, ['POST /no body', 'upgrade /yes'], 'an offer that the class denies leaves a request with its body, and the connection as it was')
  t.match(text, /^HTTP\/1\.1 200 .*answered.*HTTP\/1\.1 200 .*answered.*given away head$/s)
  for (const question of ['POST /no h2c 127.0.0.1', 'GET /yes h2c 127.0.0.1']) t.ok(asked.includes(question), `asked when ${question} was known`)
  t.ok(said.includes(true), 'and told before')
})

t.test('a server tells by `timeout` that a connection took nothing for the time set on its socket, and leaves it open; a half-open client gets its answer by httpAllowHalfOpen [src/app/turns.ts, src/app/server.ts]', async t => {
  const server = createServer((request, response) => {
    if (request.url === '/late') setTimeout(() => response.end('late'), 50)
    else response.end('x'.repeat(20_000_000))
  })
  Object.assign(server, { httpAllowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  const half = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  half.on('data', data => { text += data.toString() })
  half.end('GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  await once(half, 'end')
  t.match(text, /late$/)
  const reader = connect(port, '127.0.0.1')
  const timedOut = once(server, 'timeout') as Promise<[Socket]>
  server.prependOnceListener('request', (_request, response: ServerResponse) => response.once('prefinish', () => {
    t.ok((response.socket as Socket).writableLength > 0, 'at prefinish all of the answer stands in the socket, where the system has not taken it')
    response.socket?.setTimeout(50)
  }))
  reader.pause()
  reader.on('error', () => {})
  reader.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n')
  const [socket] = await timedOut
  t.notOk(socket.destroyed, 'whoever listens decides')
  t.ok(socket.writableLength > 0)
  socket.destroy()
  reader.destroy()
})

t.test('Node asks onIncoming of the parser at socket.parser for each request; where it does nothing, the rest of a packet makes none [src/app/turns.ts]', async t => {
  let made = 0
  const server = createServer(({ socket }) => {
    if (++made < 2) return
    socket.destroy()
    const { parser } = socket as Socket & { parser: { onIncoming: unknown } }
    t.type(parser.onIncoming, 'function')
    parser.onIncoming = () => 0
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(50))
  await once(client, 'close')
  t.equal(made, 2)
})

t.test('a response that is piped tells so by `pipe`, `prefinish` comes before `finish`, and `close` once the system has all of it [src/app/turns.ts]', async t => {
  const events: string[] = []
  const app = Fastify()
  app.addHook('onRequest', async (_request, { raw }) => {
    for (const name of ['pipe', 'prefinish', 'finish', 'close']) {
      raw.once(name, () => events.push(name === 'close' ? `close ${raw.writableFinished} ${raw.socket === null}` : name))
    }
  })
  app.get('/stream', async (_request, reply) => await reply.send(Readable.from(['a', 'b'])))
  app.get('/text', async () => 'text')
  const port = await listen(t, app)
  t.equal(await (await fetch(`http://127.0.0.1:${port}/stream`)).text(), 'ab')
  while (!events.some(event => event.startsWith('close'))) await delay(5)
  t.same(events.splice(0), ['pipe', 'prefinish', 'finish', 'close true true'])
  t.equal(await (await fetch(`http://127.0.0.1:${port}/text`)).text(), 'text')
  while (!events.some(event => event.startsWith('close'))) await delay(5)
  t.same(events, ['prefinish', 'finish', 'close true true'])
})

t.test('ws makes sockets of the class it is given, calls its close with a code where a message cannot be taken, then tells by `error`, and refuses a handshake by wsClientError where that is listened to [profiles/websocket/index.ts]', async t => {
  const closes: unknown[][] = []
  class Told extends WebSocket {
    override close (...args: [code?: number, reason?: string | Buffer]): void {
      closes.push(args)
      super.close(args[0], args[1] ?? 'said why')
    }
  }
  const app = Fastify()
  await app.register(websocket, { options: { perMessageDeflate: false, maxPayload: 10, maxFragments: 3, WebSocket: Told as never } })
  const errors: string[] = []
  app.get('/', { websocket: true }, socket => {
    t.ok(socket instanceof Told)
    socket.removeAllListeners('error')
    socket.on('error', ({ message }: Error) => errors.push(message))
  })
  app.websocketServer.on('wsClientError', ({ message }: Error, socket: Duplex) => socket.end(`refused: ${message}`))
  const port = await listen(t, app)
  const end = async (act: (client: WebSocket) => void): Promise<[number, string]> => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/`)
    await once(client, 'open')
    act(client)
    const [code, reason] = await once(client, 'close') as [number, Buffer]
    return [code, reason.toString()]
  }
  t.same(await end(client => client.send('x'.repeat(11))), [1009, 'said why'])
  t.same(await end(client => { for (let n = 0; n < 5; n++) client.send('x', { fin: false }) }), [1008, 'said why'])
  t.same(closes.map(([code, reason]) => [code, reason]), [[1009, undefined], [1008, undefined]], 'without a reason of its own')
  t.equal(errors.length, 2)
  const client = connect(port, '127.0.0.1')
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n')
  const [data] = await once(client, 'data') as [Buffer]
  t.match(data.toString(), /^refused: .*Sec-WebSocket-Key/)
  client.destroy()
})

t.test('@fastify/websocket adds one listener for upgrades to the server, and it can be called by another one [profiles/websocket/index.ts]', async t => {
  const app = Fastify()
  t.equal(app.server.listenerCount('upgrade'), 0, 'Fastify has none')
  await app.register(websocket)
  const listeners = app.server.listeners('upgrade')
  t.equal(listeners.length, 1, 'the plugin has one as soon as it is registered')
  app.get('/', { websocket: true }, socket => socket.send('hello'))
  app.server.removeAllListeners('upgrade')
  app.server.on('upgrade', (...args) => listeners[0]?.(...args))
  const client = new WebSocket(`ws://127.0.0.1:${await listen(t, app)}/`)
  t.teardown(() => client.terminate())
  const [data] = await once(client, 'message') as [Buffer]
  t.equal(data.toString(), 'hello')
})

t.test('@fastify/websocket puts the only error listener on a WebSocket, and a response at _httpMessage of the socket below [profiles/websocket/index.ts]', async t => {
  const client = await upgrade(t, (socket, request) => {
    t.equal(socket.listenerCount('error'), 1, 'ws has none that removeAllListeners would take away')
    const raw = request.raw.socket as HttpSocket
    t.ok(raw._httpMessage instanceof ServerResponse, 'a response that is never sent holds request and reply')
    raw._httpMessage?.detachSocket(raw)
    t.equal(raw._httpMessage, null)
    socket.send('still works')
  })
  const [data] = await once(client, 'message') as [Buffer]
  t.equal(data.toString(), 'still works')
})

t.test('ws writes a message to the socket at once, so a frame written to the socket itself keeps its place [profiles/websocket/connection.ts]', async t => {
  const client = await upgrade(t, (socket, request) => {
    socket.send('before')
    request.raw.socket.write(frame({ entries: [], cursor: 'c' }))
    socket.send('after')
  })
  const texts: string[] = []
  client.on('message', (data: Buffer) => texts.push(data.toString()))
  while (texts.length < 3) await once(client, 'message')
  t.same(texts, ['before', '{"event":"events","id":"c","data":[]}', 'after'])
})

t.test('ws exports what parses and judges offers, compresses nothing below its threshold, and frees its window by cleanup [profiles/websocket/deflate.ts, profiles/websocket/intake.ts]', async t => {
  const app = Fastify()
  await app.register(websocket, { options: { perMessageDeflate: DEFLATE_OPTIONS } })
  const freed = new Promise<void>(resolve => {
    app.get('/', { websocket: true }, (socket, request) => {
      t.equal(socket.extensions, 'permessage-deflate')
      const deflate = deflateOf(socket)
      t.equal(deflate?._inflate, null)
      t.same(deflate?.params, { server_no_context_takeover: true, client_no_context_takeover: true })
      socket.on('message', (data: Buffer) => {
        t.equal(data.length, 5000)
        t.not(deflate?._inflate, null, 'a window')
        deflate?.cleanup()
        t.equal(deflate?._inflate, null)
        socket.send('x'.repeat(5000))
        request.raw.socket.write(frame({ entries: [], cursor: 'behind' }))
        resolve()
      })
    })
  })
  const port = await listen(t, app)
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: { threshold: 0 } })
  t.teardown(() => client.terminate())
  const texts: string[] = []
  client.on('message', (data: Buffer) => texts.push(data.toString()))
  await once(client, 'open')
  client.send('y'.repeat(5000))
  await freed
  while (texts.length < 2) await once(client, 'message')
  t.match(texts, [/^x{5000}$/, /behind/], 'what it sends is not delayed by compression')
  const headers = (offer: string): IncomingMessage => ({ headers: { 'sec-websocket-extensions': offer } }) as unknown as IncomingMessage
  const left = (offer: string): unknown => {
    const request = headers(offer)
    declineOffers(request)
    return request.headers['sec-websocket-extensions']
  }
  t.equal(left('permessage-deflate'), 'permessage-deflate')
  t.equal(left('permessage-deflate; server_max_window_bits=9'), undefined)
  t.equal(left('permessage-deflate;;'), undefined)
})

t.test('a WebSocket of ws knows whether it is paused, and is OPEN until close is called, not until it is closed [profiles/websocket/connection.ts]', async t => {
  const client = await upgrade(t, socket => {
    t.equal(socket.OPEN, 1)
    t.equal(socket.readyState, socket.OPEN)
    t.equal(socket.isPaused, false)
    socket.pause()
    t.equal(socket.isPaused, true)
    socket.resume()
    t.equal(socket.isPaused, false)
    socket.close(1012, 'DRAINING')
    t.not(socket.readyState, socket.OPEN)
  })
  const [code] = await once(client, 'close') as [number]
  t.equal(code, 1012)
})

t.test('a ping of ws carries its text, and the pong brings it back [profiles/websocket/connection.ts]', async t => {
  const pong = new Promise<string>(resolve => {
    void upgrade(t, socket => {
      socket.on('pong', payload => resolve(payload.toString()))
      socket.ping('7')
    })
  })
  t.equal(await pong, '7')
})

t.test('@fastify/rate-limit asks its store by incr(caller, callback) once a request, takes current and ttl, and throws what the builder returns [src/app/limit.ts]', async t => {
  const callers: string[] = []
  class Store {
    incr (caller: string, done: (error: Error | null, result?: { current: number, ttl: number }) => void): void {
      callers.push(caller)
      setImmediate(done, null, { current: callers.length, ttl: 250 })
    }

    child (): Store {
      return this
    }
  }
  class Limited extends Error { statusCode = 429 }
  let seen: unknown
  const app = Fastify()
  app.setErrorHandler(async (error: Limited, _request, reply) => {
    seen = error
    return await reply.code(429).send(error.message)
  })
  await app.register(rateLimit, { store: Store, timeWindow: 1000, max: () => 1, keyGenerator: () => 'me', errorResponseBuilder: (_request, { ttl }) => new Limited(`again in ${ttl} ms`) })
  app.get('/', async () => 'ok')
  app.get('/free', { config: { rateLimit: false } }, async () => 'ok')
  t.equal((await app.inject('/')).statusCode, 200)
  const refused = await app.inject('/')
  t.match(refused, { statusCode: 429, body: 'again in 250 ms', headers: { 'x-ratelimit-limit': '1', 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1' } })
  t.ok(seen instanceof Limited, 'the error handler gets the object itself')
  t.equal((await app.inject('/free')).statusCode, 200)
  t.same(callers, ['me', 'me'], 'a route with rateLimit: false is not counted')
})

t.test('normalizeIP of @fastify/rate-limit cuts an IPv6 address to its /64 and leaves an empty one [src/app/caller.ts]', async t => {
  t.equal(normalizeIP('192.0.2.7'), '192.0.2.7')
  t.equal(normalizeIP('2001:db8:1:2:3:4:5:6'), normalizeIP('2001:db8:1:2::9'))
  t.not(normalizeIP('2001:db8:1:2::9'), normalizeIP('2001:db8:1:3::9'))
  t.equal(normalizeIP(''), '')
})

t.test('prom-client asks a registered metric by get() alone, and sums plain values by their aggregator [src/app/metrics.ts, src/app/group-metrics.ts]', async t => {
  const registry = new Registry()
  const values = [{ metricName: 'x_bucket', labels: { le: '+Inf' }, value: 2 }, { metricName: 'x_sum', labels: {}, value: 3 }, { metricName: 'x_count', labels: {}, value: 2 }]
  registry.registerMetric({ name: 'x', get: () => ({ name: 'x', help: 'h', type: 'histogram', aggregator: 'sum', values }) } as unknown as Metric)
  const counter = new Counter({ name: 'y', help: 'h', registers: [registry] })
  counter.inc(5)
  t.match(await registry.metrics(), /^x_bucket\{le="\+Inf"\} 2$.*^x_sum 3$.*^y 5$/ms)
  const plain = JSON.parse(JSON.stringify(await registry.getMetricsAsJSON()))
  const sums = AggregatorRegistry.aggregate([plain, plain]).getMetricsAsArray()
  const texts = await AggregatorRegistry.aggregate([sums]).metrics()
  t.match(texts, /^x_bucket\{le="\+Inf"\} 4$.*^x_sum 6$.*^y 10$/ms)
})

t.test('a chained batch of classic-level changes nothing before write, then everything in its order [src/store/embedded/disk.ts]', async t => {
  const level = new ClassicLevel<string, string>(t.testdir())
  t.teardown(async () => await level.close())
  await level.put('old', '1')
  const batch = level.batch()
  batch.put('a', '1')
  batch.put('a', '2')
  batch.put('b', '1')
  batch.del('b')
  batch.del('old')
  await delay(20)
  t.same(await level.keys().all(), ['old'], 'nothing is written yet')
  await batch.write({ sync: true })
  t.same(await level.iterator().all(), [['a', '2']], 'a later change of the same key wins')
})

t.test('a WebSocket shows what it keeps of a message that is not whole, in fields of its receiver [profiles/websocket/intake.ts]', async t => {
  const fields = ['_state', '_fragmented', '_messageLength', '_numFragments', '_bufferedBytes'] as const
  const seen: unknown[] = []
  let done = (): void => {}
  const client = await upgrade(t, (socket, request) => {
    const { _receiver: receiver } = socket as unknown as { _receiver: Record<typeof fields[number], number> & { _buffers: Buffer[] } }
    // ws has read the bytes by then.
    request.raw.socket.on('data', () => {
      seen.push([...fields.map(field => receiver[field]), receiver._buffers.length])
      done()
    })
  })
  await once(client, 'open')
  const { _socket: raw } = client as unknown as { _socket: Socket }
  const head = (first: number, length: number): Buffer => Buffer.from([first, 0x80 | length, 0, 0, 0, 0])
  for (const bytes of [Buffer.concat([head(0x01, 3), Buffer.from('"ab')]), Buffer.concat([head(0x80, 3), Buffer.from('c')]), Buffer.from('d"')]) {
    await new Promise<void>(resolve => {
      done = resolve
      raw.write(bytes)
    })
  }
  t.same(seen, [[0, 1, 3, 1, 0, 0], [4, 1, 3, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
})
