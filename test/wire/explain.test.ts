// The command `explain` over HTTP: what became of an event, as an operator asks when a user says that an update did not arrive.

import t from 'tap'
import type { Test } from 'tap'
import { newWorker } from '../../src/core/group.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from './client.ts'
import type { Wish } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

t.setTimeout(600_000)

const STORES = [
  { name: 'the embedded store', skip: false, workers: 1, start: async () => ({}) },
  { name: 'Redis, two workers', skip: skipWithout('redis'), workers: 2, start: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]

const fact = (data: unknown, room = 'a'): object => ({ type: 'log', room, data })
const gauge = (data: unknown, room = 'a'): object => ({ type: 'gauge', room, key: 'k', data })

async function post (url: string, path: string, body: object, headers: Record<string, string> = {}): Promise<{ status: number, body: any }> {
  const response = await fetch(url + path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) })
  return { status: response.status, body: await response.json() }
}

/** From `hello`, the first message in both profiles. */
const sessionOf = ({ messages: [hello] }: WireClient): string => (hello as unknown as { data: { session: string } }).data.session

async function explain ({ url }: Server, args: object): Promise<any> {
  return (await post(url, '/api/control', { command: 'explain', args })).body.result
}

for (const { name, skip, workers, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const place = await start(t)
    /** The workers of a deployment. */
    const deploy = async (t: Test, options: ServerOptions): Promise<Server[]> => {
      const dataDir = newWorker()
      const started = await Promise.all(Array.from({ length: workers }, async () => await startServer({ ...place, ...workers > 1 && { dataDir }, ...options })))
      t.teardown(async () => await Promise.all(started.map(async server => await server.close())))
      return started
    }

    for (const profile of PROFILES) {
      const open = async ({ port }: Server, wish: Wish): Promise<{ client: WireClient, session: string }> => {
        const client = await WireClient.open(profile, port, wish)
        await client.untilKind('ready')
        return { client, session: sessionOf(client) }
      }

      t.test(`${profile}: each session's fate is what its connection got`, async t => {
        const [first, last = first] = await deploy(t, { profile }) as [Server, Server?]
        const hearing = await open(first, { rooms: ['a'] })
        const elsewhere = await open(last, { rooms: ['b'] })
        const typed = await open(last, { rooms: ['a'], types: ['gauge'] })
        const hidden = await open(last, { rooms: ['a'], paceMs: 60_000 })
        const [id] = await first.publish(fact(1)) as [string]
        for (const { client } of [hearing, hidden]) await client.until(() => client.events.some(event => event.id === id))
        const late = await open(last, { rooms: ['a'] })

        const answer = await explain(last, { event: id })
        t.match(answer, { event: { id, room: 'a', type: 'log', key: null, acceptedAt: Number(id.split('-')[0]) }, counts: { delivered: 2, 'not heard': 3 }, processes: workers })
        t.same(new Map(answer.sessions.map(({ session, ...fate }: any) => [session, fate])), new Map<string, object>([
          [hearing.session, { fate: 'delivered' }],
          [hidden.session, { fate: 'delivered' }],
          [elsewhere.session, { fate: 'not heard', reason: 'room' }],
          [typed.session, { fate: 'not heard', reason: 'types' }],
          [late.session, { fate: 'not heard', reason: 'before' }]
        ]))

        const [old, fresh] = await last.publish(gauge(1), gauge(2)) as [string, string]
        for (const { client } of [hearing, typed]) await client.until(() => client.events.some(event => event.id === fresh))
        t.same((await explain(first, { event: old, session: hearing.session })).sessions, [{ session: hearing.session, fate: 'folded', into: fresh }], 'both came before the bundle went out')
        t.same((await explain(first, { event: fresh, session: typed.session })).sessions, [{ session: typed.session, fate: 'delivered' }])

        // The first values go out at once; these wait for a minute.
        await hidden.client.until(() => hidden.client.events.some(event => event.id === fresh))
        const [waiting] = await last.publish(gauge(3)) as [string]
        await hearing.client.until(() => hearing.client.events.some(event => event.id === waiting))
        const [pending, ...others] = (await explain(first, { event: waiting })).sessions
        t.match(pending, { session: hidden.session, fate: 'pending', reason: 'pace', behindMs: Number })
        t.equal(others.filter(({ fate }: any) => fate === 'delivered').length, 3, 'those who hear it')
        t.match(await explain(first, { event: waiting, limit: 1 }), { counts: { pending: 1, delivered: 3, 'not heard': 1 }, sessions: [pending].map(({ behindMs, ...rest }) => rest) }, 'those who lack it come first')
        for (const { client } of [hearing, elsewhere, typed, hidden, late]) client.cut()
      })

      t.test(`${profile}: a session that has gone is known, and one that came back by its cursor hears nothing twice`, async t => {
        const [first, last = first] = await deploy(t, { profile }) as [Server, Server?]
        const gone = await open(first, { rooms: ['a'] })
        const [before] = await last.publish(fact('before')) as [string]
        await gone.client.until(() => gone.client.events.some(event => event.id === before))
        const { cursor } = gone.client
        gone.client.cut()
        await gone.client.until(() => first.gateway.view.sessions.count === 0)
        const [between] = await last.publish(fact('between')) as [string]
        t.match((await explain(last, { event: before })).sessions, [{ session: gone.session, fate: 'gone', reason: 'CLOSED', was: { fate: 'delivered' } }])
        t.match((await explain(last, { event: between })).sessions, [{ session: gone.session, fate: 'gone', was: { fate: 'pending', reason: 'away' } }])
        const back = await WireClient.open(profile, last.port, { rooms: ['a'], cursor })
        await back.until(() => back.events.length > 0)
        t.same(back.events.map(({ id }) => id), [between])
        const session = sessionOf(back)
        t.match((await explain(first, { event: before, session })).sessions, [{ fate: 'not heard', reason: 'before', resumed: true }])
        t.match((await explain(first, { event: between, session })).sessions, [{ fate: 'delivered' }])
        await post(first.url, '/api/control', { command: 'disconnect', args: { session } })
        await back.until(() => back.closed)
        t.match((await explain(first, { event: between, session })).sessions, [{ fate: 'gone', reason: 'DISCONNECTED', was: { fate: 'delivered' } }])
      })

      t.test(`${profile}: an event by the Idempotency-Key of its publisher, one that is trimmed, and one there never was`, async t => {
        const [first, last = first] = await deploy(t, { profile, historySize: 5 }) as [Server, Server?]
        const { ids } = (await post(first.url, '/api/events', [fact(1), gauge(1)], { 'Idempotency-Key': 'order-7' })).body as { ids: string[] }
        t.match(await explain(last, { idempotencyKey: 'order-7' }), { ids, event: { id: ids[0], type: 'log' }, sessions: [] })
        t.match(await explain(last, { idempotencyKey: 'order-8' }), { event: null, reason: 'unknown', ids: [], sessions: [] })
        await first.publish(...Array.from({ length: 20 }, (_, n) => fact(n)))
        t.match(await explain(last, { event: ids[0] }), { event: null, reason: 'trimmed', counts: {}, sessions: [] })
        t.match(await explain(last, { event: ids[1] }), { event: { id: ids[1], room: 'a', type: 'gauge', key: 'k' } }, 'a present value outlives history')
        t.match(await explain(last, { event: '9999999999999-0' }), { event: null, reason: 'unknown', sessions: [] })
        for (const args of [{}, { event: 'yesterday' }, { event: ids[0], idempotencyKey: 'order-7' }, { event: ids[0], limit: 0 }]) {
          t.match(await post(first.url, '/api/control', { command: 'explain', args }), { status: 400, body: { code: 'BAD_COMMAND' } }, JSON.stringify(args))
        }
      })
    }

    t.test('a process that started later tells of values that it never saw', { skip: workers === 1 && 'one process' }, async t => {
      const dataDir = newWorker()
      const begin = async (): Promise<Server> => {
        const server = await startServer({ ...place, dataDir, profile: 'SSE' })
        t.teardown(async () => await server.close())
        return server
      }
      const first = await begin()
      const [old, fresh] = await first.publish(gauge(1), gauge(2)) as [string, string]
      const client = await WireClient.open('SSE', first.port, { rooms: ['a'] })
      await client.untilKind('ready')
      t.match(await explain(await begin(), { event: old }), { event: { id: old, key: 'k' }, sessions: [{ fate: 'not heard', reason: 'before' }], processes: 2 })
      t.match(await explain(first, { event: fresh }), { sessions: [{ fate: 'delivered' }] })
      client.cut()
    })
  })
}

