// Compression on the wire: decoded, it is what clients without it get, whoever decodes it and wherever he joined.

import { spawn } from 'node:child_process'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { acceptsGzip } from '../../src/app/compression.ts'
import { Page } from '../page.ts'
import { childEnv, need, onPath, skipWithout } from '../tools/find.ts'
import { deflateMessage, inflateChunk, maskedFrame, TEXT, unchunk, unframe } from './codec.ts'
import { pageMessages, parse, WireClient } from './client.ts'
import type { Wish } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'SSE', ...options })
  t.teardown(async () => await started.close())
  return started
}

/** A number from 0 up to `limit`, the same in each run. */
function numbers (seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * limit)
  }
}

/** The texts of a client's messages. */
function textsOf ({ profile, bytes }: WireClient, compressed: boolean): string[] {
  const texts: string[] = []
  if (profile === 'WEBSOCKET') {
    unframe((opcode, payload) => { if (opcode === TEXT) texts.push(payload.toString()) }, compressed)(Buffer.from(bytes))
    return texts
  }
  const pieces: Buffer[] = []
  unchunk(data => pieces.push(Buffer.from(compressed ? inflateChunk(data) : data)))(Buffer.from(bytes))
  return Buffer.concat(pieces).toString().split('\n\n').slice(0, -1)
}

/** The texts of bundles, by their cursors. */
function bundlesOf (client: WireClient, compressed: boolean): Map<string, string> {
  const bundles = new Map<string, string>()
  for (const text of textsOf(client, compressed)) {
    const [, cursor] = /^id: (.*)\ndata: \[/.exec(text) ?? /^\{"event":"events","id":"([^"]*)","data":\[\{/.exec(text) ?? []
    if (cursor !== undefined) bundles.set(cursor, text)
  }
  return bundles
}

const EVENTS = 50
const gauges = (next: (limit: number) => number, count = EVENTS): object[] =>
  Array.from({ length: count }, (_, n) => ({ type: 'cpu', room: 'a', key: `host-${n}`, data: { usage: next(10_000) / 100, state: 'ok' } }))

