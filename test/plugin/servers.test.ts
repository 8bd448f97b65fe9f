// The gateway behind servers that are not Fastify's: node:http, Express, Hono on Node.

import { createServer, request } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import { serve } from '@hono/node-server'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import express from 'express'
import { Hono } from 'hono'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { connect } from '../../src/client/node.ts'
import type { Event } from '../../src/client/node.ts'
import { createSignalbox } from '../../src/plugin/index.ts'
import type { Options, SignalboxServer } from '../../src/plugin/index.ts'
import { tempDir } from '../store/harness.ts'
import { PROFILES } from '../wire/harness.ts'

const logger = pino({ level: 'silent' })

async function boxed (t: Test, options: Options = {}): Promise<SignalboxServer> {
  const box = await createSignalbox({ dataDir: ':memory:', prefix: '/live', logger, ...options })
  t.teardown(box.close)
  return box
}

async function listen (t: Test, server: Server): Promise<string> {
  if (!server.listening) await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.close(); server.closeAllConnections() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** As Java's HttpClient asks. */
const offered = async (url: string, body: string): Promise<unknown> => await new Promise((resolve, reject) => {
  request(url, { method: 'POST', headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'Content-Type': 'application/json' } }, answer => {
    answer.setEncoding('utf8').on('data', text => resolve(JSON.parse(text)))
  }).on('error', reject).end(body)
})

async function heard (t: Test, url: string, publish: () => Promise<unknown>): Promise<Event[]> {
  const events: Event[] = []
  const box = connect(url, { WebSocket: WebSocket as never, rooms: ['a'] })
  t.teardown(() => box.close())
  box.on('event', event => events.push(event))
  await new Promise<void>(resolve => box.on('ready', () => resolve()))
  await publish()
  for (let waited = 0; events.length === 0 && waited < 1000; waited++) await delay(10)
  return events
}

const json = async (url: string, init?: RequestInit): Promise<any> => await (await fetch(url, init)).json()
const post = (body: unknown): RequestInit => ({ method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } })
const page: RequestListener = (_request, response) => response.end('theirs')

/** Every server, with the gateway below /live and a page of its own elsewhere. */
const SERVERS: Readonly<Record<string, (t: Test, box: SignalboxServer) => Promise<Server>>> = {
  'node:http': async (_t, box) => createServer((request, response) => box.handle(request, response, () => page(request, response as never))),
  Express: async (_t, box) => {
    const app = express()
    app.use('/live', box.handle)
    app.use(express.json())
    app.use(page)
    return createServer(app)
  },
  'Express at its root': async (_t, box) => {
    const app = express()
    app.use(box.handle)
    app.use(page)
    return createServer(app)
  },
  Hono: async (_t, box) => {
    const app = new Hono<{ Bindings: HttpBindings }>()
    app.all('/live/*', ({ env }) => {
      box.handle(env.incoming, env.outgoing)
      return RESPONSE_ALREADY_SENT
    })
    app.all('*', context => context.text('theirs'))
    return await new Promise<Server>(resolve => { const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, () => resolve(server as Server)) })
  }
}

for (const [name, make] of Object.entries(SERVERS)) {
  for (const profile of PROFILES) {
    t.test(`${name}, ${profile}: what the program publishes reaches a client, and the rest of the server is its own`, async t => {
      const box = await boxed(t, { profile })
      const server = await make(t, box)
      server.on('upgrade', box.upgrade)
      const url = await listen(t, server)
      t.match(await heard(t, `${url}/live`, async () => await box.publish({ type: 'x', room: 'a', data: 1 })), [{ type: 'x', data: 1 }])
      t.match(await json(`${url}/live/api/events`, post({ type: 'x', data: 1 })), { ids: [/-/] })
      t.match(await offered(`${url}/live/api/events`, JSON.stringify({ type: 'x', data: 2 })), { ids: [/-/] }, 'also with an offer to upgrade that nobody takes')
      t.match(await json(`${url}/live/nothing`), { statusCode: 404, code: 'NOT_FOUND' })
      t.equal(await (await fetch(`${url}/lively`)).text(), 'theirs')
      const socket = new WebSocket(`${url.replace('http', 'ws')}/theirs`)
      t.match(await new Promise(resolve => socket.once('error', ({ message }) => resolve(message))), /Unexpected server response: 200/, 'an upgrade that nobody wants is answered without')
    })
  }
}