t.test('what a session may not hear is not granted, and who may not run the command learns nothing', async t => {
  const secret = 'cGxlbnR5LW9mLXJhbmRvbS1ieXRlcy1mb3ItYS10ZXN0'
  const server = await startServer({ profile: 'SSE', authJwtSecret: secret })
  t.teardown(async () => await server.close())
  const { SignJWT } = await import('jose')
  const bearer = async (sub: string, signalbox: object): Promise<Record<string, string>> =>
    ({ Authorization: `Bearer ${await new SignJWT({ signalbox }).setProtectedHeader({ alg: 'HS256' }).setSubject(sub).setExpirationTime('1h').sign(Buffer.from(secret))}` })
  const viewer = await WireClient.open('SSE', server.port, { rooms: ['a'], types: ['log'], headers: await bearer('viewer', { subscribe: ['a'], control: ['stats'] }) })
  await viewer.untilKind('ready')
  const [shared, other] = await server.publish({ type: 'log', data: 1 }, fact(1, 'b')) as [string, string]
  const ask = async (args: object, headers: Record<string, string>): Promise<any> => await post(server.url, '/api/control', { command: 'explain', args }, headers)
  const operator = await bearer('operator', { control: ['explain'] })
  for (const event of [shared, other]) t.match(await ask({ event }, operator), { status: 200, body: { result: { event: { id: event }, sessions: [{ fate: 'not heard', reason: 'grant' }] } } })
  t.match(await ask({ event: shared }, await bearer('viewer', { control: ['stats'] })), { status: 403, body: { code: 'FORBIDDEN' } })
  const publisher = await bearer('publisher', { publish: ['a'], control: ['explain'] })
  await post(server.url, '/api/events', fact(1), { ...publisher, 'Idempotency-Key': 'mine' })
  t.match(await ask({ idempotencyKey: 'mine' }, publisher), { body: { result: { event: { room: 'a' } } } })
  t.match(await ask({ idempotencyKey: 'mine' }, operator), { body: { result: { event: null, reason: 'unknown' } } }, 'a key is known to whom it belongs')
  viewer.cut()
})
