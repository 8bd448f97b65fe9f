// The client in Node.

import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { WebSocket } from 'ws'
import type { Test as Tap } from 'tap'
import { connect } from '../../src/client/node.ts'
import type { Box, ConnectOptions, Event, Status } from '../../src/client/node.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'
import { Proxy } from './proxy.ts'
import { record } from './record.ts'
import { clientSuite } from './suite.ts'

clientSuite(t, {
  name: 'Node',
  async open (t, url, options) {
    const box = connect(url, options as ConnectOptions)
    t.teardown(() => box.close())
    return record(box)
  }
})

/** Runs a module until Node exits by itself. @returns ms */
async function runToItsEnd (lines: string): Promise<number> {
  const begun = Date.now()
  const client = fileURLToPath(new URL('../../dist/src/client/node.js', import.meta.url))
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', `import { connect } from ${JSON.stringify(`file://${client}`)}\n${lines}`], { timeout: 20_000 })
  return Date.now() - begun
}

t.test('a closed client leaves nothing behind that keeps Node running', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder(), ENABLE_CONTROL_HTTP: 'false' })
  const proxy = await Proxy.start(t, server.port)
  proxy.answer(/^GET \/api\/profile/, '503 Service Unavailable', { 'Retry-After': '60' }, { statusCode: 503, code: 'OVERLOADED', message: 'no place just now' })
  const ms = [
    await runToItsEnd(`
      const box = connect('${proxy.url}')
      box.on('status', ({ reason }) => { if (reason === 'no place just now') box.close() })`),
    await runToItsEnd(`
      const box = connect('${server.url}')
      const { result } = await box.control('ping')
      if (result.pong) box.close()`)
  ]
  for (const each of ms) t.ok(each < 8000, `it ran for ${each} ms`)
})

