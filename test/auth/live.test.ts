// Connections that are open: how they end with their token or by an operator, and come back; and which pages may open them.

import t from 'tap'
import { Deadlines } from '../../src/core/deadlines.ts'
import { ManualClock } from '../clock.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES } from '../wire/harness.ts'
import { ALL, ask, bearer, guarded, knock, now, OPEN, STORES, token } from './harness.ts'
import type { Answer } from './harness.ts'

t.jobs = 3

t.test('deadlines: within a second of its time each is ended, not before it, however many end together', async t => {
  const clock = new ManualClock(1_000_000)
  const ended: Array<[name: string, at: number]> = []
  const at = new Map<string, number>()
  const deadlines: Deadlines<string> = new Deadlines<string>({ clock, onDue: name => { deadlines.delete(name, at.get(name) as number); ended.push([name, clock.wall()]) } })
  const add = (name: string, time: number): void => {
    at.set(name, time)
    deadlines.add(name, time)
  }
  for (let n = 0; n < 1000; n++) add(`crowd${n}`, 1_003_000)
  for (let n = 0; n < 300; n++) add(`one${n}`, 1_000_000 + n * 37)
  add('gone', 1_002_000)
  deadlines.delete('gone', 1_002_000)
  for (let step = 0; step < 130; step++) {
    clock.advance(100)
    await clock.settle()
  }
  t.equal(ended.length, 1300)
  t.strictSame(ended.filter(([name, time]) => time < (at.get(name) as number) || time > (at.get(name) as number) + 1000), [])
  t.equal(clock.pending, 0, 'nobody waits for nothing')
  add('far', 8.64e15)
  clock.advance(10_000)
  add('near', clock.wall() + 100)
  clock.advance(600)
  t.strictSame(ended.at(-1)?.[0], 'near')
  clock.turn(3_600_000)
  add('jump', clock.wall() + 5000)
  clock.turn(10_000)
  clock.advance(500)
  t.strictSame(ended.at(-1)?.[0], 'jump', 'the clock on the wall counts, as it does for exp')
  deadlines.stop()
  t.equal(clock.pending, 0)
})

