// The gateway's own figures: latency, traffic of rooms, sessions that are behind, and what went wrong.

import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { Refusal } from '../../src/core/errors.ts'
import { draftOf, entryOf } from '../../src/core/event.ts'
import type { Entry } from '../../src/core/event.ts'
import { matches, NONE } from '../../src/core/filter.ts'
import { Latency } from '../../src/core/figures/latency.ts'
import { Top } from '../../src/core/figures/top.ts'
import { RefusalLog } from '../../src/core/figures/refusal-log.ts'
import { Troubles } from '../../src/core/figures/troubles.ts'
import { trusted } from '../../src/core/identity.ts'
import { ManualClock } from '../clock.ts'
import { rig } from './rig.ts'
import type { Client, Rig, RigOptions } from './rig.ts'

async function open (t: Test, options: RigOptions = {}): Promise<Rig> {
  const rigged = await rig(options)
  t.teardown(async () => await rigged.close())
  return rigged
}

const eventOf = (acceptedAt: number, room = 'a'): Entry => entryOf(draftOf({ type: 'x', room, data: 0, timestamp: 0 }), `${acceptedAt}-0`)
const FACT = { type: 'x', room: 'a', data: 0 }
const value = (n: number): object => ({ type: 'x', room: 'a', key: 'k', data: n })

t.test('percentiles are within a tenth of the exact ones, however many sessions got the same bundle', async t => {
  fc.assert(fc.property(
    fc.array(fc.record({ ages: fc.array(fc.nat({ max: 200_000 }), { minLength: 1, maxLength: 5 }), sessions: fc.integer({ min: 1, max: 40 }) }), { minLength: 1, maxLength: 20 }),
    bundles => {
      const clock = new ManualClock()
      const latency = new Latency(clock)
      const exact: number[] = []
      for (const { ages, sessions } of bundles) {
        const entries = ages.map(age => eventOf(clock.wall() - age))
        for (let session = 0; session < sessions; session++) {
          latency.handed(entries, clock.now())
          exact.push(...ages)
        }
      }
      exact.sort((a, b) => a - b)
      const { recent } = latency
      for (const [name, share] of [['p50', 0.5], ['p95', 0.95], ['p99', 0.99]] as const) {
        const right = exact[Math.max(0, Math.ceil(share * exact.length) - 1)] as number
        const estimate = recent?.[name] ?? NaN
        if (Math.abs(estimate - right) > Math.max(1, right * 0.1)) throw new Error(`${name} is ${estimate}, exactly ${right}`)
      }
      const { counts, sumMs } = latency.total
      if (counts.reduce((sum, count) => sum + count) !== exact.length) throw new Error('all are counted')
      if (sumMs !== exact.reduce((sum, ms) => sum + ms)) throw new Error('and all they waited')
    }
  ))
})

t.test('latency is that of the last ten seconds, and null where nothing was delivered', async t => {
  const clock = new ManualClock()
  const latency = new Latency(clock)
  t.equal(latency.recent, null)
  latency.handed([eventOf(clock.wall() - 1000)], clock.now())
  clock.advance(5000)
  latency.handed([eventOf(clock.wall() - 10)], clock.now())
  t.match(latency.recent, { p50: 10 })
  t.ok((latency.recent?.p99 ?? 0) > 900)
  clock.advance(5000)
  t.same(latency.recent, { p50: 10, p95: 10, p99: 10 }, 'the first one is too long ago')
  clock.advance(100_000)
  t.equal(latency.recent, null)
  t.equal(latency.total.counts.reduce((sum, count) => sum + count), 2, 'what is counted since the start stays')
})

t.test('an id ahead of the clock has waited for nothing', async t => {
  const clock = new ManualClock()
  const latency = new Latency(clock)
  latency.handed([eventOf(clock.wall() + 60_000)], clock.now())
  t.same(latency.recent, { p50: 0, p95: 0, p99: 0 })
})