for (const profile of PROFILES) {
  t.test(`${profile}: of random events a compressed client gets, decoded, byte for byte what a plain one gets, wherever both joined`, async t => {
    const { port, publish } = await server(t, { profile, maxBundleBytes: 20_000, limits: { maxBundleBytes: 20_000 } })
    const next = numbers(7)
    const texts = ['', 'x'.repeat(300), 'ü€𝄞"\\\n', Array.from({ length: 2000 }, () => next(36).toString(36)).join(''), 'y'.repeat(15_000)]
    const pairs: Array<readonly [WireClient, WireClient]> = []
    const join = async (): Promise<void> => {
      const wish: Wish = { rooms: ['a'] }
      const pair = [await WireClient.open(profile, port, wish), await WireClient.open(profile, port, { ...wish, compressed: true })] as const
      await Promise.all(pair.map(async client => await client.untilKind('ready')))
      pairs.push(pair)
    }
    for (let round = 0; round < 30; round++) {
      if (round % 10 === 0) await join()
      await publish(...Array.from({ length: 1 + next(30) }, () => ({
        type: 'x', room: 'a', ...(next(2) === 0 ? {} : { key: `k${next(20)}` }), data: next(5) === 0 ? null : { text: texts[next(texts.length)], n: next(1000) }
      })))
    }
    await publish({ type: 'last', room: 'a', data: 1 })
    for (const pair of pairs) {
      for (const client of pair) await client.until(() => client.events.some(({ type }) => type === 'last'))
      const [plain, compressed] = pair
      t.match(compressed.head, profile === 'SSE' ? /^content-encoding: gzip$/im : /^sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover$/im)
      t.notMatch(plain.head, /gzip|permessage/i)
      const facts = ({ events }: WireClient): object[] => events.filter(({ key }) => key === undefined)
      t.same(facts(compressed), facts(plain))
      const [expected, got] = [bundlesOf(plain, false), bundlesOf(compressed, true)]
      const common = [...got.keys()].filter(cursor => expected.has(cursor))
      t.ok(common.length > 3, `${common.length} of ${got.size} bundles end where one of the other does`)
      t.ok(common.some(cursor => Buffer.byteLength(got.get(cursor) as string) > 10_000), 'a large one among them')
      t.same(common.filter(cursor => got.get(cursor) !== expected.get(cursor)), [])
      t.ok(compressed.bytes.length < plain.bytes.length / 2, `${compressed.bytes.length} bytes in place of ${plain.bytes.length}`)
      for (const client of pair) client.cut()
    }
  })

  t.test(`${profile}: who is in step gets the same bytes, and they are counted as sent, beside what they would have been`, async t => {
    const { port, publish, gateway, url } = await server(t, { profile })
    const clients = await Promise.all([true, true, false].map(async compressed => await WireClient.open(profile, port, { rooms: ['a'], compressed })))
    await Promise.all(clients.map(async client => await client.untilKind('ready')))
    const before = clients.map(({ bytes }) => bytes.length)
    await publish(...gauges(numbers(1)))
    await Promise.all(clients.map(async client => await client.until(() => client.events.length === EVENTS)))
    const [one, other, plain] = clients.map(({ bytes }, n) => Buffer.from(bytes.subarray(before[n]))) as [Buffer, Buffer, Buffer]
    t.ok(one.equals(other))
    t.ok(one.length < plain.length / 4, `${one.length} bytes in place of ${plain.length}`)
    t.match(gateway.counters, { bundles: 3, bytes: 2 * one.length + plain.length, plainBytes: 3 * plain.length, wholeBytes: 3 * plain.length, unbundledBytes: 3 * plain.length })
    const metrics = await (await fetch(`${url}/metrics`)).text()
    t.match(metrics, new RegExp(`^signalbox_sent_bytes_total ${2 * one.length + plain.length}$`, 'm'))
    for (const name of ['plain', 'whole', 'unbundled']) t.match(metrics, new RegExp(`^signalbox_${name}_bytes_total ${3 * plain.length}$`, 'm'))
    for (const client of clients) client.cut()
  })

  t.test(`${profile}: a compressed client that is cut anywhere comes back to everything, once`, async t => {
    const { port, publish } = await server(t, { profile, limits: { maxQueuePerClient: 4 } })
    const wish: Wish = { rooms: ['a'], compressed: true }
    const client = await WireClient.open(profile, port, wish)
    await client.untilKind('ready')
    await publish(...Array.from({ length: 12 }, (_, n) => ({ type: 'log', room: 'a', data: `${n} ${'x'.repeat(100)}` })))
    await client.until(() => client.events.length === 12)
    const whole = Buffer.from(client.bytes)
    client.cut()
    const steps = Array.from({ length: 25 }, (_, n) => Math.floor(n * whole.length / 24))
    await Promise.all(steps.map(async offset => {
      const page = new Page()
      for (const message of pageMessages(parse(profile, whole.subarray(0, offset), ['a'], true).messages)) page.apply(message)
      const isNew = page.cursor === null
      const back = await WireClient.open(profile, port, { ...wish, cursor: page.cursor })
      // Who goes on where it was is not told that it is ready.
      if (isNew) await back.untilKind('ready')
      else await back.until(() => back.messages.length > 0 && back.events.length >= 12 - page.facts.length)
      for (const message of back.pageMessages) page.apply(message)
      t.equal(page.facts.length, isNew ? 0 : 12, `cut at ${offset} of ${whole.length}`)
      t.same(page.resets, [])
      back.cut()
    }))
  })

  t.test(`${profile}: hello, heartbeats and bye are decoded like the rest`, async t => {
    const { port, publish, gateway } = await server(t, { profile, pingInterval: 0.1, pingTimeout: 0.1 })
    const client = await WireClient.open(profile, port, { rooms: ['quiet'], compressed: true })
    await client.untilKind('ready')
    await publish({ type: 'x', room: 'busy', data: 1 })
    await client.untilKind('position')
    void gateway.drain()
    t.match(await client.untilKind('bye'), { data: { reason: 'DRAINING', retryMs: Number } })
    t.match(client.messages[0], { data: { profile } })
    await client.until(() => client.closed)
  })

  t.test(`${profile}: with COMPRESSION=off nothing is compressed`, async t => {
    const { port, publish, url } = await server(t, { profile, compression: 'off' })
    const { features } = await (await fetch(`${url}/api/profile`)).json() as { features: string[] }
    t.notOk(features.includes('compression'))
    await publish(...gauges(numbers(3)))
    const client = await WireClient.open(profile, port, { rooms: ['a'], headers: { 'Accept-Encoding': 'gzip', 'Sec-WebSocket-Extensions': 'permessage-deflate' } })
    await client.untilKind('ready')
    t.equal(client.events.length, EVENTS)
    t.notMatch(client.head, /content-encoding|vary|sec-websocket-extensions/i)
    const read = await fetch(`${url}/api/events?rooms=a`)
    t.equal(read.headers.get('content-encoding'), null)
    client.cut()
  })
}

