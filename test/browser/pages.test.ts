// Pages that stay open: they recover without a reload after faults of the gateway, of Redis, of the network and of the tab.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Page } from 'playwright-core'
import type { ProfileName } from '../../profiles/index.ts'
import { compareIds } from '../../src/core/id.ts'
import { Proxy } from '../client/proxy.ts'
import { hasAll, idsOf, load, Seat } from '../client/seat.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import type { Test } from '../tools/daemon.ts'
import { Nginx } from '../tools/nginx.ts'
import { RedisServer } from '../tools/redis.ts'
import { PROFILES } from '../wire/harness.ts'
import { blankPage, openFreezableTab, openStrangeTab, openTab } from './tab.ts'

t.setTimeout(600_000)
t.jobs = 3
const skip = skipWithout('chromium')
const BEATS: Env = { PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1 }

const publish = async (url: string, ...events: object[]): Promise<string[]> => (await request(`${url}/api/events`, { json: events })).body.ids

/** @returns the origin of a web server with one empty page */
async function emptySite (test: Test): Promise<string> {
  const site = createServer((_request, response) => { response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>another site</title>') })
  test.teardown(() => { site.closeAllConnections(); site.close() })
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve))
  return `http://localhost:${(site.address() as AddressInfo).port}`
}

/** As nginx has it by default: the gateway gets the upstream's name as Host. */
const rewriting = (listen: number, to: number): string => `server {
    listen 127.0.0.1:${listen};
    location / {
      proxy_pass http://127.0.0.1:${to};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }
  }`

/** What a page without our client has received. */
interface PlainRecord {
  readonly facts: string[]
  readonly values: Record<string, string>
}

/** A page with nothing but an EventSource. */
async function plainPage (page: Page): Promise<() => Promise<PlainRecord>> {
  await page.evaluate(`
    globalThis.plain = { facts: [], values: {} }
    new EventSource('/api/events/stream?rooms=a').onmessage = ({ data }) => {
      for (const { id, type, key } of JSON.parse(data)) {
        if (key === undefined) plain.facts.push(id)
        else plain.values['a ' + type + ' ' + key] = id
      }
    }`)
  return async () => await page.evaluate('plain')
}

t.test('a page with our client and one with a plain EventSource live through a restart into WEBSOCKET and back, under load', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const env: Env = { ...BEATS, PORT: await freePort(), DATA_DIR: stage.folder() }
  let server = await stage.launch({ ...env, APP_PROFILE: 'SSE' })
  const context = await openContext(test, await openBrowser(t))
  const plain = await plainPage(await blankPage(context, server.url))
  const seat = new Seat(await openTab(context, server.url, { rooms: ['a'] }))
  await seat.untilConnected()
  const publisher = load(stage, server.url, 'a')
  await until('the plain page hears', async () => (await plain()).facts.length > 0)

  for (const profile of ['WEBSOCKET', 'SSE'] as const) {
    const at = Date.now()
    await server.stop()
    server = await stage.launch({ ...env, APP_PROFILE: profile })
    await seat.untilConnected(at)
    test.match(seat.now, { profile })
    // Long enough for the plain page to be refused by the profile WEBSOCKET.
    await delay(2500)
  }
  await hasAll(test, seat, publisher)
  test.same(seat.states.filter((state, index, all) => state !== all[index - 1]), ['connecting', 'catching-up', 'connected', 'stale', 'catching-up', 'connected', 'stale', 'catching-up', 'connected'], 'what it showed')
  test.same(seat.statuses.flatMap(status => status.state === 'connected' ? [status.profile] : []), ['SSE', 'WEBSOCKET', 'SSE'])
  test.same(seat.received('reset'), [])

  const acknowledged = [...publisher.acknowledged.values()].map(({ id }) => id).sort(compareIds)
  const newest = Object.fromEntries([...publisher.newest].map(([field, { id }]) => [field, id]))
  await until('the plain page has all', async () => {
    const { facts, values } = await plain()
    return facts.length >= acknowledged.length && Object.entries(newest).every(([field, id]) => values[field] === id)
  }).catch(error => test.fail(error))
  const { facts, values } = await plain()
  // It does not receive facts from before it connected.
  test.same(facts, acknowledged.slice(acknowledged.indexOf(facts[0] as string)), `the plain page: each of ${facts.length} facts once, and in order`)
  test.same(values, newest, 'and the newest values')
})

