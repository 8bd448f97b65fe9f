// Who may do what, by the program around the gateway.

import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import cookie from '@fastify/cookie'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../src/client/node.ts'
import signalbox from '../../src/plugin/index.ts'
import type { Grants, PluginOptions } from '../../src/plugin/index.ts'
import { PROFILES } from '../wire/harness.ts'
import { WireClient } from '../wire/client.ts'

type Answer = Grants | null

async function started (t: Test, authorize: (request: FastifyRequest) => Answer | Promise<Answer>, options: PluginOptions = {}): Promise<{ url: string, port: number, lines: string[] }> {
  const lines: string[] = []
  const app = Fastify({ loggerInstance: pino({ level: 'warn' }, { write: line => lines.push(line) }) as never })
  await app.register(cookie)
  await app.register(signalbox, { dataDir: ':memory:', authorize, ...options })
  t.teardown(async () => await app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, lines }
}

const publish = async (url: string, room: string, headers: Record<string, string> = {}): Promise<any> => {
  const answer = await fetch(`${url}/api/events`, { method: 'POST', body: JSON.stringify({ type: 'x', room, data: 1 }), headers: { 'Content-Type': 'application/json', ...headers } })
  return { status: answer.status, ...await answer.json() }
}

t.test('it is given the app\'s own request, with what the app\'s plugins put there', async t => {
  const users: Record<string, Grants> = { ada: { publish: ['plant-*'] } }
  const { url } = await started(t, async ({ cookies }) => users[cookies.session ?? ''] ?? null)
  const own = { Origin: url }
  t.match(await publish(url, 'plant-1', { Cookie: 'session=ada', ...own }), { status: 202 })
  t.match(await publish(url, 'office', { Cookie: 'session=ada', ...own }), { status: 403, code: 'FORBIDDEN', message: 'you may not publish to office: what authorize returned grants no publish on it' })
  t.match(await publish(url, 'plant-1', { Cookie: 'session=bob', ...own }), { status: 401, code: 'UNAUTHENTICATED', message: /sign in/ })
  t.match(await (await fetch(`${url}/api/profile`)).json(), { auth: true }, 'what is open to all asks nobody')
})

t.test('a page of another site cannot use a visitor\'s cookies', async t => {
  const { url } = await started(t, () => ({ publish: ['*'], subscribe: ['*'] }), { corsOrigins: ['https://good.example'], profile: 'WEBSOCKET' })
  const cookies = { Cookie: 'session=ada' }
  t.match(await publish(url, 'a', { ...cookies, Origin: 'https://evil.example' }), { status: 403 })
  t.match(await publish(url, 'a', cookies), { status: 403, message: /needs the header Origin/ })
  t.match(await publish(url, 'a', { ...cookies, Origin: 'https://good.example' }), { status: 202 })
  t.match(await publish(url, 'a'), { status: 202 }, 'a backend has none')
  const handshake = async (origin: string): Promise<string> => await new Promise(resolve => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/events/ws`, { origin, headers: cookies })
    socket.once('open', () => { socket.terminate(); resolve('open') }).once('error', ({ message }) => resolve(message))
  })
  t.match(await handshake('https://evil.example'), /403/)
  t.equal(await handshake('https://good.example'), 'open')
})

for (const profile of PROFILES) {
  t.test(`${profile}: a connection hears what its caller may, and ends with its rights`, async t => {
    const asked: string[] = []
    const { port, url } = await started(t, ({ headers, url }) => {
      asked.push(url)
      return headers['x-user'] === undefined ? null : { subscribe: ['plant-*'], publish: ['*'], expiresAt: new Date(Date.now() + 1500), subject: 'ada' }
    }, { profile })
    const client = await WireClient.open(profile, port, { rooms: ['plant-1'], headers: { 'X-User': 'ada' } })
    t.teardown(() => client.cut())
    await client.untilKind('ready')
    await publish(url, 'plant-1', { 'X-User': 'ada' })
    await client.until(() => client.events.length === 1)
    t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED' } })
    t.match(asked[0], /^\/api\/events\/(stream|ws)/)
    const answer = await fetch(`${url}/api/events/stream?rooms=plant-1`)
    t.equal(answer.status, profile === 'SSE' ? 401 : 404)
  })
}

/** What a browser can send with a handshake: an origin, cookies, and an address. */
class BrowserSocket extends WebSocket {
  constructor (url: string, _protocols?: unknown, options?: object) {
    super(url, options)
  }
}

for (const profile of PROFILES) {
  t.test(`${profile}: a client with a token of the program's hears what authorize grants, also over a WebSocket without headers`, async t => {
    const asked: string[] = []
    const { url } = await started(t, ({ headers, url }) => {
      asked.push(url)
      return headers.authorization === 'Bearer theirs' ? { subject: 'ada', subscribe: ['plant-*'], publish: ['*'] } : null
    }, { profile })
    const box = connect(url, { rooms: ['plant-1'], token: 'theirs', WebSocket: BrowserSocket as never })
    t.teardown(() => box.close())
    const heard = new Promise(resolve => box.on('event', resolve))
    await new Promise<void>(resolve => box.on('ready', () => resolve()))
    await publish(url, 'plant-1', { Authorization: 'Bearer theirs' })
    t.match(await heard, { type: 'x', room: 'plant-1' })
    await t.rejects(box.join(['office']), { code: 'FORBIDDEN', message: /what authorize returned grants no subscribe/ })
    t.equal(asked.some(path => path.includes('/ws')), false, 'a handshake with a ticket asks nobody')
  })
}

