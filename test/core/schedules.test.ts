// Schedules that broke earlier drafts of the design, one test each; and the limits of ticks, paces and rooms.

import t from 'tap'
import { make } from '../../src/app/membership.ts'
import { draftOf } from '../../src/core/event.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { alone } from '../../src/core/group.ts'
import type { Group } from '../../src/core/group.ts'
import { trusted } from '../../src/core/identity.ts'
import { parseJoins } from '../../src/core/subscription.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { ManualClock } from '../clock.ts'
import { Page } from '../page.ts'
import { Client, LIMITS, rig, silent } from './rig.ts'
import type { Rig } from './rig.ts'

const SECOND = 1000
const HOUR = 3_600_000

/** Lets `ms` pass in steps; promises get their turn in between. */
async function pass ({ clock }: Rig, ms: number, step = 50): Promise<void> {
  for (let passed = 0; passed < ms; passed += step) {
    clock.advance(step)
    await clock.settle()
  }
}

function pageOf (...clients: Client[]): Page {
  const page = new Page()
  for (const client of clients) for (const message of client.received) page.apply(message)
  return page
}

const facts = (count: number, size = 1, room = 'a'): object[] => Array.from({ length: count }, (_, n) => ({ type: 'log', room, data: size > 1 ? String(n).padEnd(size, '.') : n }))
const gauge = (value: unknown, room = 'a'): object => ({ type: 'gauge', room, key: 'k', data: value })

t.test('the first event after a quiet spell goes out at once, later ones with the tick', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  await r.publish(gauge(1))
  await r.clock.settle()
  t.equal(client.events.length, 1, 'no time has passed')
  for (let n = 2; n <= 50; n++) await r.publish(gauge(n))
  await r.clock.settle()
  t.equal(client.bundles.length, 1, 'in the same tick nothing more')
  r.clock.advance(100)
  await r.clock.settle()
  t.same(client.bundles.map(({ events }) => events.map(({ data }) => data)), [[1], [50]], 'the tick brings the newest value only')
})

t.test('one key updated 1,000 times in a second: at most one bundle a tick, and the last value', async t => {
  const r = await rig({ limits: { tickMs: 200, tickFloorMs: 200 } })
  const clients = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }]), r.connect([{ room: 'a', types: ['gauge'] }])]
  await pass(r, SECOND)
  for (let n = 1; n <= 1000; n++) {
    await r.publish(gauge(n))
    if (n % 10 === 0) await pass(r, 10, 10)
  }
  await pass(r, SECOND)
  for (const client of clients) {
    t.ok(client.bundles.length <= 6, `${client.bundles.length} bundles in five ticks and the leading edge`)
    t.equal(client.events.at(-1)?.data, 1000)
  }
})

t.test('1,000 facts arrive once each, in order, a bundle holding at most MAX_QUEUE_PER_CLIENT', async t => {
  const r = await rig({ limits: { maxQueuePerClient: 100 } })
  const client = r.connect([{ room: 'a' }])
  await r.publish(...facts(1000))
  await pass(r, SECOND)
  t.same(client.events.map(({ data }) => data), Array.from({ length: 1000 }, (_, n) => n))
  t.ok(client.bundles.every(({ events }) => events.length <= 100))
})

t.test('a client is sent at most MAX_EVENTS_PER_SECOND_PER_CLIENT messages a second, and nothing is lost by it', async t => {
  const r = await rig({ limits: { tickMs: 10, tickFloorMs: 10, maxEventsPerSecondPerClient: 5, maxQueuePerClient: 10 } })
  const client = r.connect([{ room: 'a' }])
  await r.publish(...facts(100))
  await pass(r, SECOND)
  t.ok(client.bundles.length >= 4 && client.bundles.length <= 6, `${client.bundles.length} in the first second`)
  await pass(r, 3 * SECOND)
  t.equal(client.events.length, 100)
})

t.test('a tick of 0 sends every event, each value of a key too, in a message of its own', async t => {
  const r = await rig({ limits: { tickMs: 0, tickFloorMs: 0, maxEventsPerSecondPerClient: 5 } })
  const [one, two] = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }])]
  await r.clock.settle()
  for (let n = 0; n < 30; n++) await r.publish(gauge(n), { type: 'log', room: 'a', data: n })
  await r.clock.settle()
  for (const client of [one, two]) t.same(client.bundles.map(({ events }) => events.map(({ data }) => data)), Array.from({ length: 60 }, (_, n) => [n >> 1]))
})

t.test('the tick floats: at the floor while the loop is idle, at the ceiling when it is busy', async t => {
  let load = 0
  const r = await rig({ limits: { tickMs: 200, tickFloorMs: 50 }, gateway: { load: () => load } })
  const client = r.connect([{ room: 'a' }])
  const count = async (): Promise<number> => {
    const before = client.bundles.length
    for (let n = 0; n < 100; n++) {
      await r.publish(gauge(n))
      await pass(r, 10, 10)
    }
    return client.bundles.length - before
  }
  const quiet = await count()
  load = 1
  await count()
  const busy = await count()
  t.ok(quiet >= 19 && quiet <= 21, `${quiet} bundles in a second at 50 ms`)
  t.ok(busy >= 4 && busy <= 6, `${busy} bundles in a second at 200 ms`)
})

