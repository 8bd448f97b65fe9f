// How large messages are, and how streams begin, live and end, in bytes.

import t from 'tap'
import type { Test } from 'tap'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { TEXT, unchunk, unframe } from './codec.ts'
import { WireClient } from './client.ts'
import type { Wish } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'SSE', ...options })
  t.teardown(async () => await started.close())
  return started
}

/** The messages of a client as bytes: a message of a socket, or an SSE event, which ends with an empty line. */
function messagesOf ({ profile, bytes }: WireClient): string[] {
  const texts: string[] = []
  if (profile === 'WEBSOCKET') {
    unframe((opcode, payload) => { if (opcode === TEXT) texts.push(payload.toString()) })(Buffer.from(bytes))
    return texts
  }
  let text = ''
  unchunk(data => { text += data.toString() })(Buffer.from(bytes))
  return text.split('\n\n').slice(0, -1)
}

const bytesOf = (texts: string[]): number => Math.max(...texts.map(text => Buffer.byteLength(text)))
const eventsOf = (text: string): number => text.match(/"id":"\d+-\d+","type"/g)?.length ?? 0

const BUNDLE_BYTES = 20_000

for (const profile of PROFILES) {
  t.test(`${profile}: no message exceeds MAX_BUNDLE_BYTES, whether it is of a snapshot, of a catch-up or live, except one event larger than its half`, async t => {
    const s = await server(t, { profile, maxBundleBytes: BUNDLE_BYTES, limits: { maxBundleBytes: BUNDLE_BYTES, maxQueuePerClient: 1000 } })
    const open = async (wish: Wish): Promise<WireClient> => await WireClient.open(profile, s.port, wish)
    const values = Array.from({ length: 3000 }, (_, n) => ({ type: 'value', room: 'a', key: `host-${n}`, data: `${n} ü ${'x'.repeat(n % 400)}` }))
    const facts = Array.from({ length: 3000 }, (_, n) => ({ type: 'fact', room: 'a', data: `${n} ü ${'x'.repeat(n % 400)}` }))
    const from = await open({ rooms: ['a'] })
    await from.untilKind('ready')
    const { cursor } = from
    from.cut()
    for (let at = 0; at < 3000; at += 1000) await s.publish(...facts.slice(at, at + 1000))
    for (let at = 0; at < 3000; at += 1000) await s.publish(...values.slice(at, at + 1000))
    const snapshot = await open({ rooms: ['a'] })
    const returning = await open({ rooms: ['a'], cursor })
    await snapshot.until(() => snapshot.events.length === 3000)
    await returning.until(() => returning.events.length === 6000)
    for (const client of [snapshot, returning]) {
      const texts = messagesOf(client)
      t.ok(bytesOf(texts) <= BUNDLE_BYTES, `${bytesOf(texts)} bytes at most`)
      t.ok(texts.filter(text => Buffer.byteLength(text) > BUNDLE_BYTES / 2).length > 10, 'and bundles are not small')
      if (profile === 'SSE') t.ok(Math.max(...texts.flatMap(text => text.split('\n')).map(line => line.length)) < 700, 'a line holds one event')
    }
    await s.publish({ type: 'fact', room: 'a', data: 'before' }, { type: 'fact', room: 'a', data: 'x'.repeat(50_000) }, { type: 'value', room: 'a', key: 'large', data: 'y'.repeat(30_000) }, { type: 'fact', room: 'a', data: 'last' })
    await snapshot.until(() => snapshot.events.length === 3004)
    const large = messagesOf(snapshot).filter(text => Buffer.byteLength(text) > BUNDLE_BYTES)
    t.same(large.map(eventsOf), [1, 1], 'each alone in its message')
    const late = await open({ rooms: ['a'] })
    await late.until(() => late.events.length === 3001)
    t.same(messagesOf(late).filter(text => Buffer.byteLength(text) > BUNDLE_BYTES).map(eventsOf), [1])
    for (const client of [snapshot, returning, late]) client.cut()
  })
}

t.test('a stream that is drained ends without the last chunk; so does one that refuses a returning client', async t => {
  const s = await server(t)
  const client = await WireClient.open('SSE', s.port)
  await client.untilKind('ready')
  const other = await WireClient.open('SSE', s.port)
  await other.untilKind('ready')
  await s.gateway.control({ command: 'disconnect', args: { session: (other.messages[0] as unknown as { data: { session: string } }).data.session } })
  await other.until(() => other.closed)
  void s.gateway.drain()
  const returning = await WireClient.open('SSE', s.port, { cursor: client.cursor })
  await returning.until(() => returning.closed)
  await client.until(() => client.closed)
  for (const { bytes } of [client, other]) {
    const text = bytes.toString()
    t.match(text, /event: bye\ndata: \{[^\n]*\}\n\n\r\n$/, 'bye is the last that is sent')
    t.notMatch(text, /(?:^|\r\n)0\r\n/)
  }
  t.match(returning.head, / 200 /)
  t.match(returning.bytes.toString(), /^\w+\r\nretry: \d+\nevent: bye\ndata: \{"reason":"DRAINING".*\}\n\n\r\n$/)
})

