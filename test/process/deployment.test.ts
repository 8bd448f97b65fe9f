// A deployment as a whole: several processes on one Redis, publishers through every door, and the promises that hold
// over all of them, whatever is killed.

import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { redisTls } from '../tools/redis-topologies.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES } from '../wire/harness.ts'
import { finalTally, freePort, hears, request, sentence, Stage, tally, until } from './harness.ts'
import type { Env, Launched, Wish } from './harness.ts'

t.setTimeout(600_000)

const skip = skipWithout('redis')

/** Processes of their own ports on one Redis, as on several machines. */
async function machines (t: Test, count: number, env: Env = {}): Promise<{ stage: Stage, redis: RedisServer, servers: Launched[], again: (index: number) => Promise<void> }> {
  const stage = new Stage(t)
  const redis = await RedisServer.start(t)
  const launch = async (index: number): Promise<Launched> =>
    await stage.launch({ APP_PROFILE: PROFILES[index % 2] as ProfileName, PORT: 0, REDIS_URL: redis.url, MAX_EVENTS_PER_SECOND_PER_CLIENT: 0, ...env })
  const servers = await Promise.all(Array.from({ length: count }, async (_, index) => await launch(index)))
  await until('all are ready', async () => (await Promise.all(servers.map(async ({ url }) => (await request(`${url}/readyz`)).status))).every(status => status === 200))
  return { stage, redis, servers, again: async index => { servers[index] = await launch(index) } }
}

const WISHES: readonly Wish[] = [
  { rooms: ['a'] }, {}, { rooms: ['a', 'b', 'c'] }, { rooms: ['@public', 'b'] }, { types: ['fact-2', 'value-2'] }, { rooms: ['b', 'c'], types: ['fact-0', 'fact-1', 'value-0'] }
]
const CLIENTS = 200
const ROUNDS = 20

/** Publishes facts over Redis until it is stopped: as messages on the channel, or as entries of the stream. */
class RedisPublisher {
  /** Facts that every process heard, or that Redis has; by label. */
  readonly acknowledged = new Map<string, { type: string, room?: string }>()
  readonly #client: Redis
  readonly #name: string
  readonly #send: (client: Redis, event: string) => Promise<boolean>
  #stopped = false
  #loop: Promise<void> = Promise.resolve()