t.test('a session that waits by an old tick or pace goes on at once when they are tuned', async t => {
  const slow = { tickMs: 60_000, tickFloorMs: 60_000, maxEventsPerSecondPerClient: 1, maxQueuePerClient: 1 }
  for (const tickMs of [0, 50]) {
    const r = await rig({ limits: slow })
    const client = r.connect([{ room: 'a' }])
    for (let n = 0; n < 3; n++) {
      await r.publish(gauge(n), ...facts(2))
      await pass(r, 200)
    }
    const before = client.events.length
    r.gateway.operator.tune({ ...r.gateway.limits, tickMs, tickFloorMs: tickMs, maxEventsPerSecondPerClient: 0 })
    await pass(r, 200)
    t.ok(client.events.length > before)
    t.equal(pageOf(client).facts.length, 6)
    t.equal(pageOf(client).values.size, 1)
  }
})

t.test('a cursor of a connection that joined room by room stays short enough to come back with', async t => {
  const r = await rig({ limits: { maxQueuePerClient: 1, maxEventsPerSecondPerClient: 1 } })
  const client = r.connect([{ room: 'busy' }])
  await r.publish(...facts(500, 1, 'busy'))
  const joins = []
  for (let n = 0; n < 30; n++) {
    await r.publish(...facts(1, 1, 'busy'))
    joins.push({ room: `room-${n}`, types: Array.from({ length: 20 }, (_, type) => `a-type-${type}`) })
    client.join(joins.slice(-1))
    await r.clock.settle()
  }
  await pass(r, 3 * SECOND)
  const cursor = client.cursorAfter() as string
  t.ok(cursor.length < 24_000, `${cursor.length} characters`)
  const back = r.connect([{ room: 'busy' }, ...joins], cursor)
  t.match(back.received[0], { position: 'resumed' })
})

t.test('a snapshot larger than a bundle, of values older than history, cut between its parts, is completed on return', async t => {
  const r = await rig({ historyTtlMs: 300 * SECOND, limits: { maxBundleBytes: 10_000 } })
  await r.publish({ type: 'gauge', room: 'a', key: 'oldest', data: 'an hour old' })
  await pass(r, HOUR, 60 * SECOND)
  await r.publish({ type: 'log', room: 'b', data: 'trimmed soon' })
  for (let n = 0; n < 60; n++) await r.publish({ type: 'gauge', room: 'a', key: `k${n}`, data: 'x'.repeat(900) })
  await pass(r, 400 * SECOND, SECOND)
  t.not(r.gateway.view.history.floor, '0-0', 'history was trimmed')

  const whole = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  t.ok(whole.bundles.length > 4, `${whole.bundles.length} parts`)
  for (let cut = 1; cut < whole.received.length; cut++) {
    const page = new Page()
    for (const message of whole.received.slice(0, cut)) page.apply(message)
    const parts = page.values.size
    const back = r.connect([{ room: 'a' }], page.cursor)
    await pass(r, SECOND)
    for (const message of back.received) page.apply(message)
    t.equal(page.values.size, 61, `cut behind message ${cut}, ${parts} values in`)
    t.equal(page.unready.size, 0, 'ready was sent')
    t.same(page.resets, [])
    back.session.end()
  }
})

t.test('a laggard with 50,000 facts pending keeps its gauge fresh', async t => {
  const r = await rig({ limits: { maxEventsPerSecondPerClient: 20, maxQueuePerClient: 100 } })
  const client = r.connect([{ room: 'a' }])
  await r.clock.settle()
  for (let n = 0; n < 50; n++) await r.publish(...facts(1000))
  await r.publish(gauge('fresh'))
  await pass(r, 300)
  t.ok(client.events.some(({ data }) => data === 'fresh'), 'within three ticks')
  t.ok(client.events.length < 1000, 'while it is still far behind')
  for (let n = 0; n < 20; n++) {
    await r.publish(gauge(n))
    await pass(r, 200)
    t.equal(client.events.findLast(({ key }) => key === 'k')?.data, n)
  }
  await pass(r, 30 * SECOND)
  const page = pageOf(client)
  t.equal(page.facts.length, 50_000)
  t.same(page.resets, [])
})

t.test('a key deleted and written again while a client lags or is away ends present', async t => {
  const r = await rig({ limits: { maxQueuePerClient: 2, maxEventsPerSecondPerClient: 1 } })
  await r.publish(gauge(1))
  const lagging = r.connect([{ room: 'a' }])
  const away = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  const page = pageOf(away)
  away.session.end()
  await r.publish(...facts(10), gauge(null), ...facts(10), gauge(2), ...facts(10))
  await pass(r, 60 * SECOND)
  const back = r.connect([{ room: 'a' }], page.cursor)
  await pass(r, 60 * SECOND)
  for (const message of back.received) page.apply(message)
  for (const [who, seen] of [['lagging', pageOf(lagging)], ['away', page]] as const) {
    t.same([...seen.values.values()].map(({ data }) => data), [2], who)
    t.equal(seen.facts.length, 30, who)
  }
  await r.publish(gauge(null))
  await pass(r, 10 * SECOND)
  t.equal(pageOf(lagging).values.size, 0, 'a deletion alone arrives too')
})

