// Tickets, and the cookie that lets a native EventSource come back: over both stores, several workers, a restart.

import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'
import { WireClient } from '../wire/client.ts'
import { ALL, ask, bearer, guarded, knock, now, OPEN, SECRET, STORES, token } from './harness.ts'
import type { Answer } from './harness.ts'

const HEARS = { subscribe: ['a', '@public'], publish: ['a'], control: ['ping'] }

const newTicket = async (port: number, text = token(HEARS)): Promise<string> => (await ask(port, '/api/ticket', { method: 'POST', headers: bearer(text) })).body.ticket
const cookieOf = ({ headers }: Answer): string => /^(signalbox_ticket=[^;]+)/.exec(String(headers['set-cookie'] ?? ''))?.[1] ?? ''
const told = ({ status, body }: Answer): unknown[] => [status, body.code]

for (const { name: store, skip, start } of STORES) {
  t.test(`on ${store}`, { skip }, async t => {
    const place = await start(t)

    for (const profile of PROFILES) {
      t.test(`${profile}: a ticket opens one door, once, whichever worker it is shown to`, async t => {
        const dataDir = `w${profile}`
        const first = await guarded(t, { profile, ...place, dataDir: place.redis === undefined ? ':memory:' : dataDir })
        const second = place.redis === undefined ? first : await guarded(t, { profile, ...place, dataDir })
        const answer = await ask(first.port, '/api/ticket', { method: 'POST', headers: bearer(token(HEARS)) })
        t.strictSame([answer.status, answer.headers['cache-control'], answer.body.expiresIn], [200, 'no-store', 30])
        const { ticket } = answer.body
        t.equal((await knock(profile, second.port, `?rooms=a&ticket=${ticket}`)).status, OPEN[profile])
        for (const { port } of [first, second]) {
          const again = await knock(profile, port, `?rooms=a&ticket=${ticket}`)
          t.strictSame(told(again), [401, 'TICKET_USED'])
          t.notMatch(JSON.stringify(again.body), ticket.slice(-10))
        }
        const other = await newTicket(first.port)
        const together = await Promise.all(Array.from({ length: 12 }, async (_, n) => await knock(profile, (n % 2 === 0 ? first : second).port, `?ticket=${other}`)))
        t.strictSame(together.map(({ status }) => status).sort(), [OPEN[profile], ...Array(11).fill(401)].sort(), 'of many at one moment one enters')
        for (const bad of ['x', '', `${await newTicket(first.port)}x`, token(HEARS)]) t.strictSame(told(await knock(profile, first.port, `?ticket=${bad}`)), [401, 'UNAUTHENTICATED'], bad.slice(0, 5))
        const spare = await newTicket(first.port)
        for (const path of ['/api/rooms', '/api/control', '/api/profile']) await ask(first.port, `${path}?ticket=${spare}`)
        t.equal((await ask(first.port, `/api/rooms?ticket=${spare}`)).status, 401, 'it counts at no other door')
        t.equal((await ask(first.port, `/api/events?ticket=${spare}`, { body: { type: 'n', room: 'a', data: 1 } })).status, 401)
        t.equal((await knock(profile, first.port, `?ticket=${spare}`)).status, OPEN[profile], 'and is not used up there')
      })

      t.test(`${profile}: it has the token's rights and life`, async t => {
        const { port, publish } = await guarded(t, { profile, ...place })
        const exp = now() + 6
        const client = await WireClient.open(profile, port, { rooms: ['a'], ticket: await newTicket(port, token(HEARS, { exp })) })
        await client.untilKind('ready')
        if (profile === 'WEBSOCKET') {
          client.say({ action: 'control', command: 'ping' })
          t.match(await client.untilKind('result'), { data: { ok: true } }, 'on a socket all of them')
          client.say({ action: 'join', room: 'b' })
          t.match(await client.untilKind('error'), { data: { code: 'FORBIDDEN' } })
        } else {
          t.strictSame(told(await knock(profile, port, `?rooms=b&ticket=${await newTicket(port)}`)), [403, 'FORBIDDEN'])
        }
        await publish({ type: 'n', room: 'a', data: 1 })
        await client.until(() => client.events.length === 1)
        t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED' } })
        t.ok(now() >= exp)
        client.cut()
      })
    }

    t.test('a stream that comes back to its old address is known by the cookie; it outlives a restart, and hears but does nothing else', async t => {
      const dataDir = place.redis === undefined ? mkdtempSync(join(tmpdir(), 'signalbox-')) : 'restarts'
      if (place.redis === undefined) t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
      const before = await startServer({ authJwtSecret: SECRET, profile: 'SSE', ...place, dataDir })
      const ticket = await newTicket(before.port)
      const unused = await newTicket(before.port)
      const opened = await knock('SSE', before.port, `?rooms=a&ticket=${ticket}`)
      const Cookie = cookieOf(opened)
      t.match(opened.headers['set-cookie'], [/^signalbox_ticket=[^;]+; Max-Age=\d+; Path=\/api\/events; HttpOnly; SameSite=Lax$/])
      t.ok(Number(/Max-Age=(\d+)/.exec(String(opened.headers['set-cookie']))?.[1]) <= 600, 'the token\'s life')
      await before.close()
      const { port } = await guarded(t, { profile: 'SSE', ...place, dataDir })
      t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${ticket}`)), [401, 'TICKET_USED'], 'a used ticket is used after a restart')
      const back = await knock('SSE', port, `?rooms=a&ticket=${ticket}`, { Cookie, 'Last-Event-ID': '0-0' })
      t.strictSame([back.status, back.headers['set-cookie']], [200, undefined], 'beside the cookie it goes on')
      t.equal((await knock('SSE', port, '?rooms=a', { Cookie })).status, 200, 'the cookie alone is enough')
      t.equal((await knock('SSE', port, `?rooms=a&ticket=${unused}`)).status, 200, 'one that was not used works after a restart')
      t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${unused}x`, { Cookie })), [401, 'UNAUTHENTICATED'], 'an unknown ticket is refused beside it too')
      t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${ticket}`, { Cookie: `${Cookie}x` })), [401, 'TICKET_USED'], 'and a cookie that is no good is none')
      t.strictSame(told(await knock('SSE', port, '?rooms=a', { Cookie: `${Cookie}x` })), [401, 'UNAUTHENTICATED'])
      t.strictSame(told(await knock('SSE', port, '?rooms=b', { Cookie })), [403, 'FORBIDDEN'], 'it hears what the token did')
      const Origin = `http://127.0.0.1:${port}`
      t.equal((await ask(port, '/api/events', { headers: { Cookie, Origin }, body: { type: 'n', room: 'a', data: 1 } })).status, 403)
      t.equal((await ask(port, '/api/control', { headers: { Cookie, Origin }, body: { command: 'ping' } })).status, 403)
    })

    t.test('two streams of a page share the cookie, and each comes back to its own address', async t => {
      const { port } = await guarded(t, { profile: 'SSE', ...place })
      const [one, two] = [await newTicket(port), await newTicket(port)]
      const first = cookieOf(await knock('SSE', port, `?rooms=a&ticket=${one}`))
      const second = cookieOf(await knock('SSE', port, `?rooms=a&ticket=${two}`, { Cookie: first }))
      t.not(second, first)
      for (const ticket of [one, two]) t.equal((await knock('SSE', port, `?rooms=a&ticket=${ticket}`, { Cookie: second })).status, 200)
    })
  })
}

