// Many tabs of one browser: with `share` they use one connection to the gateway, and no tab misses anything when the tab that
// has it is closed.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { compareIds } from '../../src/core/id.ts'
import { hasAll, idsOf, load, Seat } from '../client/seat.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'
import { openTab } from './tab.ts'

t.setTimeout(600_000)
t.jobs = 2
const TABS = 10
const OPTIONS = { rooms: ['a'], share: true } as const

/** The gateway's connections: open now, and opened in total. */
async function connections (url: string): Promise<{ now: number, ever: number }> {
  const { text } = await request(`${url}/metrics`)
  const read = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
  return { now: read('signalbox_sessions'), ever: read('signalbox_sessions_opened_total') }
}

for (const profile of PROFILES) {
  t.test(`${TABS} tabs over ${profile} share one connection, no matter which of them is closed, and each gets everything once`, { skip: skipWithout('chromium'), buffered: true }, async test => {
    const stage = new Stage(test)
    const env: Env = { PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1, PORT: await freePort(), DATA_DIR: stage.folder() }
    let server = await stage.launch({ ...env, APP_PROFILE: profile })
    const context = await openContext(test, await openBrowser(t))
    const open = async (): Promise<{ seat: Seat, close: () => Promise<void> }> => {
      const tab = await openTab(context, server.url, OPTIONS)
      const seat = new Seat(tab)
      await seat.untilConnected()
      return { seat, close: async () => await tab.page.close() }
    }
    // The first one leads, and the next two will in this order.
    const tabs = [await open(), await open(), await open()]
    tabs.push(...await Promise.all(Array.from({ length: TABS - tabs.length }, open)))
    test.same(await connections(server.url), { now: 1, ever: 1 })

    const publisher = load(stage, server.url, 'a')
    for (const { seat } of tabs) await seat.until('it hears', () => seat.facts.length > 5)
    test.match(await tabs.at(-1)?.seat.remote.control('ping'), { command: 'ping', result: { pong: true } }, 'any of them may give commands')
    for (const changes of [1, 2]) {
      await tabs.shift()?.close()
      await delay(700)
      test.same(await connections(server.url), { now: 1, ever: 1 + changes }, 'the leading tab was closed: another one leads')
    }
    await tabs.pop()?.close()
    const late = await open()
    await delay(300)
    test.same(await connections(server.url), { now: 1, ever: 3 }, 'others come and go')

    const at = Date.now()
    await server.stop()
    const next = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
    server = await stage.launch({ ...env, APP_PROFILE: next })
    for (const { seat } of [...tabs, late]) {
      await seat.untilConnected(at)
      test.match(seat.stale(at), { code: 'DRAINING', reason: String, since: Number }, 'each says that it was stale')
      test.match(seat.now, { profile: next })
    }
    await delay(500)
    for (const { seat } of tabs) {
      await hasAll(test, seat, publisher)
      test.same(seat.received('reset'), [])
    }
    test.same(await connections(server.url), { now: 1, ever: 1 })
    test.equal(tabs.length, TABS - 3)

    const acknowledged = [...publisher.acknowledged.values()].map(({ id }) => id).sort(compareIds)
    await late.seat.until('the late tab has the last fact', () => late.seat.facts.at(-1)?.id === acknowledged.at(-1))
    test.same(idsOf(late.seat.facts), acknowledged.slice(-late.seat.facts.length), `the late tab: each of ${late.seat.facts.length} facts once`)
    await until('the late tab has the newest values', async () => {
      const present = new Set(idsOf(await late.seat.remote.entries()))
      return [...publisher.newest.values()].every(({ id }) => present.has(id))
    }).catch(error => test.fail(error))
  })
}

/** Run in a page: steals the lock of the leading tab, and releases it. */
const STEAL = `(async () => {
  const { held } = await navigator.locks.query()
  await navigator.locks.request(held[0].name, { steal: true }, () => {})
})()`

t.test('a sleeping leader whose lock is stolen continues on its own: no tab misses, repeats or goes back to anything', { skip: skipWithout('chromium'), buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const context = await openContext(test, await openBrowser(t))
  const tabs = []
  for (let n = 0; n < 3; n++) {
    const tab = await openTab(context, server.url, OPTIONS)
    tabs.push({ tab, seat: new Seat(tab) })
    await tabs[n]?.seat.untilConnected()
  }
  const publisher = load(stage, server.url, 'a')
  for (const { seat } of tabs) await seat.until('it hears', () => seat.facts.length > 5)
  const asleep = tabs[0]?.tab.page.evaluate('for (const until = Date.now() + 2500; Date.now() < until;);')
  await delay(800)
  await tabs[2]?.tab.page.evaluate(STEAL)
  await asleep
  await delay(1500)
  for (const { seat } of tabs) {
    await hasAll(test, seat, publisher)
    for (const key of new Set(seat.events.flatMap(({ key }) => key ?? []))) {
      const order = idsOf(seat.events.filter(event => event.key === key))
      test.same(order, [...order].sort(compareIds), 'the values of a key never go back')
    }
  }
  test.same(await connections(server.url), { now: 2, ever: 2 })
})

t.test('tabs that share: one with its own cursor misses nothing after it, the others get the values in order, and each can send commands over a socket', { skip: skipWithout('chromium'), buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder(), ENABLE_CONTROL_HTTP: 'false' })
  const publish = async (...json: object[]): Promise<void> => { await request(`${server.url}/api/events`, { json }) }
  const context = await openContext(test, await openBrowser(t))
  const open = async (options = {}): Promise<Seat> => await new Seat(await openTab(context, server.url, { ...OPTIONS, ...options })).look()
  await publish({ type: 'cpu', room: 'a', key: 'one', data: 1 }, { type: 'cpu', room: 'a', key: 'two', data: 1 })
  const first = await open()
  await first.untilConnected()
  await publish({ type: 'log', room: 'a', data: 1 })
  await first.until('it is there', () => first.facts.length === 1)
  const kept = idsOf(first.facts)[0] as string
  await publish({ type: 'log', room: 'a', data: 2 }, { type: 'cpu', room: 'a', key: 'one', data: 2 })
  await first.until('they are there', () => first.events.length === 5)

  const follower = await open()
  await follower.untilConnected()
  test.same(follower.events.map(({ key, data }) => [key, data]), [['two', 1], ['one', 2]])
  const returning = await open({ lastEventId: kept })
  await returning.untilConnected()
  test.same(returning.facts.map(({ data }) => data), [2], 'what came behind its cursor')
  test.match(await follower.remote.control('ping'), { result: { pong: true } }, 'a tab that follows gives commands')
  await publish({ type: 'log', room: 'a', data: 3 })
  for (const seat of [first, follower, returning]) {
    await seat.until('it goes on', () => seat.facts.at(-1)?.data === 3)
    test.equal(new Set(idsOf(seat.facts)).size, seat.facts.length, 'nothing twice')
  }
})

t.test('a page that may not have locks, as one in a sandbox, has its own connection', { skip: skipWithout('chromium'), buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const context = await openContext(test, await openBrowser(t))
  await context.addInitScript('navigator.locks.request = async () => { throw new DOMException("not here", "SecurityError") }')
  const seat = await Seat.open({ name: 'Chromium', open: async () => await openTab(context, server.url, OPTIONS) }, test, server.url)
  await seat.untilConnected()
})
