// Reads without a stream: what one answer holds, what ends a wait, and that whoever reads on from each answer to the next has
// what the history has.

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { PatternGrants } from '../../src/core/grants.ts'
import { trusted } from '../../src/core/identity.ts'
import type { ReadAnswer, ReadRequest } from '../../src/core/polls.ts'
import { SYSTEM_DELETIONS } from '../../src/core/rooms.ts'
import { Page } from '../page.ts'
import { rig } from './rig.ts'
import type { Rig } from './rig.ts'

const facts = (count: number, size = 1, room = 'a'): object[] => Array.from({ length: count }, (_, n) => ({ type: 'log', room, data: size > 1 ? String(n).padEnd(size, '.') : n }))
const gauge = (data: unknown, key = 'k', room = 'a'): object => ({ type: 'gauge', room, key, data })
const ROOM_A = [{ room: 'a' }]

interface Read extends Omit<ReadAnswer, 'entries'> {
  readonly data: unknown[]
}

const readable = ({ entries, ...answer }: ReadAnswer): Read => ({ ...answer, data: entries.map(({ json }) => (JSON.parse(json) as { data: unknown }).data) })
const read = async ({ gateway }: Rig, request: Partial<ReadRequest> = {}): Promise<Read> => readable(await gateway.read({ joins: ROOM_A, ...request }))

/** A read that waits, and its answer once it has come. */
function waiting ({ gateway }: Rig, request: Partial<ReadRequest>): { answer: Read | null, error: unknown } {
  const wait: { answer: Read | null, error: unknown } = { answer: null, error: null }
  gateway.read({ joins: ROOM_A, waitMs: 20_000, ...request }).then(answer => { wait.answer = readable(answer) }, (error: unknown) => { wait.error = error })
  return wait
}

t.test('without a cursor a read gets the present values, and with its cursor what is new since: facts in order, newest values', async t => {
  const r = await rig()
  await r.publish(...facts(3), gauge(1), gauge(2), gauge('gone', 'other'), gauge(null, 'other'))
  const first = await read(r)
  t.match(first, { position: 'new', reset: null, more: false, data: [2], isUnmodified: false })
  t.match(await read(r, { cursor: first.cursor }), { position: 'resumed', reset: null, more: false, data: [] })
  await r.publish(...facts(2), gauge(3), gauge(4), { type: 'log', room: 'b', data: 'elsewhere' })
  const second = await read(r, { cursor: first.cursor })
  t.match(second, { position: 'resumed', reset: null, more: false, data: [0, 1, 4] })
  t.same((await read(r, { cursor: first.cursor })).data, second.data, 'asked again, the same is answered again')
  await r.close()
})

t.test('every answer holds a bundle\'s worth at most, the first and that of a reset too, and says that there is more', async t => {
  const r = await rig({ limits: { maxBundleBytes: 2000, maxQueuePerClient: 5 } })
  await r.publish(...Array.from({ length: 40 }, (_, n) => gauge('v'.repeat(90), `k${n}`)), ...facts(12))
  for (const cursor of [null, 'garbage', '0-0']) {
    const begins = { position: cursor === 'garbage' ? 'reset' : 'new', reset: cursor === 'garbage' ? { reason: 'unknown', missed: null } : null }
    let answer = await read(r, { cursor })
    t.match(answer, { ...begins, more: true })
    const data = [...answer.data]
    for (let rounds = 0; answer.more && rounds < 40; rounds++) {
      answer = await read(r, { cursor: answer.cursor })
      t.match(answer, { position: 'resumed', reset: null })
      t.ok(answer.data.filter(value => typeof value === 'number').length <= 5)
      t.ok(answer.data.join('').length < 1500)
      data.push(...answer.data)
    }
    t.same(data.filter(value => typeof value === 'number'), cursor === '0-0' ? [...Array(12).keys()] : [])
    t.equal(data.filter(value => typeof value === 'string').length, 40)
  }
  await r.close()
})