for (const { name: store, skip, start } of STORES) {
  for (const profile of PROFILES) {
    t.test(`${profile} on ${store}`, { skip }, async t => {
      const place = await start(t)

      t.test('a connection ends with its token, says why, and comes back with a new one without a loss or a repeat', async t => {
        const { port, publish } = await guarded(t, { profile, ...place })
        const exp = now() + 6
        const client = await WireClient.open(profile, port, { rooms: ['a'], headers: bearer(token(ALL, { exp })) })
        const other = await WireClient.open(profile, port, { rooms: ['a'], headers: bearer(token(ALL)) })
        for (const each of [client, other]) await each.untilKind('ready')
        let sent = 0
        const send = async (): Promise<void> => { await publish({ type: 'n', room: 'a', data: ++sent }) }
        while (!client.messages.some(({ kind }) => kind === 'bye')) {
          await send()
          await new Promise(resolve => setTimeout(resolve, 20))
        }
        t.ok(now() >= exp, 'not before its time')
        t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED', retryMs: Number } })
        await client.until(() => client.closed || client.closeCode !== null)
        t.equal(client.closeCode, profile === 'WEBSOCKET' ? 3000 : null)
        for (let n = 0; n < 5; n++) await send()
        const old = await knock(profile, port, '?rooms=a', { ...bearer(token(ALL, { exp })), 'Last-Event-ID': client.cursor ?? '' })
        t.strictSame([old.status, old.body.code], [401, 'UNAUTHENTICATED'])
        const back = await WireClient.open(profile, port, { rooms: ['a'], cursor: client.cursor, headers: bearer(token(ALL)) })
        await send()
        await back.until(() => back.events.at(-1)?.data === sent)
        t.notOk(back.messages.some(({ kind }) => kind === 'reset'))
        t.strictSame([...client.events, ...back.events].map(({ data }) => data), Array.from({ length: sent }, (_, n) => n + 1))
        await other.until(() => other.events.length === sent)
        t.notOk(other.messages.some(({ kind }) => kind === 'bye'), 'others stay')
        for (const each of [client, other, back]) each.cut()
      })

      t.test('disconnect ends all of a subject, over every worker, and nobody else', async t => {
        const dataDir = place.redis === undefined ? ':memory:' : `d${profile}`
        const first = await guarded(t, { profile, ...place, dataDir })
        const second = place.redis === undefined ? first : await guarded(t, { profile, ...place, dataDir })
        const open = async (port: number, sub: string | undefined): Promise<WireClient> => {
          const client = await WireClient.open(profile, port, { rooms: ['a'], headers: bearer(token(ALL, { sub })) })
          await client.untilKind('ready')
          return client
        }
        const ada = [await open(first.port, 'ada'), await open(second.port, 'ada')]
        const others = [await open(first.port, 'eve'), await open(second.port, undefined)]
        const run = async (args: object): Promise<any> => (await ask(first.port, '/api/control', { headers: bearer(token(ALL)), body: { command: 'disconnect', args } })).body
        t.match(await run({ subject: 'ada' }), { result: { ended: 2 } })
        for (const client of ada) t.match(await client.untilKind('bye'), { data: { reason: 'DISCONNECTED' } })
        await first.publish({ type: 'n', room: 'a', data: 1 })
        for (const client of others) await client.until(() => client.events.length === 1)
        t.match(await run({ subject: 'ada' }), { result: { ended: 0 } })
        t.match(await run({ subject: '' }), { result: { ended: 0 } }, 'nobody is not everybody without a name')
        t.match(await run({ subject: 'eve', room: 'a' }), { code: 'BAD_COMMAND' })
        for (const client of [...ada, ...others]) client.cut()
      })
    })
  }
}

const refusal = ({ status, body }: Answer): unknown[] => [status, body.code]