t.test('cut between the answer and the reset, a client is reset again', async t => {
  const r = await rig()
  await r.publish(gauge(1))
  const first = r.connect([{ room: 'a' }], 'nonsense')
  t.same(first.received.map(({ kind, cursor }) => [kind, cursor]), [['joined', null]], 'the answer has no cursor to come back with')
  first.session.end()
  const again = r.connect([{ room: 'a' }], 'nonsense')
  await pass(r, SECOND)
  t.same(again.kinds(), ['joined', 'reset', 'bundle', 'ready'])
  t.match(again.received[1], { reason: 'unknown', missed: null })
  const back = r.connect([{ room: 'a' }], again.cursorAfter(2))
  await pass(r, SECOND)
  t.same(back.kinds(), ['joined', 'bundle', 'ready'], 'cut behind the reset, the snapshot follows')
})

t.test('a second join in the middle, cut anywhere, loses and repeats nothing', async t => {
  const r = await rig({ limits: { maxBundleBytes: 3000, maxQueuePerClient: 5 } })
  for (let n = 0; n < 20; n++) await r.publish({ type: 'gauge', room: 'b', key: `k${n}`, data: 'x'.repeat(300) })
  const run = async (cut: number | null): Promise<{ page: Page, messages: number }> => {
    const page = new Page()
    const client = r.connect([{ room: 'a' }])
    await r.publish(...facts(7), gauge('one'))
    await pass(r, 200)
    client.join([{ room: 'b' }])
    await r.publish(...facts(7), ...facts(7, 1, 'b'), gauge('two'), gauge('in b', 'b'))
    await pass(r, SECOND)
    const messages = client.received.length
    for (const message of client.received.slice(0, cut ?? messages)) page.apply(message)
    if (cut !== null) {
      client.session.end()
      const back = r.connect([{ room: 'a' }, { room: 'b' }], page.cursor)
      await r.publish(...facts(2, 1, 'b'))
      await pass(r, SECOND)
      for (const message of back.received) page.apply(message)
      back.session.end()
    }
    return { page, messages }
  }
  const { messages } = await run(null)
  t.ok(messages > 8, `${messages} messages to cut between`)
  for (let cut = 1; cut <= messages; cut++) {
    const { page } = await run(cut)
    t.equal(page.values.size, 22, `cut behind message ${cut}: every value`)
    t.equal(page.facts.filter(({ room }) => room === 'a').length, 14, 'every fact of the first room')
    t.equal(page.facts.filter(({ room }) => room === 'b').length >= 2, true, 'and what followed in the second')
    t.equal(page.unready.size, 0)
    t.ok(page.resets.every(reason => reason === 'subscription'), 'a cut before the join was answered is another subscription, nothing worse')
  }
})

t.test('facts of 1 MB do not hold up gauges, nor gauges them', async t => {
  const r = await rig({ limits: { maxBundleBytes: 1_200_000, maxEventsPerSecondPerClient: 20 } })
  const client = r.connect([{ room: 'a' }])
  await r.clock.settle()
  await r.publish(...facts(8, 1_000_000), gauge(0))
  let fresh = 0
  for (let n = 1; n <= 20; n++) {
    await r.publish(gauge(n))
    await pass(r, 200)
    if (client.events.findLast(({ key }) => key === 'k')?.data === n) fresh++
  }
  t.equal(fresh, 20, 'the gauge was fresh at every look')
  t.equal(pageOf(client).facts.length, 8, 'and the facts all arrived')
  t.ok(client.bundles.every(({ events }) => events.length === 1 || JSON.stringify(events).length <= 1_200_000))
})

t.test('a return with other rooms or types is reset: nothing missed, the facts behind it and all values of the new rooms', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  await r.publish(...facts(3), gauge('a'), gauge('b', 'b'))
  await pass(r, SECOND)
  client.session.end()
  await r.publish(...facts(2, 1, 'b'), { type: 'other', room: 'a', data: 1 }, ...facts(1))
  for (const [joins, types] of [[[{ room: 'a' }, { room: 'b' }], ['log', 'log', 'other', 'log']], [[{ room: 'a', types: ['log'] }], ['log']]] as const) {
    const back = r.connect([...joins], client.cursorAfter())
    await pass(r, SECOND)
    t.match(back.received[0], { position: 'reset', cursor: null })
    t.match(back.received[1], { kind: 'reset', reason: 'subscription', missed: 0 })
    t.same(back.events.filter(({ key }) => key === undefined).map(({ type }) => type), types)
  }
  const same = r.connect([{ room: 'b' }, { room: 'a' }, { room: 'a' }], r.connect([{ room: 'a' }, { room: 'b' }]).cursorAfter())
  t.equal((same.received[0] as { position: string }).position, 'resumed', 'the same rooms in another order are the same')
})

t.test('an idle client in a quiet room keeps its position while busy rooms trim', async t => {
  const r = await rig({ historySize: 50 })
  const client = r.connect([{ room: 'quiet' }])
  for (let n = 0; n < 20; n++) {
    await r.publish(...facts(40, 1, 'busy'))
    await pass(r, SECOND, 500)
  }
  await pass(r, 10 * SECOND, 500)
  t.ok(client.kinds().includes('position'), 'the heartbeat brought the log\'s head')
  t.ok(client.pings >= 2)
  client.session.end()
  await r.publish({ type: 'log', room: 'quiet', data: 'missed me' })
  const back = r.connect([{ room: 'quiet' }], client.cursorAfter())
  await pass(r, SECOND)
  t.same(back.kinds(), ['joined', 'bundle'])
  t.equal(back.events[0]?.data, 'missed me')
  await pass(r, 10 * SECOND, SECOND)
  const idle = r.connect([{ room: 'quiet' }], back.cursorAfter())
  await pass(r, 30 * SECOND, SECOND)
  t.notOk(idle.kinds().includes('position'), 'where nothing has moved there is no position to send')
})