t.test('facts and values too large to share an answer take turns over several reads', async t => {
  const r = await rig({ limits: { maxBundleBytes: 1000 } })
  let { cursor } = await read(r)
  await r.publish(...facts(5, 700), ...Array.from({ length: 5 }, (_, n) => gauge('v'.repeat(700), `k${n}`)))
  const kinds: string[] = []
  for (let more = true; more;) {
    const answer = await read(r, { cursor })
    t.equal(answer.data.length, 1, 'alone, whole')
    kinds.push((answer.data[0] as string).startsWith('v') ? 'value' : 'fact')
    ;({ cursor, more } = answer)
  }
  t.same(kinds, ['value', 'fact', 'value', 'fact', 'value', 'fact', 'value', 'fact', 'value', 'fact'])
  await r.close()
})

t.test('a read that waits is answered when something it hears comes, and all that came with it', async t => {
  const r = await rig()
  const { cursor } = await read(r)
  r.clock.advance(1000)
  const wait = waiting(r, { cursor, joins: [{ room: 'a', types: ['log'] }] })
  const other = waiting(r, { cursor: (await read(r, { joins: [{ room: 'a', types: ['log'] }] })).cursor, joins: [{ room: 'a', types: ['log'] }] })
  await r.clock.settle()
  t.match(wait.answer, { position: 'reset', reset: { reason: 'subscription', missed: 0 } }, 'a reset is news')
  await r.publish(gauge(1), { type: 'log', room: 'b', data: 'elsewhere' })
  r.clock.advance(1000)
  await r.clock.settle()
  t.equal(other.answer, null, 'it does not hear these')
  await r.publish(...facts(3))
  await r.clock.settle()
  t.match(other.answer, { position: 'resumed', more: false, data: [0, 1, 2] }, 'after a quiet spell at once')
  await r.close()
})

t.test('who asks again within a tick is answered with the next one', async t => {
  const r = await rig()
  let { cursor } = await read(r)
  r.clock.advance(1000)
  const first = waiting(r, { cursor })
  await r.publish(...facts(1))
  await r.clock.settle()
  t.same(first.answer?.data, [0])
  cursor = first.answer?.cursor as string
  const second = waiting(r, { cursor })
  for (let n = 0; n < 9; n++) {
    await r.publish(gauge(n))
    r.clock.advance(10)
    await r.clock.settle()
  }
  t.equal(second.answer, null, 'the tick is not over')
  r.clock.advance(10)
  await r.clock.settle()
  t.same(second.answer?.data, [8])
  await r.close()
})

t.test('a wait that is over is answered without events, and its cursor has moved on', async t => {
  const r = await rig({ historySize: 10 })
  const { cursor } = await read(r)
  const wait = waiting(r, { cursor })
  await r.clock.settle()
  for (let n = 0; n < 10; n++) await r.publish(...facts(10, 1, 'b'))
  r.clock.advance(19_999)
  await r.clock.settle()
  t.equal(wait.answer, null)
  r.clock.advance(1)
  await r.clock.settle()
  t.match(wait.answer, { position: 'resumed', reset: null, more: false, data: [] }, 'history has passed it by meanwhile, and it has missed nothing')
  t.not(wait.answer?.cursor, cursor)
  t.match(await read(r, { cursor: wait.answer?.cursor as string }), { position: 'resumed', reset: null, data: [] })
  t.match(await read(r, { cursor }), { position: 'reset', reset: { reason: 'trimmed', missed: null } })
  t.match(await read(r, { waitMs: 20_000 }), { position: 'new', data: [] }, 'without a cursor nothing is waited for')
  t.match(r.gateway.counters, { reads: 5, resets: { trimmed: 1 } })
  await r.close()
})

t.test('a wait that history has passed by has missed nothing when something comes that it hears', async t => {
  const r = await rig({ historySize: 10 })
  const wait = waiting(r, { cursor: (await read(r)).cursor })
  await r.clock.settle()
  for (let n = 0; n < 10; n++) await r.publish(...facts(10, 1, 'b'))
  r.clock.advance(1000)
  await r.publish(...facts(2))
  await r.clock.settle()
  t.match(wait.answer, { position: 'resumed', reset: null, data: [0, 1] })
  await r.close()
})

