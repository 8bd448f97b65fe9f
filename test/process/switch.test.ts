// The command `switch` as an operator sees it: the profile changes while the port stays open. Publishers notice nothing, no
// attempt to connect fails, clients follow by themselves, and what was acknowledged reaches everybody once.

import { get } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { connect } from '../../src/client/node.ts'
import type { Box, Event } from '../../src/client/node.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { freePort, profileOf, request, sentence, Stage, tally, until } from './harness.ts'
import type { Answer, Env, Launched } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 3

const SWITCHES = 10
const WISHES = [{ rooms: ['a'] }, {}, { rooms: ['a', 'b'], types: ['fact-0', 'value-1'] }, { rooms: ['@public', 'b'] }]

const order = async (url: string, args: object): Promise<Answer> => await request(`${url}/api/control`, { json: { command: 'switch', args } })
const warningsOf = async (url: string): Promise<string> => ((await request(`${url}/readyz`)).body.warnings ?? []).join('\n')

/** Asks over new connections, one after the other, until it is ended. */
class Caller {
  readonly failures: string[] = []
  answers = 0
  #isOver = false
  readonly #loop: Promise<void>

  constructor (t: Test, url: string) {
    this.#loop = (async () => {
      while (!this.#isOver) {
        await new Promise<void>(resolve => {
          get(`${url}/api/events?rooms=a`, { agent: false }, response => {
            this.answers++
            if (response.statusCode !== 200) this.failures.push(String(response.statusCode))
            // The loop must leave time to the others of a small machine.
            response.resume().once('close', () => setTimeout(resolve, 5))
          }).once('error', error => {
            this.failures.push(error.message)
            resolve()
          })
        })
      }
    })()
    t.teardown(async () => await this.end())
  }

  async end (): Promise<void> {
    this.#isOver = true
    await this.#loop
  }
}

/** Our own client, and the facts it was given. */
function follow (t: Test, url: string): { readonly box: Box, readonly facts: Map<string, number>, readonly resets: unknown[], readonly byes: Set<string>, profile: ProfileName | null } {
  const box = connect(url, { rooms: ['a'] })
  t.teardown(() => box.close())
  const seen = { box, facts: new Map<string, number>(), resets: [] as unknown[], byes: new Set<string>(), profile: null as ProfileName | null }
  box.on('event', (event: Event) => { if (event.key === undefined) seen.facts.set(event.id, (seen.facts.get(event.id) ?? 0) + 1) })
  box.on('reset', reset => seen.resets.push(reset))
  box.on('status', status => {
    if (status.state === 'stale') seen.byes.add(status.code)
    seen.profile = status.state === 'connected' ? status.profile : null
  })
  return seen
}

