// GET /api/events over real sockets: what it answers, in both profiles and on both stores; and that a page which was rendered
// from a read goes on by a stream or a socket without a gap or a repeat.

import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { ask, bearer, guarded, STORES, token } from '../auth/harness.ts'
import type { Answer } from '../auth/harness.ts'
import { Page } from '../page.ts'
import type { Event } from '../../src/core/event.ts'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

const facts = (count: number, room = 'a', from = 0): object[] => Array.from({ length: count }, (_, n) => ({ type: 'log', room, data: from + n }))
const gauge = (data: unknown, key = 'k', room = 'a'): object => ({ type: 'gauge', room, key, data })
const dataOf = ({ body }: Answer): unknown[] => (body.events as Event[]).map(({ data }) => data)

async function until (isSo: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !isSo(); await delay(5)) if (Date.now() > deadline) throw new Error('not within 20 s')
}

/** What a page does with an answer. */
function take (page: Page, { body: { position, reset, cursor, events, more } }: Answer): void {
  if (reset !== null) page.apply({ kind: 'reset', ...reset, rooms: ['a'], cursor })
  else page.apply({ kind: 'joined', rooms: ['a'], position, cursor })
  page.apply({ kind: 'bundle', events, cursor })
  if (more !== true) page.apply({ kind: 'ready', keys: 0, rooms: ['a'], cursor })
}

for (const { name, skip, start } of STORES) {
  for (const profile of PROFILES) {
    t.test(`${profile} on ${name}`, { skip }, async t => {
      const place = await start(t)
      const server = async (options: Partial<ServerOptions> = {}): Promise<Server> => {
        const started = await startServer({ profile, ...place, ...options })
        t.teardown(async () => await started.close())
        return started
      }

      t.test('a page that was rendered from a read goes on by its cursor, while events are published all the time', async t => {
        const { port, publish } = await server({ limits: { maxBundleBytes: 4000, maxQueuePerClient: 20 } })
        for (let n = 0; n < 30; n++) await publish(gauge('x'.repeat(200), `k${n}`))
        let published = 0
        let isOver = false
        const publishing = (async () => {
          // eslint-disable-next-line no-unmodified-loop-condition -- it is, below
          while (!isOver) {
            await publish(...facts(3, 'a', published), gauge(published))
            published += 3
            await delay(2)
          }
        })()
        for (const begin of ['', '&lastEventId=0-0']) {
          const pages = await Promise.all(Array.from({ length: 10 }, async (_, n) => {
            const page = new Page()
            // Each stops at another place: in the middle of the snapshot, or behind it.
            for (let answer = await ask(port, `/api/events?rooms=a${begin}`), rounds = 0; ; rounds++) {
              take(page, answer)
              if (answer.body.more !== true || rounds === n) break
              answer = await ask(port, `/api/events?rooms=a&lastEventId=${page.cursor as string}`)
            }
            const client = await WireClient.open(profile, port, { rooms: ['a'], cursor: page.cursor })
            await delay(20)
            return { page, client }
          }))
          const expected = published
          for (const { page, client } of pages) {
            await client.until(() => client.events.findLast(({ key }) => key === undefined)?.data as number >= expected + 10)
            for (const message of client.pageMessages) page.apply(message)
            client.cut()
            t.same(page.resets, [])
            const seen = page.facts.map(({ data }) => data as number)
            const from = begin === '' ? seen[0] as number : 0
            t.same(seen, Array.from({ length: seen.length }, (_, n) => from + n), 'every fact once, in order')
            t.equal(page.values.size, 31)
            t.equal(page.unready.size, 0)
          }
        }
        isOver = true
        await publishing
      })

      t.test('a loop of waiting reads has every fact once, in order, and ends with the newest value', async t => {
        const { port, publish } = await server({ limits: { tickMs: 50, tickFloorMs: 50 } })
        const page = new Page()
        take(page, await ask(port, '/api/events?rooms=a'))
        let answers = 0
        const loop = (async () => {
          while (page.facts.length < 300) {
            take(page, await ask(port, `/api/events?rooms=a&wait=10&lastEventId=${page.cursor as string}`))
            answers++
          }
        })()
        for (let n = 0; n < 300; n++) {
          await publish({ type: 'log', room: 'a', data: n }, gauge(n))
          if (n % 10 === 0) await delay(3)
        }
        await loop
        take(page, await ask(port, `/api/events?rooms=a&lastEventId=${page.cursor as string}`))
        t.same(page.facts.map(({ data }) => data), [...Array(300).keys()])
        t.equal(page.values.get('a gauge k')?.data, 299)
        t.same(page.resets, [])
        t.ok(answers > 1 && answers < 300, `${answers} answers: what is published within a tick is answered together`)
      })
    })
  }
}