t.test('a Redis that was emptied gets its secret back; where a new worker made another, all agree on that within seconds', { skip: skipWithout('redis') }, async t => {
  const server = await RedisServer.start(t)
  const place = { profile: 'SSE', redis: server.url, dataDir: 'emptied' } as const
  const workers = [await guarded(t, place), await guarded(t, place)]
  const redis = new Redis(server.url)
  t.teardown(() => redis.disconnect())
  /** Whether a ticket of each worker opens a stream at each. */
  const agree = async (): Promise<boolean> => {
    const answers = await Promise.all(workers.flatMap(from => workers.map(async to => await knock('SSE', to.port, `?rooms=a&ticket=${await newTicket(from.port)}`))))
    return answers.every(({ status }) => status === 200)
  }
  const untilAgreed = async (): Promise<void> => {
    for (const end = Date.now() + 10_000; !await agree();) {
      if (Date.now() > end) throw new Error('they do not agree')
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
  const [first] = workers as [Server]
  t.ok(await agree())
  const Cookie = cookieOf(await knock('SSE', first.port, `?rooms=a&ticket=${await newTicket(first.port)}`))

  await redis.flushall()
  // Whoever is asked for tickets puts it back.
  while (await redis.exists('emptied:secret') === 0) await newTicket(first.port).then(async () => await new Promise(resolve => setTimeout(resolve, 100)))
  workers.push(await guarded(t, place))
  t.ok(await agree(), 'a worker that comes later has the one that was in use')
  for (const { port } of workers) t.equal((await knock('SSE', port, '?rooms=a', { Cookie })).status, 200, 'and streams come back by their cookies')

  await redis.flushall()
  const newest = await guarded(t, place)
  t.ok(await newTicket(newest.port))
  workers.push(newest)
  await untilAgreed()
  t.equal((await knock('SSE', first.port, '?rooms=a', { Cookie })).status, 401, 'then cookies of before count no more')
})

t.test('a ticket lives no longer than the store knows that it was used', async t => {
  const { port } = await guarded(t, { profile: 'SSE', idempotencyTtl: 2 })
  t.equal((await ask(port, '/api/ticket', { method: 'POST', headers: bearer(token(HEARS)) })).body.expiresIn, 2)
})

t.test('after its time a ticket that was used goes on beside the cookie, one that was not does not', async t => {
  // The gateway's clock jumps: what a browser holds after a night.
  const { port, gateway } = await guarded(t, { profile: 'SSE' })
  t.ok(gateway)
  const long = token(HEARS, { exp: now() + 100_000 })
  const [used, unused, later] = [await newTicket(port, long), await newTicket(port, long), await newTicket(port, long)]
  const Cookie = cookieOf(await knock('SSE', port, `?rooms=a&ticket=${used}`))
  await knock('SSE', port, `?rooms=a&ticket=${later}`)
  const { now: real } = Date
  Date.now = () => real() + 31_000
  try {
    t.equal((await knock('SSE', port, `?rooms=a&ticket=${used}`, { Cookie })).status, 200)
    t.equal((await knock('SSE', port, `?rooms=a&ticket=${later}`, { Cookie })).status, 200, 'also one of another page')
    t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${used}`)), [401, 'TICKET_USED'])
    t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${unused}`)), [401, 'UNAUTHENTICATED'])
    t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${unused}`, { Cookie })), [401, 'UNAUTHENTICATED'])
    Date.now = () => real() + 100_001_000
    t.strictSame(told(await knock('SSE', port, '?rooms=a', { Cookie })), [401, 'UNAUTHENTICATED'], 'and ends with the token')
  } finally {
    Date.now = real
  }
})

t.test('a cookie knows its tickets for longer than the store does', async t => {
  const { port } = await guarded(t, { profile: 'SSE', idempotencyTtl: 1 })
  const [one, two] = [await newTicket(port), await newTicket(port)]
  const first = cookieOf(await knock('SSE', port, `?rooms=a&ticket=${one}`))
  const Cookie = cookieOf(await knock('SSE', port, `?rooms=a&ticket=${two}`, { Cookie: first }))
  const { now: real } = Date
  Date.now = () => real() + 31_000
  try {
    const forgotten = async (): Promise<boolean> => (await knock('SSE', port, `?rooms=a&ticket=${two}`)).body.code === 'UNAUTHENTICATED'
    while (!await forgotten()) await new Promise(resolve => setTimeout(resolve, 200))
    for (const ticket of [one, two]) t.equal((await knock('SSE', port, `?rooms=a&ticket=${ticket}`, { Cookie })).status, 200)
    t.strictSame(told(await knock('SSE', port, `?rooms=a&ticket=${two}`, { Cookie: first })), [401, 'UNAUTHENTICATED'], 'and no others')
  } finally {
    Date.now = real
  }
})

t.test('the cookie of a token with many rooms is one that browsers keep; where none can be, the refusal says what to do', async t => {
  const { port } = await guarded(t, { profile: 'SSE' })
  const rooms = (count: number): string[] => Array.from({ length: count }, () => `plant-${randomUUID()}`)
  const many = rooms(100)
  const ticket = await newTicket(port, token({ subscribe: many }))
  const opened = await knock('SSE', port, `?rooms=${String(many[99])}&ticket=${ticket}`)
  t.ok(String(opened.headers['set-cookie']).length < 4096, 'a name of 42 characters each')
  t.equal((await knock('SSE', port, `?rooms=${String(many[0])}`, { Cookie: cookieOf(opened) })).status, 200)
  const tooMany = await newTicket(port, token({ subscribe: ['a', ...rooms(130)] }))
  t.match(await knock('SSE', port, `?rooms=a&ticket=${tooMany}`), { status: 200, headers: { 'set-cookie': undefined } }, 'it opens its stream all the same')
  t.match(await knock('SSE', port, `?rooms=a&ticket=${tooMany}`), { status: 401, body: { code: 'TICKET_USED', message: /more rooms .* cookie .* patterns such as plant-\*/ } })
  t.notMatch((await knock('SSE', port, `?rooms=a&ticket=${ticket}`)).body.message, /cookie/, 'others need not hear of it')
})

t.test('a cookie for a page of another site is Secure, where the request came by https', async t => {
  const { port } = await guarded(t, { profile: 'SSE', trustProxy: ['127.0.0.1'] })
  const setCookie = async (headers: object): Promise<string> => String((await knock('SSE', port, `?ticket=${await newTicket(port)}`, headers as never)).headers['set-cookie'])
  t.match(await setCookie({ 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '10.0.0.1' }), /; HttpOnly; Secure; SameSite=None$/)
  t.match(await setCookie({}), /; HttpOnly; SameSite=Lax$/)
  const direct = await guarded(t, { profile: 'SSE' })
  const answer = await knock('SSE', direct.port, `?ticket=${await newTicket(direct.port)}`, { 'X-Forwarded-Proto': 'https' })
  t.match(String(answer.headers['set-cookie']), /SameSite=Lax$/, 'what an untrusted proxy says does not count')
})

t.test('who gets a ticket', async t => {
  const { port } = await guarded(t, { profile: 'SSE', anonymousSubscribe: ['a'] })
  t.equal((await ask(port, '/api/ticket', { method: 'POST' })).status, 401, 'nobody without a token')
  t.equal((await ask(port, '/api/ticket', { headers: bearer(token({})), method: 'POST' })).status, 200, 'everybody with one: it grants no more')
  const short = (await ask(port, '/api/ticket', { headers: bearer(token(ALL, { exp: now() + 5 })), method: 'POST' })).body
  t.ok(short.expiresIn <= 5, 'it says how long it lives')
  const open = await startServer({ profile: 'SSE' })
  t.teardown(async () => await open.close())
  t.equal((await ask(open.port, '/api/ticket', { method: 'POST' })).status, 404, 'an open gateway has none')
})

t.test('a read that is refused leaves its ticket as it was; one that is answered uses it up', async t => {
  const { port } = await guarded(t, { profile: 'SSE' })
  const ticket = await newTicket(port)
  t.match(await ask(port, `/api/events?rooms=a&wait=99&ticket=${ticket}`), { status: 400, headers: { 'set-cookie': undefined } })
  t.match(await ask(port, `/api/events?rooms=@system&ticket=${ticket}`), { status: 403 })
  t.match(await ask(port, `/api/events?rooms=a&ticket=${ticket}`), { status: 200 })
  t.match(await ask(port, `/api/events?rooms=a&ticket=${ticket}`), { status: 401, body: { code: 'TICKET_USED' } })
})

t.test('a malformed handshake leaves its ticket as it was', async t => {
  const { port } = await guarded(t, { profile: 'WEBSOCKET' })
  const ticket = await newTicket(port)
  const HANDSHAKE = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }
  for (const fault of [{ 'Sec-WebSocket-Key': 'short' }, { 'Sec-WebSocket-Version': '12' }, { 'Sec-WebSocket-Protocol': 'a;b' }, { 'Sec-WebSocket-Protocol': 'a, a' }]) {
    const answer = await ask(port, `/api/events/ws?ticket=${ticket}`, { headers: { ...HANDSHAKE, ...fault } })
    t.match(answer, { status: 400, headers: { 'sec-websocket-version': '13' }, body: { code: 'BAD_REQUEST', message: /^this is no valid WebSocket handshake: .*Sec-WebSocket/ } }, JSON.stringify(fault))
  }
  t.equal((await knock('WEBSOCKET', port, `?ticket=${ticket}`)).status, OPEN.WEBSOCKET)
})

t.test('an offer of compression that is malformed or cannot be met is declined, and its ticket opens the socket', async t => {
  for (const compression of ['on', 'off'] as const) {
    const { port } = await guarded(t, { profile: 'WEBSOCKET', compression })
    for (const offer of ['permessage-deflate; client_max_window_bits=6', 'permessage-deflate; server_max_window_bits=9', 'permessage-deflate; a; a', 'a b', ';', 'permessage-deflate; x="']) {
      const answer = await knock('WEBSOCKET', port, `?ticket=${await newTicket(port)}`, { 'Sec-WebSocket-Extensions': offer })
      t.match(answer, { status: 101, headers: { 'sec-websocket-extensions': undefined } }, `COMPRESSION=${compression}: ${offer}`)
    }
  }
})