t.test('a client that history left behind is reset, and gets all history still holds and every value', async t => {
  const r = await rig({ historySize: 10 })
  const client = r.connect([{ room: 'a' }])
  await r.publish(gauge('old'), ...facts(3))
  await pass(r, SECOND)
  client.session.end()
  await r.publish(...facts(30), gauge('new'))
  const back = r.connect([{ room: 'a' }], client.cursorAfter())
  await pass(r, SECOND)
  t.same(back.kinds(), ['joined', 'reset', 'bundle', 'ready'])
  t.match(back.received[1], { reason: 'trimmed' })
  t.same(back.events.map(({ data }) => data), [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 'new'])
})

t.test('a laggard that history overtakes while connected is reset', async t => {
  const r = await rig({ historySize: 10 })
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  client.clogged = true
  await r.publish(...facts(3))
  await pass(r, SECOND)
  await r.publish(...facts(40))
  client.clogged = false
  client.drain()
  await pass(r, SECOND)
  t.same(pageOf(client).resets, ['trimmed'])
  t.match(client.received.find(({ kind }) => kind === 'reset'), { missed: 30 }, 'and how many it missed')
  t.same(client.events.slice(-10).map(({ data }) => data), [30, 31, 32, 33, 34, 35, 36, 37, 38, 39])
})

t.test('how many facts were missed is not counted from where a laggard stood before it caught up', async t => {
  const r = await rig({ historySize: 50, limits: { maxQueuePerClient: 10 } })
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  client.clogged = true
  await r.publish(...facts(3))
  await pass(r, SECOND)
  await r.publish(...facts(25))
  client.clogged = false
  client.drain()
  await pass(r, SECOND)
  t.equal(client.events.length, 28, 'it lagged, and has caught up in several bundles')
  await r.publish(...facts(1))
  await r.clock.settle()
  await r.publish(...facts(100))
  await pass(r, SECOND)
  t.match(client.received.find(({ kind }) => kind === 'reset'), { reason: 'trimmed', missed: null }, 'unknown rather than wrong: it missed 50')
})

t.test('the id of a fact is a cursor while history holds it; any other id is reset, trimmed or unknown', async t => {
  const r = await rig({ historySize: 5 })
  const ids = await r.publish(...facts(8), gauge(1))
  const join = async (cursor: string): Promise<Client> => {
    const client = r.connect([{ room: 'a' }], cursor)
    await pass(r, SECOND)
    return client
  }
  const held = await join(ids[5] as string)
  t.equal((held.received[0] as { position: string }).position, 'resumed')
  t.same(held.events.map(({ data }) => data), [6, 7, 1], 'the facts behind it and the whole snapshot')
  t.match((await join(ids[0] as string)).received[1], { kind: 'reset', reason: 'trimmed' })
  t.match((await join(ids[8] as string)).received[1], { kind: 'reset', reason: 'unknown' }, 'the id of a value says nothing of facts')
  t.match((await join('9999999999999-0')).received[1], { kind: 'reset', reason: 'unknown' })
})

t.test('a text that cannot be a cursor of this log is reset, and never refused', async t => {
  const r = await rig()
  await r.publish(...facts(2))
  const real = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  const cursor = real.cursorAfter() as string
  const [epoch, subscription] = cursor.split('~')
  for (const [text, reason] of [
    ['abc', 'unknown'], ['-1-0', 'unknown'], ['1-1,99,110', 'unknown'], ['[[[0,13]]]', 'unknown'], ['1'.repeat(20), 'unknown'], ['\0', 'unknown'], ['é'.repeat(4000), 'unknown'],
    [`${cursor}~`.repeat(3), 'unknown'], [`${cursor}!`, 'unknown'], [`elsewhere~${subscription}~1-0`, 'unknown'], [`${epoch}~${subscription}~9999999999999-0`, 'ahead'], [`${epoch}~elsewhere~0-0`, 'subscription']
  ] as const) {
    const client = r.connect([{ room: 'a' }], text)
    await r.clock.settle()
    t.match(client.received[1], { kind: 'reset', reason }, JSON.stringify(text.slice(0, 50)))
    client.session.end()
  }
})

t.test('resuming twice with nothing new, at once, before the first event and twice from one cursor repeats nothing', async t => {
  const r = await rig()
  const early = r.connect([{ room: 'a' }])
  early.session.end()
  const first = r.connect([{ room: 'a' }], early.cursorAfter())
  await pass(r, SECOND)
  t.same(first.kinds(), ['joined', 'ready'], 'before the first event: nothing but the end of the snapshot')
  first.session.end()
  const second = r.connect([{ room: 'a' }], first.cursorAfter())
  second.session.end()
  const third = r.connect([{ room: 'a' }], second.cursorAfter())
  const fourth = r.connect([{ room: 'a' }], second.cursorAfter())
  await r.publish(...facts(3))
  await pass(r, SECOND)
  for (const client of [third, fourth]) {
    t.equal((client.received[0] as { position: string }).position, 'resumed')
    t.same(client.events.map(({ data }) => data), [0, 1, 2])
  }
})

