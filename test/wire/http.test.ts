// The HTTP doors: what is taken, what is refused and with which words, and that a refusal changes nothing.

import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { SettingView } from '../../src/core/figures/system.ts'
import { WireClient } from './client.ts'
import { startServer, windowsSince } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'SSE', ...options })
  t.teardown(async () => await started.close())
  return started
}

interface Answer { status: number, body: Record<string, any>, headers: Headers }

async function send (url: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof Uint8Array ? body as string : JSON.stringify(body)
  })
  const text = await answer.text()
  return { status: answer.status, body: JSON.parse(text), headers: answer.headers }
}

/** The text of a response that is cut off before its proper end. */
async function cutText (answer: Response): Promise<string> {
  let text = ''
  let cut = false
  try {
    for await (const bytes of answer.body as unknown as AsyncIterable<Uint8Array>) text += Buffer.from(bytes).toString()
  } catch {
    cut = true
  }
  if (!cut) throw new Error(`it ended properly, and some clients would not come back: ${text}`)
  return text
}

const EVENT = { type: 'cpu', room: 'a', key: 'k', data: 1 }

t.test('POST /api/events takes an event, an array and NDJSON, and answers with ids', async t => {
  const { url, gateway } = await server(t)
  const one = await send(url, '/api/events', EVENT)
  t.equal(one.status, 202)
  t.match(one.body.ids, [/^\d+-\d+$/])
  t.equal((await send(url, '/api/events', [EVENT, { type: 'log', data: null }])).body.ids.length, 2)
  t.equal((await send(url, '/api/events', `${JSON.stringify(EVENT)}\n\n${JSON.stringify(EVENT)}\n`, { 'content-type': 'application/x-ndjson' })).body.ids.length, 2)
  for (const type of ['application/json; charset=utf-8', ' application/json', 'APPLICATION/JSON ;charset=utf-8']) t.equal((await send(url, '/api/events', EVENT, { 'content-type': type })).status, 202, type)
  t.equal(gateway.counters.events, 8)
})