t.test('an address without a host is refused where there is no page to take it from', async t => {
  const { RobustEventSource } = await import('../../src/client/node.ts')
  const absolute = { name: 'TypeError', message: /url must begin with http:.*, or on a page be a path.* "\// }
  t.throws(() => connect('/'), absolute)
  t.throws(() => new RobustEventSource('/api/events/stream?rooms=a'), absolute)
})

t.test('a mistake of the caller is named at once', async t => {
  const { RobustEventSource } = await import('../../src/client/node.ts')
  const url = 'http://127.0.0.1:1'
  const named = (options: unknown, message: RegExp): void => {
    t.throws(() => connect(url, options as object), { name: 'TypeError', message })
    t.throws(() => new RobustEventSource(`${url}/api/events/stream`, options as object), { name: 'TypeError', message })
  }
  named({ room: 'plant-1' }, /unknown option "room"; there are rooms, types, share, paceMs, pauseHidden, lastEventId, token, credentials, WebSocket/)
  for (const rooms of ['plant-1', [7], [''], ['a,b'], new Set(['a'])]) named({ rooms }, /^rooms must be a list of names/)
  named({ types: { cpu: true } }, /^types must be/)
  named({ lastEventId: 7 }, /^lastEventId must be/)
  named({ token: 7 }, /^token must be/)
  named({ credentials: 'omit' }, /^credentials must be same-origin or include/)
  named({ share: 'yes' }, /^share must be/)
  for (const paceMs of ['1000', -1, 0.5, 60_001, NaN]) named({ paceMs }, /^paceMs must be a whole number up to 60000/)
  named({ pauseHidden: 0 }, /^pauseHidden must be true or false/)
  named({ WebSocket: {} }, /^WebSocket must be/)
  named('plant-1', /options must be an object/)
  for (const wrong of ['localhost:3000', '127.0.0.1:3000', 'gateway', 'ws://127.0.0.1:3000', '', undefined]) {
    t.throws(() => connect(wrong as string), { name: 'TypeError', message: /must begin with http:/ }, String(wrong))
  }
  t.throws(() => connect('http://user:word@127.0.0.1:3000'), { name: 'TypeError', message: /user name/ })

  const box = connect(new URL(url), { lastEventId: null, rooms: undefined } as object)
  t.teardown(() => box.close())
  t.throws(() => box.on('events' as 'event', () => {}), { name: 'TypeError', message: /event, status, hello, reset, ready, error.*"events"/ })
  t.throws(() => box.on('event', 'handle' as never), { name: 'TypeError', message: /string/ })
  const circle: { of?: object } = {}
  circle.of = circle
  await t.rejects(box.control('ping', circle), { name: 'TypeError' })
  await t.rejects(box.control('ping', { n: 1n }), { name: 'TypeError' })
  await t.rejects(box.control('ping', {}, { idempotencyKey: '→' }), { name: 'TypeError' })
  await t.rejects(box.control('ping', {}, { idempotencykey: 'a' } as object), { name: 'TypeError', message: /unknown option "idempotencykey"/ })
})

/** @returns the first status with a reason */
async function complaint (test: Tap, box: Box): Promise<Status & { code?: string, reason?: string }> {
  test.teardown(() => box.close())
  await until('it complains', async () => 'reason' in box.status)
  return box.status
}

t.test('what stands in the gateway\'s place is named', { buffered: true }, async t => {
  const site = createServer((_request, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html>'))
  t.teardown(() => { site.closeAllConnections(); site.close() })
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  t.match(await complaint(t, connect(url)), { code: 'NOT_A_GATEWAY', reason: `${url}/api/profile is not answered by a Signalbox gateway; the answer is text/html` })

  // The profile is the gateway's, the stream is not.
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const proxy = await Proxy.start(t, server.port)
  proxy.answer(/^GET \/api\/events/, '200 OK', { 'Content-Type': 'text/html' }, '<!doctype html>')
  t.match(await complaint(t, connect(proxy.url)), { code: 'NOT_A_GATEWAY', reason: /\/api\/events\/stream.*text\/html/ })
  for (const profile of [null, 7, 'no', {}, { stream: null, websocket: null, pingIntervalMs: 1000 }, { stream: '/a', pingIntervalMs: 'often' }]) {
    proxy.answer(/^GET \/api\/profile/, '200 OK', {}, profile)
    t.match(await complaint(t, connect(proxy.url)), { code: 'NOT_A_GATEWAY' }, JSON.stringify(profile))
  }
})

t.test('a token that cannot be had, or that no header can hold, is named', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const failing = connect(server.url, { token: () => { throw new Error('the login has expired') } })
  t.match(await complaint(t, failing), { code: 'NO_TOKEN', reason: 'no token: the login has expired' })
  await t.rejects(failing.control('ping'), { name: 'ControlError', code: 'NO_TOKEN', message: /expired/ })
  t.match(await complaint(t, connect(server.url, { token: 'a\nb' })), { code: 'NO_TOKEN' })
})

t.test('a platform without WebSocket is named, where the gateway needs it', { skip: globalThis.WebSocket !== undefined, buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder() })
  const { connect } = await import('../../src/client/index.ts')
  t.match(await complaint(t, connect(server.url)), { code: 'NO_WEBSOCKET', reason: /option WebSocket/ })
})

t.test('a handshake that fails is over at once, also where the WebSocket class reports no close; the gateway\'s refusal is the reason', { buffered: true }, async t => {
  /** As Node 22's own: nobody hears of its close. */
  class Mute extends WebSocket {
    constructor (address: string) {
      super(address)
      Object.defineProperty(this, 'onclose', { set () {}, get: () => null })
    }
  }
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder() })
  const proxy = await Proxy.start(t, server.port)
  for (const Socket of [WebSocket, Mute]) {
    const refuse = (status: string, body: object): void => {
      for (let n = 0; n < 2; n++) proxy.answer(/^GET \/api\/events\/ws/, status, {}, body)
    }
    refuse('403 Forbidden', { statusCode: 403, code: 'FORBIDDEN', message: 'pages of this origin may not connect; CORS_ORIGINS lists those that may' })
    const begun = Date.now()
    t.match(await complaint(t, connect(proxy.url, { WebSocket: Socket as never })), { state: 'refused', code: 'FORBIDDEN', reason: /CORS_ORIGINS/ })
    t.ok(Date.now() - begun < 14_000, `after ${Date.now() - begun} ms, not when the time for an answer is over`)
    const second = Date.now()
    proxy.answer(/^GET \/api\/events\/ws/, '403 Forbidden', {}, '')
    t.match(await complaint(t, connect(proxy.url, { WebSocket: Socket as never })), { state: 'connecting', code: 'NO_UPGRADE', reason: /the gateway answers, but opens no WebSocket.*CORS_ORIGINS.*proxy/ })
    t.ok(Date.now() - second < 14_000)
  }
})