t.test('a session that left everything rests, and hears again what it joins then', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  client.session.leave(['a'])
  await pass(r, SECOND)
  t.equal(r.clock.pending, 2, 'nothing turns in the ticker: the heartbeat and the store alone are waited for')
  t.equal(r.gateway.view.totals.rooms, 0)
  client.join([{ room: 'b' }], client.cursorAfter())
  t.match(client.received.at(-1), { position: 'reset' }, 'a cursor counts in a connection\'s first join only')
  await r.publish(...facts(2, 1, 'b'), ...facts(1))
  await pass(r, SECOND)
  t.equal(client.events.length, 2)
})

t.test('a leave that comes behind the end of its session changes nothing: no room keeps it', async t => {
  const r = await rig()
  const { session } = r.connect([{ room: 'a' }, { room: 'b' }])
  const stays = r.connect()
  session.end()
  t.same(session.leave(['a']), [])
  t.equal(r.gateway.view.room('a'), undefined)
  t.equal(r.gateway.view.room('b'), undefined)
  await r.publish(...facts(1, 1, 'b'), { type: 'log', data: 1 })
  await pass(r, SECOND)
  t.equal(stays.events.length, 1)
})

t.test('a public event reaches the feed, and rooms only where its type is named', async t => {
  const r = await rig()
  const feed = r.connect()
  const feedOfType = r.connect([{ room: '@public', types: ['alarm'] }])
  const room = r.connect([{ room: 'a' }])
  const roomOfType = r.connect([{ room: 'a', types: ['alarm'] }])
  await r.publish({ type: 'alarm', data: 1 }, { type: 'note', data: 2 }, { type: 'alarm', room: 'a', data: 3 }, { type: 'note', room: 'a', data: 4 })
  await pass(r, SECOND)
  t.same([feed, feedOfType, room, roomOfType].map(({ events }) => events.map(({ data }) => data)), [[1, 2], [1], [3, 4], [1, 3]])
})

t.test('sessions that ask for the same share one subscription, which is forgotten with the last of them; a refused join leaves none', async t => {
  const r = await rig({ limits: { maxRoomsPerClient: 2 } })
  const joins = parseJoins([{ room: 'a', types: ['y', 'x'] }, { room: 'b' }])
  const [one, two] = [r.connect(joins), r.connect(parseJoins([{ room: 'a', types: ['x'] }, { room: 'a', types: ['y', 'x'] }, { room: 'b' }]))]
  const { subscription } = one.session
  t.equal(two.session.subscription, subscription)
  one.session.end()
  const three = r.connect(joins)
  t.equal(three.session.subscription, subscription)
  for (const { session } of [two, three]) session.end()
  t.not(r.connect(joins).session.subscription, subscription)
})

t.test('a join beyond MAX_ROOMS_PER_CLIENT, or with more types than a cursor can carry, is refused', async t => {
  const r = await rig({ limits: { maxRoomsPerClient: 100 } })
  const types = (room: number): string[] => Array.from({ length: 100 }, (_, type) => `type-${room}-${type}`)
  const rooms = Array.from({ length: 1000 }, (_, room) => `room-${room}`)
  const refused = {
    'a thousand rooms with types': rooms.map((room, index) => ({ room, types: types(index) })),
    'one room a thousand times': rooms.map((_, index) => ({ room: 'a', types: types(index) })),
    'a thousand rooms with the same types': rooms.map(room => ({ room, types: types(0) }))
  }
  const client = new Client(r.gateway)
  for (const [what, named] of Object.entries(refused)) {
    await t.rejects(client.session.join(parseJoins(named)), { code: 'BAD_SUBSCRIPTION' }, what)
  }
  t.throws(() => parseJoins([...rooms, 'one'].map(room => ({ room }))), { code: 'BAD_SUBSCRIPTION', message: /1000 rooms/ })
  t.throws(() => parseJoins([{ room: 'a', types: rooms.flatMap((_, room) => types(room)) }]), { code: 'BAD_SUBSCRIPTION', message: /100 types/ })
})

t.test('a room takes MAX_ROOM_SIZE members, a refused join changes nothing, and a place becomes free', async t => {
  const r = await rig({ limits: { maxRoomSize: 2 } })
  const [one] = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }])]
  const third = new Client(r.gateway)
  const join = async (...rooms: string[]): Promise<unknown> => await third.session.join(rooms.map(room => ({ room })))
  await t.rejects(join('b', 'a'), { code: 'ROOM_FULL', message: /^room a / })
  t.same([...third.session.subscription.rooms], [], 'all or nothing')
  t.equal(r.gateway.view.room('b'), undefined)
  await join('@public')
  one?.session.end()
  t.match(await join('a'), { position: 'new', members: { a: 2 } })
  t.equal(r.gateway.view.room('a')?.members, 2)
  await t.rejects(join(...Array.from({ length: 100 }, (_, n) => `r${n}`)), { code: 'BAD_SUBSCRIPTION' }, 'MAX_ROOMS_PER_CLIENT')
})

t.test('values that are not updated for STATE_TTL end; one updated meanwhile does not', async t => {
  const r = await rig({ gateway: { stateTtlMs: 10 * SECOND } })
  const client = r.connect([{ room: 'a' }])
  await r.publish(gauge(1), { type: 'gauge', room: 'a', key: 'other', data: 1 })
  await pass(r, 6 * SECOND)
  await r.publish(gauge(2))
  await pass(r, 6 * SECOND)
  t.same([...pageOf(client).values.keys()], ['a gauge k'])
  await pass(r, 10 * SECOND)
  t.equal(pageOf(client).values.size, 0)
  t.equal(r.gateway.view.totals.keys, 0)
})

