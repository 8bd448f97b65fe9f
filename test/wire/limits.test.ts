// What a client may take of a gateway before it is turned away: each bound by itself, the answer, and the count by reason.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { Arrivals } from '../../src/app/arrivals.ts'
import { boundConnections } from '../../src/app/descriptors.ts'
import { Effort } from '../../src/app/effort.ts'
import pressure, { Pressure } from '../../src/app/pressure.ts'
import { WorkLine } from '../../src/app/work-line.ts'
import { BOUNDS } from '../../src/core/errors.ts'
import type { Bound, Refusal } from '../../src/core/errors.ts'
import { Troubles } from '../../src/core/figures/troubles.ts'
import { ManualClock } from '../clock.ts'
import { WireClient } from './client.ts'
import { getRequest, maskedFrame, PING, TEXT } from './codec.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: ServerOptions): Promise<Server> {
  const started = await startServer(options)
  t.teardown(async () => await started.close())
  return started
}

/** A bare connection that keeps what it gets. */
async function dial (t: Test, port: number): Promise<{ socket: Socket, text: () => string, closed: Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', data => { text += data }).on('error', () => {})
  const closed = new Promise(resolve => socket.once('close', resolve))
  await once(socket, 'connect')
  t.teardown(() => socket.destroy())
  return { socket, text: () => text, closed }
}

const count = ({ gateway }: Server, bound: Bound): number => gateway.troubles.bounds[bound]

const chunkedPost = 'POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'

/** The first frame of a message, or one that goes on; never the last. */
function fragment (opcode: number, payload: Buffer): Buffer {
  const frame = maskedFrame(opcode, payload)
  frame[0] = (frame[0] as number) & 0x7f
  return frame
}

t.test('/metrics has a series for every bound from the start', async t => {
  const s = await server(t, { profile: 'SSE' })
  const text = await (await fetch(`${s.url}/metrics`)).text()
  for (const bound of BOUNDS) t.match(text, new RegExp(`^signalbox_shed_total\\{.*reason="${bound}".*\\} 0$`, 'm'))
})