t.test('gzip is used where a client prefers it, by the weights it gives', async t => {
  const yes = ['gzip', 'gzip, deflate, br, zstd', 'GZIP', 'deflate, gzip;q=1.0, *;q=0.5', 'br;q=1.0, gzip;q=0.8', 'identity;q=0.3, gzip;q=0.4', 'gzip, identity', 'gzip;q=0.001']
  const no = [undefined, '', 'identity', 'br', 'deflate', 'gzip;q=0', 'gzip;q=0.0, *', 'gzip; q=0', 'identity, gzip;q=0.5', '*', '*;q=0', 'gzipped', ';;,,==']
  t.same(yes.filter(header => !acceptsGzip(header)), [])
  t.same(no.filter(header => acceptsGzip(header)), [])
  const { port } = await server(t, { corsOrigins: ['https://page.example'] })
  const client = await WireClient.open('SSE', port, { headers: { 'Accept-Encoding': 'br, gzip;q=0', Origin: 'https://page.example' } })
  await client.untilKind('ready')
  t.match(client.head, /^vary: Origin, Accept-Encoding$/im, 'what is not compressed may be elsewhere')
  t.notMatch(client.head, /content-encoding/i)
  client.cut()
})

t.test('an offer of permessage-deflate is answered without context takeover; one that sets a window for the server is declined, and the socket opens', async t => {
  const { port } = await server(t, { profile: 'WEBSOCKET' })
  const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
  for (const [offer, answer] of [
    ['permessage-deflate', AGREED],
    ['permessage-deflate; client_max_window_bits', AGREED],
    ['permessage-deflate; server_no_context_takeover', AGREED],
    ['permessage-deflate; client_max_window_bits=10', /^permessage-deflate; (?=.*client_max_window_bits=10)(?=.*server_no_context_takeover)(?=.*client_no_context_takeover)/],
    ['permessage-deflate; server_max_window_bits=10', null],
    ['permessage-deflate; server_max_window_bits=12; client_max_window_bits=12', null],
    ['permessage-deflate; server_max_window_bits=10, permessage-deflate', AGREED],
    ['permessage-deflate; unheard_of', null],
    ['permessage-deflate; client_max_window_bits=99', null],
    ['permessage-deflate; "', null],
    ['x-webkit-deflate-frame, permessage-deflate', AGREED],
    ['x-webkit-deflate-frame', null]
  ] as const) {
    const client = await WireClient.open('WEBSOCKET', port, { rooms: ['a'], headers: { 'Sec-WebSocket-Extensions': offer } })
    await client.untilKind('ready')
    const [, got = null] = /^sec-websocket-extensions: (.*)$/im.exec(client.head) ?? []
    if (answer instanceof RegExp) t.match(got, answer, offer)
    else t.equal(got, answer, offer)
    client.cut()
  }
})

t.test('compressed messages of a client are read, whole and in fragments, between plain ones', async t => {
  const { port } = await server(t, { profile: 'WEBSOCKET' })
  const client = await WireClient.open('WEBSOCKET', port, { rooms: ['a'], compressed: true })
  await client.untilKind('ready')
  const ping = (ref: string): Buffer => Buffer.from(JSON.stringify({ action: 'ping', ref }))
  const compressed = (ref: string): Buffer => deflateMessage(ping(ref))
  const rsv1 = (frame: Buffer, first: number): Buffer => {
    frame[0] = first
    return frame
  }
  const cut = compressed('c'.repeat(190))
  client.socket.write(Buffer.concat([
    rsv1(maskedFrame(TEXT, compressed('a')), 0xc1),
    maskedFrame(TEXT, ping('b')),
    rsv1(maskedFrame(TEXT, cut.subarray(0, 9)), 0x41),
    rsv1(maskedFrame(0, cut.subarray(9)), 0x80),
    rsv1(maskedFrame(TEXT, compressed('d')), 0xc1)
  ]))
  await client.untilKind('pong', 4)
  t.same(client.messages.flatMap(message => message.kind === 'pong' ? [(message as { ref?: unknown }).ref] : []), ['a', 'b', 'c'.repeat(190), 'd'])
  client.cut()
})

const LAST = '"last"'

/** Publishes until all have seen the last event. Each has joined at a point of its own. */
async function feed ({ publish }: Server, joins: ReadonlyArray<() => Promise<() => string>>): Promise<string[]> {
  const next = numbers(5)
  const texts: Array<() => string> = []
  for (const join of joins) {
    for (let n = 0; n < 3; n++) await publish(...gauges(next), { type: 'log', room: 'a', data: n })
    const text = await join()
    while (!text().includes('event: ready')) await new Promise(resolve => setTimeout(resolve, 5))
    texts.push(text)
  }
  await publish({ type: 'log', room: 'a', data: 'last' })
  for (const text of texts) while (!text().includes(LAST)) await new Promise(resolve => setTimeout(resolve, 5))
  return texts.map(text => text())
}

function program (t: Test, command: string, args: readonly string[], env?: Record<string, string>): () => string {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...(env === undefined ? {} : { env }) })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout.setEncoding('utf8').on('data', data => { text += String(data) })
  return () => text
}

