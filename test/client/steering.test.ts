// Joining and leaving rooms on an open box, in Node and in Chromium, over both profiles and from one to the other.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test as Tap } from 'tap'
import { openTab } from '../browser/tab.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'
import { DRIVERS } from './drivers.ts'
import { Proxy } from './proxy.ts'
import { idsOf, Seat } from './seat.ts'

t.setTimeout(600_000)
t.jobs = 3
const BEATS: Env = { PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1 }
const skip = skipWithout('chromium')

const publish = async (url: string, ...events: object[]): Promise<string[]> => (await request(`${url}/api/events`, { json: events })).body.ids
const fact = (room: string, data: unknown, type = 'log'): object => ({ type, room, data })
const value = (room: string, key: string, data: unknown, type = 'cpu'): object => ({ type, room, key, data })

for (const driver of DRIVERS) {
  for (const profile of PROFILES) {
    const test = (what: string, run: (t: Tap, stage: Stage) => Promise<void>): void => {
      t.test(`a box in ${driver.name} over ${profile} ${what}`, { skip: driver.skip ?? false, buffered: true }, async t => await run(t, new Stage(t)))
    }

    test('joins and leaves rooms: present values come, and go from its state', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 2, MAX_ROOMS_PER_CLIENT: 3 })
      await publish(server.url, value('a', 'host', 1), value('b', 'host', 2), value('b', 'host', 2, 'load'), fact('b', 'before'))
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'] })
      const { remote } = seat
      t.match(await remote.join(['b']), { rooms: ['b'], members: { b: 1 }, position: 'new', cursor: String }, 'without waiting for a connection')
      // Where it joins before the values of the first room have come, one `ready` speaks of both.
      const complete = (): string[] => seat.received('ready').flatMap(({ rooms }) => rooms).sort()
      await seat.until('its values are there', () => complete().includes('a') && complete().includes('b'))
      t.same(complete(), ['a', 'b'])
      t.equal(seat.received('ready').reduce((sum, { keys }) => sum + keys, 0), 3)
      t.equal((await remote.value('b', 'cpu', 'host'))?.data, 2)
      t.same(seat.facts, [], 'no fact of before')
      await publish(server.url, fact('b', 1), fact('a', 2), value('b', 'host', 3))
      await seat.until('both rooms are heard', () => seat.events.length === 6)
      t.same(seat.facts.map(({ data }) => data), [1, 2])

      t.match(await remote.leave(['b']), { rooms: ['b'], cursor: String })
      t.same((await remote.entries()).map(({ room, data }) => [room, data]), [['a', 1]], 'its state forgets the room')
      await publish(server.url, fact('b', 'unheard'), value('b', 'host', 4), fact('a', 3))
      await seat.until('the other room goes on', () => seat.facts.length === 3)
      t.equal(seat.facts.at(-1)?.data, 3)
      t.equal(await remote.value('b', 'cpu', 'host'), undefined)
      t.match(await remote.join(['b']), { rooms: ['b'] })
      await seat.until('it is back', () => seat.events.at(-1)?.room === 'b')
      t.equal((await remote.value('b', 'cpu', 'host'))?.data, 4)
      t.same(seat.states, ['connecting', 'catching-up', 'connected'], 'it has stayed connected')
      t.same(seat.received('mistake'), [])
    })

    test('says why it may not join, and stays in its rooms', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 1, MAX_ROOMS_PER_CLIENT: 3 })
      const member = await Seat.open(driver, t, server.url, { rooms: ['full'] })
      await member.untilConnected()
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'] })
      const { remote } = seat
      t.match(await remote.join(['free', 'full']), { error: { name: 'ControlError', code: 'ROOM_FULL', message: /full/ } }, 'all or nothing')
      t.match(await remote.join(['no such name']), { error: { code: 'BAD_SUBSCRIPTION', message: /no such name/ } })
      t.match(await remote.join(['b', 'c', 'd']), { error: { code: 'BAD_SUBSCRIPTION', message: /MAX_ROOMS_PER_CLIENT/ } })
      for (const rooms of ['b', [], [7], ['a,b'], [{ rooms: ['b'] }], [{ room: 'b', types: 'x' }]]) {
        t.match(await remote.join(rooms as string[]), { error: { name: 'TypeError', message: /^rooms must be a list of names, or \{ room, types \}/ } }, JSON.stringify(rooms))
      }
      t.match(await remote.leave(['a']), { error: { code: 'LAST_ROOM', message: /close/ } })
      t.match(await remote.leave(['elsewhere']), { rooms: [] }, 'what it is not in it may leave')
      await publish(server.url, fact('free', 'unheard'), fact('b', 'unheard'), fact('a', 1))
      await seat.until('it hears', () => seat.facts.length === 1)
      t.equal(seat.facts[0]?.data, 1)
      await remote.close()
      t.match(await remote.join(['b']), { error: { code: 'CLOSED' } })
    })

    test('keeps what it joined and left over rollbacks, and loses and repeats nothing', async (t, stage) => {
      const env: Env = { ...BEATS, PORT: await freePort(), DATA_DIR: stage.folder() }
      let server = await stage.launch({ ...env, APP_PROFILE: profile })
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a', 'gone'] })
      const { remote } = seat
      await publish(server.url, value('gone', 'host', 1), value('b', 'host', 0))
      t.match(await remote.join(['b', { room: 'c', types: ['alarm'] }]), { rooms: ['b', 'c'] })
      t.match(await remote.leave(['gone']), { rooms: ['gone'] })
      await seat.untilConnected()
      const wanted: string[] = []
      let n = 0
      const load = async (): Promise<void> => {
        n++
        const ids = await publish(server.url, fact('a', n), fact('b', n), fact('c', n, 'alarm'), { type: 'alarm', data: n }, fact('c', n), { type: 'log', data: n }, fact('gone', n), value('b', 'host', n), value('c', 'host', n))
        wanted.push(...ids.slice(0, 4))
      }
      for (const next of [profile === 'SSE' ? 'WEBSOCKET' : 'SSE', profile] as const) {
        for (let k = 0; k < 10; k++) {
          await load()
          await delay(20)
        }
        const at = Date.now()
        await server.stop()
        server = await stage.launch({ ...env, APP_PROFILE: next })
        await load()
        await seat.untilConnected(at)
        t.match(seat.now, { state: 'connected', profile: next })
      }
      await load()
      await seat.until('the last fact is there', () => seat.facts.at(-1)?.id === wanted.at(-1))
      t.same(idsOf(seat.facts), wanted, `each of ${wanted.length} facts once, in order, of these rooms and types`)
      t.same(seat.received('reset'), [], 'it resumed')
      t.same((await remote.entries()).map(({ room, data }) => [room, data]), [['b', n]])
      t.match(await remote.leave(['c']), { rooms: ['c'] }, 'and goes on joining and leaving')
      t.match(await remote.join(['gone']), { rooms: ['gone'] })
      await publish(server.url, fact('c', 'unheard', 'alarm'), fact('gone', 'heard'))
      await seat.until('it hears', () => seat.facts.at(-1)?.data === 'heard')
      t.equal(seat.facts.length, wanted.length + 1)
      t.same(seat.received('mistake'), [])
    })

    test('joins once it is connected again where the connection, or the answer, is lost', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      const { remote } = seat
      await seat.untilConnected()
      await proxy.down()
      const joined = remote.join(['b'])
      await publish(server.url, fact('a', 1), value('b', 'host', 1))
      await delay(300)
      await proxy.up()
      t.match(await joined, { rooms: ['b'] })
      await seat.until('all is there', () => seat.events.length === 2)
      t.equal((await remote.value('b', 'cpu', 'host'))?.data, 1)
      if (profile === 'SSE') {
        proxy.cutAnswer(/^POST \/api\/events\/stream/, 1)
        t.match(await remote.join(['c']), { rooms: ['c'] }, 'it asks again')
        t.equal(proxy.passed.filter(({ line }) => /^POST \/api\/events\/stream\/[\w-]+$/.test(line)).length, 3)
      } else {
        const lost = remote.join(['c'])
        proxy.cut()
        t.match(await lost, { rooms: ['c'] }, 'it asks again')
      }
      const cut = Date.now()
      proxy.cut()
      const ids = await publish(server.url, fact('a', 2), fact('b', 2), fact('c', 2))
      await seat.untilConnected(cut)
      await seat.until('all is there', () => seat.facts.length === 4)
      t.same(idsOf(seat.facts).slice(1), ids)
      t.same(seat.received('mistake'), [])
    })
  }
}

