// A page that is hidden behind another tab of a real browser: no values come, facts do, and when it is shown one catch-up.

import t from 'tap'
import { Seat } from '../client/seat.ts'
import { request, Stage } from '../process/harness.ts'
import { openBrowser, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'
import { openFreezableTab } from './tab.ts'

t.setTimeout(300_000)
t.jobs = 2

for (const profile of PROFILES) {
  t.test(`a hidden page over ${profile} gets facts, and the newest values when it is shown`, { skip: skipWithout('chromium'), buffered: true }, async test => {
    const stage = new Stage(test)
    const dataDir = stage.folder()
    let server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: dataDir, RECONNECT_JITTER: 1 })
    const browser = await openBrowser(t)
    const tab = await openFreezableTab(test, browser, server.url, { rooms: ['a'] })
    const other = await openFreezableTab(test, browser, server.url, { rooms: ['a'], pauseHidden: false })
    const [seat, awake] = [new Seat(tab), new Seat(other)]
    let n = 0
    /** Publishes a value and behind it a fact. @returns whether the value had come when the fact did */
    const hears = async (listener: Seat): Promise<boolean> => {
      const data = ++n
      await request(`${server.url}/api/events`, { json: [{ type: 'gauge', room: 'a', key: 'k', data }, { type: 'log', room: 'a', data }] })
      await listener.until(`fact ${data} is there`, () => listener.facts.at(-1)?.data === data)
      return listener.events.some(event => event.key !== undefined && event.data === data)
    }
    const become = async (listens: boolean, listener = seat): Promise<void> => {
      for (let tries = 0; await hears(listener) !== listens; tries++) if (tries > 200) throw new Error(`values do not ${listens ? 'begin' : 'stop'}`)
    }
    for (const each of [seat, awake]) await each.untilConnected()
    test.ok(await hears(seat))

    await tab.hide()
    await become(false)
    for (let more = 0; more < 5; more++) test.notOk(await hears(seat), 'no values come')
    test.equal(seat.now?.state, 'connected', 'its state says nothing new')
    await awake.until('the other has all', () => awake.facts.at(-1)?.data === n)
    test.match(await other.value('a', 'gauge', 'k'), { data: n }, 'a page that wants none of this goes on')

    const before = seat.events.length
    await tab.show()
    await seat.until('it has the newest value', () => seat.events.some(event => event.key !== undefined && event.data === n))
    test.same(seat.events.slice(before).map(({ data }) => data), [n], 'one catch-up')
    await become(true)

    // Frozen, then back behind a restart.
    await tab.hide()
    await become(false)
    await tab.freeze()
    await hears(awake)
    await server.stop()
    server = await stage.launch({ APP_PROFILE: profile === 'SSE' ? 'WEBSOCKET' : 'SSE', PORT: new URL(server.url).port, DATA_DIR: dataDir, RECONNECT_JITTER: 1 })
    await awake.untilConnected(Date.now() - 60_000)
    await hears(awake)
    await tab.thaw()
    await seat.until('the facts of the meantime are there', () => seat.facts.at(-1)?.data === n)
    test.notOk(await hears(seat), 'still hidden, over the other profile too')
    await tab.show()
    await seat.until('it has the newest value', () => seat.events.some(event => event.key !== undefined && event.data === n))
    await become(true)
    test.same(seat.facts.map(({ data }) => data), Array.from({ length: n }, (_, index) => index + 1), 'every fact once')
    test.same(seat.received('reset'), [])
  })
}
