// The gateway as a plugin in somebody's Fastify app: the app and the gateway leave each other alone.

import { connect as connectTcp } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import swagger from '@fastify/swagger'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../src/client/node.ts'
import type { Box, ConnectOptions, Event } from '../../src/client/node.ts'
import { systemClock } from '../../src/core/clock.ts'
import signalbox from '../../src/plugin/index.ts'
import type { PluginOptions, Signalbox } from '../../src/plugin/index.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { FailingStore } from '../store/failing-store.ts'
import { tempDir } from '../store/harness.ts'
import { PROFILES } from '../wire/harness.ts'

async function listen (t: Test, app: FastifyInstance): Promise<string> {
  t.teardown(async () => await app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

async function started (t: Test, options: PluginOptions = {}, app: FastifyInstance = Fastify()): Promise<string> {
  await app.register(signalbox, { dataDir: ':memory:', prefix: '/live', ...options })
  return await listen(t, app)
}

/** A client that is connected and has its snapshot, and what it has heard. */
async function follow (t: Test, url: string, options: ConnectOptions = {}): Promise<{ box: Box, events: Event[] }> {
  const events: Event[] = []
  const box = connect(url, { WebSocket: WebSocket as never, ...options })
  t.teardown(() => box.close())
  box.on('event', event => events.push(event))
  await new Promise<void>(resolve => box.on('ready', () => resolve()))
  return { box, events }
}

async function until (done: () => boolean): Promise<void> {
  for (let waited = 0; !done(); waited++) {
    if (waited > 6000) throw new Error('it never came')
    await delay(10)
  }
}

const json = async (url: string, init?: RequestInit): Promise<any> => await (await fetch(url, init)).json()
const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({ method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } })

for (const profile of PROFILES) {
  t.test(`${profile}: what the app publishes reaches a client below the prefix`, async t => {
    const app = Fastify()
    const url = await started(t, { profile }, app)
    const [id] = await app.signalbox.publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data: 41 })
    const { box, events } = await follow(t, `${url}/live`, { rooms: ['plant-1'] })
    t.match(events, [{ id, type: 'cpu', room: 'plant-1', key: 'host-7', data: 41 }])
    const ids = await app.signalbox.publish([{ type: 'cpu', room: 'plant-1', key: 'host-7', data: 42 }, { type: 'alarm', room: 'plant-1', data: { level: 3 } }])
    await until(() => events.length === 3)
    t.same(events.slice(1).map(({ id }) => id), ids)
    t.match(await box.control('ping'), { result: { pong: true } }, 'and the client\'s commands reach the gateway')
    t.match(await json(`${url}/live/api/profile`), { profile, stream: profile === 'SSE' ? '/api/events/stream' : null, control: '/api/control' }, 'paths are without the prefix')
  })

  t.test(`${profile}: closing the app tells clients to come back, and leaves nothing open`, async t => {
    const app = Fastify({ return503OnClosing: false })
    const url = await started(t, { profile }, app)
    const { box } = await follow(t, `${url}/live`)
    const lost = new Promise(resolve => box.on('status', status => { if (status.state !== 'connected') resolve(status) }))
    const listeners = process.eventNames().map(name => [name, process.listenerCount(name)])
    await app.close()
    t.match(await lost, { code: 'DRAINING' })
    t.same(process.eventNames().map(name => [name, process.listenerCount(name)]), listeners, 'no signal listener')
    await t.rejects(app.signalbox.publish({ type: 'x', data: 1 }), { code: 'DRAINING', statusCode: 503 })
  })
}