t.test('a wall clock that was ahead for a moment ends no value early, and keeps none for longer', async t => {
  const r = await rig({ gateway: { stateTtlMs: 10 * SECOND } })
  const client = r.connect([{ room: 'a' }])
  const keys = (): string[] => [...pageOf(client).values.keys()].map(name => name.split(' ').at(-1) as string)
  const put = async (key: string): Promise<unknown> => await r.publish({ type: 'gauge', room: 'a', key, data: 1 })
  await put('before')
  await pass(r, 3 * SECOND)
  r.clock.turn(24 * HOUR)
  await put('ahead')
  await pass(r, 3 * SECOND)
  r.clock.turn(-24 * HOUR)
  await put('after')
  await pass(r, 3 * SECOND)
  t.same(keys(), ['before', 'ahead', 'after'], 'after 9, 6 and 3 seconds')
  await pass(r, 3 * SECOND)
  t.same(keys(), ['ahead', 'after'])
  await pass(r, 3 * SECOND)
  t.same(keys(), ['after'])
  await pass(r, 3 * SECOND)
  t.same(keys(), [])
})

t.test('values end by their age where the gateway was down, also where an id of the future is among them', async t => {
  const clock = new ManualClock()
  const limits = { historySize: 0, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: HOUR }
  const store = await openEmbeddedStore({ ...limits, clock, dataDir: ':memory:', durability: 'process', gatherMs: 0, log: silent })
  const put = async (key: string): Promise<unknown> => {
    const appended = store.append([draftOf({ type: 'gauge', room: 'a', key, data: 1, timestamp: 1 })])
    await clock.settle()
    clock.advance(10)
    return await appended
  }
  await put('old')
  clock.advance(30 * SECOND)
  await put('young')
  clock.turn(24 * HOUR)
  await put('ahead')
  clock.turn(-24 * HOUR)
  clock.advance(5 * SECOND)
  const warned: string[] = []
  const gateway = new Gateway({
    store,
    clock,
    group: alone(),
    limits: LIMITS,
    load: () => 0,
    pingIntervalMs: SECOND,
    reconnectJitterMs: 0,
    commandTimeoutMs: SECOND,
    stateTtlMs: 20 * SECOND,
    stateTypes: new Set(),
    log: { ...silent, warn: (_what: unknown, text?: string) => { warned.push(text ?? '') } }
  })
  const started = gateway.start()
  const wait = async (ms: number): Promise<void> => { for (let passed = 0; passed < ms; passed += 50) { clock.advance(50); await clock.settle() } }
  await wait(SECOND)
  await started
  t.equal(gateway.view.totals.keys, 2, 'the old one was ended at the start')
  t.match(gateway.warnings, [String, /24 h ahead of this machine's clock/])
  t.match(warned, [/24 h ahead/], 'and told once')
  await wait(17 * SECOND)
  t.equal(gateway.view.totals.keys, 1, 'the young one at its time')
  await wait(10 * SECOND)
  t.equal(gateway.view.totals.keys, 0)
})

t.test('a paused room refuses publishing and stays readable; resumed it goes on', async t => {
  const r = await rig()
  await r.publish(gauge(1))
  await r.gateway.operator.pause('a', true)
  await t.rejects(r.publish(gauge(2)), { code: 'ROOM_PAUSED' })
  await r.publish(gauge(3, 'b'))
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  t.equal(client.events[0]?.data, 1)
  await r.gateway.operator.pause('a', false)
  await r.publish(gauge(4))
  await pass(r, SECOND)
  t.equal(client.events.at(-1)?.data, 4)
})

t.test('clear deletes values, by room, type or key, and leaves facts alone', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  await r.publish(gauge(1), { type: 'gauge', room: 'a', key: 'l', data: 1 }, { type: 'other', room: 'a', key: 'k', data: 1 }, ...facts(2))
  t.equal(await r.gateway.operator.clear('a', 'gauge', 'k'), 1)
  await pass(r, SECOND)
  t.same([...pageOf(client).values.keys()].sort(), ['a gauge l', 'a other k'])
  t.equal(await r.gateway.operator.clear('a'), 2)
  t.equal(await r.gateway.operator.clear('nowhere'), 0)
  await pass(r, SECOND)
  const page = pageOf(client)
  t.equal(page.values.size, 0)
  t.equal(page.facts.length, 2)
})

t.test('MAX_ROOMS bounds the rooms that publishes and joins may open', async t => {
  const r = await rig({ limits: { maxRooms: 2 } })
  await t.rejects(r.publish(gauge(1, 'a'), gauge(1, 'b'), gauge(1, 'c')), { code: 'ROOMS_FULL' })
  const answers = await Promise.allSettled(['a', 'b', 'c', 'd'].map(async room => await r.publish(gauge(1, room))))
  t.equal(answers.filter(({ status }) => status === 'fulfilled').length, 2, 'also of those on their way at the same time')
  t.throws(() => r.connect([{ room: 'z' }]), { code: 'ROOMS_FULL' })
  await r.publish({ type: 'x', data: 'public' })
})

t.test('a connection that does not drain within SLOW_CLIENT_TIMEOUT is ended; one that does goes on', async t => {
  const r = await rig({ limits: { slowClientTimeoutMs: 3000 } })
  const [stuck, slow] = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }])]
  await pass(r, SECOND)
  stuck.clogged = slow.clogged = true
  await r.publish(...facts(3))
  await pass(r, 2 * SECOND)
  slow.drain()
  await pass(r, 2 * SECOND)
  t.equal(stuck.closed, 'SLOW')
  t.equal(slow.closed, null)
  const back = r.connect([{ room: 'a' }], stuck.cursorAfter(2))
  await pass(r, SECOND)
  t.equal(back.events.length, 3, 'it comes back to where it had got')
})