for (const store of ['a DATA_DIR', 'Redis, two workers']) {
  t.test(`five times there and back under load on ${store}: nothing is refused, lost, repeated or out of order`, { skip: store !== 'a DATA_DIR' && skipWithout('redis') }, async t => {
    const stage = new Stage(t)
    const env: Env = store === 'a DATA_DIR' ? { DATA_DIR: stage.folder() } : { REDIS_URL: (await RedisServer.start(t)).url, WORKERS: 2 }
    const server = await stage.launch({ ...env, PORT: await freePort(), RECONNECT_JITTER: 0, CONTROL_RATE_LIMIT: 0 })
    const followers = await Promise.all(WISHES.map(async wish => await stage.follower(server.port, wish).start()))
    const clients = Array.from({ length: 3 }, () => follow(t, server.url))
    await until('our clients are connected', () => clients.every(({ profile }) => profile === 'SSE'))
    // Each batch once, without a key: whatever is not accepted at once fails the test.
    const publishers = ['p', 'q'].map(name => stage.publisher({ name, url: server.url, rooms: ['a', 'b', null], batch: 6, keyed: false, patienceMs: 120_000 }).start())
    const caller = new Caller(t, server.url)

    for (let index = 1; index <= SWITCHES; index++) {
      const profile: ProfileName = index % 2 === 1 ? 'WEBSOCKET' : 'SSE'
      t.match((await order(server.url, { profile })).body, { ok: true, result: { profile, changed: true } })
      t.equal(await profileOf(server.port), profile, 'at once')
      await until(`our clients are back over ${profile}`, () => clients.every(client => client.profile === profile))
    }
    await Promise.all(publishers.map(async publisher => await publisher.finish()))
    await caller.end()
    const sent = publishers.flatMap(({ acknowledged }) => [...acknowledged.values()].filter(({ sent }) => sent.room === 'a').map(({ id }) => id))
    await until('all have everything', () => clients.every(({ facts }) => sent.every(id => facts.has(id))) && tally(publishers, followers).lost === 0 && tally(publishers, followers).stale === 0).catch(() => {})
    const counts = tally(publishers, followers)
    t.comment(`${store}, ${SWITCHES} switches: ${sentence(counts)}; ${caller.answers} answers over new connections`)
    t.same(counts.complaints, [])
    t.ok(counts.acknowledged > 200 && caller.answers > 100, 'there was load')
    t.match(counts, { lost: 0, twice: 0, disorder: 0, foreign: 0, stale: 0, resets: 0, retries: 0 }, 'no publish failed, and everybody who hears it got everything once, in order')
    t.same(caller.failures, [], 'every new connection was answered')
    t.ok(followers.every(({ connections, profiles }) => connections > SWITCHES / 2 && profiles.size === 2), 'everybody came back over both profiles')
    for (const { facts, resets, byes } of clients) {
      t.same(sent.filter(id => facts.get(id) !== 1), [], 'our client got each once')
      t.same(resets, [])
      // On a busy machine the end of a stream may overtake its last words, and workers switch one after the other.
      t.same([...byes].filter(code => code !== 'LOST' && code !== 'PROFILE_NOT_MOUNTED'), ['SWITCHED'], 'it was told why')
    }
    t.same(server.log().filter(({ level }) => level >= 40), [], 'the log has no warnings')
  })
}

const noSignals = process.platform === 'win32' ? 'Windows has no SIGTERM' : skipWithout('redis')

t.test('workers and processes that start later take the profile that was switched to; a restart of the whole goes by APP_PROFILE', { skip: noSignals }, async t => {
  const stage = new Stage(t)
  const env: Env = { REDIS_URL: (await RedisServer.start(t)).url, CONTROL_RATE_LIMIT: 0, APP_PROFILE: 'SSE' }
  const launch = async (more: Env = {}): Promise<Launched> => await stage.launch({ ...env, PORT: await freePort(), ...more })
  const [first, second] = await Promise.all([launch({ WORKERS: 2 }), launch()])
  const pids = (): number[] => first.log().flatMap(({ msg }) => /^worker \d+ \(pid (\d+)\) listens/.exec(msg)?.slice(1).map(Number) ?? [])
  await until('both workers listen', () => pids().length === 2)
  t.match((await order(first.url, { profile: 'WEBSOCKET' })).body, { result: { changed: true } })
  t.equal(await profileOf(second.port), 'WEBSOCKET', 'another primary on the same Redis has switched too')

  // What their primary knows: nobody else is left to ask.
  t.equal(await second.stop(), 0)
  for (const pid of pids()) process.kill(pid, 'SIGKILL')
  await until('both workers were replaced', () => pids().length === 4)
  for (let asked = 0; asked < 4; asked++) t.equal(await profileOf(first.port), 'WEBSOCKET')
  t.match(await warningsOf(first.url), /switch has mounted the profile WEBSOCKET, and APP_PROFILE is SSE/)

  const later = await launch()
  t.match(later.log().at(-1), { msg: /profile WEBSOCKET, .* on http/ }, 'asked before it listens')
  t.equal(await profileOf(later.port), 'WEBSOCKET')
  t.match(await warningsOf(later.url), /APP_PROFILE is SSE.*Set APP_PROFILE=WEBSOCKET/)
  const agreeing = await launch({ APP_PROFILE: 'WEBSOCKET' })
  t.equal(await warningsOf(agreeing.url), '', 'until APP_PROFILE agrees')

  t.same(await Promise.all([first, later, agreeing].map(async server => await server.stop())), [0, 0, 0])
  const again = await launch()
  t.equal(await profileOf(again.port), 'SSE')
  t.equal(await warningsOf(again.url), '')
})

