// The WebSocket's own door: its messages, its limits, its close codes.

import { connect } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WireClient } from './client.ts'
import type { Arrived } from './client.ts'
import { startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'WEBSOCKET', ...options })
  t.teardown(async () => await started.close())
  return started
}

async function open (t: Test, { port }: Server): Promise<WireClient> {
  const client = await WireClient.open('WEBSOCKET', port, { rooms: ['home'] })
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  return client
}

/** Says something and waits for the answer with its ref. */
async function ask (client: WireClient, message: object): Promise<Arrived & { data: Record<string, any> }> {
  const ref = (message as { ref?: unknown }).ref ?? Math.random()
  client.say({ ...message, ref })
  const answer = (): Arrived | undefined => client.messages.find(message => 'ref' in message && message.ref === ref)
  await client.until(() => answer() !== undefined)
  return answer() as Arrived & { data: Record<string, any> }
}

t.test('join, leave, ping and control are answered with their ref', async t => {
  const s = await server(t, { limits: { maxRoomSize: 2 } })
  const client = await open(t, s)
  t.match(client.messages[0], { kind: 'hello', data: { profile: 'WEBSOCKET', protocol: 1, session: String, tickMs: 20 } })
  t.match(await ask(client, { action: 'join', rooms: ['a', { room: 'b', types: ['x'] }] }), { kind: 'joined', data: { rooms: ['a', 'b'], members: { a: 1, b: 1 }, position: 'new', cursor: String } })
  t.match(await ask(client, { action: 'ping' }), { kind: 'pong' })
  t.match(await ask(client, { action: 'control', command: 'ping' }), { kind: 'result', data: { ok: true, command: 'ping', result: { pong: true } } })
  t.match(await ask(client, { action: 'control', command: 'nothing' }), { kind: 'error', data: { code: 'UNKNOWN_COMMAND', statusCode: 404 } })
  t.match(await ask(client, { action: 'leave', rooms: ['a', 'never-joined'] }), { kind: 'left', data: { rooms: ['a'], cursor: String } })
  t.match(await ask(client, { action: 'join' }), { kind: 'joined', data: { rooms: ['@public'] } })
  await s.publish({ type: 'x', room: 'a', data: 'left' }, { type: 'x', room: 'b', data: 1 }, { type: 'y', data: 2 })
  await client.until(() => client.events.length === 2)
  t.same(client.events.map(({ data }) => data), [1, 2])
  const others = [await open(t, s)]
  t.match(await ask(others[0] as WireClient, { action: 'join', room: 'b' }), { kind: 'joined', data: { members: { b: 2 } } })
  t.match(await ask(client, { action: 'leave' }), { data: { rooms: ['@public'] } })
  const names = Array.from({ length: 100_000 }, (_, index) => `room-${index}`)
  t.match(await ask(client, { action: 'leave', rooms: names }), { kind: 'error', data: { code: 'BAD_SUBSCRIPTION', message: /1000 rooms/ } })
})

t.test('a full room refuses the whole join, names it, and the connection stays open', async t => {
  const s = await server(t, { limits: { maxRoomSize: 2 } })
  const [one, two, three] = [await open(t, s), await open(t, s), await WireClient.open('WEBSOCKET', s.port, { rooms: ['elsewhere'] })]
  await three.untilKind('ready')
  t.match(await ask(three, { action: 'join', rooms: ['free', 'home'] }), { kind: 'error', data: { code: 'ROOM_FULL', message: /home/, rooms: ['home'] } })
  t.equal(s.gateway.view.room('free'), undefined)
  t.match(await ask(three, { action: 'join', room: 'free' }), { kind: 'joined' })
  one.cut()
  await one.until(() => s.gateway.view.room('home')?.members === 1)
  t.match(await ask(three, { action: 'join', room: 'home' }), { kind: 'joined', data: { members: { home: 2 } } })
  two.cut()
  three.cut()
})

t.test('a cursor counts in the first join; a later one with a cursor is reset, for its rooms only', async t => {
  const s = await server(t)
  const client = await open(t, s)
  await s.publish({ type: 'g', room: 'a', key: 'k', data: 1 }, { type: 'log', room: 'home', data: 1 })
  await client.until(() => client.events.length === 1)
  t.match(await ask(client, { action: 'join', room: 'a', lastEventId: client.cursor }), { kind: 'joined', data: { position: 'reset', cursor: null } })
  t.match(await client.untilKind('reset'), { data: { reason: 'unknown', missed: null, rooms: ['a'], cursor: String } })
  await client.untilKind('ready', 2)
  t.same(client.events.map(({ room }) => room), ['home', 'a'])
  t.match(await ask(client, { action: 'join', room: 'a' }), { data: { position: 'resumed' } }, 'joining it again begins nothing')
})

