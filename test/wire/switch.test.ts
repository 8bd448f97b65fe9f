// The command `switch` in one process, and in two on one Redis: what it changes, whom it ends, and what a failed one leaves.

import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { configFrom } from '../../config/index.ts'
import type { Config } from '../../config/index.ts'
import { composeGateway } from '../../src/signalbox.ts'
import type { Composition, CompositionOptions } from '../../src/signalbox.ts'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function serve (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer(options)
  t.teardown(async () => await server.close())
  return server
}

async function open (t: Test, profile: typeof PROFILES[number], { port }: { port: number }, cursor: string | null = null): Promise<WireClient> {
  const client = await WireClient.open(profile, port, { rooms: ['a'], cursor })
  t.teardown(() => client.cut())
  await client.untilKind('joined')
  return client
}

const json = async (url: string, init?: RequestInit): Promise<any> => await (await fetch(url, init)).json()
const switchTo = async ({ box }: Pick<Server, 'box'>, args: object): Promise<unknown> => (await box.control({ command: 'switch', args })).result

for (const profile of PROFILES) {
  const other = PROFILES.find(name => name !== profile) as typeof profile
  t.test(`from ${profile} to ${other}: what is connected gets what is pending and bye, and goes on over the other path from its cursor`, async t => {
    const server = await serve(t, { profile, reconnectJitter: 3 })
    const client = await open(t, profile, server)
    await client.untilKind('ready')
    const [first] = await server.publish({ type: 'x', room: 'a', data: 1 })
    await client.until(() => client.events.length === 1)
    const reading = json(`${server.url}/api/events?rooms=a&lastEventId=${client.cursor}&wait=60`)
    t.same(await switchTo(server, { profile: other }), { profile: other, changed: true })
    t.match(await json(`${server.url}/api/profile`), { profile: other, stream: other === 'SSE' ? '/api/events/stream' : null, websocket: other === 'SSE' ? null : '/api/events/ws' })
    const [pending] = await server.publish({ type: 'x', room: 'a', data: 2 })
    t.match(await reading, { position: 'resumed', events: [{ id: pending }] }, 'a read that waits goes on')
    const { data: bye } = await client.untilKind('bye') as { readonly data: Record<string, unknown> }
    t.equal(bye.reason, 'SWITCHED')
    t.ok(Number(bye.retryMs) >= 1000 && Number(bye.retryMs) <= 4000, 'they return one after the other')
    await client.until(() => client.closed)
    if (profile === 'WEBSOCKET') t.equal(client.closeCode, 1012)
    t.same(client.events.map(({ id }) => id), [first, pending])

    const back = await open(t, other, server, client.cursor)
    t.match(back.messages.find(({ kind }) => kind === 'joined'), { position: 'resumed' })
    const [later] = await server.publish({ type: 'x', room: 'a', data: 3 })
    await back.until(() => back.events.length > 0)
    t.same(back.events.map(({ id }) => id), [later], 'and nothing twice')
    t.same(await switchTo(server, { profile: other }), { profile: other, changed: false })
    await open(t, other, server)
    const { status, warnings } = await json(`${server.url}/readyz`)
    t.match([status, warnings.join('\n')], ['ready', new RegExp(`switch has mounted the profile ${other}, and APP_PROFILE is ${profile}`)])
    t.match(await server.box.control({ command: 'stats' }), { result: { profile: other } })
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    t.match(metrics, new RegExp(`^signalbox_info\\{.*profile="${other}".*\\} 1$`, 'm'))
    t.match(metrics, /^signalbox_sessions 2$/m)
    t.match(metrics, new RegExp(`^signalbox_warnings ${warnings.length}$`, 'm'))
    t.equal(back.closed, false, 'what connected since stays')
  })
}

for (const compressed of [false, true]) {
  t.test(`streams and sockets that stand at the same place in the moment of a switch each get their own ${compressed ? 'compressed ' : ''}bytes`, async t => {
    for (const profile of PROFILES) {
      const other = PROFILES.find(name => name !== profile) as typeof profile
      const server = await serve(t, { profile })
      const clients: WireClient[] = []
      const come = async (path: typeof profile): Promise<void> => {
        const client = await WireClient.open(path, server.port, { rooms: ['a'], compressed })
        t.teardown(() => client.cut())
        await client.untilKind('ready')
        clients.push(client)
      }
      await come(profile)
      await switchTo(server, { profile: other })
      await come(other)
      await server.publish({ type: 'x', room: 'a', data: 'x'.repeat(300) })
      for (const client of clients) await client.until(() => client.events.length > 0, 5000)
      t.same(clients.map(({ events }) => events.map(({ data }) => data)), [['x'.repeat(300)], ['x'.repeat(300)]], `from ${profile} to ${other}`)
    }
  })
}