t.test('a newcomer\'s snapshot and a returning client\'s catch-up are not late; the backlog of a connected laggard is', async t => {
  const { clock, gateway, publish, connect } = await open(t)
  await publish(value(1), FACT)
  await clock.settle()
  clock.advance(60_000)
  const client = connect([{ room: 'a' }])
  await clock.settle()
  t.equal(client.events.length, 1, 'the snapshot came')
  t.equal(gateway.latency.recent, null, 'and nothing was late')
  const cursor = client.cursorAfter()
  client.session.end()
  await publish(FACT, value(2))
  clock.advance(60_000)
  const returned = connect([{ room: 'a' }], cursor)
  await clock.settle()
  t.equal(returned.events.length, 2, 'it has what it missed')
  t.equal(gateway.latency.recent, null, 'which was not late')

  await publish(FACT)
  await clock.settle()
  t.same(gateway.latency.recent, { p50: 0, p95: 0, p99: 0 }, 'served at once')
  await publish(FACT)
  await clock.settle()
  clock.advance(100)
  t.match(gateway.latency.recent, { p50: 0, p99: 102 }, 'waited for a tick: 100 ms, as steps of a tenth tell it')

  returned.clogged = true
  await publish(FACT)
  await clock.settle()
  clock.advance(100)
  await publish(FACT)
  await clock.settle()
  clock.advance(20_000)
  returned.clogged = false
  returned.drain()
  await clock.settle()
  t.equal(returned.events.length, 6)
  const { p50 = 0 } = gateway.latency.recent ?? {}
  t.ok(p50 > 18_000 && p50 < 22_000, `a laggard's event waited ${p50} ms`)
})

t.test('after a reset the values that are sent again are not late', async t => {
  const { clock, gateway, publish, connect } = await open(t, { historySize: 5 })
  const client = connect([{ room: 'a' }])
  await clock.settle()
  await publish(value(1))
  await clock.settle()
  client.pending = 1
  clock.advance(1000)
  for (let n = 0; n < 30; n++) await publish(FACT)
  await clock.settle()
  clock.advance(20_000)
  client.drain()
  await clock.settle()
  t.ok(client.kinds().includes('reset'))
  t.equal(gateway.latency.recent, null)
})

t.test('the gateway\'s own figures are neither traffic nor late', async t => {
  const { clock, gateway, publish, connect } = await open(t)
  const client = connect([{ room: '@system' }])
  await clock.settle()
  await gateway.operator.report([{ type: 'gateway', key: '1', data: 1 }, { type: 'rooms', key: '1', data: 2 }])
  await clock.settle()
  t.equal(client.events.length, 2)
  t.match(gateway.counters, { events: 0, owed: 0, delivered: 0, bundles: 0, bytes: 0, plainBytes: 0, wholeBytes: 0, unbundledBytes: 0 })
  t.equal(gateway.latency.recent, null)
  t.same(gateway.view.busiest(10), { total: 0, first: [] })
  client.join([{ room: 'a' }])
  await clock.settle()
  clock.advance(100)
  await gateway.operator.report([{ type: 'gateway', key: '1', data: 3 }])
  await publish(FACT)
  await clock.settle()
  clock.advance(100)
  t.equal(client.events.length, 4)
  t.match(gateway.counters, { events: 1, owed: 1, delivered: 1, bundles: 1 }, 'also where both are in one bundle')
  t.equal(gateway.latency.total.counts.reduce((sum, count) => sum + count), 1)
})