t.test('every block of a stream is a message with data: retry stands in that of hello, and the heartbeat is a position, with an id only where the log has moved on', async t => {
  const s = await server(t, { pingInterval: 0.1 })
  // The first member of a room would move the log on.
  const client = await WireClient.open('SSE', s.port)
  await client.untilKind('position', 2)
  await s.publish({ type: 'x', room: 'b', data: 1 })
  await client.until(() => client.messages.some(({ kind, cursor }) => kind === 'position' && cursor !== null))
  const moved = client.messages.length
  await client.until(() => client.messages.length > moved + 1)
  await s.publish({ type: 'x', data: 2 })
  await client.untilKind('bundle')
  client.cut()
  const blocks = messagesOf(client)
  t.match(blocks[0], /^event: hello$/m)
  t.equal(blocks.filter(block => /^retry: \d+$/m.test(block)).length, 1)
  t.match(blocks[0], /^retry: \d+$/m)
  for (const block of blocks) t.match(block, /^data: ./m, 'no block without data')
  t.notMatch(blocks.join('\n'), /^:/m, 'no comment')
  const positions = blocks.filter(block => block.includes('event: position'))
  t.same(positions.filter(block => !block.startsWith('id: ')).filter(block => block !== 'event: position\ndata: {}'), [])
  const withId = positions.filter(block => block.startsWith('id: '))
  t.equal(withId.length, 1, 'the id is told once')
  t.match(withId[0], /^id: \S+\nevent: position\ndata: \{\}$/)
  t.not(/^id: (\S+)/.exec(withId[0] ?? '')?.[1], /^id: (\S+)/m.exec(blocks[0] ?? '')?.[1])
})

const STORES = [
  { name: 'the embedded store', skip: false, start: async () => ({}) },
  { name: 'Redis', skip: skipWithout('redis'), start: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]

for (const { name, skip, start } of STORES) {
  t.test(`${name}: a retry gets its first ids though its room was paused, or cannot take more by now`, { skip }, async t => {
    const s = await server(t, { ...await start(t), maxKeysPerRoom: 1, limits: { maxRooms: 1 } })
    const post = async (event: object, key: string): Promise<{ status: number, body: any }> => {
      const answer = await fetch(`${s.url}/api/events`, { method: 'POST', headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key }, body: JSON.stringify(event) })
      return { status: answer.status, body: await answer.json() }
    }
    const command = async (name: string): Promise<unknown> => await s.gateway.control({ command: name, args: { room: 'a' } })
    const event = { type: 'g', room: 'a', key: 'k', data: 1 }
    const first = await post(event, 'one')
    t.equal(first.status, 202)
    await command('pause')
    t.match(await post(event, 'two'), { status: 409, body: { code: 'ROOM_PAUSED' } })
    t.same(await post(event, 'one'), first)
    t.match(await post({ ...event, data: 2 }, 'one'), { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
    await command('resume')
    t.match(await post({ ...event, key: 'l' }, 'three'), { status: 409, body: { code: 'KEYS_FULL' } })
    t.match(await post({ ...event, room: 'b' }, 'four'), { status: 409, body: { code: 'ROOMS_FULL' } })
    t.same(await post(event, 'one'), first)
    t.equal(s.gateway.counters.events, 1)
  })

  t.test(`${name}: -0 arrives as -0, in whatever spelling and through whatever door it came`, { skip }, async t => {
    const s = await server(t, { ...await start(t), profile: 'WEBSOCKET' })
    const client = await WireClient.open('WEBSOCKET', s.port)
    await client.untilKind('ready')
    const post = async (path: string, body: string, type = 'application/json'): Promise<void> => {
      t.match(await fetch(`${s.url}${path}`, { method: 'POST', headers: { 'Content-Type': type }, body }), { ok: true })
    }
    for (const zero of ['-0', '-0.0', '-0e0', '-0.000E+5']) await post('/api/events', `{"type":"x","data":${zero}}`)
    await post('/api/events', '{"type":"x","data":{"a":[0,-0.0,{"b":-0,"c":0}],"d":"-0"}}\n{"type":"x","key":"k","data":[-0],"timestamp":-0}', 'application/x-ndjson')
    await post('/api/control', '{"command":"publish","args":{"event":{"type":"x","data":-0}}}')
    client.say('{"action":"control","command":"publish","args":{"event":{"type":"x","data":-0.0}}}')
    await client.untilKind('result')
    await s.box.publish([{ type: 'x', data: -0 }])
    const data = (): unknown[] => client.events.map(event => event.data)
    await client.until(() => client.events.length === 9)
    t.strictSame(data(), [-0, -0, -0, -0, { a: [0, -0, { b: -0, c: 0 }], d: '-0' }, [-0], -0, -0, -0])
    t.notOk(data().some(value => value === 0 && !Object.is(value, -0)))
    t.ok(client.events.every(({ timestamp }) => !Object.is(timestamp, -0)))
    const late = await WireClient.open('WEBSOCKET', s.port)
    await late.untilKind('ready')
    t.ok(Object.is((late.events[0]?.data as number[])[0], -0), 'in the snapshot too')
    client.cut()
    late.cut()
  })
}