t.test('one worker is switched by its number, and newcomers do not follow it', { skip: skipWithout('redis') }, async t => {
  const stage = new Stage(t)
  const env: Env = { REDIS_URL: (await RedisServer.start(t)).url, CONTROL_RATE_LIMIT: 0 }
  const server = await stage.launch({ ...env, PORT: await freePort(), WORKERS: 2 })
  const profiles = async (): Promise<string> => [...new Set(await Promise.all(Array.from({ length: 6 }, async () => await profileOf(server.port))))].sort().join()
  const { stdout } = await stage.run({ SIGNALBOX_URL: server.url }, ['switch', 'websocket', '--worker', '2'])
  t.same(JSON.parse(stdout), { profile: 'WEBSOCKET', changed: true })
  t.equal(await profiles(), 'SSE,WEBSOCKET')
  // Only the worker that was switched accepts this floor; whoever refuses it says so.
  const tune = async (): Promise<Answer> => await request(`${server.url}/api/control`, { json: { command: 'tune', args: { TICK_FLOOR_MS: 230, MAX_ROOMS_PER_CLIENT: 3 } } })
  await until('it was asked', async () => (await tune()).body.ok === true)
  for (let asked = 0; asked < 4; asked++) t.match((await request(`${server.url}/api/events?rooms=1,2,3,4`)).body, { code: 'BAD_SUBSCRIPTION' }, 'both are tuned')
  const other = await stage.launch({ ...env, PORT: await freePort() })
  t.equal(await profileOf(other.port), 'SSE')
  const unknown = await order(server.url, { profile: 'WEBSOCKET', worker: 3 })
  t.match(unknown, { status: 400, body: { code: 'BAD_COMMAND', message: /worker 3 does not exist; there are 1 of .* \(".*"\), 1 of .*, 2 of / } })
  const twice = await order(server.url, { profile: 'WEBSOCKET', worker: 1 })
  t.match(twice, { status: 400, body: { code: 'BAD_COMMAND', message: /worker 1 is there more than once: name it by its key/ } })
  const keys = [...String(twice.body.message).matchAll(/1 of \S+ \("([^"]+)"\)/g)].map(([, key]) => key as string)
  t.equal(keys.length, 2)
  for (const worker of keys) t.match((await order(server.url, { profile: 'WEBSOCKET', worker })).body, { result: { changed: true } })
  t.equal(await profiles(), 'WEBSOCKET')
  t.equal(await profileOf(other.port), 'WEBSOCKET')
  t.match((await order(server.url, { profile: 'WEBSOCKET' })).body, { result: { profile: 'WEBSOCKET', changed: false } })
})

t.test('without Redis a switch is refused, and every worker keeps its profile and its clients', { skip: skipWithout('redis') }, async t => {
  const stage = new Stage(t)
  const redis = await RedisServer.start(t, { args: ['--appendonly', 'yes'] })
  const server = await stage.launch({ REDIS_URL: redis.url, WORKERS: 2, PORT: await freePort(), CONTROL_RATE_LIMIT: 0 })
  const clients = await Promise.all([1, 2, 3, 4].map(async () => await stage.client('SSE', server.port, { rooms: ['a'] })))
  for (const client of clients) await client.untilKind('ready')
  await redis.kill9()
  await until('it has noticed', async () => (await request(`${server.url}/readyz`)).status === 503)
  t.match(await order(server.url, { profile: 'WEBSOCKET' }), { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  for (let asked = 0; asked < 4; asked++) t.equal(await profileOf(server.port), 'SSE')
  await redis.restart()
  // One worker may be back before the other.
  await until('events are taken again', async () => (await request(`${server.url}/api/events`, { json: { type: 'x', room: 'a', data: 1 }, headers: { 'idempotency-key': 'once' } })).status === 202)
  for (const client of clients) await client.until(() => client.events.length === 1)
  t.notOk(clients.some(({ closed }) => closed))
})