t.test('Express without a prefix of the gateway\'s: by the path that Express routes by', async t => {
  const box = await boxed(t, { prefix: '' })
  const app = express()
  app.use('/deep/live', box.handle)
  app.use(page)
  const url = await listen(t, createServer(app))
  t.match(await heard(t, `${url}/deep/live`, async () => await box.publish({ type: 'x', room: 'a', data: 1 })), [{ data: 1 }])
  t.equal((await fetch(`${url}/deep/live`)).url, `${url}/deep/live/`)
  t.equal(await (await fetch(`${url}/deep/live/nothing`)).text(), 'theirs', 'unknown paths are passed on')
})

t.test('a body that a parser took before is named, not waited for', async t => {
  const box = await boxed(t)
  const app = express()
  app.use(express.json())
  app.use('/live', box.handle)
  const url = await listen(t, createServer(app))
  t.match(await json(`${url}/live/api/events`, post({ type: 'x', data: 1 })), { statusCode: 500, message: /POST \/api\/events was read before.*mount signalbox before body parsers/ })
  t.match(await json(`${url}/live/api/profile`), { profile: 'SSE' }, 'what has no body is answered')
})

t.test('authorize is given the request of the server', async t => {
  const box = await boxed(t, { authorize: ({ headers, method }) => headers['x-user'] === 'ada' && method === 'POST' ? { publish: ['a'] } : null })
  const url = await listen(t, createServer(box.handle))
  t.match(await json(`${url}/live/api/events`, { ...post({ type: 'x', room: 'a', data: 1 }), headers: { 'X-User': 'ada', 'Content-Type': 'application/json' } }), { ids: [/-/] })
  t.match(await json(`${url}/live/api/events`, post({ type: 'x', room: 'a', data: 1 })), { code: 'UNAUTHENTICATED' })
  t.match(await json(`${url}/elsewhere`), { statusCode: 404, message: /the gateway is at \/live\// })
})

t.test('another WebSocket server on the same server keeps its handshakes', async t => {
  const box = await boxed(t, { profile: 'WEBSOCKET' })
  const theirs = new WebSocketServer({ noServer: true })
  const server = createServer(box.handle)
  server.on('upgrade', (request, socket, head) => {
    if (!box.upgrade(request, socket, head)) theirs.handleUpgrade(request, socket, head, client => client.send('theirs'))
  })
  server.on('upgrade', () => {})
  const url = await listen(t, server)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/theirs`)
  t.equal(String(await new Promise(resolve => socket.once('message', resolve))), 'theirs')
  socket.terminate()
  t.match(await heard(t, `${url}/live`, async () => await box.publish({ type: 'x', room: 'a', data: 1 })), [{ data: 1 }])
})

t.test('closing ends its connections, and leaves the server alone', async t => {
  const box = await boxed(t)
  const server = createServer((request, response) => box.handle(request, response, () => page(request, response as never)))
  const url = await listen(t, server)
  const stream = await fetch(`${url}/live/api/events/stream`)
  const text = stream.text().catch(() => 'broken off')
  await box.close()
  t.match(await text, /event: bye\ndata: \{"reason":"DRAINING"|broken off/)
  t.equal(await (await fetch(`${url}/`)).text(), 'theirs')
  t.match(await json(`${url}/live/readyz`), { statusCode: 503, code: 'DRAINING' })
  await t.rejects(box.publish({ type: 'x', data: 1 }), { code: 'DRAINING' })
})

t.test('a directory that is in use, or none, is one sentence with a code', async t => {
  const dataDir = await tempDir(t)
  await boxed(t, { dataDir })
  const error = await createSignalbox({ dataDir, logger }).catch((error: Error) => error) as Error
  t.match(error, { code: 'DATA_DIR_IN_USE', message: `dataDir ${dataDir} is in use by another running Signalbox: stop that one, or give this one a dataDir of its own`, cause: undefined })
  t.equal(inspect(error).split('\n').length, 3, 'no trace')
  await t.rejects(createSignalbox({ dataDir: import.meta.filename, logger }), { code: 'DATA_DIR_UNUSABLE', message: /^dataDir .* is no directory/ })
})

t.test('wrong options reject, all of them named', async t => {
  await t.rejects(createSignalbox({ name: 'orders', dataDri: '/tmp', maxRooms: 0 } as never), { name: 'ConfigError', problems: [/name is not an option/, /dataDri is not an option; did you mean dataDir\?/, /maxRooms is 0; allowed/] })
  await t.rejects(createSignalbox(null as never), { name: 'ConfigError' })
})
