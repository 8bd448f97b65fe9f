// Many tabs of one browser: with `share` they cost the gateway one connection, and none of them misses anything when
// the tab that has it is closed.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { compareIds } from '../../src/core/id.ts'
import { hasAll, idsOf, load, Seat } from '../client/seat.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'
import { openTab } from './tab.ts'

t.setTimeout(120_000)
t.jobs = 2
const TABS = 10
const WISH = { rooms: ['a'], share: true } as const

/** Of the gateway's: connections there are, and were ever. */
async function connections (url: string): Promise<{ now: number, ever: number }> {
  const { text } = await request(`${url}/metrics`)
  const read = (name: string): number => Number(new RegExp(`^${name}\\{.*\\} (\\d+)$`, 'm').exec(text)?.[1])
  return { now: read('signalbox_sessions'), ever: read('signalbox_sessions_opened_total') }
}

for (const profile of PROFILES) {
  t.test(`${TABS} tabs over ${profile} share one connection, whichever of them is closed, and each gets everything once`, { skip: skipWithout('chromium'), buffered: true }, async test => {
    const stage = new Stage(test)
    const env: Env = { PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1, PORT: await freePort(), DATA_DIR: stage.folder() }
    let server = await stage.launch({ ...env, APP_PROFILE: profile })
    const context = await openContext(test, await openBrowser(t))
    const open = async (): Promise<{ seat: Seat, close: () => Promise<void> }> => {
      const tab = await openTab(context, server.url, WISH)
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
      test.same(seat.told('reset'), [])
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
