// Patches: what a patch says, who gets one, and who gets the whole value. That they lead to what was published, whatever
// happens, is shown in delivery.test.ts and reads.test.ts.

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { Bases } from '../../src/core/bases.ts'
import { draftOf, entryOf } from '../../src/core/event.ts'
import type { Entry } from '../../src/core/event.ts'
import { patchOf } from '../../src/core/patch.ts'
import type { Join } from '../../src/core/subscription.ts'
import { mergePatch, Page } from '../page.ts'
import { rig } from './rig.ts'
import type { Client, Rig } from './rig.ts'

const LONG = 'v'.repeat(60)
const entry = (data: unknown, n = 1, key = 'k'): Entry => entryOf(draftOf({ type: 'x', room: 'a', key, data, timestamp: 1, ttl: 9 }), `${n}-0`)
const patchIn = ({ json }: Entry): unknown => (JSON.parse(json) as { patch?: unknown }).patch

t.test('RFC 7396, appendix A: what is made of these patches, by the page that the tests go by', async t => {
  const cases: Array<[unknown, unknown, unknown]> = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }], [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }], [{ a: 'b' }, { a: null }, {}], [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }], [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }], [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }], [['a', 'b'], ['c', 'd'], ['c', 'd']], [{ a: 'b' }, ['c'], ['c']], [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'], [{ e: null }, { a: 1 }, { e: null, a: 1 }], [[1, 2], { a: 'b', c: null }, { a: 'b' }], [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }]
  ]
  for (const [target, patch, expected] of cases) t.strictSame(mergePatch(target, patch), expected)
})

t.test('a patch leads from any value to any other, and is smaller than that; or there is none', async t => {
  const scalar = fc.oneof(fc.constantFrom(0, -0, 1e21, 5e-324, '', 'null', '\u2028', '__proto__', true, []), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.string({ unit: 'binary', maxLength: 4 }))
  const name = fc.oneof(fc.constantFrom('a', 'b', 'c', '1', '', 'constructor', 'toString', '"', 'data', ',"timestamp":'), fc.string({ maxLength: 2 }))
  const { members } = fc.letrec<{ members: Record<string, unknown> }>(tie => ({
    members: fc.dictionary(name, fc.oneof({ maxDepth: 3 }, scalar, fc.array(fc.oneof(scalar, tie('members')), { maxLength: 2 }), tie('members')), { maxKeys: 4, noNullPrototype: true })
  }))
  // Of two unlike objects there is hardly a patch that is smaller.
  const pair = fc.oneof(fc.tuple(members, members), fc.tuple(members, members, members).map(([all, old, now]) => [{ ...all, ...old, LONG }, { ...all, ...now, LONG }]))
  let smaller = 0
  fc.assert(fc.property(pair, ([old, now]) => {
    const after = entry(now, 2)
    const patched = patchOf(entry(old), after)
    if (patched === null) return true
    smaller++
    const { patch, ...event } = JSON.parse(patched.json)
    return patched.size === Buffer.byteLength(patched.json) && patched.size < after.size && !/[\u0085\u2028\u2029]/.test(patched.json) &&
      isDeepStrictEqual({ ...event, data: mergePatch(old, patch) }, JSON.parse(after.json))
  }), { numRuns: 1000 })
  t.ok(smaller > 150, `${smaller} patches`)
})

t.test('a patch names what has changed: members that went are null, arrays are whole', async t => {
  const patch = (old: object, now: object): unknown => patchIn(patchOf(entry({ LONG, ...old }), entry({ LONG, ...now }, 2)) as Entry)
  t.same(patch({ a: 1, b: 2 }, { a: 1, b: 3 }), { b: 3 })
  t.same(patch({ a: 1, b: { c: 2, d: 3 } }, { b: { c: 2, d: 4 } }), { a: null, b: { d: 4 } })
  t.same(patch({ a: [1, 2], b: {} }, { a: [1, 3], b: [] }), { a: [1, 3], b: [] })
  t.same(patch({ a: { b: 1 } }, { a: {} }), { a: { b: null } })
  t.same(patch({ a: 1 }, { a: 1 }), {})
  t.ok(Object.is((patch({ a: 0 }, { a: -0 }) as { a: number }).a, -0))
})

t.test('there is none for what is no object, for a null or __proto__ inside of either, and where the whole is as small', async t => {
  const long = { LONG }
  for (const [old, now] of [[1, 2], [long, LONG], [LONG, long], [[LONG, 1], [LONG, 2]], [{ ...long, a: null }, long], [long, { ...long, a: null }], [long, { ...long, a: [{ b: [null] }] }],
    [long, { ...long, a: JSON.parse('{"__proto__":1}') }], [{ a: 1 }, { a: 2 }], [{}, {}]]) t.equal(patchOf(entry(old), entry(now, 2)), null, JSON.stringify([old, now]))
  t.ok(patchOf(entry({ ...long, a: 'null and [void]' }), entry(long, 2)), 'the word is no null')
})

