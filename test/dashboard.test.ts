// How the page computes its figures, before it draws them.

import t from 'tap'
import type { Event } from '../src/client/index.ts'
import { savedBytes, savedCpu, savedMessages, sum, worst } from '../src/dashboard/figures.ts'
import { ago, bytes, count, duration, ms, share, short } from '../src/dashboard/format.ts'
import { Reports, SYSTEM } from '../src/dashboard/reports.ts'
import type { CounterReport, GatewayReport, ProcessReport } from '../src/dashboard/reports.ts'
import { roomsOf } from '../src/dashboard/rooms.ts'
import { Throughputs } from '../src/dashboard/throughput.ts'
import type { Throughput } from '../src/dashboard/throughput.ts'
import { TimeSeries } from '../src/dashboard/time-series.ts'
import { verdictOf } from '../src/dashboard/verdict.ts'

const counters = (n: number): CounterReport => ({ events: n, owed: 10 * n, delivered: 5 * n, bundles: n, bytes: 100 * n, plainBytes: 400 * n, wholeBytes: 500 * n, unbundledBytes: 1000 * n })
const report = (key: string, data: GatewayReport): ProcessReport<GatewayReport> => ({ key, at: 0, data })

t.test('rates come from differences, over the time of the process\'s clock', async t => {
  const rates = new Throughputs()
  rates.take('1', 1000, counters(100))
  t.equal(rates.total, null, 'one report is no rate')
  rates.take('1', 3000, counters(300))
  t.same(rates.total, { events: 100, owed: 1000, delivered: 500, bundles: 100, bytes: 10_000, plainBytes: 40_000, wholeBytes: 50_000, unbundledBytes: 100_000 })
  rates.take('1', 3000, counters(900))
  t.equal(rates.total?.events, 100, 'the same report again changes nothing')
})

t.test('a process that has started again counts from 0: no rate, never a negative one', async t => {
  const rates = new Throughputs()
  rates.take('1', 1000, counters(5000))
  rates.take('1', 2000, counters(5100))
  rates.take('1', 3000, counters(20))
  t.equal(rates.total, null)
  rates.take('1', 4000, counters(30))
  t.equal(rates.total?.events, 10)
})

t.test('of several processes deliveries are summed, but each has seen all events', async t => {
  const rates = new Throughputs()
  for (const [at, n] of [[1000, 0], [2000, 50]] as const) for (const key of ['a', 'b']) rates.take(key, at, counters(n))
  t.match(rates.total, { events: 50, owed: 1000, bytes: 10_000 })
  rates.take('b', 3000, counters(100))
  rates.take('b', 9000, counters(400))
  t.match(rates.total, { events: 50, owed: 500 }, 'one that fell silent is not counted')
  rates.forget('b')
  t.match(rates.total, { owed: 500 })
})

t.test('a figure of the deployment is that of its worst worker; a missing one is null', async t => {
  const both = [report('a', { backlogMs: 3, latencyMs: null }), report('b', { backlogMs: 70_000 })]
  t.same(worst(both, ({ backlogMs }) => backlogMs), { value: 70_000, key: 'b' })
  t.equal(worst(both, ({ latencyMs }) => latencyMs?.p95), null)
  t.equal(sum(both, ({ memoryBytes }) => memoryBytes), undefined)
  t.equal(sum([...both, report('c', { memoryBytes: 7 })], ({ memoryBytes }) => memoryBytes), 7)
})

t.test('of the bytes there would be bundling, patches and compression save their shares, never less than nothing', async t => {
  const rates = new Throughputs()
  for (const [at, n] of [[1000, 0], [2000, 50]] as const) for (const key of ['a', 'b']) rates.take(key, at, counters(n))
  t.same(savedBytes(rates.total as Throughput), { bundling: 0.5, patches: 0.1, compression: 0.3 })
  t.same(savedBytes({ unbundledBytes: 100, wholeBytes: 150, plainBytes: 150, bytes: 160 }), { bundling: 0, patches: 0, compression: 0 })
  t.equal(savedBytes({ unbundledBytes: 0, wholeBytes: 0, plainBytes: 0, bytes: 0 }), null)
})

t.test('shares saved are weighted by each worker\'s load', async t => {
  const both = [report('a', { cpuPercent: 10, saved: { messages: 0.9, cpu: 0.5 } }), report('b', { cpuPercent: 30, saved: { messages: 0.5, cpu: 0 } })]
  t.equal(savedMessages(both, key => key === 'a' ? 300 : 100), 0.8)
  t.equal(savedMessages([report('a', { saved: { messages: null } })], () => 1), null)
  t.equal(savedCpu(both)?.toFixed(9), '0.200000000', '40 used where it would have been 20 + 30')
  t.equal(savedCpu([report('a', {})]), null)
})