  constructor (t: Test, url: string, name: string, send: (client: Redis, event: string) => Promise<boolean>) {
    this.#client = new Redis(url)
    this.#name = name
    this.#send = send
    t.teardown(() => this.#client.disconnect())
  }

  start (): this {
    this.#loop = (async () => {
      for (let n = 1; !this.#stopped; n++) {
        const room = ['a', 'b', undefined][n % 3]
        const event = { type: `fact-${n % 3}`, ...(room === undefined ? {} : { room }), data: { producer: this.#name, n } }
        if (await this.#send(this.#client, JSON.stringify(event))) this.acknowledged.set(`${this.#name}/${n}`, event)
        await delay(20)
      }
    })()
    // Whoever awaits it hears of a failure; where the test has failed before, nobody does.
    this.#loop.catch(() => {})
    return this
  }

  async finish (): Promise<void> {
    this.#stopped = true
    await this.#loop
  }
}

t.test(`two workers, ${CLIENTS} clients, three kinds of publishers, ${ROUNDS} workers killed -9: nothing acknowledged is lost, twice or out of order`, { skip }, async t => {
  const stage = new Stage(t)
  const redis = await RedisServer.start(t)
  const server = await stage.launch({ WORKERS: 2, PORT: await freePort(), REDIS_URL: redis.url, LOG_LEVEL: 'info', MAX_ROOM_SIZE: 0, MAX_EVENTS_PER_SECOND_PER_CLIENT: 0 })
  /** Pids of the workers that listen, newest last. */
  const workers = (): number[] => {
    const alive = new Set<number>()
    for (const { msg } of server.log()) {
      const pid = Number(/\(pid (\d+)\)/.exec(msg)?.[1])
      if (Number.isNaN(pid)) continue
      if (/listens/.test(msg)) alive.add(pid)
      else alive.delete(pid)
    }
    return [...alive]
  }
  await until('both workers listen', () => workers().length === 2)
  await until('it is ready', async () => (await request(`${server.url}/readyz`)).status === 200)
  const followers = await Promise.all(Array.from({ length: CLIENTS }, async (_, n) => await stage.follower(server.port, WISHES[n % WISHES.length]).start()))
  const http = stage.publisher({ name: 'http', url: server.url, rooms: ['a', 'b', null, 'c'], batch: 4, pauseMs: 40, strays: true }).start()
  // Who is heard by two is heard by one that is not killed.
  const channel = new RedisPublisher(t, redis.url, 'channel', async (client, event) => await client.publish('events', event) === 2).start()
  const ingest = new RedisPublisher(t, redis.url, 'ingest', async (client, event) => await client.xadd('signalbox:ingest', '*', 'event', event) !== null).start()

  for (let round = 0; round < ROUNDS; round++) {
    await delay(500 + Math.random() * 500)
    const victims = workers()
    process.kill(victims[Math.floor(Math.random() * victims.length)] as number, 'SIGKILL')
    await until('there are two again', () => workers().length === 2 && workers().join() !== victims.join())
  }
  await delay(500)
  await Promise.all([http, channel, ingest].map(async publisher => await publisher.finish()))
  /** What came over Redis and did not reach everybody, and how many it did not reach. */
  const missing = (): string[] => [channel, ingest].flatMap(({ acknowledged }) => [...acknowledged]).flatMap(([label, event]) => {
    const without = followers.filter(({ wish, facts }) => hears(wish, event) && !facts.has(label)).length
    return without === 0 ? [] : [`${label} at ${without}`]
  })
  await until('everybody has everything', () => {
    const { lost, stale } = tally([http], followers)
    return lost === 0 && stale === 0 && missing().length === 0
  }).catch(() => {})
  await delay(300)

  const counts = tally([http], followers)
  t.comment(`${ROUNDS} rounds of kill -9: ${sentence(counts)}; channel ${channel.acknowledged.size}, ingest ${ingest.acknowledged.size} published, ${missing().length} of them missing`)
  t.same(counts.complaints, [])
  t.ok(counts.acknowledged > 100 && channel.acknowledged.size > 100 && ingest.acknowledged.size > 100, 'there was load')
  t.equal(counts.lost, 0, 'every acknowledged fact reached everybody who hears it')
  t.same(missing(), [], 'those that came over Redis too')
  t.equal(counts.twice, 0, 'none twice')
  t.equal(counts.disorder, 0, 'none out of order')
  t.equal(counts.torn, 0, 'what was never acknowledged reached all who hear it, or nobody')
  t.equal(counts.stale, 0, 'of every key everybody has the newest value')
  t.equal(counts.resets, 0, 'nobody was told to begin anew')
  t.equal(await server.stop(), 0)
})

t.test('50 clients race for the last places of a room over four machines: just as many get in as may', { skip }, async t => {
  const { servers, again } = await machines(t, 4, { MAX_ROOM_SIZE: 20 })
  const open = async (index: number): Promise<WireClient> => {
    const client = await WireClient.open(PROFILES[index % 2] as ProfileName, (servers[index % 4] as Launched).port, { rooms: ['plant-1'] })
    await client.until(() => client.closed || client.head.startsWith('HTTP/1.1 409') || client.messages.some(({ kind }) => kind === 'joined' || kind === 'error'))
    return client
  }
  const isIn = (client: WireClient): boolean => client.messages.some(({ kind }) => kind === 'joined')
  const clients = await Promise.all(Array.from({ length: 50 }, async (_, index) => await open(index)))
  t.teardown(() => { for (const client of clients) client.cut() })
  t.equal(clients.filter(isIn).length, 20)
  const total = async (index: number): Promise<number> => (await request(`${(servers[index] as Launched).url}/api/rooms`)).body.rooms.find(({ room }: { room: string }) => room === 'plant-1').members
  t.same([await total(0), await total(3)], [20, 20], 'all machines count the whole deployment')
  t.notOk(isIn(await open(1)))

  // The places of a machine that died are free when its lease has run out.
  const ghosts = clients.filter((client, index) => index % 4 === 2 && isIn(client)).length
  await (servers[2] as Launched).kill9()
  const died = performance.now()
  await again(2)
  let entered = 0
  while (entered < ghosts && performance.now() - died < 60_000) {
    const client = await open(0)
    clients.push(client)
    if (isIn(client)) entered++
    else await delay(200)
  }
  t.equal(entered, ghosts)
  t.ok(performance.now() - died < 60_000, `${ghosts} ghosts were gone after ${Math.round((performance.now() - died) / 100) / 10} s`)
  t.notOk(isIn(await open(3)))
})

t.test('CONTROL_RATE_LIMIT holds over the sum of the machines and both doors', { skip }, async t => {
  const { stage, servers } = await machines(t, 4, { CONTROL_RATE_LIMIT: 5 })
  const socket = await stage.client('WEBSOCKET', (servers[1] as Launched).port)
  await socket.untilKind('hello')
  const allowed: number[] = []
  const limits: string[] = []
  const ask = async (n: number): Promise<void> => {
    const answer = await request(`${(servers[n % 4] as Launched).url}/api/control`, { json: { command: 'ping' }, headers: { 'x-forwarded-for': `10.0.0.${n}`, forwarded: `for=10.0.0.${n}`, 'x-real-ip': `10.0.0.${n}` } })
    if (answer.status === 200) allowed.push(answer.body.result.time)
    else limits.push(`${answer.status} ${answer.body.code} ${answer.headers.get('retry-after')}`)
  }
  const ends = Date.now() + 3000
  for (let n = 0; Date.now() < ends; n += 8) {
    await Promise.all(Array.from({ length: 8 }, async (_, at) => await ask(n + at)))
    if (n % 16 === 0) socket.say({ action: 'control', command: 'ping' })
  }
  await delay(200)
  for (const message of socket.messages) {
    if (message.kind === 'result') allowed.push((message.data.result as { time: number }).time)
  }
  const perSecond = new Map<number, number>()
  for (const time of allowed) perSecond.set(Math.floor(time / 1000), (perSecond.get(Math.floor(time / 1000)) ?? 0) + 1)
  // Redis counts when it is asked, the command tells when it ran: one may fall on the other side of a second's end.
  t.ok([...perSecond.values()].every(count => count <= 6), [...perSecond.values()].join())
  t.ok(allowed.length <= 5 * perSecond.size && allowed.length >= 10, `${allowed.length} allowed in ${perSecond.size} seconds`)
  t.ok(limits.length > 20 && limits.every(text => text === '429 RATE_LIMITED 1'), limits.find(text => text !== '429 RATE_LIMITED 1') ?? 'refused as it should be')
})

t.test('Redis away for 20 s under load: clients stay, publishers get errors, then everything works again', { skip }, async t => {
  const { stage, redis, servers } = await machines(t, 2)
  const followers = await Promise.all(Array.from({ length: 12 }, async (_, n) => await stage.follower((servers[n % 2] as Launched).port, WISHES[n % WISHES.length]).start()))
  const publishers = servers.map(({ url }, at) => stage.publisher({ name: `p${at}`, url, rooms: ['a', 'b', null], batch: 6 }).start())
  await delay(1000)
  // Said goodbye to, it has synced: what is acknowledged is there when it comes back, whatever appendfsync says.
  await redis.stop()
  const away = performance.now()
  let slowest = 0
  const statuses = new Set<number>()
  while (performance.now() - away < 20_000) {
    const begun = performance.now()
    const answer = await request(`${(servers[0] as Launched).url}/api/events`, { json: { type: 'x', room: 'nobody', data: 1 } })
    statuses.add(answer.status)
    if (answer.status === 503) t.match(answer.body, { code: 'STORE_UNAVAILABLE' })
    slowest = Math.max(slowest, performance.now() - begun)
    await delay(250)
  }
  t.same([...statuses], [503])
  t.ok(slowest < 8000, `the slowest answer took ${Math.round(slowest)} ms`)
  const ready = await request(`${(servers[1] as Launched).url}/readyz`)
  t.match(ready, { status: 503, body: { code: 'STORE_UNAVAILABLE', message: /ECONNREFUSED/ } })
  t.match((await request(`${(servers[1] as Launched).url}/metrics`)).text, /^signalbox_ready 0$/m)
  await redis.restart()
  const back = performance.now()
  await until('it is ready again', async () => (await request(`${(servers[0] as Launched).url}/readyz`)).status === 200)
  t.ok(performance.now() - back < 15_000, `ready ${Math.round(performance.now() - back)} ms after its return`)
  await delay(1500)
  await Promise.all(publishers.map(async publisher => await publisher.finish()))
  const counts = await finalTally(publishers, followers, 60_000)
  t.comment(`Redis away for 20 s: ${sentence(counts)}`)
  t.same([counts.lost, counts.twice, counts.disorder, counts.stale, counts.resets], [0, 0, 0, 0, 0])
  t.equal(counts.connections, followers.length, 'nobody was disconnected')
  t.same(counts.complaints, [])
})

t.test('over TLS, with a CA of one\'s own, and only with it', { skip: skipWithout('redis', 'openssl') }, async t => {
  const stage = new Stage(t)
  const { server, certificates } = await redisTls(t)
  const trusting = await stage.launch({ PORT: 0, REDIS_URL: server.url, NODE_EXTRA_CA_CERTS: certificates.ca })
  t.equal((await request(`${trusting.url}/readyz`)).status, 200)
  t.equal((await request(`${trusting.url}/api/events`, { json: { type: 'x', data: 1 } })).status, 202)
  const wary = await stage.launch({ PORT: 0, REDIS_URL: server.url })
  t.match((await request(`${wary.url}/readyz`)).body, { code: 'STORE_UNAVAILABLE', message: /certificate/ })
})