for (const profile of PROFILES) {
  t.test(`${profile}: one caller cannot fill a room where MAX_ROOM_SIZE_PER_CALLER is set, others still get in`, async t => {
    const s = await server(t, { profile, trustProxy: ['127.0.0.1'], limits: { maxRoomSize: 10, maxRoomSizePerCaller: 3 } })
    const join = async (address: string): Promise<WireClient> => {
      const client = await WireClient.open(profile, s.port, { rooms: ['a', 'b'], headers: { 'X-Forwarded-For': address } })
      t.teardown(() => client.cut())
      await client.until(() => client.messages.some(({ kind }) => kind === 'ready' || kind === 'error') || /^HTTP\/1.1 4/.test(client.head))
      return client
    }
    const refused = (client: WireClient): boolean => profile === 'SSE' ? /^HTTP\/1\.1 429[^]*retry-after: 1/i.test(client.head) : client.messages.some(({ kind, ...rest }) => kind === 'error' && (rest as { data: { code?: string } }).data.code === 'RATE_LIMITED')
    const mine = [await join('192.0.2.1'), await join('192.0.2.1'), await join('192.0.2.1')]
    t.notOk(mine.some(refused))
    t.ok(refused(await join('192.0.2.1')))
    t.notOk(refused(await join('192.0.2.2')), 'another address')
    t.equal(s.gateway.view.room('a')?.members, 4)
    t.equal(count(s, 'places'), 1)
    mine[0]?.cut()
    await (mine[0] as WireClient).until(() => s.gateway.view.room('a')?.members === 3)
    t.notOk(refused(await join('192.0.2.1')), 'a place given back')
    t.ok(refused(await join('192.0.2.1')))
  })

  t.test(`${profile}: an address that sends no request, or half of one, is answered 408 and counted`, async t => {
    const s = await server(t, { profile, requestTimeout: 0.3 })
    for (const begun of ['', 'GET /healthz HTTP/1.1\r\nHost: 127', `${chunkedPost}5\r\n{"typ\r\n`]) {
      const before = count(s, 'request_time') + count(s, 'message_time')
      const { socket, text, closed } = await dial(t, s.port)
      socket.write(begun)
      await closed
      t.match(text(), /^HTTP\/1\.1 408 .*\r\n[^]*"code":"BAD_REQUEST"/, begun.slice(0, 20))
      t.equal(count(s, 'request_time') + count(s, 'message_time'), before + 1)
    }
  })

  t.test(`${profile}: a body in crumbs is refused before they fill memory; one in honest chunks is taken`, async t => {
    const s = await server(t, { profile })
    const crumbs = await dial(t, s.port)
    crumbs.socket.write(chunkedPost + '1\r\n \r\n'.repeat(3000))
    await crumbs.closed
    t.match(crumbs.text(), /^HTTP\/1\.1 400 [^]*2048 pieces/)
    t.equal(count(s, 'pieces'), 1)
    const honest = await dial(t, s.port)
    const event = JSON.stringify({ type: 'a', data: 'x'.repeat(1_000_000) })
    for (let at = 0; at < event.length; at += 300) honest.socket.write((at === 0 ? chunkedPost : '') + `${Math.min(300, event.length - at).toString(16)}\r\n${event.slice(at, at + 300)}\r\n`)
    honest.socket.end('0\r\n\r\n')
    await honest.closed
    t.match(honest.text(), /^HTTP\/1\.1 202 /)
  })

  t.test(`${profile}: a connection beyond the descriptors gets 503 with Retry-After, and those that are there go on`, async t => {
    const s = await server(t, { profile })
    boundConnections(s.app.server, s.gateway.troubles, 3)
    const client = await WireClient.open(profile, s.port, { rooms: ['a'] })
    t.teardown(() => client.cut())
    await client.untilKind('ready')
    const idle = [await dial(t, s.port), await dial(t, s.port)]
    const refused = await dial(t, s.port)
    await refused.closed
    t.match(refused.text(), /^HTTP\/1\.1 503 [^]*Retry-After: 1\r\n[^]*"code":"OVERLOADED"/)
    t.equal(count(s, 'descriptors'), 1)
    await s.publish({ type: 'x', room: 'a', data: 1 })
    await client.until(() => client.events.length === 1)
    idle[0]?.socket.destroy()
    await idle[0]?.closed
    await delay(20)
    const next = await dial(t, s.port)
    next.socket.write(getRequest('/healthz', { Host: '127.0.0.1' }))
    await client.until(() => /^HTTP\/1\.1 200 /.test(next.text()))
  })
}

t.test('of what is unfinished the oldest is given up beyond the sum, and each in its time', async t => {
  const troubles = new Troubles({ wall: () => 0 })
  const arrivals = new Arrivals({ troubles, timeoutMs: 200, maxBytes: 1 })
  const MIB = 1024 * 1024
  const given: string[] = []
  const sender = (name: string): { giveUp: (bound: string) => void } => ({ giveUp: bound => given.push(`${name} ${bound}`) })
  const [one, two, three] = [sender('one'), sender('two'), sender('three')]
  arrivals.note(one, 20 * MIB)
  arrivals.note(two, 20 * MIB)
  arrivals.note(one, 30 * MIB)
  arrivals.note(three, 14 * MIB)
  t.same(given, [])
  t.equal(arrivals.bytes, 64 * MIB)
  arrivals.note(three, 15 * MIB)
  t.same(given, ['one arriving'])
  t.equal(arrivals.bytes, 35 * MIB)
  arrivals.forget(two)
  arrivals.forget(two)
  t.equal(arrivals.bytes, 15 * MIB)
  while (given.length < 2) await delay(20)
  t.same(given, ['one arriving', 'three message_time'])
  t.equal(arrivals.bytes, 0)
  t.match(troubles.bounds, { arriving: 1, message_time: 1 })
})

/** A WebSocket that has joined. */
async function open (t: Test, { port }: Server): Promise<WireClient> {
  const client = await WireClient.open('WEBSOCKET', port, { rooms: ['home'] })
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  return client
}