t.test('a series drops its oldest points, and has a gap if nothing arrived', async t => {
  const history = new TimeSeries(['x'], 4, 3000)
  for (const [at, x] of [[1000, 1], [2000, 2], [2000, 9], [9000, 3], [10_000, 4]] as const) history.push(at, { x })
  t.same(history.times, [2000, 2001, 9000, 10_000])
  t.same(history.column('x'), [2, null, 3, 4])
})

t.test('reports of the only process stay when it ends, until another one speaks', async t => {
  const values = new Map<string, Event>()
  let changed = (): void => {}
  const reports = new Reports({ entries: () => values.values(), subscribe: listener => { changed = listener; return () => {} } })
  const put = (key: string, data: unknown): void => {
    if (data === null) values.delete(key)
    else values.set(key, { id: '1-0', type: 'gateway', room: SYSTEM, key, data, timestamp: 1 })
    changed()
  }
  put('10', { pid: 10 })
  put('2', { pid: 2 })
  t.same(reports.of('gateway').map(({ key }) => key), ['2', '10'], 'in a stable order')
  put('2', null)
  t.same(reports.of('gateway').map(({ key }) => key), ['10'])
  put('10', null)
  t.same(reports.of('gateway').map(({ key }) => key), ['10'])
  put('3', { pid: 3 })
  t.same(reports.of('gateway').map(({ key }) => key), ['3'])
})

t.test('members of a room are those of all processes; its keys are known to each', async t => {
  const rooms = (key: string, members: number): Event => ({ id: '1-0', type: 'rooms', room: SYSTEM, key, data: { total: 1, rooms: [{ room: 'a', members, keys: 7, eventsPerSecond: 3 }] }, timestamp: 1 })
  const reports = new Reports({ entries: () => [rooms('1', 2), rooms('2', 3)].values(), subscribe: () => () => {} })
  t.match(roomsOf(reports), { total: 1, rooms: [{ room: 'a', members: 5, keys: 7, eventsPerSecond: 3 }] })
})

t.test('figures as text; a missing one is a dash', async t => {
  for (const format of [count, short, bytes, ms, share, duration, ago]) for (const value of [undefined, null, NaN, 'x']) t.equal(format(value), '–')
  t.same([1.25, 1234, 123_456, 12_345_678].map(short), ['1.3', '1,234', '123K', '12.3M'])
  t.same([0, 1023, 1536, 5 * 2 ** 30].map(bytes), ['0 B', '1,023 B', '1.5 KiB', '5 GiB'])
  t.same([0, 0.001, 0.5, 0.999, 1].map(share), ['0 %', '< 1 %', '50 %', '99 %', '100 %'])
  t.same([3.14, 149.6, 1500, 61_000].map(ms), ['3.1 ms', '150 ms', '1.5 s', '61 s'])
  t.same([5, 65, 3700, 90_000].map(duration), ['5 s', '1 min 5 s', '1 h 1 min', '1 d 1 h'])
})

t.test('the verdict has three levels, and the worst is said first', async t => {
  const fine = { fault: null, isWaiting: false, missed: [], stalled: 0, refusals: 9, errors: 0, hasWarnings: false }
  t.same(verdictOf(fine), ['well', 'All well'])
  t.same(verdictOf({ ...fine, isWaiting: true, stalled: 2 }), ['unknown', 'Waiting for the first figures'])
  t.same(verdictOf({ ...fine, stalled: 2 }), ['look', '2 sessions stalled'])
  t.same(verdictOf({ ...fine, refusals: 103 }), ['look', '103 refusals in the last minute'])
  t.same(verdictOf({ ...fine, missed: ['latency', 'backlog'], stalled: 1, errors: 1, hasWarnings: true }), ['look', 'Over target: latency, backlog · 1 error in the last minute · 1 session stalled · Ready, with warnings'])
  t.same(verdictOf({ ...fine, fault: 'Not ready: STORE_UNAVAILABLE', isWaiting: true, missed: ['lag'] }), ['broken', 'Not ready: STORE_UNAVAILABLE'])
})

t.test('points from before fill a line, without those that it has; what nobody was there for stays a gap', async t => {
  const line = new TimeSeries(['a', 'rate'], 10, 3500)
  line.push(20_000, { a: 20 })
  line.push(21_000, { a: 21, rate: 1 })
  line.fill([[10_000, { a: 10 }], [11_000, { a: 11 }], [19_000, { a: 19 }], [20_100, { a: 99, rate: 9 }], [21_100, { a: 99, rate: 9 }]], 900)
  t.same(line.times, [10_000, 11_000, 11_001, 19_000, 20_100, 21_000])
  t.same(line.column('a'), [10, 11, null, 19, 99, 21], 'of two near each other the one with the rate')
  line.push(22_000, { a: 22 })
  t.same(line.column('a'), [10, 11, null, 19, 99, 21, 22])
})