t.test('an app with hooks, parsers, compilers and handlers of its own', async t => {
  const app = Fastify()
  const seen: string[] = []
  // Names that are used inside the gateway too.
  app.decorateRequest('identity')
  app.decorateRequest('fingerprint', '')
  app.decorate('troubles', 'theirs' as never)
  app.addHook('onRequest', async (request, reply) => {
    seen.push(`onRequest ${request.url}`)
    reply.header('X-Theirs', 'yes')
  })
  app.addHook('preHandler', async request => {
    if (request.headers['x-blocked'] !== undefined) throw Object.assign(new Error('blocked by the app'), { statusCode: 418 })
  })
  app.addHook('onResponse', async request => { seen.push(`onResponse ${request.url}`) })
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, _body, done) => done(null, 'parsed by the app'))
  app.addContentTypeParser('text/csv', { parseAs: 'string' }, (_request, body, done) => done(null, `csv ${body as string}`))
  app.setValidatorCompiler(() => () => ({ error: new Error('checked by the app') }))
  app.setSerializerCompiler(() => () => '"serialized by the app"')
  app.setErrorHandler(async (error: Error, _request, reply) => await reply.code(400).send({ theirs: error.message }))
  app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({ theirs: 'nothing here' }))
  await app.register(swagger)
  const url = await started(t, {}, app)

  t.test('are not seen by the gateway', async t => {
    t.match(await json(`${url}/live/api/events`, post({ type: 'x', data: 1 })), { ids: [/^\d+-\d+$/] }, 'its own parser')
    t.match(await json(`${url}/live/api/events`, post({})), { statusCode: 400, code: 'BAD_EVENT', message: /type is missing/ }, 'its own errors')
    t.match(await json(`${url}/live/nothing`), { statusCode: 404, code: 'NOT_FOUND' })
    const refused = await fetch(`${url}/live/api/events`, { method: 'DELETE' })
    t.equal(refused.status, 405)
    t.equal(refused.headers.get('allow'), (await fetch(`${url}/live/api/events`, { method: 'OPTIONS' })).headers.get('allow'))
    t.match(await json(`${url}/live/api/events`, { method: 'POST', body: 'a,b', headers: { 'Content-Type': 'text/csv' } }), { code: 'UNSUPPORTED_MEDIA_TYPE' })
  })

  t.test('see the gateway\'s requests where they are hooks at its root', async t => {
    seen.length = 0
    const answer = await fetch(`${url}/live/api/profile?a=1`)
    t.equal(answer.headers.get('x-theirs'), 'yes')
    await until(() => seen.length === 2)
    t.same(seen, ['onRequest /live/api/profile?a=1', 'onResponse /live/api/profile?a=1'])
    t.match(await json(`${url}/live/api/profile`, { headers: { 'X-Blocked': '1' } }), { theirs: 'blocked by the app' })
  })
})

t.test('requests to the app itself are answered by the app', async t => {
  const app = Fastify()
  const schema = { body: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } }
  await app.register(swagger)
  app.post('/before', { schema }, async ({ body }) => body)
  await app.register(signalbox, { dataDir: ':memory:', prefix: '/live' })
  app.post('/after', { schema }, async ({ body }) => body)
  app.get('/broken', async () => { throw new Error('theirs') })
  app.get('/long', { schema: { hide: true } }, async () => ({ long: 'x'.repeat(5000) }))
  const url = await listen(t, app)
  t.equal((await fetch(`${url}/long`)).headers.get('content-encoding'), null, 'and compressed only where it wants that')
  t.equal((await fetch(`${url}/live/docs/json`)).headers.get('content-encoding'), 'gzip')
  for (const path of ['/before', '/after']) {
    t.match(await json(url + path, post({})), { statusCode: 400, message: /must have required property 'name'/ }, path)
    t.same(await json(url + path, post({ name: 'a', name2: '' })), { name: 'a', name2: '' }, path)
  }
  t.match(await json(`${url}/broken`), { statusCode: 500, message: 'theirs' })
  t.match(await json(`${url}/nothing`), { statusCode: 404, message: 'Route GET:/nothing not found' })
  t.same(Object.keys((app.swagger() as { paths: object }).paths).sort(), ['/after', '/before', '/broken'], 'and its documentation lists its own')
})

t.test('with @fastify/websocket, @fastify/cors and @fastify/cookie at the root both do their work', async t => {
  const app = Fastify()
  await app.register(cors, { origin: 'https://app.example.com' })
  await app.register(cookie)
  await app.register(websocket)
  app.get('/echo', { websocket: true }, socket => { socket.on('message', data => socket.send(`theirs: ${String(data)}`)) })
  const url = await started(t, { profile: 'WEBSOCKET', corsOrigins: ['https://app.example.com'] }, app)
  const { events } = await follow(t, `${url}/live`, { rooms: ['a'] })
  await app.signalbox.publish({ type: 'x', room: 'a', data: 1 })
  await until(() => events.length === 1)
  const echo = new WebSocket(`${url.replace('http', 'ws')}/echo`)
  t.teardown(() => echo.terminate())
  echo.on('open', () => echo.send('hello'))
  t.equal(String(await new Promise(resolve => echo.once('message', resolve))), 'theirs: hello')
  const answer = await fetch(`${url}/live/api/profile`, { headers: { Origin: 'https://app.example.com' } })
  t.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example.com')
})