t.test('an unfinished message has a deadline, whatever else the socket says meanwhile', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', requestTimeout: 0.6 })
  const begun: Record<string, Buffer> = {
    'a fragment': fragment(TEXT, Buffer.alloc(1000, 'x')),
    'an empty fragment': fragment(TEXT, Buffer.alloc(0)),
    'half a frame': maskedFrame(TEXT, Buffer.alloc(1000, 'x')).subarray(0, 500),
    'half a header': maskedFrame(TEXT, Buffer.alloc(1000, 'x')).subarray(0, 1)
  }
  const clients = await Promise.all(Object.values(begun).map(async bytes => {
    const client = await open(t, s)
    client.socket.write(bytes)
    return client
  }))
  const whole = await open(t, s)
  whole.say({ action: 'ping' })
  // Between fragments a ping is allowed and answered; it does not gain time.
  clients[0]?.sendFrame(PING, Buffer.from('still here'))
  for (const [index, client] of clients.entries()) {
    await client.until(() => client.closed)
    t.equal(client.closeCode, 1008, Object.keys(begun)[index] as string)
  }
  t.equal(count(s, 'message_time'), 4)
  t.notOk(whole.closed)
})

t.test('a message in fragments that comes in time is taken', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', requestTimeout: 5 })
  const client = await open(t, s)
  client.socket.write(fragment(TEXT, Buffer.from('{"action":')))
  await delay(20)
  client.sendFrame(PING, Buffer.from('x'))
  client.sendFrame(0, Buffer.from('"ping","ref":1}'))
  t.match(await client.untilKind('pong'), { ref: 1 })
})

t.test('a WebSocket that says nothing ends, one that has said something stays', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', requestTimeout: 2, pingInterval: 1, pingTimeout: 2 })
  const joined = await open(t, s)
  const silent = await WireClient.open('WEBSOCKET', s.port, { join: false })
  await silent.until(() => silent.closed)
  t.equal(silent.closeCode, 1008)
  t.equal(count(s, 'first_message'), 1)
  await delay(2000)
  t.notOk(joined.closed)
  t.equal(s.gateway.view.sessions.count, 1)
})

t.test('a message that is too large, headers that are, and a client that answers no ping are counted', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', maxHttpBufferSize: 1000, pingInterval: 0.3, pingTimeout: 1 })
  const large = await open(t, s)
  large.sendFrame(TEXT, Buffer.alloc(2000, ' '))
  await large.until(() => large.closed)
  t.equal(large.closeCode, 1009)
  t.equal(s.gateway.troubles.refusals.TOO_LARGE, 1)
  const { socket, text, closed } = await dial(t, s.port)
  socket.write(getRequest(`/${'x'.repeat(200_000)}`, { Host: '127.0.0.1' }))
  await closed
  t.match(text(), /^HTTP\/1\.1 431 /)
  t.equal(count(s, 'headers'), 1)
  const mute = await open(t, s)
  mute.pongs = false
  await mute.until(() => mute.closed)
  t.equal(count(s, 'pong'), 1)
})

t.test('the table of the operations guide has a row for each bound', async t => {
  const guide = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
  for (const bound of BOUNDS) t.ok(new RegExp(`^\\|.*"${bound}"`, 'm').test(guide), bound)
})

t.test('a flood of pings ends with 1008, few of them are answered', async t => {
  const s = await server(t, { profile: 'WEBSOCKET' })
  const client = await open(t, s)
  client.socket.write(Buffer.concat(Array.from({ length: 5000 }, () => maskedFrame(PING, Buffer.alloc(125, 'p')))))
  await client.until(() => client.closed)
  t.equal(client.closeCode, 1008)
  t.equal(count(s, 'pings'), 1)
  t.ok(client.bytes.length < 100 * 127 + 2000, `${client.bytes.length} bytes came back`)
})

t.test('a client that pings and reads nothing gets no heap of pongs, and the last pong once it reads', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', limits: { maxBundleBytes: 268_435_456 } })
  const client = await open(t, s)
  client.socket.pause()
  await s.publish({ type: 'x', room: 'home', data: 'x'.repeat(2_000_000) })
  await s.publish({ type: 'x', room: 'home', data: 'x'.repeat(2_000_000) })
  await s.publish({ type: 'x', room: 'home', data: 'x'.repeat(2_000_000) })
  await delay(100)
  for (let n = 1; n <= 90; n++) client.sendFrame(PING, Buffer.from(`ping ${n}`.padEnd(125)))
  await delay(200)
  client.socket.resume()
  await client.until(() => client.bytes.includes('ping 90'))
  t.equal(client.bytes.toString('latin1').split('ping ').length - 1, 1)
  t.notOk(client.closed)
})