t.test('what a client holds is known to be the newest until it hears something', async t => {
  const r = await rig()
  await r.publish(gauge(1))
  const { cursor } = await read(r)
  const same = await read(r, { held: [cursor] })
  t.match(same, { isUnmodified: true, data: [], cursor })
  await r.publish(...facts(1, 1, 'b'))
  const later = await read(r, { held: ['garbage', cursor] })
  t.match(later, { isUnmodified: true, data: [] })
  t.not(later.cursor, cursor, 'its position has moved on')
  const wait = waiting(r, { cursor, held: [cursor] })
  await r.clock.settle()
  r.clock.advance(20_000)
  await r.clock.settle()
  t.match(wait.answer, { isUnmodified: true, data: [] })
  await r.publish(gauge(2))
  t.match(await read(r, { held: [cursor, later.cursor] }), { isUnmodified: false, position: 'new', data: [2] })
  t.match(await read(r, { held: ['0-0', '1-1', 'garbage', ''] }), { isUnmodified: false, data: [2] })
  await r.close()
})

t.test('a wait ends with the rights of its caller, with a signal and with a drain', async t => {
  const r = await rig({ limits: { maxClients: 2, maxClientsPerIp: 2 } })
  const { cursor } = await read(r)
  const mortal = waiting(r, { cursor, identity: { ...trusted('ada'), isAuthenticated: true, expiresAt: r.clock.wall() + 5000 } })
  const gone = new AbortController()
  const left = waiting(r, { cursor, signal: gone.signal })
  await r.clock.settle()
  await t.rejects(read(r, { cursor, waitMs: 1 }), { code: 'OVERLOADED', message: /MAX_CLIENTS/ }, 'who waits takes the place of a connection')
  t.match(await read(r, { cursor }), { data: [] }, 'who does not, takes none')
  r.clock.advance(5000)
  await r.clock.settle()
  t.match(mortal.error, { code: 'UNAUTHENTICATED', message: /expired/ })
  gone.abort()
  await r.clock.settle()
  t.match(left.answer, { data: [] })
  const drained = waiting(r, { cursor, identity: trusted('other') })
  const second = waiting(r, { cursor, identity: trusted('other') })
  await r.clock.settle()
  t.notOk(drained.error)
  await r.gateway.drain()
  await r.clock.settle()
  for (const { answer } of [drained, second]) t.match(answer, { position: 'resumed', data: [] })
  await t.rejects(read(r), { code: 'DRAINING' })
  await r.close()
})

t.test('reads are judged by the rights of their caller, on every room', async t => {
  const r = await rig()
  await r.publish({ type: 'log', data: 'public' }, gauge(1))
  const identity = { ...trusted('ada'), isAuthenticated: true, grants: new PatternGrants({ subscribe: ['a'] }) }
  t.match(await read(r, { identity }), { data: [1] })
  for (const room of ['b', '@public', '@system']) await t.rejects(read(r, { identity, joins: [{ room: 'a' }, { room }] }), { code: 'FORBIDDEN', message: new RegExp(room) })
  const { cursor } = await read(r, { identity, joins: [{ room: 'a', types: ['log'] }] })
  await r.publish({ type: 'log', data: 'public' }, ...facts(1))
  t.match(await read(r, { identity, joins: [{ room: 'a', types: ['log'] }], cursor }), { position: 'resumed', data: [0] }, 'public events by their type are not granted')
  await r.close()
})

t.test('a read leaves no room behind, and is no member of one', async t => {
  const r = await rig({ limits: { maxRooms: 1, maxRoomSize: 1 } })
  const joins = Array.from({ length: 50 }, (_, n) => ({ room: `room-${n}` }))
  const { cursor } = await read(r, { joins })
  const wait = waiting(r, { joins, cursor })
  await r.clock.settle()
  t.equal(r.gateway.view.totals.rooms, 0)
  await r.publish(...facts(1, 1, 'room-7'))
  await r.clock.settle()
  t.match(wait.answer, { position: 'resumed', data: [0] })
  t.equal(r.gateway.view.totals.rooms, 1)
  t.match(r.gateway.view.room('room-7'), { members: 0 })
  await r.close()
})