t.test('the path that is not mounted refuses handshakes, streams and plain requests as after a restart', async t => {
  const server = await serve(t, { profile: 'WEBSOCKET', corsOrigins: ['https://a.example'] })
  await switchTo(server, { profile: 'SSE' })
  const socket = await WireClient.open('WEBSOCKET', server.port, { headers: { Origin: 'https://b.example' } })
  t.teardown(() => socket.cut())
  t.match(socket.head, /^HTTP\/1.1 404 /)
  t.match(await json(`${server.url}/api/events/ws`), { code: 'PROFILE_NOT_MOUNTED', message: /profile SSE, at \/api\/events\/stream/ })
  await switchTo(server, { profile: 'WEBSOCKET' })
  const returning = await fetch(`${server.url}/api/events/stream?rooms=a`, { headers: { Origin: 'https://a.example', 'Last-Event-ID': '1763770000000-0' } })
  t.match([returning.status, returning.headers.get('access-control-allow-origin')], [200, 'https://a.example'])
  await returning.body?.cancel()
  t.match(await json(`${server.url}/api/events/stream/nobody`, { method: 'POST', body: '{"action":"leave"}', headers: { 'Content-Type': 'application/json' } }), { code: 'SESSION_NOT_FOUND' }, 'a stream may still be another worker\'s')
})

t.test('each profile has its ticks, and a floor that fits them', async t => {
  const server = await serve(t, { profile: 'SSE', monitorTickMs: 40, flushIntervalMs: 200, tickFloorMs: 40, wantedTickFloorMs: 100, limits: { tickMs: 40, tickFloorMs: 40 } } as ServerOptions)
  const limits = (): number[] => [server.gateway.limits.tickMs, server.gateway.limits.tickFloorMs]
  await switchTo(server, { profile: 'WEBSOCKET' })
  t.same(limits(), [200, 100])
  await server.box.control({ command: 'tune', args: { FLUSH_INTERVAL_MS: 90 } })
  t.same(limits(), [90, 90], 'tune goes by the profile that is mounted')
  await switchTo(server, { profile: 'SSE' })
  t.same(limits(), [40, 40])
})

t.test('there and back before anybody was told ends nobody but those who came between', async t => {
  const server = await serve(t, { profile: 'SSE' })
  const client = await open(t, 'SSE', server)
  await switchTo(server, { profile: 'WEBSOCKET' })
  const between = await open(t, 'WEBSOCKET', server)
  await switchTo(server, { profile: 'SSE' })
  t.match(await between.untilKind('bye'), { data: { reason: 'SWITCHED' } })
  await server.publish({ type: 'x', room: 'a', data: 1 })
  await client.until(() => client.events.length === 1)
  t.notOk(client.messages.some(({ kind }) => kind === 'bye'))
})

t.test('switches at once are carried out one after the other', async t => {
  const server = await serve(t, { profile: 'SSE', limits: { controlRateLimit: 0 } })
  const wanted = ['WEBSOCKET', 'SSE', 'WEBSOCKET', 'SSE', 'WEBSOCKET'] as const
  t.same(await Promise.all(wanted.map(async profile => await switchTo(server, { profile }))), wanted.map(profile => ({ profile, changed: true })))
  t.equal(server.box.mounted.name, 'WEBSOCKET')
})

t.test('a socket that gives the command has its result before its bye', async t => {
  const server = await serve(t, { profile: 'WEBSOCKET' })
  const client = await open(t, 'WEBSOCKET', server)
  client.say({ action: 'control', command: 'switch', args: { profile: 'SSE' }, ref: 1 })
  await client.untilKind('bye')
  t.same(client.messages.map(({ kind }) => kind).filter(kind => kind === 'result' || kind === 'bye'), ['result', 'bye'])
  t.match(client.messages.find(({ kind }) => kind === 'result'), { data: { ok: true, result: { profile: 'SSE', changed: true } } })
})