for (const profile of PROFILES) {
  t.test(`a page of another site hears and commands over ${profile} where CORS_ORIGINS lists it, and only there`, { skip, buffered: true }, async test => {
    const stage = new Stage(test)
    const origin = await emptySite(test)
    const context = await openContext(test, await openBrowser(t))
    const [open, closed] = await Promise.all([origin, 'https://elsewhere.example'].map(async listed =>
      await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), CORS_ORIGINS: listed, CONTROL_RATE_LIMIT: 2 }))) as [Launched, Launched]

    const seat = new Seat(await openStrangeTab(context, origin, open.url, { rooms: ['a'] }))
    await seat.untilConnected()
    const [id] = await publish(open.url, { type: 'fact', room: 'a', data: 1 })
    await seat.until('it hears', () => seat.facts.length === 1)
    test.same(idsOf(seat.facts), [id])
    const orders = await Promise.all([1, 2, 3].map(async () => await seat.remote.control('ping')))
    test.ok(orders.every(({ result }) => (result as { pong?: boolean } | undefined)?.pong), 'it runs commands, and waits for the rate limit')

    const stranger = new Seat(await openStrangeTab(context, origin, closed.url, { rooms: ['a'] }, open.url))
    await stranger.until('it has tried twice', () => stranger.statuses.filter(status => status.state === 'connecting' && typeof status.retryMs === 'number').length > 1)
    test.match(stranger.now, { state: 'connecting', code: 'UNREACHABLE', reason: 'the gateway does not answer, or CORS_ORIGINS does not list this origin' })
    test.notOk(stranger.states.includes('connected'))
    test.same(stranger.received('hello'), [])
    test.match((await stranger.remote.control('ping', {}, { abortMs: 500 })).error, { name: String }, 'nor does it command')
  })

  t.test(`a tab over ${profile} that was frozen, and one whose network was gone, have everything when they are back`, { skip, buffered: true }, async test => {
    const stage = new Stage(test)
    const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    const browser = await openBrowser(t)
    const context = await openContext(test, browser)
    const frozen = await openFreezableTab(test, browser, server.url, { rooms: ['a'] })
    const seats = [new Seat(frozen), new Seat(await openTab(context, server.url, { rooms: ['a'] }))] as const
    for (const seat of seats) await seat.untilConnected()
    const publisher = load(stage, server.url, 'a')
    for (const seat of seats) await seat.until('facts flow', () => seat.facts.length > 0)

    const away = Date.now()
    await frozen.hide()
    await frozen.freeze()
    await context.setOffline(true)
    await delay(300)
    await Promise.all(seats.map(async seat => await seat.look()))
    const before = seats.map(({ facts }) => facts.length)
    await delay(4000)
    await Promise.all(seats.map(async seat => await seat.look()))
    test.same(seats.map(({ facts }) => facts.length), before, 'neither hears anything')
    test.match(seats[1].now, { state: 'stale', code: 'OFFLINE', reason: /offline/, since: Number })
    test.ok(Math.abs((seats[1].stale(away)?.since ?? 0) - away) < 2000)

    const back = Date.now()
    await frozen.thaw()
    await frozen.show()
    await context.setOffline(false)
    await delay(1000)
    for (const seat of seats) {
      await hasAll(test, seat, publisher)
      await seat.until('it is connected', () => seat.now?.state === 'connected')
      test.same(seat.received('reset'), [])
    }
    const first = seats.map(seat => (seat.seen.find(({ name, at }) => name === 'event' && at > back)?.at ?? Infinity) - back)
    test.comment(`${profile}: back after 4.3 s, the frozen tab had its next event within ${first[0]} ms, the other within ${first[1]} ms; the frozen one needed ${seats[0].received('hello').length - 1} new connections`)
  })

  t.test(`a page over ${profile} keeps its values while Redis is away, and goes on when it is back`, { skip: skipWithout('chromium', 'redis'), buffered: true }, async test => {
    const stage = new Stage(test)
    const redis = await RedisServer.start(test)
    const server = await stage.launch({ ...BEATS, APP_PROFILE: profile as ProfileName, PORT: 0, REDIS_URL: redis.url })
    const proxy = await Proxy.start(test, server.port)
    const context = await openContext(test, await openBrowser(t))
    const seats = [new Seat(await openTab(context, server.url, { rooms: ['a'] })), new Seat(await openTab(context, proxy.url, { rooms: ['a'] }))] as const
    for (const seat of seats) await seat.untilConnected()
    const ids = await publish(server.url, { type: 'fact', room: 'a', data: 1 }, { type: 'value', room: 'a', key: 'k', data: 1 })
    for (const seat of seats) await seat.until('they are there', () => seat.events.length === 2)

    await redis.kill9()
    await until('readiness says so', async () => (await request(`${server.url}/readyz`)).status === 503)
    const away = Date.now()
    proxy.cut()
    const order = seats[0].remote.control('ping')
    await delay(1500)
    for (const seat of seats) await seat.look()
    test.match(seats[0].now, { state: 'connected' }, 'a connected page stays connected')
    test.equal((await seats[0].remote.value('a', 'value', 'k'))?.data, 1, 'with its values')
    test.match(seats[1].stale(away), { code: 'LOST' })
    test.comment(`${profile}: a page that lost its connection meanwhile says ${JSON.stringify(seats[1].now)}`)

    await redis.restart()
    await until('it is ready', async () => (await request(`${server.url}/readyz`)).status === 200)
    test.match(await order, { result: { pong: true } }, 'a command sent meanwhile runs')
    ids.push(...await publish(server.url, { type: 'fact', room: 'a', data: 2 }, { type: 'value', room: 'a', key: 'k', data: 2 }))
    for (const seat of seats) {
      await seat.untilConnected()
      await seat.until('what follows is there', () => seat.events.length === 4)
      test.same(idsOf(seat.events), ids, 'each once')
      test.equal((await seat.remote.value('a', 'value', 'k'))?.data, 2)
      test.same(seat.received('mistake'), [])
    }
  })
}