t.test('where the log lost entries it had given out, the clients that got them are reset, and no others', async t => {
  const r = await rig()
  const before = r.connect([{ room: 'a' }])
  await r.publish(...facts(1))
  await pass(r, SECOND)
  const early = before.cursorAfter()
  await r.publish(...facts(1))
  await pass(r, SECOND)
  const beyond = before.cursorAfter()
  const { follower, image } = r.reload()
  const lost = { ...image, history: image.history.slice(0, 1), head: image.history[0]?.id as string }
  follower.load({ ...lost, lineage: { epoch: 'later', epochs: [...image.lineage.epochs, { epoch: 'later', seam: lost.head }] } })
  await pass(r, SECOND)
  t.match(before.received.findLast(({ kind }) => kind === 'reset'), { reason: 'ahead' })
  for (const [cursor, position] of [[beyond, 'reset'], [early, 'resumed'], [before.cursorAfter(), 'resumed']] as const) {
    t.match(r.connect([{ room: 'a' }], cursor).received[0], { position })
  }
})

t.test('where the log is another one at the same head, the present values are read anew, though no tick has passed', async t => {
  const r = await rig()
  await r.publish(gauge(1))
  await pass(r, SECOND)
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  t.equal(client.events.length, 1)
  const { follower, image } = r.reload()
  follower.load({ ...image, head: r.gateway.view.history.head, values: [], lineage: { epoch: 'other', epochs: [{ epoch: 'other', seam: '0-0' }] } })
  await pass(r, SECOND)
  t.ok(client.received.some(({ kind }) => kind === 'reset'))
  t.match(client.received.findLast(({ kind }) => kind === 'ready'), { keys: 0 })
  t.equal(client.events.length, 1, 'nothing of the log before')
})

t.test('a connection that throws is ended, and no other is affected', async t => {
  const r = await rig()
  const [broken, healthy] = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }])]
  await pass(r, SECOND)
  broken.send = () => { throw new Error('broken') }
  await r.publish(...facts(2))
  await pass(r, SECOND)
  t.equal(broken.closed, 'DISCONNECTED')
  t.equal(healthy.events.length, 2)
  await r.publish(...facts(1))
  await pass(r, SECOND)
  t.equal(healthy.events.length, 3)
  const faltering = r.connect([{ room: 'a' }])
  faltering.ping = () => { throw new Error('broken') }
  await pass(r, 12 * SECOND, 500)
  t.equal(faltering.closed, 'DISCONNECTED', 'the heartbeat is guarded too')
  t.ok(healthy.pings > 0)
})

t.test('drain refuses new requests, sends pending events and ends every connection with a reason', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  await pass(r, SECOND)
  await r.publish(gauge(1))
  await r.publish(gauge(2), ...facts(2))
  const drained = r.gateway.drain()
  await t.rejects(r.publish(gauge(3)), { code: 'DRAINING' })
  t.throws(() => r.connect(), { code: 'DRAINING' })
  await r.clock.settle()
  await drained
  t.equal(client.closed, 'DRAINING')
  t.same(client.events.map(({ data }) => data).slice(-3), [2, 0, 1], 'not waiting for the tick')
})

t.test('a drain takes no more commands, waits for those that run, and what these publish still reaches clients', async t => {
  const r = await rig()
  const client = r.connect([{ room: 'a' }])
  let finish = (): void => {}
  r.gateway.commands.register('report', {
    check: () => null,
    handler: async (_args: never, { publish }) => {
      await new Promise<void>(resolve => { finish = resolve })
      return await publish([{ type: 'done', room: 'a', data: 1 }])
    }
  })
  const running = r.gateway.control({ command: 'report', identity: trusted('me') })
  await r.clock.settle()
  const drained = r.gateway.drain(SECOND)
  await t.rejects(r.gateway.control({ command: 'report', identity: trusted('me') }), { code: 'DRAINING' })
  await t.rejects(r.publish({ type: 'late', data: 1 }), { code: 'DRAINING' })
  finish()
  await r.clock.settle()
  t.match(await running, { status: 'done', result: [String] })
  await pass(r, SECOND)
  await drained
  t.same(client.events.map(({ data }) => data), [1])
  t.equal(client.closed, 'DRAINING')
})

t.test('a connection that throws at everything ends its session, and the others hear what follows', async t => {
  for (const tickMs of [0, 100]) {
    const r = await rig({ limits: { tickMs, tickFloorMs: tickMs } })
    const [broken, whole] = [r.connect([{ room: 'a' }]), r.connect([{ room: 'a' }])]
    await pass(r, SECOND)
    const fail = (): never => { throw new Error('the socket is broken') }
    Object.assign(broken, { send: fail, tell: fail, ping: fail, close: fail })
    for (let n = 0; n < 3; n++) {
      await r.publish({ type: 'x', room: 'a', data: n })
      await pass(r, SECOND)
    }
    t.same(whole.events.map(({ data }) => data), [0, 1, 2])
    t.equal(broken.session.state, 'ended')
  }
})