t.test('what bundling, patches and compression save is counted apart: by event and connection that hears it, by patch, and by bundle', async t => {
  const { clock, gateway: { counters }, publish, connect } = await open(t)
  const LONG = 'x'.repeat(100)
  const put = async (n: number): Promise<unknown> => await publish({ type: 'x', room: 'a', key: 'k', data: { LONG, n } })
  const pass = async (): Promise<void> => {
    clock.advance(100)
    await clock.settle()
  }
  /** Frames have 20 bytes around their text; compressed, half of them are left. */
  const framed = (client: Client): Client => {
    const send = client.send.bind(client)
    client.send = bundle => {
      const text = send(bundle)
      bundle.frame ??= Buffer.alloc(20 + text)
      return client === small ? bundle.frame.length / 2 : bundle.frame.length
    }
    return client
  }
  const size = (event: unknown): number => Buffer.byteLength(JSON.stringify(event))
  const saved = (): object => ({
    bundling: counters.unbundledBytes - counters.wholeBytes,
    patches: counters.wholeBytes - counters.plainBytes,
    compression: counters.plainBytes - counters.bytes
  })

  await put(0)
  const plain = connect([{ room: 'a' }])
  const small = connect([{ room: 'a', types: ['x'] }])
  const [patched, other] = [connect([{ room: 'a', patch: true }]), connect([{ room: 'a', patch: true }])]
  connect([{ room: 'a', types: ['y'] }])
  for (const client of [plain, small, patched, other]) framed(client)
  await pass()
  const snapshot = size(plain.events[0])
  t.same(saved(), { bundling: 0, patches: 0, compression: (size(plain.events) + 20) / 2 }, 'a snapshot is no event that anybody waited for, and goes out whole')
  t.equal(counters.wholeBytes, 4 * (size(plain.events) + 20))

  await put(1)
  await pass()
  await put(2)
  await put(3)
  await put(4)
  await pass()
  t.same(plain.events.map(({ data }) => (data as { n: number }).n), [0, 1, 4])
  const whole = plain.events.slice(1).map(size)
  const patch = patched.events.slice(1).map(size)
  t.ok(whole.every((bytes, n) => bytes > (patch[n] ?? bytes) + 90), 'the patched got less')
  const compressed = plain.bundles.reduce((sum, { events }) => sum + (size(events) + 20) / 2, 0)
  t.same(saved(), {
    bundling: 4 * 2 * snapshot,
    patches: 2 * (whole[0] as number + (whole[1] as number) - (patch[0] as number) - (patch[1] as number)),
    compression: compressed
  }, 'two values of three were replaced for four that hear them; two got two patches; one is compressed')

  const before = saved()
  const late = framed(connect([{ room: 'a' }]))
  await pass()
  t.same(saved(), before, 'nothing was saved for a newcomer')
  patched.session.end()
  await put(5)
  await pass()
  t.match(saved(), { bundling: 4 * 2 * snapshot }, 'nothing is folded: as many bytes as there were')
  t.equal(counters.bytes, [plain, small, patched, other, late].reduce((sum, client) => sum + client.bundles.reduce((sum, { events }) => sum + (size(events) + 20) / (client === small ? 2 : 1), 0), 0), 'and what was sent is what came')
})

t.test('of a returning client only what came while it was there counts as bundled, also where one bundle holds both', async t => {
  const { clock, gateway: { counters }, publish, connect } = await open(t)
  const first = connect([{ room: 'a' }])
  await clock.settle()
  const cursor = first.cursorAfter()
  first.session.end()
  await publish(FACT, FACT)
  const { unbundledBytes } = counters
  t.equal(unbundledBytes, 0)
  const returned = connect([{ room: 'a' }], cursor)
  await publish(FACT)
  await clock.settle()
  t.equal(returned.bundles.length, 1)
  t.equal(returned.events.length, 3)
  t.equal(counters.unbundledBytes, counters.wholeBytes, 'nothing was saved')
  t.equal(counters.wholeBytes, Buffer.byteLength(JSON.stringify(returned.events)))
})

t.test('messages without bundling are counted by those that hear an event: by room and type, through joins, leaves and a new image of the log', async t => {
  const ROOMS = ['a', 'b', '@public']
  const TYPES = ['x', 'y', 'z']
  const join = fc.record({ room: fc.constantFrom(...ROOMS), types: fc.option(fc.subarray(TYPES, { minLength: 1 }), { nil: undefined }) })
  const step = fc.record({ do: fc.constantFrom('join', 'join', 'leave', 'end', 'reload'), client: fc.nat({ max: 2 }), join })
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 12 }), async steps => {
    const { clock, gateway, publish, connect, reload, close } = await rig()
    const clients = [connect([]), connect([]), connect([])]
    for (const { do: action, client, join: { room, types } } of steps) {
      const { session } = clients[client] as Client
      if (action === 'reload') reload().follower.load(reload().image)
      else if (action === 'end' || session.state === 'ended') session.end()
      else if (action === 'join') session.enter([types === undefined ? { room } : { room, types }])
      else session.leave([room])
    }
    for (const room of ROOMS) {
      for (const type of TYPES) {
        const hearers = clients.filter(({ session: { state, subscription } }) => state !== 'ended' && matches(subscription.parts.get(room) ?? NONE, type)).length
        const before = gateway.counters.owed
        await publish({ type, data: 0, ...room === '@public' ? {} : { room } })
        await clock.settle()
        t.equal(gateway.counters.owed - before, hearers, `${room} ${type}`)
      }
    }
    await close()
  }), { numRuns: 60 })
})