t.test('a bad event is refused with what is wrong, and nothing of its batch is published', async t => {
  const { url, gateway } = await server(t, { limits: { maxHttpBufferSize: 4000 } })
  const deep = '{"type":"x","data":' + '['.repeat(100_000) + ']'.repeat(100_000) + '}'
  const cases: Array<[unknown, number, string, RegExp, Record<string, string>?]> = [
    ['', 400, 'BAD_REQUEST', /empty/],
    ['{"type":', 400, 'BAD_REQUEST', /not valid JSON/],
    [[], 400, 'BAD_EVENT', /1 to 1000/],
    ['1', 400, 'BAD_EVENT', /object/],
    ['null', 400, 'BAD_EVENT', /empty/],
    [{ ...EVENT, id: '1-1', colour: 1 }, 400, 'BAD_EVENT', /"id", "colour".*type, room, key, data, timestamp and ttl/],
    [{ ...EVENT, type: 'a b' }, 400, 'BAD_EVENT', /type/],
    [{ ...EVENT, type: 'a\nb' }, 400, 'BAD_EVENT', /type/],
    [{ ...EVENT, type: undefined }, 400, 'BAD_EVENT', /type/],
    [{ ...EVENT, room: '@system' }, 400, 'BAD_EVENT', /gateway's own/],
    [{ ...EVENT, room: '../a*' }, 400, 'BAD_EVENT', /room/],
    [{ ...EVENT, room: '' }, 400, 'BAD_EVENT', /room/],
    [{ ...EVENT, key: '' }, 400, 'BAD_EVENT', /key/],
    [{ ...EVENT, key: 'x'.repeat(257) }, 400, 'BAD_EVENT', /key/],
    [{ ...EVENT, key: 'a\u0000b' }, 400, 'BAD_EVENT', /key/],
    [{ ...EVENT, data: undefined }, 400, 'BAD_EVENT', /data is missing/],
    [{ ...EVENT, timestamp: '10' }, 400, 'BAD_EVENT', /timestamp/],
    [{ ...EVENT, timestamp: -1 }, 400, 'BAD_EVENT', /timestamp/],
    ['{"type":"x","data":9007199254740993}', 400, 'BAD_REQUEST', /as a string/],
    ['{"type":"x","data":1e400}', 400, 'BAD_REQUEST', /as a string/],
    ['{"type":"x","data":{"__proto__":{"a":1}}}', 400, 'BAD_REQUEST', /__proto__/],
    [[EVENT, { type: 'x' }], 400, 'BAD_EVENT', /event 2 of 2: data/],
    [Array.from({ length: 1001 }, () => ({ type: 'x', data: 1 })), 413, 'TOO_LARGE', /MAX_HTTP_BUFFER_SIZE/],
    [{ ...EVENT, data: 'x'.repeat(3960) }, 413, 'TOO_LARGE', /4000 bytes/],
    [deep, 413, 'TOO_LARGE', /./],
    [new Uint8Array([0x7b, 0xff, 0x7d]), 400, 'BAD_REQUEST', /UTF-8/],
    [EVENT, 415, 'UNSUPPORTED_MEDIA_TYPE', /application\/json/, { 'content-type': 'text/plain' }],
    [EVENT, 415, 'UNSUPPORTED_MEDIA_TYPE', /application\/json/, { 'content-type': 'application/json garbage' }],
    [`${JSON.stringify(EVENT)}\nnonsense`, 400, 'BAD_REQUEST', /line 2/, { 'content-type': 'application/x-ndjson' }],
    [EVENT, 400, 'BAD_EVENT', /Idempotency-Key/, { 'idempotency-key': 'x'.repeat(201) }]
  ]
  for (const [body, status, code, words, headers] of cases) {
    const answer = await send(url, '/api/events', body, headers)
    t.match({ status: answer.status, ...answer.body }, { status, statusCode: status, code, error: String, message: words }, String(typeof body === 'string' ? body : JSON.stringify(body)).slice(0, 60))
    t.notMatch(JSON.stringify(answer.body), /at .*\.(ts|js)|node_modules/)
  }
  t.equal(gateway.counters.events, 0)
  t.equal((Object.prototype as Record<string, unknown>).a, undefined)
})

t.test('data of any kind arrives as it was sent', async t => {
  const { url, port } = await server(t)
  const client = await WireClient.open('SSE', port)
  await client.untilKind('ready')
  const values = [null, true, 0, -1.5, 1e20, 'x\nid: 9\nevent: y', 'x\r\n\r\ny', '\u2028\u2029\ufeff', '🎈 é', '\ud800', { toString: 1, constructor: { a: [] } }, [[[]]], '0.1234567890123456789', 0.30000000000000004, '__proto__']
  await send(url, '/api/events', values.map(data => ({ type: 'x', data })))
  await client.until(() => client.events.length === values.length)
  t.same(client.events.map(({ data }) => data), values)
  client.cut()
})

t.test('timestamps in seconds become milliseconds, absent ones are the time of ingest', async t => {
  const { url, port } = await server(t)
  const client = await WireClient.open('SSE', port)
  await client.untilKind('ready')
  const before = Date.now()
  await send(url, '/api/events', [{ type: 'x', data: 1, timestamp: 1763770000.123 }, { type: 'x', data: 1, timestamp: 1763770000123 }, { type: 'x', data: 1 }])
  await client.until(() => client.events.length === 3)
  t.same(client.events.slice(0, 2).map(({ timestamp }) => timestamp), [1763770000123, 1763770000123])
  t.ok((client.events[2]?.timestamp as number) >= before)
  client.cut()
})

t.test('an Idempotency-Key makes a retry return the first ids, and only for the same body', async t => {
  const { url, gateway } = await server(t)
  const key = { 'idempotency-key': 'once' }
  const twins = await Promise.all([1, 2, 3].map(async () => await send(url, '/api/events', EVENT, key)))
  t.equal(new Set(twins.map(({ body }) => body.ids[0])).size, 1)
  t.equal(gateway.counters.events, 1)
  t.match(await send(url, '/api/events', { ...EVENT, data: 2 }, key), { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
  await send(url, '/api/events', { bad: 1 }, { 'idempotency-key': 'refused' })
  t.equal((await send(url, '/api/events', EVENT, { 'idempotency-key': 'refused' })).status, 202, 'a refusal is not remembered')
})

t.test('commands: schema, results, unknown ones, and one execution for a key', async t => {
  let runs = 0
  const { url } = await server(t, {
    commandTimeout: 0.1,
    commands: {
      count: { schema: { type: 'object', properties: { by: { type: 'integer' } }, required: ['by'], additionalProperties: false }, handler: async ({ by }: { by: number }) => { await new Promise(resolve => setTimeout(resolve, 20)); runs += by; return { runs } } },
      slow: { handler: async () => { await new Promise(resolve => setTimeout(resolve, 300)); return 'late' } },
      broken: { handler: () => { throw new Error('the pump is stuck') } }
    } as never
  })
  const run = async (body: unknown, headers?: Record<string, string>): Promise<Answer> => await send(url, '/api/control', body, headers)
  t.match(await run({ command: 'ping' }), { status: 200, body: { ok: true, command: 'ping', result: { pong: true } } })
  t.match(await run({ command: 'count', args: { by: 'x' } }), { status: 400, body: { code: 'BAD_COMMAND', message: /by must be integer/ } })
  t.match(await run({ command: 'count', args: { by: 1, of: 2 } }), { status: 400, body: { code: 'BAD_COMMAND' } })
  for (const command of ['constructor', 'toString', '__proto__x', 'nothing']) t.match(await run({ command }), { status: 404, body: { code: 'UNKNOWN_COMMAND', message: /there are .*ping/ } })
  for (const body of [[], 'x', { command: ['ping'] }, { command: {} }, {}, { command: 'ping', argz: 1 }]) t.match(await run(JSON.stringify(body)), { status: 400, body: { code: 'BAD_COMMAND' } })
  const twins = await Promise.all([1, 2, 3].map(async () => await run({ command: 'count', args: { by: 1 } }, { 'idempotency-key': 'k' })))
  t.equal(runs, 1)
  t.same(twins[1]?.body, twins[0]?.body)
  t.same((await run({ command: 'count', args: { by: 1 } }, { 'idempotency-key': 'k' })).body, twins[0]?.body)
  t.match(await run({ command: 'count', args: { by: 2 } }, { 'idempotency-key': 'k' }), { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
  const slow = await run({ command: 'slow' })
  t.match(slow, { status: 202, body: { status: 'running' } })
  const outcome = async (): Promise<Record<string, unknown>> => await (await fetch(`${url}/api/control/${slow.body.id as string}`)).json() as Record<string, unknown>
  t.match(await outcome(), { status: 'running' })
  while ((await outcome()).status === 'running') await new Promise(resolve => setTimeout(resolve, 20))
  t.match(await outcome(), { id: slow.body.id, command: 'slow', status: 'done', result: 'late' })
  t.match(await run({ command: 'broken' }), { status: 500, body: { code: 'COMMAND_FAILED', message: 'the pump is stuck' } })
  t.equal((await fetch(`${url}/api/control/never-seen`)).status, 404)
})

t.test('GET /api/control lists the commands by name, with the schemas of their arguments, and costs nothing', async t => {
  const schema = { type: 'object', required: ['by'], properties: { by: { type: 'integer' } } }
  const { url } = await server(t, {
    limits: { controlRateLimit: 1 },
    commands: { count: { schema, description: 'Counts on.', handler: () => 1 }, bare: { handler: () => 1 } }
  })
  const answers = await Promise.all(Array.from({ length: 10 }, async () => await fetch(`${url}/api/control`)))
  t.ok(answers.every(({ status }) => status === 200), 'CONTROL_RATE_LIMIT does not count it')
  const { commands } = await answers[0]?.json() as { commands: Array<Record<string, any>> }
  t.same(commands.map(({ name }) => name), ['backup', 'bare', 'clear', 'count', 'disconnect', 'explain', 'pause', 'ping', 'publish', 'recent', 'resume', 'rooms', 'shutdown', 'stats', 'switch', 'tune', 'whoami'])
  const of = (name: string): Record<string, any> => commands.find(command => command.name === name) ?? {}
  t.same(of('count'), { name: 'count', description: 'Counts on.', schema, source: 'module' })
  t.same(of('bare'), { name: 'bare', schema: { type: 'object', additionalProperties: false }, source: 'module' })
  t.match(of('pause'), { source: 'built-in', schema: { required: ['room'], properties: { room: { type: 'string' } } } })
  t.ok(commands.filter(({ source }) => source === 'built-in').every(({ description }) => /^[A-Z].*\.$/.test(description)), 'each says what it does')
  t.match(of('tune').schema, { properties: { MAX_ROOM_SIZE: { type: 'integer', minimum: 0, maximum: 100_000_000, description: /^Members of one named room/ } } }, 'what can be tuned, to make a form of')
  t.match(await send(url, '/api/control', { command: 'tune', args: { NO_SUCH: 1 } }), { status: 400, body: { code: 'BAD_COMMAND', message: /NO_SUCH is not a setting/ } }, 'and the table of settings says what is wrong')
  t.match(await (await fetch(`${url}/docs/json`)).json(), { paths: { '/api/control': { get: { summary: String } } } })
})

t.test('every refusal is counted by code, whatever transport it was sent over', async t => {
  const { url, gateway } = await server(t)
  await send(url, '/api/events', { type: 'x' })
  await send(url, '/api/control', { command: 'nothing' })
  await fetch(`${url}/nowhere`)
  await fetch(`${url}/%zz`)
  await fetch(`${url}/api/events/ws`)
  await fetch(`${url}/api/events/stream?rooms=no good`)
  await gateway.drain()
  await fetch(`${url}/api/events/stream`, { headers: { 'last-event-id': '1-0' } })
  t.same(gateway.troubles.refusals, { BAD_EVENT: 1, UNKNOWN_COMMAND: 1, NOT_FOUND: 1, BAD_REQUEST: 1, PROFILE_NOT_MOUNTED: 1, BAD_SUBSCRIPTION: 1, DRAINING: 1 })
  t.same(gateway.troubles.recent.map(({ code }) => code), ['DRAINING', 'BAD_SUBSCRIPTION', 'PROFILE_NOT_MOUNTED', 'BAD_REQUEST', 'UNKNOWN_COMMAND', 'BAD_EVENT'], 'stray paths need not be looked into')
  const socket = await server(t, { profile: 'WEBSOCKET' })
  const client = await WireClient.open('WEBSOCKET', socket.port, { join: false })
  client.say({ action: 'join', room: 'no good' })
  await client.untilKind('error')
  t.same(socket.gateway.troubles.refusals, { BAD_SUBSCRIPTION: 1 })
  client.cut()
})

t.test('@system has settings once and after each change, and troubles as they occur; nothing is written while it has no members', async t => {
  const { url, port, gateway } = await server(t, { limits: { maxRoomSize: 50 } })
  await send(url, '/api/events', { type: 'x' })
  const before = gateway.view.history.head
  await delay(1200)
  t.equal(gateway.view.history.head, before)
  const watcher = await WireClient.open('SSE', port, { rooms: ['@system'] })
  const told = (type: string): any[] => watcher.events.filter(event => event.type === type).map(({ data }) => data)
  await watcher.until(() => told('gateway').length === 2)
  const roomSizes = (): SettingView[] => told('settings').map(({ settings }) => settings.find(({ name }: SettingView) => name === 'MAX_ROOM_SIZE'))
  t.match(roomSizes(), [{ value: 50, meaning: /^Members/, unit: 'members', tunable: true, isDefault: true }])
  await send(url, '/api/control', { command: 'tune', args: { MAX_ROOM_SIZE: 60 } })
  await watcher.until(() => told('gateway').length === 4)
  t.match(roomSizes(), [{ value: 50 }, { value: 60, isDefault: false }])
  t.match(told('troubles').at(-1), { recent: [{ at: Number, code: 'BAD_EVENT', message: /data is missing/, count: 1 }] })
  watcher.cut()
  await watcher.until(() => gateway.view.sessions.count === 0)
  // One report may be on its way.
  await delay(200)
  const after = gateway.view.history.head
  await delay(1500)
  t.equal(gateway.view.history.head, after)
})

t.test('the built-in commands publish, pause, clear and list', async t => {
  const { url } = await server(t)
  const run = async (command: string, args: object): Promise<Answer> => await send(url, '/api/control', { command, args })
  t.equal((await run('publish', { event: EVENT })).body.result.ids.length, 1)
  t.equal((await run('publish', { events: [EVENT, { ...EVENT, key: 'l' }] })).body.result.ids.length, 2)
  t.match(await run('publish', { event: { type: 'x' } }), { status: 400, body: { code: 'BAD_EVENT' } })
  t.match(await run('publish', { event: EVENT, events: [EVENT] }), { status: 400, body: { code: 'BAD_COMMAND' } })
  await run('pause', { room: 'a' })
  t.match(await send(url, '/api/events', EVENT), { status: 409, body: { code: 'ROOM_PAUSED', message: /resume/ } })
  t.match((await run('rooms', {})).body.result.rooms, [{ room: '@system' }, { room: 'a', keys: 2, members: 0, paused: true }])
  await run('resume', { room: 'a' })
  t.equal((await send(url, '/api/events', EVENT)).status, 202)
  t.match((await run('clear', { room: 'a', type: 'cpu', key: 'l' })).body.result, { removed: 1 })
  t.match(await (await fetch(`${url}/api/rooms`)).json(), { rooms: [{ room: '@system' }, { room: 'a', keys: 1 }], more: false })
})

t.test('the list of rooms comes in pages, in order of name, and counts for CONTROL_RATE_LIMIT', async t => {
  const { url, publish } = await server(t, { limits: { controlRateLimit: 0 } })
  const names = Array.from({ length: 2500 }, (_, n) => `room-${(n * 7919) % 2500}`)
  const ids: string[] = []
  for (let start = 0; start < names.length; start += 500) ids.push(...await publish(...names.slice(start, start + 500).map(room => ({ type: 'a', room, data: 1 }))))
  const page = async (query: string): Promise<{ rooms: Array<{ room: string }>, more: boolean }> => await (await fetch(`${url}/api/rooms${query}`)).json() as { rooms: Array<{ room: string }>, more: boolean }
  const sorted = names.toSorted()
  t.same((await page('')).rooms.map(({ room }) => room), sorted.slice(0, 100))
  const seen: string[] = []
  for (let more = true, after = ''; more;) {
    const next = await page(`?limit=1000&after=${after}`)
    seen.push(...next.rooms.map(({ room }) => room))
    more = next.more
    after = seen.at(-1) as string
  }
  t.same(seen, sorted)
  t.same(await page('?prefix=room-24&limit=2&after=room-2410'), { more: true, rooms: ['room-2411', 'room-2412'].map(room => ({ room, members: 0, keys: 0, lastId: ids[names.indexOf(room)], paused: false })) })
  t.same(await page('?prefix=none'), { rooms: [], more: false })
  for (const query of ['?limit=0', '?limit=1001', '?limit=x', '?limit=1&limit=2', '?after=a&after=b', '?page=2']) {
    t.match(await page(query), { statusCode: 400, code: 'BAD_REQUEST' }, query)
  }
  t.match((await send(url, '/api/control', { command: 'rooms', args: { limit: 3, prefix: 'room-9' } })).body.result, { more: true, rooms: [{ room: 'room-9' }, { room: 'room-90' }, { room: 'room-900' }] })
  t.match(await send(url, '/api/control', { command: 'rooms', args: { limit: 1001 } }), { status: 400, body: { code: 'BAD_COMMAND' } })

  const limited = await server(t, { limits: { controlRateLimit: 3 } })
  const statuses = await Promise.all(Array.from({ length: 8 }, async () => (await fetch(`${limited.url}/api/rooms`)).status))
  t.ok(statuses.includes(429), String(statuses))
})

t.test('CONTROL_RATE_LIMIT counts both transports before the request is checked, whatever the forwarded headers say', async t => {
  const { url } = await server(t, { limits: { controlRateLimit: 3 } })
  const answers: Answer[] = []
  const begun = Date.now()
  for (let n = 0; n < 12 || (answers.at(-1)?.status !== 429 && n < 500); n++) answers.push(await send(url, '/api/control', n % 2 === 0 ? { command: 'ping' } : 'nonsense', { 'x-forwarded-for': `10.0.0.${n}`, 'x-real-ip': `10.0.0.${n}` }))
  const refused = answers.filter(({ status }) => status === 429)
  t.ok(answers.length - refused.length <= 3 * windowsSince(begun), `${refused.length} of ${answers.length} refused`)
  t.match(refused[0]?.body, { code: 'RATE_LIMITED', message: /3 requests a second.*CONTROL_RATE_LIMIT/ })
  t.equal(refused[0]?.headers.get('retry-after'), '1')
  t.equal(refused[0]?.headers.get('x-ratelimit-limit'), '3')
  t.equal((await send(url, '/api/events', EVENT)).status, 202, 'publishing has a limit of its own')
})

t.test('a stream: headers, query, and refusals by status for a first request', async t => {
  const { url, gateway } = await server(t, { limits: { maxRoomSize: 1 } })
  const get = async (query: string, headers: Record<string, string> = {}): Promise<{ status: number, code: string, headers: Headers, text: () => Promise<string> }> => {
    const controller = new AbortController()
    const answer = await fetch(`${url}/api/events/stream${query}`, { headers, signal: controller.signal })
    if (answer.status !== 200) return { status: answer.status, code: (await answer.json() as { code: string }).code, headers: answer.headers, text: async () => '' }
    return { status: 200, code: '', headers: answer.headers, text: async () => { const text = await cutText(answer); controller.abort(); return text } }
  }
  const stream = await get('?rooms=a&_=1')
  t.equal(stream.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  t.equal(stream.headers.get('cache-control'), 'no-cache, no-transform')
  t.equal(stream.headers.get('x-accel-buffering'), 'no')
  t.match(await get('?rooms=a'), { status: 409, code: 'ROOM_FULL' })
  t.match(await get('?rooms=a%20b'), { status: 400, code: 'BAD_SUBSCRIPTION' })
  t.match(await get('?room=a'), { status: 400, code: 'BAD_SUBSCRIPTION' })
  t.match(await get('?rooms=@secret'), { status: 400, code: 'BAD_SUBSCRIPTION' })
  t.match(await get('?rooms=' + Array.from({ length: 101 }, (_, n) => `r${n}`).join()), { status: 400, code: 'BAD_SUBSCRIPTION' })
  t.equal(gateway.view.sessions.count, 1, 'the refused ones left nothing behind')
  const returning = await get('?rooms=a', { 'last-event-id': 'x' })
  t.equal(returning.status, 200)
  t.match(await returning.text(), /^retry: \d+\nevent: bye\ndata: \{"reason":"ROOM_FULL","retryMs":\d+\}\n\n$/)
  t.match(await (await get('?rooms=a&lastEventId=x')).text(), /ROOM_FULL/, 'so does one that brings its cursor in the query')
  t.equal((await get('?rooms=a&lastEventId=')).status, 409, 'an empty cursor is none')
  t.equal((await get('?rooms=a%20b', { 'last-event-id': 'x' })).status, 400, 'what will never be right is said to be wrong')
  t.equal((await fetch(`${url}/api/events/stream`, { method: 'HEAD' })).status, 405)
})

t.test('the header Last-Event-ID wins over the query, and an empty one is none', async t => {
  const { port, publish } = await server(t)
  const ids = await publish({ type: 'log', data: 1 }, { type: 'log', data: 2 })
  const ask = async (query: string, header: string | null): Promise<unknown[]> => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('data', data => { text += data.toString() })
    socket.write(`GET /api/events/stream${query} HTTP/1.0\r\nHost: localhost\r\n${header === null ? '' : `Last-Event-ID: ${header}\r\n`}\r\n`)
    while (!text.includes('event: ready')) await new Promise(resolve => setTimeout(resolve, 5))
    socket.destroy()
    t.notMatch(text, /\r\n[0-9a-f]+\r\nid/, 'no chunks for HTTP/1.0')
    return [...text.matchAll(/^data: (\[.*\])$/gm)].flatMap(([, data]) => (JSON.parse(data as string) as Array<{ data: unknown }>).map(event => event.data))
  }
  t.same(await ask(`?lastEventId=${ids[1] as string}`, ids[0] as string), [2])
  t.same(await ask(`?lastEventId=${ids[0] as string}`, null), [2])
  t.same(await ask('?lastEventId=', ''), [])
  t.same(await ask(`?lastEventId=${ids[0] as string}`, ''), [2], 'an empty header does not hide the query')
  t.same(await ask(`?lastEventId=${ids[1] as string}&lastEventId=${ids[0] as string}&lastEventId=`, null), [2], 'of several the last that is not empty')
})

t.test('the path of the other profile says which one runs, and a returning EventSource gets a bye with a time to retry', async t => {
  const { url } = await server(t, { profile: 'WEBSOCKET' })
  const first = await fetch(`${url}/api/events/stream`)
  t.equal(first.status, 404)
  t.match(await first.json(), { code: 'PROFILE_NOT_MOUNTED', message: /WEBSOCKET, at \/api\/events\/ws; connect there, read with GET \/api\/events .*, or start the gateway with APP_PROFILE=SSE \(or run: signalbox switch SSE\)$/ })
  const returning = await fetch(`${url}/api/events/stream`, { headers: { 'last-event-id': 'x' } })
  t.equal(returning.status, 200)
  t.match(await cutText(returning), /event: bye\ndata: \{"reason":"PROFILE_NOT_MOUNTED"/)
  t.match(await (await fetch(`${url}/api/events/ws`)).json(), { statusCode: 426, code: 'UPGRADE_REQUIRED' })
  const sse = await server(t)
  t.match(await (await fetch(`${sse.url}/api/events/ws`)).json(), { code: 'PROFILE_NOT_MOUNTED', message: /SSE, at \/api\/events\/stream; connect there, or start the gateway with APP_PROFILE=WEBSOCKET \(or run: signalbox switch WEBSOCKET\)$/ })
})

t.test('status: profile, health, readiness, metrics, docs, page, and a 404 that helps', async t => {
  const { url, gateway } = await server(t)
  const get = async (path: string): Promise<Response> => await fetch(url + path)
  const profile = await get('/api/profile')
  t.equal(profile.headers.get('cache-control'), 'no-store')
  t.match(await profile.json(), { profile: 'SSE', stream: '/api/events/stream', websocket: null, control: '/api/control', tickMs: 20, pingIntervalMs: 10_000, version: /^\d/, protocol: 1, features: ['compression', 'patch', 'pace'] })
  t.equal((await get('/healthz')).status, 200)
  t.equal((await get('/readyz')).status, 200)
  t.match(await (await get('/metrics')).text(), /^signalbox_sessions 0$/m)
  t.match(await (await get('/docs/json')).json(), { openapi: /^3/, paths: { '/api/events': {}, '/api/control': {}, '/api/events/stream': {} } })
  const page = await get('/')
  t.match(await page.text(), /<title>/)
  t.match(page.headers.get('content-security-policy'), /default-src 'self'/)
  t.match(await (await get('/client.js')).text(), /export/)
  const types = await get('/client.d.ts')
  t.equal(types.headers.get('content-type'), 'text/plain; charset=utf-8')
  t.match(await types.text(), /^export \{ .*\bconnect\b/m)
  t.match(await (await get('/nowhere')).json(), { statusCode: 404, code: 'NOT_FOUND', message: /GET \/nowhere/ })
  const drained = gateway.drain()
  t.match(await (await get('/readyz')).json(), { statusCode: 503, code: 'DRAINING' })
  const refused = await send(url, '/api/events', EVENT)
  t.match(refused, { status: 503, body: { code: 'DRAINING' } })
  t.match(refused.headers.get('retry-after'), /^\d+$/)
  t.equal((await get('/healthz')).status, 200, 'alive to the end')
  await drained
})

t.test('ENABLE_CONTROL_HTTP=false leaves only the WebSocket for commands', async t => {
  const { url, port } = await server(t, { profile: 'WEBSOCKET', enableControlHttp: false })
  t.match(await send(url, '/api/control', { command: 'ping' }), { status: 404, body: { code: 'NOT_FOUND' } })
  t.equal((await (await fetch(`${url}/api/profile`)).json() as { control: null }).control, null)
  const client = await WireClient.open('WEBSOCKET', port)
  client.say({ action: 'control', command: 'ping' })
  t.match(await client.untilKind('result'), { data: { result: { pong: true } } })
  client.cut()
})

t.test('pages of other origins may send requests only if CORS_ORIGINS lists them', async t => {
  const { url } = await server(t, { corsOrigins: ['https://app.example.com'] })
  const allow = async (origin: string): Promise<string | null> => (await fetch(`${url}/api/profile`, { headers: { origin } })).headers.get('access-control-allow-origin')
  t.equal(await allow('https://app.example.com'), 'https://app.example.com')
  t.equal(await allow('https://app.example.com.evil.com'), null)
  t.equal(await allow('null'), null)
})

t.test('MAX_CLIENTS and MAX_CLIENTS_PER_IP bound the connections', async t => {
  const { port, url } = await server(t, { limits: { maxClients: 2 } })
  await Promise.all([WireClient.open('SSE', port), WireClient.open('SSE', port)].map(async opening => await (await opening).untilKind('ready')))
  t.match(await (await fetch(`${url}/api/events/stream`)).json(), { statusCode: 503, code: 'OVERLOADED', message: /MAX_CLIENTS/ })
  const narrow = await server(t, { limits: { maxClientsPerIp: 1 } })
  const only = await WireClient.open('SSE', narrow.port)
  await only.untilKind('ready')
  t.match(await (await fetch(`${narrow.url}/api/events/stream`)).json(), { statusCode: 429, code: 'RATE_LIMITED', message: /MAX_CLIENTS_PER_IP/ })
  only.cut()
  await new Promise(resolve => setTimeout(resolve, 50))
  const again = await WireClient.open('SSE', narrow.port)
  await again.untilKind('ready')
})

t.test('a pipelined request for a stream opens it; a further request after a stream closes the connection', async t => {
  const { port, gateway } = await server(t)
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('error', () => {})
  socket.on('data', data => { text += data.toString() })
  const until = async (done: () => boolean): Promise<void> => { while (!done()) await new Promise(resolve => setTimeout(resolve, 5)) }
  socket.write('GET /api/profile HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api/events/stream?rooms=a HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await until(() => text.includes('event: ready'))
  t.match(text, /"profile":"SSE".*event: hello\ndata: \{"profile":"SSE","protocol":1,/s)
  for (let n = 0; n < 1000; n++) socket.write('GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await until(() => socket.destroyed)
  await until(() => gateway.view.sessions.count === 0)
  t.equal(gateway.view.totals.rooms, 0)
})

t.test('until the end of a drain a returning EventSource gets a bye with a time to retry', async t => {
  const { url, port, close } = await server(t)
  // It takes the goodbye and does not go, so the drain waits for it for a while.
  const lingering = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  lingering.on('error', () => {})
  let text = ''
  lingering.on('data', data => { text += data.toString() })
  lingering.write('GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n')
  while (!text.includes('event: ready')) await new Promise(resolve => setTimeout(resolve, 5))
  const closing = close()
  while (!text.includes('event: bye')) await new Promise(resolve => setTimeout(resolve, 5))
  await new Promise(resolve => setTimeout(resolve, 100))
  const returning = await fetch(`${url}/api/events/stream`, { headers: { 'last-event-id': 'x' } })
  t.equal(returning.status, 200)
  t.match(await cutText(returning), /event: bye\ndata: \{"reason":"DRAINING"/)
  const refused = await send(url, '/api/events', EVENT)
  t.match(refused, { status: 503, body: { code: 'DRAINING' } })
  t.ok(refused.headers.get('retry-after'))
  lingering.destroy()
  await closing
})

t.test('invalid HTTP is answered in the same shape', async t => {
  const { port, url } = await server(t)
  const raw = async (bytes: string): Promise<string> => await new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('error', () => {})
    socket.on('data', data => { text += data.toString() }).on('close', () => resolve(text))
    socket.write(bytes)
  })
  t.match(await raw('nonsense\r\n\r\n'), /^HTTP\/1.1 400 .*"code":"BAD_REQUEST"/s)
  t.match(await raw(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`), /^HTTP\/1.1 431 .*"statusCode":431,"code":"TOO_LARGE"/s)
  t.match(await (await fetch(`${url}/%ff`)).json(), { statusCode: 400, code: 'BAD_REQUEST' })
  t.match(await send(url, '/api/events', EVENT, { 'content-type': 'application/json; charset=utf-16' }), { status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE' } })
})

t.test('a client that disconnects while its stream is opening leaves no session', async t => {
  const { port, gateway } = await server(t)
  for (let n = 0; n < 50; n++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET /api/events/stream?rooms=a HTTP/1.1\r\nHost: localhost\r\n\r\n', () => socket.resetAndDestroy())
  }
  await new Promise(resolve => setTimeout(resolve, 300))
  t.equal(gateway.view.sessions.count, 0)
  t.equal(gateway.view.totals.rooms, 0)
})