t.test('a frame that comes byte by byte is not kept in as many pieces', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', maxHttpBufferSize: 100_000 })
  const client = await open(t, s)
  client.socket.setNoDelay(true)
  const frame = maskedFrame(TEXT, Buffer.alloc(50_000, ' '))
  client.socket.write(frame.subarray(0, 8))
  for (let at = 8; at < 30_000 && !client.closed && client.closeCode === null; at++) {
    client.socket.write(frame.subarray(at, at + 1))
    // A turn of the loop each, or the system joins them.
    await new Promise(resolve => setImmediate(resolve))
  }
  await client.until(() => client.closeCode !== null)
  t.equal(client.closeCode, 1008)
  t.equal(count(s, 'pieces'), 1)
})

t.test('what was refused before is counted by its bound too', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', trustProxy: ['127.0.0.1'], limits: { maxClients: 3, maxClientsPerIp: 2, maxEventsPerSecondPerClient: 5, publishRateLimit: 1 } })
  const dialled = async (address: string): Promise<WireClient> => {
    const client = await WireClient.open('WEBSOCKET', s.port, { join: false, headers: { 'X-Forwarded-For': address } })
    t.teardown(() => client.cut())
    await client.untilKind('hello').catch(() => {})
    return client
  }
  const first = await WireClient.open('WEBSOCKET', s.port, { rooms: ['a'], headers: { 'X-Forwarded-For': '2001:db8::1' } })
  t.teardown(() => first.cut())
  await first.untilKind('ready')
  await dialled('[2001:db8::ffff]:7')
  const third = WireClient.open('WEBSOCKET', s.port, { join: false, headers: { 'X-Forwarded-For': '2001:db8::3' } })
  const refused = await third
  await refused.until(() => refused.closed)
  t.match(refused.head, /^HTTP\/1.1 429 /, 'the third of a /64')
  t.equal(count(s, 'address'), 1)
  await dialled('2001:db8:1::1')
  const fourth = await WireClient.open('WEBSOCKET', s.port, { join: false, headers: { 'X-Forwarded-For': '2001:db8:2::1' } })
  await fourth.until(() => fourth.closed)
  t.match(fourth.head, /^HTTP\/1.1 503 /)
  t.equal(count(s, 'clients'), 1)
  for (let n = 0; n < 30; n++) first.say({ action: 'ping' })
  await first.until(() => first.closed)
  t.equal(first.closeCode, 1008)
  t.equal(count(s, 'errors'), 1)
  t.ok(count(s, 'messages') > 20)
  const statuses = await Promise.all(Array.from({ length: 4 }, async () => (await fetch(`${s.url}/api/events`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"type":"a","data":1}' })).status))
  t.equal(count(s, 'rate'), statuses.filter(status => status === 429).length)
  t.ok(count(s, 'rate') >= 2)
})

t.test('who sends large texts that are slow to read waits, others and small texts do not', async t => {
  const clock = new ManualClock()
  const effort = new Effort(clock)
  const large = 'x'.repeat(65_536)
  const taking = (ms: number) => () => clock.lag(ms)
  effort.measured('x', 'mine', taking(30))
  effort.measured(large, 'mine', taking(3))
  t.equal(effort.breakOf('mine'), 0, 'small ones, and quick ones, are free')
  t.throws(() => effort.measured(large, 'mine', () => { clock.lag(60); throw new Error('bad') }), { message: 'bad' })
  t.equal(effort.breakOf('mine'), 3600)
  t.equal(effort.breakOf('others'), 0)
  await effort.turn('x', 'mine')
  await effort.turn(large, 'others')
  let served = 0
  const turns = Array.from({ length: 4 }, async () => { await effort.turn(large, 'mine').then(() => served++) })
  await t.rejects(effort.turn(large, 'mine'), { code: 'RATE_LIMITED', bound: 'work', retryMs: 3600 })
  clock.advance(3599)
  await clock.settle()
  t.equal(served, 0)
  clock.advance(1)
  await Promise.all(turns)
  t.equal(effort.breakOf('mine'), 0)
  effort.measured(large, 'mine', taking(1000))
  t.equal(effort.breakOf('mine'), 5000, 'never longer')
})

t.test('a socket whose message was slow to read is not read for a while, then goes on', async t => {
  const s = await server(t, { profile: 'WEBSOCKET' })
  const client = await open(t, s)
  const names = Object.fromEntries(Array.from({ length: 45_000 }, (_, n) => [`m${n}`, 1]))
  client.say({ action: 'control', command: 'ping', args: names, ref: 1 })
  client.say({ action: 'control', command: 'ping', args: names, ref: 2 })
  client.say({ action: 'ping', ref: 3 })
  const other = await open(t, s)
  other.say({ action: 'ping', ref: 4 })
  await other.untilKind('pong')
  const refs = (): unknown[] => client.messages.flatMap(message => 'ref' in message && message.ref !== undefined ? [message.ref] : []).sort()
  await client.until(() => refs().length === 3)
  t.same(refs(), [1, 2, 3])
  t.notOk(client.closed)
})

t.test('new work is refused while the heap is nearly full, on connections that then end; all else is answered', async t => {
  const watched = new Pressure()
  t.teardown(() => watched.stop())
  const app = Fastify()
  app.setErrorHandler(async (error: Refusal, _request, reply) => await reply.code(error.statusCode).send({ ...error.body, retryMs: error.retryMs, bound: error.bound }))
  await app.register(pressure, { pressure: watched, returnAfterMs: () => 2500 })
  app.get('/work', { config: { isShed: true } }, async () => 'done')
  app.get('/healthz', async () => 'ok')
  t.teardown(async () => await app.close())
  t.equal((await app.inject('/work')).body, 'done')
  watched.collected(0.95)
  const refused = await app.inject('/work')
  t.match(refused.json(), { statusCode: 503, code: 'OVERLOADED', retryMs: 2500, bound: 'memory' })
  t.equal(refused.headers.connection, 'close', 'it would hold as much as a stream')
  t.equal((await app.inject('/healthz')).body, 'ok')
  watched.collected(0.6)
  t.equal((await app.inject('/work')).body, 'done')
})

/** A publish of 1,000 events. */
const BATCH = JSON.stringify(Array.from({ length: 1000 }, (_, n) => ({ type: 'x', room: 'a', key: `k${n}`, data: n })))
const batchRequest = `POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${BATCH.length}\r\n\r\n${BATCH}`

t.test('large batches of many publishers that come at once are taken one by one: who asks for little is answered between them', async t => {
  const s = await server(t, { profile: 'SSE' })
  const order: string[] = []
  const health = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const dialled = async (name: string, request: string): Promise<() => Promise<void>> => {
    const socket = connect(s.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    // Node accepts one connection in a turn of its own.
    socket.write(health)
    await once(socket, 'data')
    return async () => {
      socket.write(request)
      await once(socket, 'data')
      order.push(name)
    }
  }
  const COUNT = 60
  const publishers = await Promise.all(Array.from({ length: COUNT }, async () => await dialled('publish', batchRequest)))
  const asker = await dialled('ask', health)
  await Promise.all([...publishers, asker].map(async send => await send()))
  t.equal(order.length, COUNT + 1)
  t.ok(order.indexOf('ask') < COUNT / 2, `answered after ${order.indexOf('ask')} of ${COUNT} publishers, though it came last`)
  t.equal(s.gateway.counters.events, COUNT * 1000)
})

t.test('a line that is too long or does not move lets nobody in', async t => {
  const text = (length: number): string => 'x'.repeat(length)
  const turn = async (line: WorkLine, length: number): Promise<string> => await line.turn(text(length)).then(() => 'in', (error: Refusal) => `${error.code} ${error.bound} ${error.retryMs}`)
  const narrow = new WorkLine({ returnAfterMs: () => 7, maxWaiting: 10_000 })
  const turns = Promise.all([turn(narrow, 9000), turn(narrow, 9000), turn(narrow, 9000), turn(narrow, 100), turn(narrow, 4096)])
  t.strictSame(await turns, ['in', 'in', 'OVERLOADED load 7', 'in', 'OVERLOADED load 7'], 'small texts do not stand in it')
  t.equal(await turn(narrow, 9000), 'in', 'once it has moved there is room')
  const slow = new WorkLine({ returnAfterMs: () => 7, maxWaitMs: 20 })
  const first = [turn(slow, 9000), turn(slow, 9000)]
  for (const end = performance.now() + 30; performance.now() < end;);
  t.equal(await turn(slow, 9000), 'OVERLOADED load 7', 'the one before it waits for too long')
  t.strictSame(await Promise.all(first), ['in', 'in'], 'who waits gets in')
})