t.test('the busiest rooms come first, then those with most members', async t => {
  const { clock, gateway, publish, connect } = await open(t)
  connect([{ room: 'quiet' }])
  await publish(...[1, 2, 3].map(() => FACT), { ...FACT, room: 'b' }, { type: 'x', key: 'k', data: 1 })
  t.match(gateway.view.busiest(10).first.map(({ eventsPerSecond }) => eventsPerSecond), [0, 0, 0, 0], 'this second is not over')
  clock.advance(1000)
  t.same(gateway.view.busiest(2), {
    total: 4,
    first: [
      { room: 'a', members: 0, keys: 0, eventsPerSecond: 3, paused: false },
      { room: 'b', members: 0, keys: 0, eventsPerSecond: 1, paused: false }
    ]
  })
  t.match(gateway.view.busiest(10).first[2], { room: '@public', keys: 1, eventsPerSecond: 1 })
  await publish(FACT)
  t.match(gateway.view.busiest(1).first, [{ room: 'a', eventsPerSecond: 3 }])
  clock.advance(1000)
  t.match(gateway.view.busiest(1).first, [{ room: 'a', eventsPerSecond: 1 }])
  clock.advance(1000)
  t.match(gateway.view.busiest(1).first, [{ room: 'quiet', members: 1, eventsPerSecond: 0 }])
})

t.test('the sessions that are furthest behind come first', async t => {
  const { clock, gateway, publish, connect } = await open(t)
  connect([{ room: 'a' }])
  const slow = connect(['a', 'b', 'c', 'd', 'e', 'f'].map(room => ({ room })))
  await clock.settle()
  clock.advance(10_000)
  slow.pending = 300
  await publish(FACT)
  await clock.settle()
  clock.advance(2500)
  const { total, first } = gateway.view.furthestBehind(1, 5)
  t.equal(total, 2)
  t.same(first, [{ session: slow.session.id, subject: null, address: slow.session.identity.address, rooms: ['a', 'b', 'c', 'd', 'e'], roomCount: 6, behindMs: 2500, stalled: true, pendingBytes: 300, ageSeconds: 13 }])
  t.match(gateway.view.furthestBehind(20, 5).first[1], { behindMs: 0, stalled: false, pendingBytes: 0, roomCount: 1 })
})

t.test('the first few are those that sorting all would give', async t => {
  fc.assert(fc.property(fc.array(fc.nat({ max: 30 })), fc.nat({ max: 10 }), (items, count) => {
    const top = new Top<{ item: number, index: number }>(count, (a, b) => b.item - a.item)
    const indexed = items.map((item, index) => ({ item, index }))
    for (const item of indexed) top.add(item)
    t.same(top.items, indexed.sort((a, b) => b.item - a.item).slice(0, count))
  }))
})

t.test('refusals are logged: the first of each kind at once, ten lines a minute at most, the others as a count', async t => {
  const clock = new ManualClock()
  const lines: string[] = []
  const troubles = new Troubles(clock, new RefusalLog(clock, { info: (_: object, line: string) => { lines.push(line) } }))
  for (let n = 0; n < 100; n++) troubles.refused(new Refusal('RATE_LIMITED', `5 requests a second are allowed; try again in ${n} ms`))
  troubles.refused(new Refusal('NOT_FOUND', 'there is no GET /favicon.ico'))
  for (let n = 0; n < 50; n++) troubles.refused(new Refusal('BAD_EVENT', `field ${n}`))
  t.same([lines.length, lines[0], lines[8]], [9, 'refused: RATE_LIMITED: 5 requests a second are allowed; try again in 0 ms', 'refused: BAD_EVENT: field 7'])
  clock.advance(60_000)
  t.same(lines.slice(9), ['141 more refused in the last minute: 99 RATE_LIMITED, 42 BAD_EVENT'])
  troubles.refused(new Refusal('BAD_EVENT', 'field 7'))
  t.equal(lines.at(-1), 'refused: BAD_EVENT: field 7', 'the next minute begins anew')
  clock.advance(60_000)
  t.equal(lines.length, 11)
})