t.test('a ticket has the rights and the life that authorize gave, works once, and then authorize is asked', async t => {
  const { url, port } = await started(t, ({ headers }) => headers['x-user'] === undefined
    ? null
    : { subject: String(headers['x-user']), subscribe: ['plant-*'], expiresAt: Date.now() + Number(headers['x-life'] ?? 60_000) })
  const ticketOf = async (life = '60000'): Promise<string> => {
    const answer = await fetch(`${url}/api/ticket`, { method: 'POST', headers: { 'X-User': 'ada', 'X-Life': life } })
    return (await answer.json() as { ticket: string }).ticket
  }
  const read = async (ticket: string, headers: Record<string, string> = {}): Promise<any> => {
    const answer = await fetch(`${url}/api/events?rooms=plant-1&ticket=${ticket}`, { headers })
    return { status: answer.status, cookie: answer.headers.get('set-cookie'), ...await answer.json() }
  }
  t.match(await (await fetch(`${url}/api/ticket`, { method: 'POST' })).json(), { code: 'UNAUTHENTICATED' })
  const ticket = await ticketOf()
  t.match(await read(ticket), { status: 200, cookie: null }, 'no cookie: rights are asked for anew')
  t.match(await read(ticket), { status: 401, code: 'TICKET_USED' })
  t.match(await read(ticket, { 'X-User': 'ada' }), { status: 200 }, 'who comes back with it is known otherwise')
  t.match(await read('none'), { status: 401, code: 'UNAUTHENTICATED', message: /ticket is unknown/ })
  t.match(await (await fetch(`${url}/api/events?rooms=office&ticket=${await ticketOf()}`)).json(), { code: 'FORBIDDEN' })
  const client = await WireClient.open('SSE', port, { rooms: ['plant-1'], ticket: await ticketOf('2000') })
  t.teardown(() => client.cut())
  t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED' } })
})

for (const profile of PROFILES) {
  t.test(`${profile}: whoami tells a caller what authorize returned of it`, async t => {
    const ends = Date.now() + 60_000
    const { url, port } = await started(t, ({ headers }) => ({ control: ['whoami'], ...(headers['x-user'] === undefined ? {} : { subject: 'ada', publish: ['plant-*'], expiresAt: new Date(ends) }) }), { profile })
    const post = async (path: string, body: object, headers: Record<string, string>): Promise<any> => {
      const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } })
      return await answer.json()
    }
    const who = async (headers: Record<string, string>): Promise<unknown> => (await post('/api/control', { command: 'whoami' }, headers)).result
    const ada = { subject: 'ada', expiresAt: ends, grants: { subscribe: [], publish: ['plant-*'], control: ['whoami'] } }
    const somebody = { subject: null, expiresAt: null, grants: { subscribe: [], publish: [], control: ['whoami'] } }
    t.strictSame(await who({ 'X-User': 'ada' }), ada)
    t.strictSame(await who({}), somebody, 'of nobody in particular, without an end')
    if (profile === 'SSE') return
    for (const [headers, expected] of [[{ 'X-User': 'ada' }, ada], [{}, somebody]] as const) {
      const { ticket } = await post('/api/ticket', {}, headers as Record<string, string>)
      for (const wish of [{ headers: headers as Record<string, string> }, { ticket }]) {
        const client = await WireClient.open(profile, port, { join: false, ...wish })
        client.say({ action: 'control', command: 'whoami' })
        t.strictSame((await client.untilKind('result') as { data: Record<string, unknown> }).data.result, expected, `over a socket, by ${Object.keys(wish)[0]}`)
        client.cut()
      }
    }
  })
}