t.test('handshakes go through the app\'s hooks, which may refuse them', async t => {
  const app = Fastify()
  app.addHook('preHandler', async ({ headers }, reply) => headers['x-key'] === 'good' ? undefined : await reply.code(403).send({ theirs: 'no' }))
  const url = `${(await started(t, { profile: 'WEBSOCKET' }, app)).replace('http', 'ws')}/live/api/events/ws`
  t.equal(await outcomeOf(new WebSocket(url)), 'Unexpected server response: 403')
  t.equal(await outcomeOf(new WebSocket(url, { headers: { 'X-Key': 'good' } })), 'open')
})

t.test('an offer to upgrade that is not for the gateway changes nothing for the app', async t => {
  const app = Fastify()
  app.get('/page', async () => 'theirs')
  app.get('/slow', async () => await new Promise(resolve => setTimeout(resolve, 100, 'slow')))
  app.post('/echo', async ({ body }) => body)
  const url = await started(t, { profile: 'WEBSOCKET' }, app)
  const { request } = await import('node:http')
  const ask = async (path: string, body = ''): Promise<string> => await new Promise((resolve, reject) => {
    request(url + path, { method: body === '' ? 'GET' : 'POST', headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'Content-Type': 'application/json' } }, answer => {
      answer.setEncoding('utf8').on('data', text => resolve(`${answer.statusCode} ${text}`))
    }).on('error', reject).end(body)
  })
  t.equal(await ask('/page'), '200 theirs')
  t.match(await ask('/live/api/profile'), /^200 \{"profile":"WEBSOCKET"/)
  const large = JSON.stringify({ theirs: 'x'.repeat(300_000) })
  t.equal(await ask('/echo', '{"theirs":1}'), '200 {"theirs":1}', 'with its body')
  t.equal((await ask('/echo', large)).slice(0, 15), '200 {"theirs":"')
  t.match(await ask('/live/api/events', '{"type":"x","data":1}'), /^202 \{"ids":\["/)
  t.equal(await outcomeOf(new WebSocket(`${url.replace('http', 'ws')}/live/api/profile`)), 'Unexpected server response: 200', 'a handshake to another path of the gateway is a plain request')
  const offer = (head: string, body = ''): string => `${head} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const socket = connectTcp(Number(new URL(url).port), '127.0.0.1')
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('utf8').on('data', part => { text += part })
  socket.write(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${offer('POST /echo', '{"n":1}')}${offer('POST /echo', '{"n":2}')}GET /page HTTP/1.1\r\nHost: a\r\n\r\n`)
  await until(() => text.endsWith('theirs'))
  t.same(text.match(/slow|\{"n":\d\}|theirs/g), ['slow', '{"n":1}', '{"n":2}', 'theirs'], 'on one connection each gets its answer, in order')
  t.equal(await outcomeOf(new WebSocket(`${url.replace('http', 'ws')}/page`)), 'Unexpected server response: 200', 'a WebSocket there is the app\'s to refuse')
})

t.test('a switch mounts the other profile below the prefix, and offers to upgrade are the app\'s own again when there is no socket', async t => {
  const app = Fastify()
  app.post('/echo', async ({ body }) => body)
  const url = await started(t, { logger: pino({ level: 'silent' }) }, app)
  const { events } = await follow(t, `${url}/live`)
  const { request } = await import('node:http')
  const echo = async (): Promise<number | undefined> => await new Promise((resolve, reject) => {
    request(`${url}/echo`, { method: 'POST', headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'Content-Type': 'application/json' } }, answer => resolve(answer.resume().statusCode)).on('error', reject).end('{"theirs":1}')
  })
  for (const [index, profile] of (['WEBSOCKET', 'SSE'] as const).entries()) {
    t.match(await app.signalbox.control('switch', { profile }), { status: 'done', result: { profile, changed: true } })
    t.match(await json(`${url}/live/api/profile`), { profile })
    t.equal(app.server.listenerCount('upgrade'), profile === 'WEBSOCKET' ? 1 : 0)
    const { box } = await follow(t, `${url}/live`)
    t.match(box.status, { profile })
    await app.signalbox.publish({ type: 'x', data: index })
    await until(() => events.length === index + 1)
  }
  t.same(events.map(({ data }) => data), [0, 1], 'a client follows and gets each once')
  t.equal(await echo(), 200, 'bodies of requests that offer an upgrade too')
})

t.test('listeners that the app attaches before and after the gateway stay when the socket goes', async t => {
  const app = Fastify()
  const calls: string[] = []
  const answering = (name: string) => ({ url }: { readonly url?: string }, socket: Duplex): void => {
    if (url !== `/${name}`) return
    calls.push(name)
    socket.end('HTTP/1.1 418 Theirs\r\nConnection: close\r\n\r\n')
  }
  const before = answering('before')
  app.server.on('upgrade', before)
  const url = (await started(t, { profile: 'WEBSOCKET' }, app)).replace('http', 'ws')
  const after = answering('after')
  const once = (): void => { calls.push('once') }
  app.server.on('upgrade', after)
  app.server.once('upgrade', once)
  for (let round = 0; round < 2; round++) {
    await app.signalbox.control('switch', { profile: 'SSE' })
    t.same(app.server.listeners('upgrade'), round === 0 ? [before, after, once] : [before, after])
    for (const name of ['before', 'after']) t.equal(await outcomeOf(new WebSocket(`${url}/${name}`)), 'Unexpected server response: 418')
    await app.signalbox.control('switch', { profile: 'WEBSOCKET' })
    t.equal(app.server.listenerCount('upgrade'), 1)
    t.equal(await outcomeOf(new WebSocket(`${url}/live/api/events/ws`)), 'open')
    for (const name of ['before', 'after']) t.equal(await outcomeOf(new WebSocket(`${url}/${name}`)), 'Unexpected server response: 418')
  }
  t.same(calls, ['before', 'once', ...Array(3).fill(['after', 'before']).flat(), 'after'])
})

async function outcomeOf (socket: WebSocket): Promise<string> {
  return await new Promise(resolve => {
    socket.once('open', () => { socket.terminate(); resolve('open') })
    socket.once('error', error => resolve(error.message))
  })
}

t.test('two gateways in one app, each with its own name, prefix and profile', async t => {
  const app = Fastify() as unknown as FastifyInstance & { orders: Signalbox }
  await app.register(signalbox, { dataDir: ':memory:', prefix: '/live' })
  await app.register(signalbox, { profile: 'WEBSOCKET', dataDir: ':memory:', prefix: '/orders', name: 'orders' })
  const url = await listen(t, app)
  const live = await follow(t, `${url}/live`)
  const orders = await follow(t, `${url}/orders`)
  await app.signalbox.publish({ type: 'a', data: 1 })
  await app.orders.publish({ type: 'b', data: 2 })
  await until(() => live.events.length + orders.events.length === 2)
  t.match([live.events, orders.events], [[{ type: 'a' }], [{ type: 'b' }]])
  const second = Fastify()
  await second.register(signalbox, { dataDir: ':memory:', prefix: '/a' })
  await t.rejects(async () => await second.register(signalbox, { dataDir: ':memory:', prefix: '/b' }), { message: /app\.signalbox exists already.*name: 'orders'/ })
  await second.close()
})

t.test('inside a scope with a prefix, and with parameters in it', async t => {
  const app = Fastify()
  await app.register(async scope => { await scope.register(signalbox, { dataDir: ':memory:', prefix: '/live' }) }, { prefix: '/v1/:tenant' })
  const url = await listen(t, app)
  t.match(await json(`${url}/v1/acme/live/api/profile`), { profile: 'SSE' })
  t.match(await json(`${url}/v1/%61cme/live/api/profile/`), { profile: 'SSE' })
})

t.test('without a prefix the app\'s own routes and its 404 stay', async t => {
  const app = Fastify()
  app.get('/', async () => 'my page')
  const url = await started(t, { prefix: '', profile: 'WEBSOCKET' }, app)
  t.equal(await (await fetch(url)).text(), 'my page')
  t.match(await json(`${url}/nothing`), { message: 'Route GET:/nothing not found' })
  t.match(await json(`${url}/api/events`, { method: 'PUT' }), { code: 'METHOD_NOT_ALLOWED' })
  t.match((await follow(t, url)).events, [])
})

t.test('pages below the prefix find what belongs to them', async t => {
  const url = await started(t)
  const page = await fetch(`${url}/live?x=1`)
  t.equal(page.url, `${url}/live/?x=1`, 'relative addresses need the slash')
  t.match(await page.text(), /dashboard\.js/)
  for (const path of ['/dashboard.js', '/client.js', '/docs/static/swagger-ui.css']) {
    const answer = await fetch(`${url}/live${path}`)
    t.equal(answer.status, 200, path)
    // Unread, it would keep its connection, and the app from closing, for more than a minute.
    await answer.arrayBuffer()
  }
  const docs = await (await fetch(`${url}/live/docs`)).text()
  t.match(docs, /src="\/live\/docs\/static\/swagger-initializer\.js"/)
  t.notMatch(docs, /"\/docs\//)
})

t.test('wrong options reject, all of them named', async t => {
  const app = Fastify()
  const error = await (async () => await app.register(signalbox, {
    maxRoomSise: 3, prefx: '/a', maxRoomSize: -1, pingTimeout: 60, port: 80, prefix: 'live', profile: 'SOAP', authorize: 'yes', allowAnonymous: true, corsOrigins: ['*'], redisUrl: 'http://me:secret@x'
  } as unknown as PluginOptions))().catch((error: Error) => error) as Error
  for (const part of [
    /maxRoomSise is not an option; did you mean maxRoomSize\?/, /prefx is not an option; did you mean prefix\?/, /^maxRoomSize is -1; allowed/m, /pingTimeout is 60 seconds; allowed: at most pingInterval/,
    /port is not an option here/, /prefix is "live"; allowed: a path such as \/live/, /^profile is "SOAP"; allowed: SSE or WEBSOCKET/m, /authorize must be a function/, /allowAnonymous contradicts authorize/, /corsOrigins .*\* is refused/
  ]) t.match(error.message, part)
  t.notMatch(error.message, /secret/)
  await app.close().catch(() => {})
})

t.test('the environment is not read', async t => {
  process.env.MAX_ROOM_SIZE = 'many'
  process.env.APP_PROFILE = 'WEBSOCKET'
  t.teardown(() => { delete process.env.MAX_ROOM_SIZE; delete process.env.APP_PROFILE })
  t.match(await json(`${await started(t)}/live/api/profile`), { profile: 'SSE' })
})

t.test('what it refuses is an error with code and statusCode', async t => {
  const app = Fastify()
  await started(t, { maxKeysPerRoom: 1 }, app)
  const { signalbox } = app
  await t.rejects(signalbox.publish({ type: 'x', room: '@system', data: 1 }), { code: 'BAD_EVENT', statusCode: 400, message: /rooms beginning with @/ })
  await signalbox.publish({ type: 'x', key: 'a', data: 1 })
  await t.rejects(signalbox.publish({ type: 'x', key: 'b', data: 1 }), { code: 'KEYS_FULL', statusCode: 409 })
  await t.rejects(signalbox.control('nothing'), { code: 'UNKNOWN_COMMAND', statusCode: 404 })
  await t.rejects(signalbox.control('tune', { MAX_ROOM_SIZE: -1 }), { code: 'BAD_COMMAND', statusCode: 400 })
  await t.rejects(signalbox.read({ wait: 61, lastEventId: '0-0' }), { code: 'BAD_SUBSCRIPTION', statusCode: 400 })
  const circle: Record<string, unknown> = {}
  circle.self = circle
  await t.rejects(signalbox.publish({ type: 'x', data: circle }, { idempotencyKey: 'a' }), { code: 'BAD_EVENT' })
})

t.test('whatever the program\'s store rejects with, a publish over HTTP has failed', async t => {
  const log = pino({ level: 'silent' })
  const store = new FailingStore(await openEmbeddedStore({ dataDir: ':memory:', durability: 'process', historySize: 0, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 60_000, clock: systemClock, log }))
  const lines: string[] = []
  const app = Fastify()
  await app.register(signalbox, { store, prefix: '/live', logger: pino({ level: 'error' }, { write: line => lines.push(line) }) })
  const url = await listen(t, app)
  for (const reason of ['no disk', null, Object.create(null), new Error('no disk')]) {
    store.fail('append', reason, { count: 1 })
    const answer = await fetch(`${url}/live/api/events`, post({ type: 'x', data: 1 }))
    t.match([answer.status, await answer.json()], [500, { statusCode: 500, code: 'INTERNAL' }], typeof reason)
  }
  t.equal(lines.length, 4)
  t.match(lines[0], /no disk/)
  t.equal((await fetch(`${url}/live/api/events`, post({ type: 'x', data: 1 }))).status, 202)
})

t.test('a repeat with its idempotencyKey returns the first answer', async t => {
  const app = Fastify()
  await started(t, {}, app)
  const event = { type: 'order', data: { at: new Date(0) } }
  const first = await app.signalbox.publish(event, { idempotencyKey: 'one' })
  t.same(await app.signalbox.publish(event, { idempotencyKey: 'one' }), first)
  await t.rejects(app.signalbox.publish({ type: 'order', data: 2 }, { idempotencyKey: 'one' }), { code: 'IDEMPOTENCY_CONFLICT', statusCode: 409 })
  t.match((await app.signalbox.read({ lastEventId: '0-0' })).events, [{ type: 'order', data: { at: '1970-01-01T00:00:00.000Z' } }])
})

t.test('the app reads what a client would', async t => {
  const app = Fastify()
  const url = await started(t, {}, app)
  await app.signalbox.publish([{ type: 'cpu', room: 'a', key: 'h', data: 1 }, { type: 'disk', room: 'a', key: 'h', data: 2 }, { type: 'cpu', room: 'b', key: 'h', data: 3 }])
  const { position, cursor, events } = await app.signalbox.read({ rooms: ['a', { room: 'b', types: ['cpu'] }], types: ['cpu'] })
  t.equal(position, 'new')
  t.match(events, [{ room: 'a', type: 'cpu', data: 1 }, { room: 'b', type: 'cpu', data: 3 }])
  const later = app.signalbox.read({ rooms: ['a', 'b'], types: ['cpu'], lastEventId: cursor, wait: 30 })
  await fetch(`${url}/live/api/events`, post({ type: 'cpu', room: 'b', key: 'h', data: 4 }))
  t.match(await later, { position: 'resumed', events: [{ room: 'b', data: 4 }] })
})

t.test('a gateway over the same directory goes on where the first one ended', async t => {
  const dataDir = await tempDir(t)
  const first = Fastify()
  await started(t, { dataDir }, first)
  const ids = await first.signalbox.publish({ type: 'cpu', key: 'h', data: 1 })
  await first.close()
  const second = Fastify()
  await started(t, { dataDir }, second)
  t.match((await second.signalbox.read()).events, [{ id: ids[0], data: 1 }])
})

t.test('an open gateway answers to the names it knows, until the program allows more', async t => {
  const { request } = await import('node:http')
  const as = async (url: string, host: string): Promise<number | undefined> => await new Promise((resolve, reject) => {
    request(`${url}/live/api/profile`, { headers: { Host: host } }, answer => { answer.resume(); resolve(answer.statusCode) }).on('error', reject).end()
  })
  t.equal(await as(await started(t), 'evil.example'), 421)
  t.equal(await as(await started(t, { allowedHosts: ['good.example'] }), 'good.example:80'), 200)
  t.equal(await as(await started(t, { allowAnonymous: true }), 'evil.example'), 200)
  t.equal(await as(await started(t, { authorize: () => null }), 'evil.example'), 200, 'one that knows who asks need not care')
})

for (const profile of PROFILES) {
  t.test(`${profile}: the app hears which rooms somebody watches`, async t => {
    const app = Fastify()
    const url = await started(t, { profile }, app)
    const heard: string[] = []
    const off = app.signalbox.on('occupied', room => heard.push(`occupied ${room}`))
    app.signalbox.on('vacated', room => heard.push(`vacated ${room}`))
    const { box } = await follow(t, `${url}/live`, { rooms: ['plant-1'] })
    await until(() => heard.length === 1)
    app.signalbox.on('occupied', room => heard.push(`known ${room}`))
    box.close()
    await until(() => heard.length === 3)
    t.same(heard, ['occupied plant-1', 'known plant-1', 'vacated plant-1'])
    off()
    t.throws(() => app.signalbox.on('full' as never, () => {}), { message: 'there is no event "full"; there are occupied and vacated' })
  })
}

for (const compression of ['on', 'off'] as const) {
  t.test(`the app's own tests may inject requests for the gateway, with compression ${compression}`, async t => {
    const app = Fastify()
    t.teardown(async () => await app.close())
    await app.register(signalbox, { dataDir: ':memory:', prefix: '/live', compression })
    t.match(await app.inject({ method: 'POST', url: '/live/api/events', payload: { type: 'x', key: 'k', data: 1 } }), { statusCode: 202 })
    t.match((await app.inject('/live/api/events')).json(), { events: [{ type: 'x', key: 'k', data: 1 }] })
    for (const path of ['api/profile', 'docs/json', '', 'client.js', 'readyz']) {
      for (const headers of [{}, { 'Accept-Encoding': 'gzip' }]) t.equal((await app.inject({ url: `/live/${path}`, headers })).statusCode, 200, `${path} ${JSON.stringify(headers)}`)
    }
  })
}