t.test('refusals and errors of the last minute are counted apart; strays and good news are neither', async t => {
  const clock = new ManualClock()
  const troubles = new Troubles(clock)
  for (let n = 0; n < 30; n++) troubles.refused(new Refusal('RATE_LIMITED', 'too many'))
  troubles.refused(new Refusal('NOT_FOUND', 'there is no GET /favicon.ico'))
  troubles.note('COMMAND_FAILED', 'it threw')
  troubles.note('STORE_AVAILABLE', 'the store is back')
  t.same(troubles.lastMinute, { refusals: 30, errors: 1 })
  clock.advance(30_000)
  troubles.refused(new Refusal('INTERNAL', 'see the log'))
  t.same(troubles.lastMinute, { refusals: 30, errors: 2 })
  clock.advance(40_000)
  t.same(troubles.lastMinute, { refusals: 0, errors: 1 })
  clock.advance(60_000)
  t.same(troubles.lastMinute, { refusals: 0, errors: 0 })
})

t.test('troubles that repeat are counted together, the latest first; the list is short and tells no secrets', async t => {
  const clock = new ManualClock()
  const troubles = new Troubles(clock)
  const began = clock.wall()
  troubles.refused(new Refusal('ROOM_PAUSED', 'publishing to room a is paused'))
  troubles.refused(new Refusal('RATE_LIMITED', '5 requests a second are allowed; try again in 900 ms'))
  clock.advance(1000)
  troubles.refused(new Refusal('ROOM_PAUSED', 'publishing to room a is paused'))
  troubles.refused(new Refusal('RATE_LIMITED', '5 requests a second are allowed; try again in 23 ms'))
  troubles.refused(new Refusal('NOT_FOUND', 'there is no GET /favicon.ico'))
  t.same(troubles.recent, [
    { at: began + 1000, code: 'RATE_LIMITED', message: '5 requests a second are allowed; try again in 23 ms', count: 2 },
    { at: began + 1000, code: 'ROOM_PAUSED', message: 'publishing to room a is paused', count: 2 }
  ])
  t.same(troubles.refusals, { ROOM_PAUSED: 2, RATE_LIMITED: 2, NOT_FOUND: 1 })
  troubles.note('COMMAND_FAILED', `move: cannot reach redis://me:s3cret@db:6379 ${'x'.repeat(300)}\n    at file.js:1`)
  const [latest] = troubles.recent
  t.match(latest?.message, /^move: cannot reach redis:\/\/\*\*\*@db:6379 x+…$/)
  t.equal(latest?.message.length, 200)
  for (let n = 0; n < 100; n++) troubles.note('BAD_EVENT', `field ${n}`)
  t.same(troubles.recent.map(({ message }) => message), Array.from({ length: 20 }, (_, n) => `field ${99 - n}`))
})

t.test('a store that goes away and one that returns are listed once each; a failing command is listed too', async t => {
  const { clock, gateway, reload } = await open(t)
  t.same(gateway.troubles.recent, [])
  const { follower } = reload()
  follower.available(true)
  follower.available(false, 'the disk is full')
  follower.available(false, 'the disk is full')
  follower.available(true)
  t.match(gateway.troubles.recent, [
    { code: 'STORE_AVAILABLE', count: 1 },
    { code: 'STORE_UNAVAILABLE', message: 'the disk is full', count: 1 }
  ])
  gateway.commands.register('move', { check: () => null, handler: () => { throw new Error('the pump is stuck') } })
  await gateway.control({ command: 'move', identity: trusted('me') })
  await clock.settle()
  t.match(gateway.troubles.recent[0], { code: 'COMMAND_FAILED', message: 'move: the pump is stuck', count: 1 })
})