t.test('a ticket that a server would not take in an address is not given, and the refusal says what to do', async t => {
  const rooms = (count: number): string[] => Array.from({ length: count }, () => `plant-${randomUUID()}`)
  const lists = { many: rooms(200), 'too-many': rooms(600) }
  const { url } = await started(t, ({ headers }) => ({ subscribe: lists[(headers['x-user'] ?? headers.authorization?.slice('Bearer '.length)) as keyof typeof lists] }), { profile: 'WEBSOCKET' })
  const ask = async (user: string): Promise<any> => {
    const answer = await fetch(`${url}/api/ticket`, { method: 'POST', headers: { 'X-User': user } })
    return { status: answer.status, ...await answer.json() }
  }
  const { ticket } = await ask('many')
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/events/ws?ticket=${ticket}`)
  t.teardown(() => socket.terminate())
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  t.match(await ask('too-many'), { status: 403, code: 'FORBIDDEN', message: /\d+ characters of at most 8192\. Let authorize return patterns such as plant-\*/ })
  const box = connect(url, { rooms: [], token: 'too-many', WebSocket: BrowserSocket as never })
  t.teardown(() => box.close())
  t.match(await new Promise(resolve => box.on('status', status => { if (status.state === 'refused') resolve(status) })), { code: 'FORBIDDEN', reason: /patterns such as/ }, 'the client library stops, and says why')
})

t.test('one that fails refuses for a while, and the log says why', async t => {
  const { url, lines } = await started(t, async () => { throw new Error('the users are in a database that is away') })
  const answer = await fetch(`${url}/api/events/stream`)
  t.equal(answer.status, 503)
  t.equal(answer.headers.get('retry-after'), '5')
  t.notMatch(await answer.text(), /database/)
  t.ok(lines.some(line => line.includes('a database that is away')))
  const returning = await fetch(`${url}/api/events/stream`, { headers: { 'Last-Event-ID': '1-0' } })
  t.match([returning.status, await returning.text().catch(() => 'event: bye')], [200, /event: bye/], 'an EventSource goes on trying')
})

t.test('one that throws 401 or 403 refuses with its own words', async t => {
  const { url } = await started(t, ({ headers }) => { throw Object.assign(new Error('the trial is over'), { statusCode: Number(headers['x-status']) }) })
  t.match(await publish(url, 'a', { 'X-Status': '403' }), { status: 403, code: 'FORBIDDEN', message: 'the trial is over' })
  t.match(await publish(url, 'a', { 'X-Status': '401' }), { status: 401, code: 'UNAUTHENTICATED', message: 'the trial is over' })
})

for (const [what, returned] of Object.entries({
  'a misspelt right': { subcribe: ['*'] },
  'a right that is no list': { publish: '*' },
  true: true,
  'a date that is none': { publish: ['*'], expiresAt: new Date('tomorrow') },
  nothing: undefined
})) {
  t.test(`one that returns ${what} lets nobody in, and the log says so`, async t => {
    const { url, lines } = await started(t, () => returned as never)
    t.match(await publish(url, 'a'), { status: 503 })
    t.ok(lines.some(line => /authorize (must return|returned)/.test(line)), lines.join())
  })
}

t.test('rights of a subject count for all of its connections', async t => {
  const { url, port } = await started(t, ({ headers }) => ({ subscribe: ['*'], control: ['disconnect'], subject: String(headers['x-user']) }))
  const clients = await Promise.all(['ada', 'ada', 'bob'].map(async user => await WireClient.open('SSE', port, { rooms: ['a'], headers: { 'X-User': user } })))
  t.teardown(() => clients.forEach(client => client.cut()))
  for (const client of clients) await client.untilKind('ready')
  const answer = await fetch(`${url}/api/control`, { method: 'POST', body: JSON.stringify({ command: 'disconnect', args: { subject: 'ada' } }), headers: { 'Content-Type': 'application/json', 'X-User': 'bob' } })
  t.match(await answer.json(), { result: { ended: 2 } })
})