t.test('names go into the address as they are, and an address that is too long for a proxy or the gateway is refused for good', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 0 })
  const proxy = await Proxy.start(t, server.port)
  const rooms = Array.from({ length: 90 }, (_, n) => `plant:${n}/hall-${'x'.repeat(105)}/a.b_c`)
  const box = connect(proxy.url, { rooms: [...rooms, '@public'], types: ['a/b:c', 'cpu'] })
  t.teardown(() => box.close())
  await until('it is connected', async () => box.status.state === 'connected')
  t.ok(proxy.passed.some(({ line }) => line.startsWith(`GET /api/events/stream?rooms=${rooms.join()},@public`.slice(0, 1500))))
  t.match(await complaint(t, connect(server.url, { rooms: Array.from({ length: 900 }, (_, n) => `${n}-${'x'.repeat(100)}`) })), { state: 'refused', code: 'TOO_LARGE', reason: /may not exceed \d+ KiB; name fewer rooms and types/ })
  proxy.answer(/^GET \/api\/events/, '414 URI Too Long', {}, '<html>')
  t.match(await complaint(t, connect(proxy.url, { rooms: ['a'] })), { state: 'refused', code: '414', reason: /name fewer/ })
})

for (const profile of PROFILES) {
  t.test(`heartbeats over ${profile}, comments or positions, keep a quiet connection alive and its place`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), PING_INTERVAL: 3, PING_TIMEOUT: 3, COMPRESSION: 'off' })
    const proxy = await Proxy.start(t, server.port)
    const box = connect(proxy.url, { rooms: ['a'] })
    t.teardown(() => box.close())
    const states: string[] = []
    box.on('status', ({ state }) => states.push(state))
    await until('it is connected', async () => box.status.state === 'connected')
    const first = box.lastEventId
    await request(`${server.url}/api/events`, { json: { type: 'log', room: 'b', data: 1 } })
    await until('its place has moved on', async () => box.lastEventId !== first)
    const second = box.lastEventId
    await delay(8000)
    t.equal(box.lastEventId, second)
    // As of the gateway's next version.
    if (profile === 'SSE') proxy.send('1a\r\nevent: position\ndata: {}\n\n\r\n')
    await delay(500)
    t.equal(box.lastEventId, second, 'a position without an id moves nothing')
    t.same(states, ['catching-up', 'connected'])
  })
}

t.test('onWait reports when a command waits for its turn, and for how long', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder(), CONTROL_RATE_LIMIT: 2 })
  const proxy = await Proxy.start(t, server.port)
  const box = connect(proxy.url)
  t.teardown(() => box.close())
  await until('it is connected', async () => box.status.state === 'connected')
  const waits: Array<readonly [number, string]> = []
  const onWait = (retryMs: number, code: string): void => { waits.push([retryMs, code]) }
  await box.control('ping', {}, { onWait })
  t.same(waits, [], 'not if it is accepted at once')
  await Promise.all([1, 2, 3].map(async () => await box.control('ping', {}, { onWait })))
  t.ok(waits.length > 0 && waits.every(([retryMs, code]) => code === 'RATE_LIMITED' && retryMs > 0 && retryMs < 2500), JSON.stringify(waits))
  waits.length = 0
  proxy.answer(/^POST/, '502 Bad Gateway', {}, '<html>')
  await box.control('ping', {}, { onWait })
  t.match(waits, [[Number, '502']])
  waits.length = 0
  await proxy.down()
  const order = box.control('ping', {}, { onWait })
  await until('it is reported', async () => waits.length > 0)
  await proxy.up()
  t.match(await order, { result: { pong: true } })
  t.equal(waits[0]?.[1], 'UNREACHABLE')
})

