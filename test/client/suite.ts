// The client's promises, in Node and in a browser, over both profiles. The gateway is the built product in a separate process,
// and the faults are real.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test as Tap } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { compareIds } from '../../src/core/id.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'
import type { Driver } from './driver.ts'
import { Proxy } from './proxy.ts'
import { hasAll, idsOf, load, Seat } from './seat.ts'

const PING_MS = 1000
const BEATS: Env = { PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1 }
/** Allowance for a machine shared with other tests. */
const SLACK_MS = 15_000

const publish = async (url: string, ...events: object[]): Promise<string[]> => (await request(`${url}/api/events`, { json: events })).body.ids

export function clientSuite (tap: Tap, driver: Driver): void {
  tap.setTimeout(600_000)
  // Most of it is waiting.
  tap.jobs = 4
  for (const profile of PROFILES) {
    const other = PROFILES.find(name => name !== profile) as ProfileName
    const test = (what: string, run: (t: Tap, stage: Stage) => Promise<void>): void => {
      tap.test(`the client in ${driver.name} over ${profile} ${what}`, { skip: driver.skip ?? false, buffered: true }, async t => await run(t, new Stage(t)))
    }

    test('delivers each event once and in order, and keeps the newest value of every key', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      await publish(server.url,
        { type: 'cpu', room: 'a', key: 'host', data: 1 }, { type: 'cpu', room: 'a', key: 'gone', data: 1 }, { type: 'cpu', room: 'b', key: 'host', data: 1 },
        { type: 'log', room: 'a', data: 'before' }, { type: 'cpu', room: 'a', key: 'host', data: 2 })
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'] })
      const picky = await Seat.open(driver, t, server.url, { rooms: ['a'], types: ['alarm'] })
      const feed = await Seat.open(driver, t, server.url)
      for (const each of [seat, picky, feed]) await each.untilConnected()
      t.same(seat.states, ['connecting', 'catching-up', 'connected'])
      t.match(seat.now, { profile })
      t.same(seat.events.map(({ key, data }) => [key, data]), [['gone', 1], ['host', 2]], 'present values, and nothing of before')
      t.match(seat.received('hello'), [{ profile, position: 'new' }])
      t.match(seat.received('ready'), [{ keys: 2, rooms: ['a'] }])
      t.equal(await seat.remote.size(), 2)

      const ids: string[] = []
      for (let n = 1; n <= 40; n++) {
        ids.push(...await publish(server.url,
          { type: 'log', room: 'a', data: n }, { type: n % 2 === 0 ? 'alarm' : 'note', data: n }, { type: 'cpu', room: 'a', key: 'host', data: n },
          { type: 'alarm', room: 'a', key: 'door', data: n }, { type: 'log', room: 'b', data: n }))
      }
      await publish(server.url, { type: 'cpu', room: 'a', key: 'gone', data: null }, { type: 'log', room: 'a', data: 'last' })
      await seat.until('the last fact is there', () => seat.facts.at(-1)?.data === 'last')
      t.same(seat.facts.map(({ data }) => data), [...Array.from({ length: 40 }, (_, index) => index + 1), 'last'])
      const order = idsOf(seat.events)
      t.same(order, [...new Set(order)].sort(compareIds), 'each event once, in the order of ids')
      t.equal((await seat.remote.value('a', 'cpu', 'host'))?.data, 40)
      t.equal(await seat.remote.value('a', 'cpu', 'gone'), undefined, 'a deleted key is gone')
      t.equal(await seat.remote.value('b', 'cpu', 'host'), undefined)
      t.same((await seat.remote.entries()).map(({ type, key, data }) => [type, key, data]).sort(), [['alarm', 'door', 40], ['cpu', 'host', 40]])
      const calls = seat.received('values')
      t.ok(calls.length > 1 && calls.length < seat.events.length, `subscribers of the state were called ${calls.length} times for ${seat.events.length} events`)

      await feed.until('the feed has its last', () => feed.events.at(-1)?.data === 40)
      t.ok(feed.events.every(({ room }) => room === undefined))
      await picky.until('the last alarm is there', () => picky.facts.at(-1)?.data === 40)
      t.ok(picky.events.every(({ type }) => type === 'alarm'), 'types narrow')
      t.equal(picky.facts.length, 20, 'public events of the type are heard too')
      t.equal((await picky.remote.value('a', 'alarm', 'door'))?.data, 40)

      for (const each of [seat, picky, feed]) await each.remote.close()
      t.same(await seat.remote.status(), { state: 'closed' })
      await until('the gateway has no sessions', async () => /^signalbox_sessions 0$/m.test((await request(`${server.url}/metrics`)).text))
    })

    test('survives messages that cannot be read: it asks for them once more, then passes them over and says so', async (t, stage) => {
      // What the proxy looks for stands there in plain text.
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), COMPRESSION: 'off' })
      const proxy = await Proxy.start(t, server.port)
      const once = await Proxy.start(t, server.port)
      once.garble('"cut off"', '"cut off:', 1)
      const lucky = await Seat.open(driver, t, once.url, { rooms: ['a'] })
      await lucky.untilConnected()
      const [id] = await publish(server.url, { type: 'log', room: 'a', data: 'cut off' })
      await lucky.until('it is there', () => lucky.facts.length === 1)
      t.same(idsOf(lucky.facts), [id], 'what was damaged once is asked for again')
      t.match(lucky.statuses.find(({ state }) => state === 'stale'), { code: 'UNREADABLE', reason: /cannot be read/ })
      t.same([lucky.received('error'), lucky.received('mistake')], [[], []])

      // Damaged for good, in the snapshot.
      await publish(server.url, { type: 'cpu', room: 'a', key: 'spoilt', data: 'cut off' })
      proxy.garble('"cut off"', '"cut off:')
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      t.match(seat.received('error'), [{ code: 'UNREADABLE', reason: /passed over/ }])
      t.equal(proxy.passed.filter(({ line }) => /stream|ws/.test(line)).length, 2)
      // Of another shape than the protocol's.
      proxy.garble('"id"', '"ID"', 1)
      await publish(server.url, { type: 'cpu', room: 'a', key: 'other', data: 1 })
      await seat.until('it is reported', () => seat.received('error').length === 2)
      await publish(server.url, { type: 'log', room: 'a', data: 'whole' })
      await seat.until('it goes on', () => seat.facts.length === 1)
      t.equal(seat.facts[0]?.data, 'whole')
      t.equal(seat.now?.state, 'connected')
      t.same(seat.received('mistake'), [])

      // A greeting that cannot be read is no greeting.
      const stranger = await Proxy.start(t, server.port)
      const greeting = profile === 'SSE' ? '"position":"new"' : '"event":"joined"'
      stranger.garble(greeting, greeting.replace(/"$/, ':'), 2)
      const guest = await Seat.open(driver, t, stranger.url, { rooms: ['a'] })
      await guest.untilConnected()
      t.match(guest.statuses.filter(status => 'retryMs' in status && status.retryMs !== null), [{ state: 'connecting', code: 'UNREADABLE' }, { state: 'connecting', code: 'UNREADABLE' }])
    })

    test('runs commands once, however often they must be sent', async (t, stage) => {
      const path = join(stage.folder(), 'commands.mjs')
      writeFileSync(path, `
        import { setTimeout as delay } from 'node:timers/promises'
        let runs = 0
        export default {
          count: { handler: () => ++runs },
          slow: { handler: async () => { await delay(2200); return ++runs } },
          broken: { handler: () => { throw new Error('it broke') } },
          'slowly-broken': { handler: async () => { await delay(1500); throw new Error('it broke late') } }
        }`)
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), COMMANDS_MODULE: path, COMMAND_TIMEOUT: 1, CONTROL_RATE_LIMIT: 5 })
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      const { remote } = seat

      const ping = await remote.control('ping')
      t.match(ping, { id: String, command: 'ping', result: { pong: true } })
      t.match(await remote.control('nonsense'), { error: { code: 'UNKNOWN_COMMAND', message: /nonsense/ } })
      t.match(await remote.control('pause', { room: 7 }), { error: { code: 'BAD_COMMAND', message: /room/ } })
      t.match(await remote.control('broken'), { error: { code: 'COMMAND_FAILED', message: /it broke/ } })

      const all = await Promise.all(Array.from({ length: 8 }, async () => await remote.control('count')))
      t.same(all.map(({ result }) => result as number).sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8], 'those beyond the rate limit were sent again, and each ran once')

      const before = proxy.passed.length
      proxy.cutAnswer(/^POST \/api\/control/, 2)
      t.match(await remote.control('count'), { result: 9 }, 'the answer was lost, not the command')
      const orders = proxy.passed.slice(before).filter(({ line }) => line === 'POST /api/control')
      const keys = orders.map(({ headers }) => /^idempotency-key: (\S+)/im.exec(headers)?.[1])
      t.ok(orders.length >= 2, `it was sent ${orders.length} times`)
      t.equal(new Set(keys).size, 1, 'under one key')
      t.match(await remote.control('count'), { result: 10 }, 'it ran once')

      const mine = await Promise.all([1, 2].map(async () => await remote.control('count', {}, { idempotencyKey: 'mine' })))
      t.same(mine.map(({ result }) => result), [11, 11], 'a key of one\'s own')

      const begun = Date.now()
      const timed = <Outcome extends object>(outcome: Outcome): Outcome & { ms: number } => ({ ...outcome, ms: Date.now() - begun })
      const [slow, late, aborted] = await Promise.all([remote.control('slow').then(timed), remote.control('slowly-broken'), remote.control('slow', {}, { abortMs: 300 }).then(timed)])
      t.match(slow, { id: String, command: 'slow', result: Number }, 'a command beyond COMMAND_TIMEOUT is waited for')
      t.ok(proxy.passed.some(({ line }) => line === `GET /api/control/${slow.id}`), 'by asking')
      t.match(late, { error: { code: 'COMMAND_FAILED', message: /it broke late/ } })
      t.match(aborted, { error: { name: /^(Timeout|Abort)Error$/ } })
      t.ok(aborted.ms < slow.ms, 'an abort ends the waiting')

      proxy.answer(/^POST \/api\/control/, '200 OK', { 'Content-Length': '900' }, { ok: true })
      t.match(await remote.control('ping'), { result: { pong: true } }, 'an answer that was cut off counts as lost')
    })

    test('runs commands over the socket if HTTP accepts none, and fails at once if there is no socket either', async (t, stage) => {
      const path = join(stage.folder(), 'commands.mjs')
      writeFileSync(path, `
        import { setTimeout as delay } from 'node:timers/promises'
        let runs = 0
        export default { count: { handler: () => ++runs }, slow: { handler: async () => { await delay(1500); return ++runs } } }`)
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), COMMANDS_MODULE: path, COMMAND_TIMEOUT: 1, CONTROL_RATE_LIMIT: 5, ENABLE_CONTROL_HTTP: 'false' })
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      const { remote } = seat
      if (profile === 'SSE') {
        t.match(await remote.control('count'), { error: { code: 'NOT_MOUNTED', message: /no commands/ } })
        return
      }

      const all = await Promise.all(Array.from({ length: 8 }, async () => await remote.control('count')))
      t.same(all.map(({ result }) => result as number).sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8])
      t.match(await remote.control('nonsense'), { error: { code: 'UNKNOWN_COMMAND' } })
      const slow = remote.control('slow')
      await delay(300)
      proxy.cut()
      t.match(await slow, { command: 'slow', result: 9 }, 'the connection was lost meanwhile')
      t.match(await remote.control('count'), { result: 10 }, 'it ran once')
      t.match(await remote.control('slow', {}, { abortMs: 100 }), { error: { name: /^(Timeout|Abort)Error$/ } })
    })

    test('is catching up until the last missed fact has arrived, even if values arrive earlier', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_QUEUE_PER_CLIENT: 20 })
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      await publish(server.url, { type: 'log', room: 'a', data: 'here' })
      await seat.until('it is there', () => seat.facts.length === 1)
      const away = Date.now()
      await proxy.down()
      await publish(server.url, ...Array.from({ length: 900 }, (_, data) => ({ type: 'log', room: 'a', data })), { type: 'cpu', room: 'a', key: 'host', data: 'now' })
      await proxy.up()
      await seat.untilConnected(away)
      const connected = seat.seen.findIndex(({ name, value, at }) => at > away && name === 'status' && value.state === 'connected')
      t.equal(seat.seen.slice(0, connected).filter(({ name, value }) => name === 'event' && value.key === undefined).length, 901)
    })

    test('follows restarts into either profile while events flow, and loses and repeats nothing', async (t, stage) => {
      const env: Env = { ...BEATS, PORT: await freePort(), DATA_DIR: stage.folder() }
      let server = await stage.launch({ ...env, APP_PROFILE: profile })
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'] })
      await seat.untilConnected()
      const publisher = load(stage, server.url, 'a')
      const restarts: ReadonlyArray<[NodeJS.Signals, ProfileName]> = [['SIGTERM', profile], ['SIGTERM', other], ['SIGKILL', profile]]
      for (const [signal, next] of restarts) {
        await delay(400)
        const at = Date.now()
        await server.stop(process.platform === 'win32' ? 'SIGKILL' : signal)
        server = await stage.launch({ ...env, APP_PROFILE: next })
        await seat.untilConnected(at)
        t.match(seat.now, { state: 'connected', profile: next })
        const stale = seat.stale(at)
        t.match(stale, { since: Number, reason: String, code: signal === 'SIGTERM' ? 'DRAINING' : String }, `after ${signal} it says since when and why it is stale`)
        t.ok(Math.abs((stale?.since ?? 0) - at) < PING_MS + SLACK_MS, 'since the last sign of life')
      }
      await delay(400)
      await hasAll(t, seat, publisher)
      t.equal(publisher.refused.length, 0)
      t.ok(seat.received('hello').slice(1).every(({ position }) => position === 'resumed'), 'each time from where it stood')
      t.same(seat.received('reset'), [])
    })

    test('says why it is stale, and reconnects when the gateway says, not before', async (t, stage) => {
      const server = await stage.launch({ ...BEATS, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      proxy.answer(/^GET \/api\/profile/, '503 Service Unavailable', { 'Retry-After': '1' }, { statusCode: 503, code: 'OVERLOADED', error: 'Service Unavailable', message: 'no place just now' })
      proxy.answer(/^GET \/api\/profile/, '429 Too Many Requests', { 'Retry-After': '1' }, { statusCode: 429, code: 'RATE_LIMITED', error: 'Too Many Requests', message: 'one at a time' })
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      const asked = proxy.passed.filter(({ line }) => line === 'GET /api/profile').map(({ at }) => at)
      t.equal(asked.length, 3)
      for (const n of [1, 2]) {
        const ms = (asked[n] as number) - (asked[n - 1] as number)
        t.ok(ms >= 990 && ms < 1000 + 1000 * n + SLACK_MS, `Retry-After is a second, and it reconnected after ${ms} ms`)
      }
      t.match(seat.statuses.filter(({ state }) => state === 'connecting'), [
        {}, { code: 'OVERLOADED', reason: 'no place just now', retryMs: Number }, { retryMs: null }, { code: 'RATE_LIMITED', reason: 'one at a time', retryMs: Number }, { retryMs: null }
      ], 'without a first connection it is not stale')
      t.equal(seat.stale(), undefined)
      t.notOk(seat.statuses.some(status => status.state === 'connecting' && 'since' in status))

      // A proxy in front of the gateway sends no code.
      const failed = Date.now()
      proxy.answer(/^GET \/api\/profile/, '502 Bad Gateway', {}, '<html>')
      proxy.cut()
      await seat.untilConnected(failed)
      t.match(seat.statuses.findLast(({ state }) => state === 'stale'), { code: '502', reason: 'the answer was 502' })

      // The gateway is unreachable for a while.
      const ids = await publish(server.url, { type: 'log', room: 'a', data: 'here' })
      await seat.until('it is there', () => seat.facts.length === 1)
      const away = Date.now()
      await proxy.down()
      ids.push(...await publish(server.url, { type: 'log', room: 'a', data: 'meanwhile' }, { type: 'cpu', room: 'a', key: 'host', data: 'meanwhile' }))
      await delay(1500)
      await seat.look()
      const lost = seat.stale(away)
      t.match(lost, { since: Number, reason: /\w+ \w+/, code: String, retryMs: Number })
      t.ok(Math.abs((lost?.since ?? 0) - away) < PING_MS + SLACK_MS)
      t.match(seat.now, { state: 'stale', since: lost?.since ?? 0 }, 'the same moment, however often it tries')
      await proxy.up()
      await seat.untilConnected(away)
      await seat.until('what was missed is there', () => seat.facts.length === 2)
      t.same(idsOf(seat.facts), ids.slice(0, 2))
      t.equal((await seat.remote.value('a', 'cpu', 'host'))?.data, 'meanwhile')

      // The gateway says goodbye, and when to come back.
      const leaving = Date.now()
      await request(`${server.url}/api/control`, { json: { command: 'disconnect', args: { room: 'a' } } })
      await seat.untilConnected(leaving)
      const bye = seat.stale(leaving)
      t.match(bye, { code: 'DISCONNECTED', retryMs: Number })
      const returned = proxy.passed.find(({ at }) => at > (bye?.at ?? Infinity))?.at ?? Infinity
      t.ok((bye?.retryMs ?? 0) >= 1000 && returned - (bye?.at ?? 0) >= (bye?.retryMs ?? Infinity) - 10, `retryMs was ${bye?.retryMs} ms, and it reconnected after ${returned - (bye?.at ?? 0)} ms`)
      t.same(seat.received('mistake'), [])
    })

    test('notices a dead connection that was never closed, and keeps a quiet one', async (t, stage) => {
      // A machine that stands still for a moment must not look like one.
      const pingMs = 3 * PING_MS
      const server = await stage.launch({ ...BEATS, PING_INTERVAL: 3, PING_TIMEOUT: 3, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await seat.untilConnected()
      await delay(3 * pingMs)
      await seat.look()
      t.same(seat.states, ['connecting', 'catching-up', 'connected'], 'nothing but heartbeats')
      const hung = Date.now()
      proxy.hang()
      const ids = await publish(server.url, { type: 'log', room: 'a', data: 'unheard' })
      await seat.until('it is stale', () => seat.stale(hung) !== undefined)
      const stale = seat.stale(hung)
      t.ok((stale?.at ?? Infinity) - hung >= pingMs / 2, `noticed after ${(stale?.at ?? Infinity) - hung} ms`)
      t.match(stale, { reason: /\w+ \w+/, code: 'SILENT' })
      t.ok(Math.abs((stale?.since ?? 0) - hung) < pingMs + SLACK_MS, 'since the last bytes')
      t.comment(`${driver.name}, ${profile}: a hung connection was noticed after ${(stale?.at ?? Infinity) - hung} ms, heartbeats every ${pingMs} ms`)
      proxy.flow()
      await seat.untilConnected(hung)
      await seat.until('what was missed is there', () => seat.facts.length > 0)
      t.same(idsOf(seat.facts), ids)
    })

    test('stops for good if the request is rejected, and starts over if its cursor is unknown', async (t, stage) => {
      const env: Env = { ...BEATS, APP_PROFILE: profile, PORT: await freePort() }
      const server: Launched = await stage.launch({ ...env, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const refused = await Seat.open(driver, t, proxy.url, { rooms: ['no such name'] })
      await refused.until('it is refused', () => refused.now?.state === 'refused')
      t.match(refused.now, { code: 'BAD_SUBSCRIPTION', reason: /no such name/ })
      const { length } = proxy.passed

      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'] })
      await seat.untilConnected()
      await publish(server.url, { type: 'log', room: 'a', data: 1 }, { type: 'cpu', room: 'a', key: 'old', data: 1 })
      await seat.until('they are there', () => seat.events.length === 2)
      await server.kill9()
      const folder = stage.folder()
      const elsewhere = await stage.launch({ ...env, PORT: 0, DATA_DIR: folder })
      await publish(elsewhere.url, { type: 'log', room: 'a', data: 'theirs' }, { type: 'cpu', room: 'a', key: 'new', data: 2 })
      await elsewhere.kill9()
      const again = await stage.launch({ ...env, DATA_DIR: folder })
      await seat.until('it was reset', () => seat.received('ready').length === 2)
      t.match(seat.received('reset'), [{ reason: 'unknown', rooms: ['a'] }])
      t.same((await seat.remote.entries()).map(({ key, data }) => [key, data]), [['new', 2]])
      await publish(again.url, { type: 'log', room: 'a', data: 2 })
      await seat.until('it goes on', () => seat.facts.length === 2)
      t.same(seat.facts.map(({ data }) => data), [1, 2])
      t.equal(proxy.passed.length, length, 'after the refusal it has not asked again')
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    })
  }
}