t.test('waits go on when the log is loaded again without a loss, and are reset where it has lost what was read', async t => {
  const r = await rig()
  await r.publish(...facts(2))
  const { cursor } = await read(r)
  const wait = waiting(r, { cursor })
  await r.clock.settle()
  const { follower, image } = r.reload()
  const { epoch, epochs } = image.lineage
  const head = r.gateway.view.history.head
  follower.load({ ...image, head, lineage: { epoch: 'next', epochs: [...epochs, { epoch: 'next', seam: head }] } })
  await r.clock.settle()
  t.equal(wait.answer, null)
  follower.load({ ...image, head, lineage: { epoch: 'other', epochs: [{ epoch, seam: '0-1' }, { epoch: 'other', seam: '0-1' }] } })
  await r.clock.settle()
  t.match(wait.answer, { position: 'reset', reset: { reason: 'unknown' } })
  await r.close()
})

type Step = { do: 'fact', room: string, count: number } | { do: 'value', key: number, data: number | null, size: number } | { do: 'pass', ms: number } | { do: 'read', waitMs: number, isLost: boolean }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('fact' as const), room: fc.constantFrom('a', 'b'), count: fc.constantFrom(1, 1, 1, 8) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('value' as const), key: fc.nat(3), data: fc.option(fc.nat(99), { freq: 5 }), size: fc.constantFrom(0, 100, 100, 400) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.nat(250) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('read' as const), waitMs: fc.constantFrom(0, 0, 500), isLost: fc.boolean() }) }
)

/** A page that reads, and goes on by a session: it must have what the model has. */
async function play (steps: Step[], { historySize, begin, tickMs }: { historySize: number, begin: string | null, tickMs: number }): Promise<{ resets: number }> {
  const r = await rig({ historySize, limits: { tickMs, tickFloorMs: tickMs, maxQueuePerClient: 3, maxBundleBytes: 900 } })
  const published: string[] = []
  const values = new Map<string, string>()
  const page = new Page()
  page.cursor = begin
  let isAsking = false
  /** The data of each value. */
  const dataOf = new Map<string, unknown>()
  const joins = [{ room: 'a', patch: steps.length % 3 > 0 }]
  const take = ({ position, reset, cursor, entries, more }: ReadAnswer): void => {
    if (reset !== null) page.apply({ kind: 'reset', ...reset, rooms: ['a'], cursor })
    else page.apply({ kind: 'joined', rooms: ['a'], position, cursor })
    page.apply({ kind: 'bundle', events: entries.map(({ json }) => JSON.parse(json)), cursor })
    for (const [field, { id, data }] of page.values) if (!isDeepStrictEqual(data, dataOf.get(id))) throw new Error(`${field} ${id}: ${JSON.stringify(data)}`)
    if (!more) page.apply({ kind: 'ready', keys: 0, rooms: ['a'], cursor })
  }
  const ask = async (waitMs: number, isLost: boolean): Promise<void> => {
    if (isAsking) return
    isAsking = true
    const answer = await r.gateway.read({ joins, cursor: page.cursor, waitMs })
    isAsking = false
    if (answer.entries.filter(({ key }) => key === null).length > 3) throw new Error('more than a bundle holds')
    if (!isLost) take(answer)
  }
  for (const s of steps) {
    switch (s.do) {
      case 'fact': {
        const ids = await r.publish(...facts(s.count, 1, s.room))
        if (s.room === 'a') published.push(...ids)
        break
      }
      case 'value': {
        const data = s.data === null ? null : { text: 'v'.repeat(s.size), [`n${s.data % 3}`]: s.data }
        const [id] = await r.publish(gauge(data, `k${s.key}`)) as [string]
        dataOf.set(id, data)
        if (s.data === null) values.delete(`a gauge k${s.key}`)
        else values.set(`a gauge k${s.key}`, id)
        break
      }
      case 'pass': r.clock.advance(s.ms); break
      case 'read': void ask(s.waitMs, s.isLost)
    }
    await r.clock.settle()
  }
  r.clock.advance(1000)
  await r.clock.settle()
  if (isAsking) throw new Error('a wait did not end')
  // Half of them read on, half go on by a session with the cursor.
  if (steps.length % 2 === 0) {
    for (let more = true, rounds = 0; more; rounds++) {
      if (rounds > 200) throw new Error('reading never ends')
      const answer = await r.gateway.read({ joins, cursor: page.cursor })
      take(answer)
      more = answer.more
    }
  } else {
    const client = r.connect(joins, page.cursor)
    for (let round = 0; round < 30; round++) {
      r.clock.advance(250)
      await r.clock.settle()
    }
    for (const message of client.received) page.apply(message)
    client.session.end()
  }
  const present = [...page.values].map(([field, { id }]) => `${field} ${id}`).sort().join()
  const expected = [...values].map(([field, id]) => `${field} ${id}`).sort().join()
  if (present !== expected) throw new Error(`values ${present} instead of ${expected}`)
  if (page.unready.size > 0) throw new Error('the snapshot never ended')
  const runs = (page.runs.get('a log') ?? []).map(events => events.map(({ id }) => id))
  for (const [index, run] of runs.entries()) {
    // Behind a reset: history had none left.
    if (run.length === 0) continue
    const from = published.indexOf(run[0] as string)
    if (published.slice(from, from + run.length).join() !== run.join()) throw new Error(`${run.join()} is no run of ${published.join()}`)
    if (index === runs.length - 1 && run.at(-1) !== published.at(-1)) throw new Error('the last facts are missing')
  }
  if (begin === '0-0' && page.resets.length === 0 && runs.flat().join() !== published.slice(published.length - runs.flat().length).join()) throw new Error('from the beginning')
  if (begin === '0-0' && page.resets.length === 0 && historySize > 1000 && runs.flat().length !== published.length) throw new Error(`${runs.flat().length} of ${published.length} facts`)
  await r.close()
  return { resets: page.resets.length }
}