t.test('a seventh page of another site over HTTP/1.1 says that others may hold the connections, and connects when one of them is closed', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const site = await emptySite(test)
  const env = { ...BEATS, APP_PROFILE: 'SSE', PORT: 0, CORS_ORIGINS: site }
  const [server, library] = [await stage.launch({ ...env, DATA_DIR: stage.folder() }), await stage.launch({ ...env, DATA_DIR: stage.folder() })]
  const context = await openContext(test, await openBrowser(t))
  const tabs = []
  for (let n = 0; n < 7; n++) tabs.push(await openStrangeTab(context, site, server.url, { rooms: ['a'] }, library.url))
  const seats = tabs.map(tab => new Seat(tab))
  for (const seat of seats.slice(0, 6)) await seat.untilConnected()
  const last = seats[6] as Seat
  await last.until('it says why', () => last.statuses.some(status => 'code' in status))
  test.match(last.statuses.find(status => 'code' in status), { state: 'connecting', code: 'UNREACHABLE', reason: /has not answered for 15 s, or other tabs hold the six connections of a browser.*share: true.*HTTP\/2/ })
  await tabs[0]?.page.close()
  await last.untilConnected()
})

t.test('behind a proxy that changes Host, a WebSocket that is refused is reported as that, with CORS_ORIGINS, and listing the origin there mends it', { skip: skipWithout('chromium', 'nginx'), buffered: true }, async test => {
  const stage = new Stage(test)
  const nginx = await Nginx.start(test, { http: listen => rewriting(listen, 1) })
  for (const listed of [false, true]) {
    const server = await stage.launch({ ...BEATS, APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder(), ...(listed ? { CORS_ORIGINS: nginx.url } : {}) })
    await nginx.reload(rewriting(nginx.port, server.port))
    const seat = new Seat(await openTab(await openContext(test, await openBrowser(t)), nginx.url, { rooms: ['a'] }))
    if (listed) await seat.untilConnected()
    else {
      await seat.until('it says why', () => seat.statuses.some(status => 'code' in status))
      test.match(seat.statuses.find(status => 'code' in status), { code: 'NO_UPGRADE', reason: new RegExp(`the gateway answers, but opens no WebSocket: CORS_ORIGINS does not list ${nginx.url}, or a proxy changes Host`) })
    }
  }
})