const value = (data: object, key = 'k', room = 'a'): object => ({ type: 'x', room, key, data: { LONG, ...data } })
const PATCHES: Join[] = [{ room: 'a', patch: true }]
/** What came since the last time: patches, or `whole`. */
function news (client: Client, from = 0): unknown[] {
  return client.events.slice(from).map(event => 'patch' in event ? event.patch : event.data === null ? null : 'whole')
}
async function pass ({ clock }: Rig, ms = 100): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50)
    await clock.settle()
  }
}

t.test('a client in step gets each newest value as a patch against the one it got before, also where some were folded in between', async t => {
  const r = await rig()
  await r.publish(value({ a: 0, b: 0 }))
  const [client, other, plain] = [r.connect(PATCHES), r.connect(PATCHES), r.connect([{ room: 'a' }])]
  await pass(r)
  await r.publish(value({ a: 1, b: 0 }))
  await pass(r)
  await r.publish(value({ a: 1, b: 1 }))
  await r.publish(value({ a: 2, b: 2 }))
  await r.publish(value({ a: 3, b: 0 }))
  await pass(r)
  t.same(news(client), ['whole', { a: 1 }, { a: 3 }], 'the snapshot is whole')
  t.same(news(other), news(client))
  t.same(news(plain), ['whole', 'whole', 'whole'], 'and nobody gets one who did not ask')
  await r.close()
})

t.test('all in step get the same bytes, and each patch is made once', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }))
  const clients = Array.from({ length: 3 }, () => {
    const client = r.connect(PATCHES)
    const send = client.send.bind(client)
    const bundles: object[] = []
    client.send = bundle => {
      bundles.push(bundle)
      return send(bundle)
    }
    return { client, bundles }
  })
  await pass(r)
  await r.publish(value({ a: 1 }))
  await pass(r)
  for (const { client, bundles } of clients) {
    t.same(news(client), ['whole', { a: 1 }])
    t.equal(bundles[1], clients[0]?.bundles[1])
  }
  await r.close()
})

t.test('a client that was cut off, was slow or is new gets whole values first, and patches from then on', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }))
  const [steady, slow] = [r.connect(PATCHES), r.connect(PATCHES)]
  await pass(r)
  slow.pending = 1
  const cursor = slow.cursorAfter()
  for (const a of [1, 2]) {
    await r.publish(value({ a }))
    await pass(r)
  }
  const back = r.connect(PATCHES, cursor)
  const late = r.connect(PATCHES)
  slow.drain()
  await pass(r)
  t.same([news(steady), news(slow), news(back), news(late)], [['whole', { a: 1 }, { a: 2 }], ['whole', 'whole'], ['whole'], ['whole']])
  await r.publish(value({ a: 3 }))
  await pass(r)
  for (const client of [steady, slow, back, late]) t.same(news(client).at(-1), { a: 3 })
  await r.close()
})

t.test('whoever comes back within the tick holds the base: the patch goes on from his cursor', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }))
  const client = r.connect(PATCHES)
  await pass(r)
  client.session.end()
  await r.publish(value({ a: 1 }))
  const back = r.connect(PATCHES, client.cursorAfter())
  await pass(r)
  t.same(news(back), [{ a: 1 }])
  await r.close()
})

t.test('a value behind a deletion, an end by its ttl, a reset or a join of its room is whole', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }), value({ a: 0 }, 'brief'), value({ a: 0 }, 'k', 'b'))
  const client = r.connect(PATCHES)
  await pass(r)
  await r.publish({ ...value({ a: 1 }, 'brief'), ttl: 1 }, { type: 'x', room: 'a', key: 'k', data: null })
  await pass(r, 3000)
  await r.publish(value({ a: 2 }), value({ a: 2 }, 'brief'))
  await pass(r)
  t.same(news(client, 2), [{ a: 1 }, null, null, 'whole', 'whole'])

  client.join([{ room: 'b', patch: true }])
  await r.publish(value({ a: 3 }), value({ a: 3 }, 'k', 'b'))
  await pass(r)
  t.same(news(client, 7).sort(), [{ a: 3 }, 'whole'].sort())
  client.session.leave(['b'])
  client.join([{ room: 'b' }])
  await pass(r)
  await r.publish(value({ a: 4 }), value({ a: 4 }, 'k', 'b'))
  await pass(r)
  t.same(news(client, 9).map(String).sort(), ['whole', 'whole', String({})].sort(), 'a room that was joined without patches has none')

  const { follower, image } = r.reload()
  follower.load({ ...image, head: r.gateway.view.history.head, lineage: { epoch: 'other', epochs: [{ epoch: 'other', seam: '0-0' }] } })
  const before = client.events.length
  await pass(r)
  await r.publish(value({ a: 5 }))
  await pass(r)
  t.equal(client.kinds().filter(kind => kind === 'reset').length, 1)
  t.same(news(client, before), ['whole'])
  await r.close()
})