const RUNS = Number(process.env.FC_RUNS ?? 300)

t.test('whoever reads on from answer to answer has every fact once, in order, and the present values', async t => {
  let resets = 0
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 60, size: 'max' }), fc.constantFrom(100_000, 6), fc.constantFrom(null, '0-0'), fc.constantFrom(0, 100), async (steps, historySize, begin, tickMs) => {
    const played = await play(steps, { historySize, begin, tickMs })
    if (historySize > 1000 && played.resets > 0) throw new Error('a reset without a reason')
    resets += played.resets
  }), { numRuns: RUNS })
  t.ok(resets > 0, 'where history was trimmed some were reset')
})

t.test('a read that waits is told where more deletions of @system came than are remembered, before its tick was over', async t => {
  const r = await rig()
  const report = async (from: number, count: number, data: unknown): Promise<void> => {
    for (let n = from; n < from + count; n += 1000) {
      await r.gateway.operator.report(Array.from({ length: Math.min(1000, from + count - n) }, (_, index) => ({ type: 'gateway', key: String(n + index), data })))
    }
  }
  const joins = [{ room: '@system' }, { room: 'a' }]
  await report(0, SYSTEM_DELETIONS + 2, { n: 1 })
  await r.publish(...facts(1))
  let { cursor, more } = await read(r, { joins })
  while (more) ({ cursor, more } = await read(r, { joins, cursor }))
  await r.clock.settle()
  const wait = waiting(r, { joins, cursor })
  await r.clock.settle()
  await report(0, SYSTEM_DELETIONS + 2, null)
  t.equal(wait.answer, null, 'its tick is not over')
  r.clock.advance(200)
  await r.clock.settle()
  t.match(wait.answer, { position: 'reset', reset: { reason: 'trimmed', missed: 0 } })
  await r.close()
})