for (const profile of PROFILES) {
  t.test(profile, async t => {
    const server = async (options: Partial<ServerOptions> = {}): Promise<Server> => {
      const started = await startServer({ profile, ...options })
      t.teardown(async () => await started.close())
      return started
    }

    t.test('a read answers as JSON that no cache keeps, and its cursor is the ETag', async t => {
      const { port, publish } = await server()
      await publish(gauge({ percent: 42 }), { type: 'alarm', data: 'public' })
      const answer = await ask(port, '/api/events?rooms=a')
      t.match(answer, { status: 200, headers: { 'cache-control': 'no-store', 'content-type': 'application/json; charset=utf-8', etag: `"${answer.body.cursor as string}"` } })
      t.match(answer.body, { position: 'new', reset: null, more: false, events: [{ id: /^\d+-\d+$/, type: 'gauge', room: 'a', key: 'k', data: { percent: 42 }, timestamp: Number }] })
      t.same(Object.keys(answer.body), ['position', 'cursor', 'reset', 'more', 'events'])
      t.match(await ask(port, '/api/events', { method: 'HEAD' }), { status: 200, body: '', headers: { etag: /^".+"$/, 'cache-control': 'no-store' } })
      t.match((await ask(port, '/api/events?types=log')).body, { position: 'new', events: [] }, 'without rooms it reads the public feed')
      const { etag = '' } = (await ask(port, '/api/events?rooms=a')).headers
      for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, etag.replace(/"$/, '-gzip"')]) {
        const known = await ask(port, '/api/events?rooms=a', { headers: { 'If-None-Match': tag } })
        t.match(known, { status: 304, body: '', headers: { etag, 'cache-control': 'no-store' } }, tag)
      }
      t.match(await ask(port, '/api/events?rooms=a,b', { headers: { 'If-None-Match': etag } }), { status: 200, body: { position: 'new' } }, 'of other rooms it says nothing')
      await publish(...facts(1, 'b'))
      t.match(await ask(port, '/api/events?rooms=a', { headers: { 'If-None-Match': etag } }), { status: 304 }, 'nothing that it hears is new')
      await publish(gauge(43))
      t.match(await ask(port, '/api/events?rooms=a', { headers: { 'If-None-Match': etag } }), { status: 200, body: { position: 'new', events: [{ data: 43 }] } })
    })

    t.test('of many tags in If-None-Match the last four count', async t => {
      const { port } = await server()
      const { cursor } = (await ask(port, '/api/events?rooms=a')).body
      const others = ['1', '2', '3', '4', '5'].map(name => `"${name}"`)
      const askWith = async (...tags: string[]): Promise<number> => (await ask(port, '/api/events?rooms=a', { headers: { 'If-None-Match': tags.join(', ') } })).status
      t.equal(await askWith(...others, `"${cursor as string}"`), 304)
      t.equal(await askWith(`"${cursor as string}"`, ...others), 200)
    })

    t.test('a wait ends with 200 where something is new, and with 304 where the client holds the newest', async t => {
      const { port, publish, gateway } = await server()
      const { cursor } = (await ask(port, '/api/events?rooms=a')).body
      t.match(await ask(port, `/api/events?rooms=a&wait=0.05&lastEventId=${cursor as string}`), { status: 200, body: { position: 'resumed', events: [], more: false } })
      const headers = { 'If-None-Match': `"${cursor as string}"` }
      t.match(await ask(port, '/api/events?rooms=a&wait=0.05', { headers }), { status: 304 })
      t.match(await ask(port, `/api/events?rooms=a&wait=0.05&lastEventId=${cursor as string}`, { headers }), { status: 304 })
      const waits = [ask(port, '/api/events?rooms=a&wait=20', { headers }), ask(port, '/api/events?rooms=a&wait=20', { headers: { 'Last-Event-ID': cursor } })]
      await until(() => gateway.view.waits === 2)
      await publish(...facts(2))
      for (const answer of await Promise.all(waits)) t.same([answer.status, answer.body.position, dataOf(answer)], [200, 'resumed', [0, 1]])
    })

    t.test('bad parameters are refused with what is wrong', async t => {
      const { port } = await server({ maxRoomsPerClient: 3 })
      const cases: Array<[string, RegExp]> = [
        ['rooms=a%20b', /room "a b" is not a room's name/],
        ['rooms=a,b,c,d', /MAX_ROOMS_PER_CLIENT/],
        ['types=*', /type "\*"/],
        ['room=a', /unknown parameter "room"; a read takes rooms, types, join, lastEventId, patch, wait, ticket/],
        ...['-1', '61', '1e1', 'x', '', '0x10', '60.5', '1&wait=2'].map((wait): [string, RegExp] => [`rooms=a&wait=${wait}`, /wait must be a number of seconds from 0 to 60/]),
        ['join=a', /not valid JSON/],
        ['join={}', /join must be a JSON array/],
        ['join=["a"]&join=["b"]', /join must be a JSON array/],
        ['join=["a"]&types=x', /give join, or rooms and types/],
        ['join=[{"room":"a","type":"x"}]', /an entry of rooms is/],
        ['join=[{"room":"a","room":"b"}]', /twice/]
      ]
      for (const [query, message] of cases) {
        t.match(await ask(port, `/api/events?${query.replaceAll('"', '%22')}`), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message } }, query)
      }
      t.match(await ask(port, '/api/events?rooms=a&_=1&types='), { status: 200 })
    })

    t.test('join= names rooms with types of their own', async t => {
      const { port, publish } = await server()
      const query = `join=${encodeURIComponent(JSON.stringify(['a', { room: 'b', types: ['log'] }]))}`
      const { cursor } = (await ask(port, `/api/events?${query}`)).body
      await publish(...facts(1), gauge(1), ...facts(1, 'b', 10), gauge(2, 'k', 'b'))
      const answer = await ask(port, `/api/events?${query}&lastEventId=${cursor as string}`)
      t.same([answer.body.position, ...dataOf(answer)], ['resumed', 0, 1, 10])
      t.same(dataOf(await ask(port, `/api/events?join=${encodeURIComponent('[]')}`)), [], 'an empty list is the public feed')
    })

    t.test('only reads that wait count for MAX_CLIENTS and MAX_CLIENTS_PER_IP, and give their places back when their client goes', async t => {
      for (const limits of [{ maxClients: 1 }, { maxClientsPerIp: 1 }]) {
        const { port, gateway } = await server({ limits: { ...limits, maxRoomSize: 1 } })
        const { cursor } = (await ask(port, '/api/events?rooms=a')).body
        const path = `/api/events?rooms=a&wait=30&lastEventId=${cursor as string}`
        const [status, code] = 'maxClients' in limits ? [503, 'OVERLOADED'] : [429, 'RATE_LIMITED']
        for (const end of ['end', 'destroy'] as const) {
          const socket = connect(port, '127.0.0.1').on('error', () => {})
          socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
          await until(() => gateway.view.waits === 1)
          const refused = await ask(port, path)
          t.match(refused, { status, headers: { 'retry-after': /^\d+$/ }, body: { code } })
          t.match(await ask(port, '/api/events?rooms=a'), { status: 200 })
          t.match(await ask(port, '/api/rooms'), { body: { rooms: [] } }, 'it is no member')
          socket[end]()
          await until(() => gateway.view.waits === 0)
        }
      }
    })

    t.test('a drain answers waiting reads with what there is', async t => {
      const { port, publish, close, gateway } = await server({ limits: { tickMs: 5000, tickFloorMs: 5000 } })
      const cursorOf = async (room: string): Promise<string> => (await ask(port, `/api/events?rooms=${room}`)).body.cursor
      const wait = async (room: string, cursor: string): Promise<Answer> => await ask(port, `/api/events?rooms=${room}&wait=30&lastEventId=${cursor}`)
      const first = wait('a', await cursorOf('a'))
      await until(() => gateway.view.waits === 1)
      await publish(...facts(1))
      // The tick has just begun, and lasts.
      const { body: { cursor } } = await first
      const waits = [...Array.from({ length: 10 }, async () => await wait('a', cursor)), ...Array.from({ length: 10 }, async () => await wait('b', await cursorOf('b')))]
      await until(() => gateway.view.waits === 20)
      await publish({ type: 'log', room: 'a', data: 'x'.repeat(100_000) })
      await close()
      for (const [n, answer] of (await Promise.all(waits)).entries()) {
        t.match(answer, { status: 200, body: { position: 'resumed' } })
        t.same(dataOf(answer).map(data => (data as string).length), n < 10 ? [100_000] : [])
      }
    })

    t.test('a read needs subscribe on every room, and a wait ends with its token', async t => {
      const { port, publish, gateway } = await guarded(t, { profile })
      await publish(gauge(1))
      const headers = bearer(token({ subscribe: ['a', 'b'] }))
      t.match(await ask(port, '/api/events?rooms=a'), { status: 401, headers: { 'www-authenticate': 'Bearer' } })
      t.match(await ask(port, '/api/events?rooms=a', { headers }), { status: 200, body: { events: [{ data: 1 }] } })
      t.match(await ask(port, '/api/events?rooms=a,c', { headers }), { status: 403, body: { code: 'FORBIDDEN', message: /may not hear c/ } })
      t.match(await ask(port, '/api/events', { headers }), { status: 403, body: { message: /@public/ } })
      const { body: { ticket } } = await ask(port, '/api/ticket', { method: 'POST', headers })
      t.match(await ask(port, `/api/events?rooms=a&ticket=${ticket as string}`), { status: 200, headers: { 'set-cookie': [/signalbox_ticket/] } })
      t.match(await ask(port, `/api/events?rooms=a&ticket=${ticket as string}`), { status: 401, body: { code: 'TICKET_USED' } })
      const short = bearer(token({ subscribe: ['a'] }, { exp: Math.floor(Date.now() / 1000) + 3 }))
      const { cursor } = (await ask(port, '/api/events?rooms=a', { headers: short })).body
      t.match(await ask(port, `/api/events?rooms=a&wait=30&lastEventId=${cursor as string}`, { headers: short }), { status: 401, body: { code: 'UNAUTHENTICATED', message: /expired during the wait.*same cursor/ } })
      const ada = ask(port, `/api/events?rooms=a&wait=30&lastEventId=${cursor as string}`, { headers })
      await until(() => gateway.view.waits === 1)
      const operator = bearer(token({ control: ['*'] }, { sub: 'operator' }))
      t.match(await ask(port, '/api/control', { headers: operator, body: { command: 'disconnect', args: { subject: 'ada' } } }), { body: { result: { ended: 1 } } })
      t.match(await ada, { status: 200, body: { events: [] } })
    })
  })
}