const PYTHON = `
import http.client, sys, zlib
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
connection.request('GET', '/api/events/stream?rooms=a', headers={'Accept-Encoding': 'gzip'})
response = connection.getresponse()
decoder = zlib.decompressobj(31)
while True:
    data = response.read1(65536)
    if not data: break
    sys.stdout.write(decoder.decompress(data).decode())
    sys.stdout.flush()
`

t.test('decoders of others hand on each message as it comes, wherever they join', async t => {
  const s = await server(t)
  const address = `${s.url}/api/events/stream?rooms=a`
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  const decoded = (stream: Readable): () => string => {
    let text = ''
    stream.setEncoding('utf8').on('data', data => { text += String(data) }).on('error', () => {})
    return () => text
  }
  const joins: Array<readonly [string, () => Promise<() => string>]> = [
    ['fetch', async () => {
      const { body, headers } = await fetch(address, { signal: controller.signal })
      t.equal(headers.get('content-encoding'), 'gzip')
      return decoded(Readable.fromWeb(body as never))
    }],
    ['zlib', async () => {
      const client = await WireClient.open('SSE', s.port, { rooms: ['a'], compressed: true })
      t.teardown(() => client.cut())
      const gunzip = createGunzip()
      const pass = unchunk(data => gunzip.write(Buffer.from(data)))
      await client.until(() => client.bytes.length > 0)
      pass(Buffer.from(client.bytes))
      client.socket.on('data', pass)
      return decoded(gunzip)
    }],
    ...(skipWithout('curl') === false
      ? [['curl', async () => {
          const curl = need('curl')
          return program(t, curl.bin, ['--compressed', '-sN', address], childEnv(curl))
        }] as const]
      : []),
    ...(onPath('python3') ? [['Python', async () => program(t, 'python3', ['-c', PYTHON, String(s.port)])] as const] : [])
  ]
  const texts = await feed(s, joins.map(([, join]) => join))
  for (const [n, [name]] of joins.entries()) {
    const events = (texts[n] as string).split('\n\n').filter(block => /^id: .*\ndata: \[/.test(block)).flatMap(block => JSON.parse(block.split('\n').slice(1).map(line => line.slice(6)).join('\n')) as Array<{ key?: string, data: unknown }>)
    t.equal(new Set(events.flatMap(({ key }) => key ?? [])).size, EVENTS, `${name}: every key`)
    t.same(events.filter(({ key }) => key === undefined).map(({ data }) => data), [...joins.slice(n + 1).flatMap(() => [0, 1, 2]), 'last'], `${name}: every fact, once`)
  }
})

t.test('answers above 1 KiB are compressed for clients that accept it, and decoded are the same; shorter ones, 304 and streams stay as they are', async t => {
  const s = await server(t)
  await s.publish(...gauges(numbers(9), 200), { type: 'cpu', room: 'small', key: 'k', data: 1 })
  const get = async (path: string, headers: Record<string, string> = {}): Promise<Response> => await fetch(`${s.url}${path}`, { headers: { 'Accept-Encoding': 'identity', ...headers } })
  for (const path of ['/api/events?rooms=a', '/docs/json', '/metrics']) {
    const [plain, zipped] = [await get(path), await get(path, { 'Accept-Encoding': 'gzip' })]
    t.equal(plain.headers.get('content-encoding'), null)
    t.equal(zipped.headers.get('content-encoding'), 'gzip', path)
    for (const { headers } of [plain, zipped]) t.match(headers.get('vary'), /accept-encoding/i)
    t.equal(zipped.headers.get('etag'), plain.headers.get('etag'))
    const [expected, got] = [await plain.text(), await zipped.text()]
    if (path === '/metrics') t.match(got, /^signalbox_events_total/m)
    else t.equal(got, expected)
  }
  const small = await get('/api/events?rooms=small', { 'Accept-Encoding': 'gzip' })
  t.equal(small.headers.get('content-encoding'), null)
  const { status, headers } = await get('/api/events?rooms=a', { 'Accept-Encoding': 'gzip', 'If-None-Match': (await get('/api/events?rooms=a')).headers.get('etag') as string })
  t.equal(status, 304)
  t.equal(headers.get('content-encoding'), null)
  for (const accept of ['gzip;q=0, *', 'gzip;q=0.1, identity', '*', 'br']) t.equal((await get('/api/events?rooms=a', { 'Accept-Encoding': accept })).headers.get('content-encoding'), null, accept)
  for (const accept of ['gzip', 'identity']) {
    const [got, head] = [await get('/api/events?rooms=a', { 'Accept-Encoding': accept }), await fetch(`${s.url}/api/events?rooms=a`, { method: 'HEAD', headers: { 'Accept-Encoding': accept } })]
    for (const name of ['content-encoding', 'content-length', 'vary', 'etag']) t.equal(head.headers.get(name), got.headers.get(name), `HEAD for ${accept}: ${name}`)
    t.ok(Number(got.headers.get('content-length')) > 0)
  }
})