t.test('an invalid message gets an error and the connection stays open', async t => {
  const s = await server(t, { limits: { maxEventsPerSecondPerClient: 0 } })
  const client = await open(t, s)
  const bad = ['', 'not json', '{}', '[]', 'null', '"x"', '{"action":[]}', '{"action":"toString"}', '{"action":"events"}', '{"action":"join","room":1}', '{"action":"join","room":"a b"}', '{"action":"join","room":"a","rooms":["b"]}',
    '{"action":"join","rooms":"a"}', '{"action":"join","rooms":[{"room":"a","typs":[]}]}', '{"action":"join","room":"a","types":[]}', '{"action":"join","lastEventId":5}', '{"action":"leave","room":1}', '{"action":"ping","x":1}', '{"__proto__":1}']
  for (const [index, text] of bad.entries()) {
    client.say(text)
    const error = await client.untilKind('error', index + 1)
    t.match(error, { data: { code: /^BAD_(MESSAGE|SUBSCRIPTION)$/, message: String } }, text)
  }
  t.match(await ask(client, { action: 'ping' }), { kind: 'pong' })
})

t.test('messages over the limit of a second are refused with a time to wait', async t => {
  const s = await server(t, { limits: { maxEventsPerSecondPerClient: 5 } })
  const client = await open(t, s)
  for (let n = 0; n < 12; n++) client.say({ action: 'ping', ref: n })
  t.match(await client.untilKind('error'), { data: { code: 'RATE_LIMITED', retryMs: Number } })
  await client.until(() => client.messages.length >= 2 + 12)
  t.ok(client.messages.filter(({ kind }) => kind === 'pong').length <= 5)
})