for (const profile of PROFILES) {
  t.test(`${profile}: which pages may come, by cookie and by handshake`, async t => {
    const { port } = await guarded(t, { profile, corsOrigins: ['https://app.example.com'] })
    const own = `http://127.0.0.1:${port}`
    const Cookie = `signalbox_token=${token(ALL)}`
    const post = async (headers: object): Promise<Answer> => await ask(port, '/api/events', { headers: headers as never, body: { type: 'n', data: 1 } })
    const good = [own, 'https://app.example.com']
    const bad = ['null', 'https://app.example.com.evil.example', 'https://app.example.com:8443', 'http://app.example.com', `http://me@127.0.0.1:${port}`, 'https://me:pw@app.example.com', 'http://127.0.0.1', `http://127.0.0.1:${port + 1}`, `ftp://127.0.0.1:${port}`, 'https://APP.example.com.', '', 'evil']
    for (const Origin of good) {
      t.equal((await post({ Cookie, Origin })).status, 202, Origin)
      t.equal((await knock(profile, port, '', { Cookie, Origin })).status, OPEN[profile], Origin)
      t.equal((await knock(profile, port, '', { ...bearer(token(ALL)), Origin })).status, OPEN[profile], Origin)
    }
    for (const Origin of bad) {
      t.strictSame(refusal(await post({ Cookie, Origin })), [403, 'FORBIDDEN'], `POST, ${Origin}`)
      t.equal((await post({ ...bearer(token(ALL)), Origin })).status, 202, `no page sends a token of somebody else, ${Origin}`)
      if (profile === 'WEBSOCKET') {
        for (const who of [{ Cookie }, bearer(token(ALL))]) {
          const answer = await knock(profile, port, '', { ...who, Origin })
          t.strictSame(refusal(answer), [403, 'FORBIDDEN'], `a handshake, ${Origin}`)
          t.equal(answer.headers.upgrade, undefined)
        }
        const ticket = (await ask(port, '/api/ticket', { method: 'POST', headers: bearer(token(ALL)) })).body.ticket as string
        t.strictSame(refusal(await knock(profile, port, `?ticket=${ticket}`, { Origin })), [403, 'FORBIDDEN'])
      }
    }
    t.strictSame(refusal(await post({ Cookie })), [403, 'FORBIDDEN'], 'a POST by cookie needs one')
    t.match((await post({ Cookie })).body.message, /Origin/)
    if (profile === 'WEBSOCKET') {
      t.strictSame(refusal(await knock(profile, port, '', { Cookie })), [403, 'FORBIDDEN'], 'a handshake by cookie too')
      t.equal((await knock(profile, port, '', bearer(token(ALL)))).status, 101, 'by token none')
    } else {
      t.equal((await knock(profile, port, '', { Cookie })).status, 200, 'what a browser withholds from pages needs none')
    }
    t.equal((await ask(port, '/api/ticket', { method: 'POST', headers: { Cookie } })).status, 403)
    t.equal((await ask(port, '/api/control', { headers: { Cookie, Origin: own }, body: { command: 'ping' } })).status, 200)
  })

  t.test(`${profile}: behind a proxy the own origin is the one it was asked for`, async t => {
    const trusting = await guarded(t, { profile, trustProxy: ['127.0.0.1'] })
    const plain = await guarded(t, { profile })
    const Cookie = `signalbox_token=${token(ALL)}`
    const forwarded = { Cookie, 'X-Forwarded-Host': 'events.example.com', 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '10.0.0.1' }
    const post = async (port: number, headers: object): Promise<number> => (await ask(port, '/api/events', { headers: headers as never, body: { type: 'n', data: 1 } })).status
    t.equal(await post(trusting.port, { ...forwarded, Origin: 'https://events.example.com' }), 202)
    t.equal(await post(trusting.port, { ...forwarded, Origin: 'https://events.example.com:443' }), 202, 'its default port makes no difference')
    t.equal(await post(trusting.port, { ...forwarded, 'X-Forwarded-Host': 'EVENTS.example.com:443', Origin: 'https://events.example.com' }), 202, 'nor do capitals')
    t.equal(await post(trusting.port, { ...forwarded, Origin: 'http://events.example.com' }), 403, 'the scheme does')
    t.equal(await post(plain.port, { ...forwarded, Origin: 'https://events.example.com' }), 403, 'nobody else says what the own origin is')
  })
}

t.test('pages of listed origins may read refusals and the stream with credentials, others nothing', async t => {
  const { port } = await guarded(t, { profile: 'SSE', corsOrigins: ['https://app.example.com'] })
  const Origin = 'https://app.example.com'
  const cors = ({ headers }: Answer): unknown[] => [headers['access-control-allow-origin'], headers['access-control-allow-credentials']]
  const allowed = [Origin, 'true']
  const ticket = (await ask(port, '/api/ticket', { method: 'POST', headers: bearer(token(ALL)) })).body.ticket as string
  t.strictSame(cors(await knock('SSE', port, `?ticket=${ticket}`, { Origin })), allowed, 'the stream')
  t.strictSame(cors(await knock('SSE', port, `?ticket=${ticket}`, { Origin })), allowed, '401')
  t.strictSame(cors(await knock('SSE', port, '?rooms=x', { Origin, ...bearer(token({})) })), allowed, '403')
  t.strictSame(cors(await ask(port, '/api/events', { headers: { Origin }, body: { type: 'n', data: 1 } })), allowed, '401 of a POST')
  t.equal(cors(await knock('SSE', port, '', { Origin: 'https://other.example' }))[0], undefined)
  const preflight = await ask(port, '/api/events', { method: 'OPTIONS', headers: { Origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'authorization,content-type,idempotency-key' } })
  t.strictSame([preflight.status, ...cors(preflight)], [204, ...allowed], 'a preflight carries no token')
  t.match(preflight.headers['access-control-allow-headers'], /authorization/i)
})