t.test('a tab that shares a connection has one of its own once it joins or leaves; the others notice nothing', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const context = await openContext(test, await openBrowser(t))
  const open = async (): Promise<Seat> => {
    const seat = new Seat(await openTab(context, server.url, { rooms: ['a'], share: true }))
    await seat.untilConnected()
    return seat
  }
  const sessions = async (): Promise<number> => Number(/^signalbox_sessions\S* (\d+)$/m.exec((await request(`${server.url}/metrics`)).text)?.[1])
  const [leader, follower, third] = [await open(), await open(), await open()]
  const ids = await publish(server.url, fact('a', 1))
  for (const seat of [leader, follower, third]) await seat.until('it hears', () => seat.facts.length === 1)
  test.equal(await sessions(), 1)
  test.match(await follower.remote.join(['b']), { rooms: ['b'] })
  await until('it has a session', async () => await sessions() === 2)
  ids.push(...await publish(server.url, fact('a', 2)))
  test.match(await leader.remote.join(['b']), { rooms: ['b'] }, 'the one that leads lets another lead')
  await until('another leads', async () => await sessions() === 3)
  ids.push(...await publish(server.url, fact('a', 3), fact('b', 4)))
  for (const seat of [leader, follower]) {
    await seat.until('it hears both rooms', () => seat.facts.length === 4)
    test.same(idsOf(seat.facts), ids)
  }
  await third.until('it hears its room', () => third.facts.length === 3)
  test.same(idsOf(third.facts), ids.slice(0, 3))
})