t.test('commands over the socket count in the same window as those over HTTP', async t => {
  const s = await server(t, { limits: { controlRateLimit: 3, maxEventsPerSecondPerClient: 0 } })
  const client = await open(t, s)
  const answers: Array<Promise<string>> = []
  for (let n = 0; n < 5; n++) {
    answers.push(ask(client, { action: 'control', command: 'ping' }).then(({ kind }) => kind))
    answers.push(fetch(`${s.url}/api/control`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"command":"ping"}' }).then(({ status }) => status === 200 ? 'result' : 'error'))
  }
  const taken = (await Promise.all(answers)).filter(kind => kind === 'result').length
  t.ok(taken >= 3 && taken <= 6, `${taken} of 10 in at most two windows`)
})

t.test('one idempotency key runs a command once, over either transport', async t => {
  let runs = 0
  const s = await server(t, { commands: { once: { handler: () => ++runs } } })
  const client = await open(t, s)
  const socket = await ask(client, { action: 'control', command: 'once', idempotencyKey: 'k' })
  const http = await (await fetch(`${s.url}/api/control`, { method: 'POST', headers: { 'content-type': 'application/json', 'idempotency-key': 'k' }, body: '{"command":"once"}' })).json()
  t.same(http, socket.data)
  t.equal(runs, 1)
})

t.test('close codes: 1003 binary, 1008 too many errors, 1009 too large, 1001 no pong', async t => {
  const s = await server(t, { limits: { maxHttpBufferSize: 5000, maxEventsPerSecondPerClient: 0 } })
  const code = async (act: (client: WireClient) => void): Promise<number | null> => {
    const client = await open(t, s)
    act(client)
    await client.until(() => client.closeCode !== null || client.closed)
    return client.closeCode
  }
  t.equal(await code(client => client.sendFrame(2, Buffer.from('x'))), 1003)
  t.equal(await code(client => { for (let n = 0; n < 25; n++) client.say('nonsense') }), 1008)
  t.equal(await code(client => client.say({ action: 'ping', ref: 'x'.repeat(5000) })), 1009)
  t.equal(await code(client => client.sendFrame(1, Buffer.from([0xff, 0xfe]))), 1007)
  const strict = await server(t, { pingInterval: 0.3, pingTimeout: 1 })
  const [deaf, healthy] = [await open(t, strict), await open(t, strict)]
  deaf.pongs = false
  await deaf.until(() => deaf.closed || deaf.closeCode !== null)
  t.equal(deaf.closeCode, 1001)
  await new Promise(resolve => setTimeout(resolve, 300))
  t.notOk(healthy.closed, 'who answers stays')
})

t.test('a client that does not read its answers is no longer read, and is disconnected in time', async t => {
  const s = await server(t, { limits: { maxEventsPerSecondPerClient: 0, controlRateLimit: 0, slowClientTimeoutMs: 3000 }, pingInterval: 0.2, pingTimeout: 2 })
  await s.publish(...Array.from({ length: 900 }, (_, n) => ({ type: 'x', room: `room-${n}`, key: 'k', data: 1 })))
  const client = await WireClient.open('WEBSOCKET', s.port, { join: false })
  await client.untilKind('hello')
  client.socket.pause()
  let taken = 0
  for (let n = 0; n < 400; n++) {
    client.say({ action: 'control', command: 'rooms', args: { limit: 1000 }, ref: n })
    if (n % 20 === 0) await new Promise(resolve => setTimeout(resolve, 5))
    taken = Math.max(taken, client.socket.bytesWritten - client.socket.writableLength)
  }
  await client.until(() => s.gateway.view.sessions.stalled === 1)
  await client.until(() => s.gateway.view.sessions.count === 0)
  t.equal(s.gateway.counters.slow, 1)
  client.cut()
})

t.test('a client that reads its answers late is read again', async t => {
  const s = await server(t, { limits: { maxEventsPerSecondPerClient: 0, controlRateLimit: 0 }, pingInterval: 0.1, pingTimeout: 20 })
  await s.publish(...Array.from({ length: 900 }, (_, n) => ({ type: 'x', room: `room-${n}`, key: 'k', data: 1 })))
  const client = await WireClient.open('WEBSOCKET', s.port, { join: false })
  await client.untilKind('hello')
  client.socket.pause()
  for (let n = 0; n < 100; n++) {
    for (let m = 0; m < 3; m++) client.say({ action: 'control', command: 'rooms', args: { limit: 1000 } })
    client.say({ action: 'ping' })
    await new Promise(resolve => setTimeout(resolve, 3))
  }
  await client.until(() => s.gateway.view.sessions.stalled === 1)
  client.socket.resume()
  await client.until(() => client.messages.filter(({ kind }) => kind === 'pong').length === 100)
  t.match(await ask(client, { action: 'ping' }), { kind: 'pong' })
  client.cut()
})

t.test('messages on a closed connection have no effect', async t => {
  const s = await server(t)
  const client = await open(t, s)
  t.equal(await s.gateway.operator.disconnect({ room: 'home' }), 1)
  client.say({ action: 'join', room: 'ghosts' })
  await client.until(() => client.closed)
  t.equal(s.gateway.view.totals.rooms, 0)
})

t.test('the number of rooms and types in a subscription is limited', async t => {
  const s = await server(t, { limits: { maxEventsPerSecondPerClient: 0 } })
  const client = await open(t, s)
  const many = (count: number): object[] => Array.from({ length: count }, (_, n) => ({ room: 'a', types: [`type-number-${n}`] }))
  t.match(await ask(client, { action: 'join', rooms: many(5000) }), { kind: 'error', data: { code: 'BAD_SUBSCRIPTION', message: /1000 rooms/ } })
  t.match(await ask(client, { action: 'join', rooms: many(1000) }), { kind: 'error', data: { code: 'BAD_SUBSCRIPTION', message: /so many different types/ } })
  t.match(await ask(client, { action: 'join', rooms: many(100) }), { kind: 'joined' })
  t.match(await ask(client, { action: 'ping', ref: 'x' }), { kind: 'pong' })
  client.say({ action: 'ping', ref: 'x'.repeat(201) })
  t.match(await client.untilKind('error', 3), { data: { code: 'BAD_MESSAGE', message: /ref/ } })
})

t.test('a handshake from a page of another origin is refused', async t => {
  const s = await server(t, { corsOrigins: ['https://app.example.com'] })
  const status = async (origin: string | null): Promise<string> => await new Promise((resolve, reject) => {
    const socket = connect(s.port, '127.0.0.1')
    socket.on('error', reject)
    socket.once('data', data => { resolve(data.toString().split(' ')[1] as string); socket.destroy() })
    socket.write(`GET /api/events/ws HTTP/1.1\r\nHost: 127.0.0.1:${s.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${origin === null ? '' : `Origin: ${origin}\r\n`}\r\n`)
  })
  t.equal(await status(null), '101')
  t.equal(await status(`http://127.0.0.1:${s.port}`), '101')
  t.equal(await status('https://app.example.com'), '101')
  for (const origin of ['null', 'https://app.example.com.evil.com', 'http://127.0.0.1:1', 'https://app.example.com:444']) t.equal(await status(origin), '403', origin)
})