t.test('clients that connect at once are not all pinged in one turn', async t => {
  const r = await rig()
  const clients = Array.from({ length: 1000 }, () => r.connect([{ room: 'a' }]))
  await pass(r, SECOND)
  const pings = (): number => clients.reduce((sum, client) => sum + client.pings, 0)
  let before = pings()
  let most = 0
  for (let step = 0; step < 40; step++) {
    await pass(r, 500, 500)
    most = Math.max(most, pings() - before)
    before = pings()
  }
  t.equal(most, 100)
  for (const client of clients) t.ok(client.pings >= 1 && client.pings <= 3)
})

t.test('pauses on their way count for MAX_ROOMS', async t => {
  const r = await rig({ limits: { maxRooms: 3 } })
  const outcomes = await Promise.allSettled(Array.from({ length: 10 }, async (_, room) => await r.gateway.operator.pause(`room-${room}`, true)))
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 3)
  t.equal(outcomes.filter((_, room) => r.gateway.view.room(`room-${room}`)?.paused === true).length, 3)
})

t.test('a client that joins its room again is told the members of the whole deployment', async t => {
  const group: Group = { ...alone(), membersElsewhere: async () => new Map([['a', 7]]), enter: async counts => ({ totals: new Map([...counts].map(([room, count]) => [room, count + 7])), full: [] }) }
  const r = await rig({ gateway: { group } })
  const client = new Client(r.gateway)
  t.match(await client.session.join([{ room: 'a' }]), { members: { a: 8 } })
  t.match(await client.session.join([{ room: 'a' }]), { members: { a: 8 } })
})

t.test('how far thousands of clients are behind is known in a moment, however much is pending for them', async t => {
  const [CLIENTS, POSITIONS, KEYS] = [4000, 200, 10_000]
  const r = await rig()
  const clients = Array.from({ length: CLIENTS }, (_, n) => r.connect([{ room: 'a', types: n % 2 === 0 ? ['gauge'] : ['other'] }]))
  await r.publish({ type: 'gauge', room: 'a', key: 'old', data: 0 })
  await pass(r, SECOND)
  // They stop reading at different positions.
  for (let position = 0; position < POSITIONS; position++) {
    for (const client of clients.slice(position * CLIENTS / POSITIONS, (position + 1) * CLIENTS / POSITIONS)) client.pending = 1
    await r.publish(...['gauge', 'other'].map(type => ({ type, room: 'a', key: 'first', data: position })))
    await pass(r, 100, 100)
  }
  for (let n = 0; n < KEYS; n += 1000) await r.publish(...Array.from({ length: 1000 }, (_, key) => ({ type: 'gauge', room: 'a', key: String(n + key), data: 1 })))
  await pass(r, 2 * SECOND)
  const began = performance.now()
  const { backlogMs } = r.gateway.view
  const { first } = r.gateway.view.furthestBehind(5, 1)
  const ms = performance.now() - began
  t.ok(backlogMs >= 2 * SECOND)
  t.equal(first.length, 5)
  t.ok(ms < 500, `${Math.round(ms)} ms`)
})

t.test('0-0 begins with the oldest fact that history holds, and is never reset, also where history is trimmed before anything is sent', async t => {
  const r = await rig({ historySize: 20 })
  await r.publish(gauge(1))
  await r.publish(...facts(100))
  const client = r.connect([{ room: 'a' }], '0-0')
  await r.publish(...facts(100))
  await pass(r, SECOND)
  t.match(client.received[0], { kind: 'joined', position: 'new' })
  t.notOk(client.received.some(({ kind }) => kind === 'reset'))
  t.equal(pageOf(client).facts.at(-1)?.data, 99)
  const held = pageOf(client).facts.length
  t.ok(held >= 20 && held < 100, `${held} facts`)
  t.equal(pageOf(client).values.size, 1)

  const late = new Client(r.gateway)
  late.join([{ room: 'b' }])
  await pass(r, SECOND)
  late.join([{ room: 'a' }], '0-0')
  await pass(r, SECOND)
  t.same(pageOf(late).facts, pageOf(client).facts, 'by a later join as well')
  t.notOk(late.received.some(({ kind }) => kind === 'reset'))
})

t.test('while a reset is pending no answer to a join or a leave has a cursor: with it the reset could be lost', async t => {
  const r = await rig()
  const client = new Client(r.gateway)
  t.match(await make({ action: 'join', joins: [{ room: 'a' }], cursor: 'nonsense' }, client.session), { data: { position: 'reset', cursor: null } })
  t.match(await make({ action: 'join', joins: [{ room: 'b' }], cursor: null }, client.session), { data: { position: 'new', cursor: null } })
  t.match(await make({ action: 'join', joins: [{ room: 'a' }], cursor: null }, client.session), { data: { position: 'resumed', cursor: null } })
  t.same(make({ action: 'leave', rooms: ['b'] }, client.session), { event: 'left', data: { rooms: ['b'], cursor: null } })
  r.clock.advance(LIMITS.tickMs)
  t.match(client.received.find(({ kind }) => kind === 'reset'), { cursor: String })
  t.match(make({ action: 'leave', rooms: [] }, client.session), { data: { cursor: String } })
  await r.close()
})