/** Connects 40 clients. @returns for each the waits that it announces, ms, once half of them have announced `count` */
async function waitsOf (test: Tap, url: string, count: number): Promise<number[][]> {
  const clients = Array.from({ length: 40 }, () => {
    const box = connect(url, { rooms: ['a'] })
    test.teardown(() => box.close())
    const waits: number[] = []
    box.on('status', (status: Status) => {
      if ('retryMs' in status && typeof status.retryMs === 'number') waits.push(status.retryMs)
    })
    return waits
  })
  await until(`they have announced ${count} waits`, async () => clients.filter(({ length }) => length >= count).length >= 20)
  return clients
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

for (const profile of PROFILES) {
  t.test(`clients at the door of a full room over ${profile} come ever more seldom, and never before the gateway's time`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 1 })
    const member = connect(server.url, { rooms: ['a'] })
    t.teardown(() => member.close())
    await until('the room is full', async () => member.status.state === 'connected')
    const clients = await waitsOf(t, server.url, 4)
    const shortest = Math.min(...clients.flat())
    t.ok(shortest >= 1000, `the shortest wait was ${shortest} ms`)
    const [first, fourth] = [0, 3].map(n => mean(clients.flatMap(waits => waits[n] ?? []))) as [number, number]
    t.ok(first <= 2000 && fourth > 2500, `the first wait was ${Math.round(first)} ms, the fourth ${Math.round(fourth)} ms`)
  })
}

t.test('while nobody answers, clients spread their attempts, and no wait is longer than 5 s', { buffered: true }, async t => {
  const clients = await waitsOf(t, `http://127.0.0.1:${await freePort()}`, 6)
  const longest = Math.max(...clients.flat())
  t.ok(longest <= 5000 && longest > 2500, `the longest wait was ${longest} ms`)
  t.ok(new Set(clients.map(([first]) => first)).size > 20, 'each its own')
})

t.test('after close() nothing is delivered, not even the rest of a bundle', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  await request(`${server.url}/api/events`, { json: [1, 2, 3].map(data => ({ type: 'cpu', key: String(data), data })) })
  const box = connect(server.url)
  let events = 0
  box.on('event', () => {
    events++
    box.close()
  })
  await until('it is closed', async () => box.status.state === 'closed')
  t.equal(events, 1)
})

for (const profile of PROFILES) {
  t.test(`the earlier client's names work over ${profile}`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), CONTROL_RATE_LIMIT: 2 })
    const { RobustEventSource, ControlAPI } = await import('../../src/client/node.ts')
    const handled: Event[] = []
    class Mine extends RobustEventSource {
      override handleEvent (event: Event): void { handled.push(event) }
    }
    const source = new Mine(`${server.url}/api/events/stream?rooms=a,b&types=cpu`)
    t.teardown(() => source.close())
    await until('it is connected', async () => source.box.status.state === 'connected')
    const json = [['cpu', 'a'], ['log', 'a'], ['cpu', 'b'], ['cpu', 'c']].map(([type, room], data) => ({ type, room, data }))
    await request(`${server.url}/api/events`, { json })
    await until('they are there', async () => handled.length === 2)
    t.same(handled.map(({ data }) => data), [0, 2])

    const proxy = await Proxy.start(t, server.port)
    const api = new ControlAPI(`${proxy.url}/api/control`)
    proxy.cutAnswer(/^POST/, 1)
    t.match(await api.execute({ command: 'ping', args: {} }), { ok: true, command: 'ping', result: { pong: true } }, 'after a lost answer')
    t.match(await Promise.all([1, 2, 3].map(async () => await api.execute({ command: 'ping', args: {} }))), [{ ok: true }, { ok: true }, { ok: true }], 'after one too many')
    t.match(await api.execute({ command: 'nonsense', args: {} }), { code: 'UNKNOWN_COMMAND' }, 'refusals are answers')
    await proxy.down()
    await t.rejects(api.execute({ command: 'ping', args: {} }, 1))
  })
}