t.test('whoever comes back behind a part of the pending values gets the others whole: he may hold older ones than those in step', async t => {
  const r = await rig({ limits: { maxBundleBytes: 600 } })
  const wide = (a: number, key: string): object => value({ a, wide: 'w'.repeat(150) }, key)
  await r.publish(wide(0, 'k'), wide(0, 'l'))
  const [steady, slow] = [r.connect(PATCHES), r.connect(PATCHES)]
  await pass(r, 500)
  slow.pending = 1
  await r.publish(wide(1, 'l'))
  await pass(r)
  await r.publish(wide(1, 'k'), wide(2, 'l'))
  const before = slow.received.length
  slow.clogged = true
  slow.drain()
  r.clock.advance(100)
  await r.clock.settle()
  t.same(slow.events.slice(2).map(({ key }) => key), ['k'], 'a part')
  const back = r.connect(PATCHES, slow.cursorAfter(before + 1))
  await pass(r)
  t.same(news(back), ['whole'])
  t.same(news(steady, 2), [{ a: 1 }, { a: 1 }, { a: 2 }])
  await r.close()
})

t.test('who reads a room in between takes nobody\'s base away', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }))
  const client = r.connect(PATCHES)
  await pass(r)
  for (const a of [1, 2, 3]) {
    await r.publish(value({ a }))
    await r.clock.settle()
    await r.publish(value({ a: -a }))
    r.connect(PATCHES)
    await r.gateway.read({ joins: PATCHES })
    await r.clock.settle()
    await r.publish(value({ a: a + 10 }))
    await pass(r, 250)
  }
  t.same(news(client), ['whole', ...[1, 2, 3].flatMap(a => [{ a }, { a: a + 10 }])])
  await r.close()
})

t.test('a read gets patches against the values as of its cursor, from the second one on', async t => {
  const r = await rig()
  await r.publish(value({ a: 0 }))
  const page = new Page()
  const read = async (): Promise<unknown[]> => {
    const { entries, cursor, position } = await r.gateway.read({ joins: PATCHES, cursor: page.cursor })
    const events = entries.map(({ json }) => JSON.parse(json))
    page.apply({ kind: 'joined', rooms: ['a'], position, cursor })
    page.apply({ kind: 'bundle', events, cursor })
    return events.map(event => event.patch ?? 'whole')
  }
  t.same(await read(), ['whole'])
  await pass(r)
  await r.publish(value({ a: 1 }))
  const { cursor } = page
  t.same(await read(), [{ a: 1 }])
  page.cursor = cursor
  await pass(r)
  await r.publish(value({ a: 2 }))
  t.same((await r.gateway.read({ joins: PATCHES, cursor })).entries.map(entry => patchIn(entry) ?? 'whole'), ['whole'], 'it holds an older one')
  await r.close()
})

t.test('bases take a bounded number of bytes: beyond it the oldest are forgotten', async t => {
  const bases = new Bases(10_000)
  const values = Array.from({ length: 100 }, (_, n) => ({ entry: entry({ LONG }, n + 1, `k${n}`), base: null }))
  for (const value of values) bases.replace(value, entry({ LONG }, 200), '150-0')
  const kept = values.map(({ base }) => base !== null)
  t.ok(bases.bytes > 5000 && bases.bytes <= 10_000, `${bases.bytes} bytes`)
  t.same(kept, [...kept].sort(), 'the newest are kept')
  for (const value of values) bases.delete(value)
  t.equal(bases.bytes, 0)

  const r = await rig()
  const plain = r.connect([{ room: 'a' }])
  for (const a of [1, 2]) {
    await r.publish(value({ a }))
    await pass(r)
  }
  t.equal(r.gateway.view.baseBytes, 0, 'nobody takes patches')
  r.connect(PATCHES)
  await pass(r)
  await r.publish(value({ a: 3 }), value({ a: 3 }, 'k', 'b'))
  t.ok(r.gateway.view.baseBytes > 0)
  await r.publish({ type: 'x', room: 'a', key: 'k', data: null })
  t.equal(r.gateway.view.baseBytes, 0, 'its key is gone')
  plain.session.end()
  await r.close()
})