t.test('a switch needs the grant, a profile that there is, a worker that there is, and no drain', async t => {
  const server = await serve(t, { profile: 'SSE' })
  const refused = async (args: object): Promise<unknown> => await switchTo(server, args).catch(({ code, message }) => `${code}: ${message}`)
  t.match(await refused({ profile: 'SOAP' }), /^BAD_COMMAND: switch: .*"SSE", "WEBSOCKET"/)
  t.match(await refused({}), /^BAD_COMMAND: switch: args must have required property 'profile'/)
  t.match(await refused({ profile: 'WEBSOCKET', worker: 2 }), /^BAD_COMMAND: switch: worker 2 does not exist; there are 1 of /)
  await server.gateway.drain()
  t.match(await refused({ profile: 'WEBSOCKET' }), /^DRAINING/)
  t.equal(server.box.mounted.name, 'SSE')
})

t.test('with two processes on one Redis', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  const compose = async (options: Partial<CompositionOptions> = {}): Promise<{ box: Composition, port: number, mounted: () => string }> => {
    const config: Partial<Config> = { appProfile: 'SSE', redisUrl: redis.url, controlRateLimit: 0 }
    const box = await composeGateway({ config: configFrom(config), log: pino({ level: 'silent' }), ...options })
    const app = await box.createServer()
    await box.start()
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(async () => await app.close())
    return { box, port: (app.server.address() as { port: number }).port, mounted: () => box.mounted.name }
  }
  let isBroken = true
  const heard: unknown[] = []
  const one = await compose({ onSwitched: profile => heard.push(profile) })
  const two = await compose({ worker: 2, onMounted: () => { if (isBroken) throw new Error('no room for sockets') } })
  const clients = await Promise.all([one, two].map(async server => await open(t, 'SSE', server)))

  await t.test('one that fails leaves both with the profile and the clients they had, and says what failed', async t => {
    t.match(await one.box.control({ command: 'switch', args: { profile: 'WEBSOCKET' } }).catch(error => error),
      { status: 'failed', error: { message: /worker 2 of .* could not mount WEBSOCKET: no room for sockets; every process has the profile it had/ } })
    t.same([one.mounted(), two.mounted()], ['SSE', 'SSE'])
    t.same(heard, ['WEBSOCKET', null], 'whoever starts workers knows')
    await one.box.publish([{ type: 'x', room: 'a', data: 1 }])
    for (const client of clients) await client.until(() => client.events.length === 1)
    const third = await compose()
    t.equal(third.mounted(), 'SSE', 'a newcomer takes what is mounted')
  })

  await t.test('one that succeeds changes both, and tells the clients of both', async t => {
    isBroken = false
    t.same(await switchTo(two, { profile: 'WEBSOCKET' }), { profile: 'WEBSOCKET', changed: true })
    await until('both have switched', () => one.mounted() === 'WEBSOCKET' && two.mounted() === 'WEBSOCKET')
    for (const client of clients) t.match(await client.untilKind('bye'), { data: { reason: 'SWITCHED' } })
    t.equal((await compose()).mounted(), 'WEBSOCKET', 'and a newcomer')
  })

  await t.test('what is tuned by the profile of one holds for the other too, with a floor that fits it', async t => {
    const warnings = async (): Promise<string> => String((await json(`http://127.0.0.1:${two.port}/readyz`)).warnings)
    t.notMatch(await warnings(), 'this worker alone')
    await switchTo(one, { profile: 'SSE', worker: 2 })
    t.match(await warnings(), /the profile SSE in this worker alone; the deployment has WEBSOCKET/)
    t.match(await one.box.control({ command: 'tune', args: { TICK_FLOOR_MS: 230, MAX_ROOM_SIZE: 7 } }), { status: 'done', result: { now: { TICK_FLOOR_MS: 230, MAX_ROOM_SIZE: 7 } } })
    t.match([one, two].map(({ box }) => box.gateway.limits), [{ tickMs: 250, tickFloorMs: 230, maxRoomSize: 7 }, { tickMs: 200, tickFloorMs: 200, maxRoomSize: 7 }])
    await switchTo(one, { profile: 'WEBSOCKET', worker: 2 })
    t.notMatch(await warnings(), 'this worker alone')
    t.equal(two.box.gateway.limits.tickFloorMs, 230)
  })
})
