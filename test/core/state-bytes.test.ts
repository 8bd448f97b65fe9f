// STATE_BYTES: how much the present values may take.

import t from 'tap'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { PatternGrants } from '../../src/core/grants.ts'
import { trusted } from '../../src/core/identity.ts'
import { ManualClock } from '../clock.ts'
import { rig, silent } from './rig.ts'

const text = (length: number): string => 'x'.repeat(length)
const value = (room: string, key: string, data: unknown): object => ({ type: 'log', room, key, data })

t.test('values beyond STATE_BYTES are refused, naming the room that has the most; what adds nothing passes', async t => {
  const r = await rig({ limits: { stateBytes: 10_000 } })
  await r.publish(value('small', 'a', text(1000)))
  await r.publish(value('large', 'a', text(3000)), value('large', 'b', text(3000)))
  const more = value('small', 'b', text(2000))
  await t.rejects(r.publish(more), { code: 'STATE_FULL', statusCode: 409, message: /10000 bytes \(STATE_BYTES\).*room large has the most.*in 2 keys/ })
  await t.rejects(r.publish({ type: 'fact', data: 1 }, more), { code: 'STATE_FULL' }, 'all or nothing')
  const identity = { ...trusted('somebody'), grants: new PatternGrants({ publish: ['small'] }) }
  await t.rejects(r.gateway.publish([more], { identity }), { code: 'STATE_FULL', message: /another room has the most/ }, 'nobody hears of rooms that he has nothing to do with')
  await t.rejects(r.publish(value('small', 'a', text(4000))), { code: 'STATE_FULL' }, 'a larger value of a key adds too')
  t.same(r.gateway.view.totals, { rooms: 2, keys: 3, stateBytes: r.gateway.view.totals.stateBytes })

  await r.publish({ type: 'fact', room: 'large', data: text(20_000) })
  await r.publish(value('large', 'a', text(3000)))
  await r.publish(value('large', 'b', text(10)))
  await r.publish(value('large', 'a', text(10)), value('large', 'b', text(3000)))
  await r.publish(value('large', 'b', null), more)
  t.equal(await r.gateway.operator.clear('small'), 2)
  t.equal(await r.gateway.operator.clear('large'), 1)
  t.equal(r.gateway.view.totals.stateBytes, 0)
})

t.test('publishes on their way count, once each, and of one publish only the last value of a key does', async t => {
  const r = await rig({ limits: { stateBytes: 10_000 } })
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map(async key => await r.publish(value('a', key, text(4000)))))
  t.same(outcomes.map(({ status }) => status), ['fulfilled', 'fulfilled', 'rejected'])
  t.equal(await r.gateway.operator.clear('a'), 2)
  await r.publish(...Array.from({ length: 10 }, () => value('a', 'a', text(4000))))
  await r.publish(value('a', 'b', text(4000)))
})

t.test('small values count with what keeping them takes, and texts beyond Latin-1 with two bytes a character', async t => {
  const r = await rig({ limits: { stateBytes: 1_000_000 } })
  await t.rejects(r.publish(...Array.from({ length: 1000 }, (_, key) => value('a', `key-${key}`, text(450)))), { code: 'STATE_FULL' })
  await r.publish(value('a', 'a', text(600_000)))
  await t.rejects(r.publish(value('a', 'a', `${text(600_000)}\u20ac`)), { code: 'STATE_FULL' })
})

t.test('what is there is always loaded, also beyond STATE_BYTES, and can be cleared', async t => {
  const store = await openEmbeddedStore({ clock: new ManualClock(), dataDir: ':memory:', durability: 'process', gatherMs: 0, historySize: 0, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 1000, log: silent })
  await store.append(Array.from({ length: 100 }, (_, key) => ({ type: 'log', room: 'a', key: String(key), deletion: false, tail: `"type":"log","room":"a","key":"${key}","data":"${text(1000)}","timestamp":1}` })))
  const r = await rig({ limits: { stateBytes: 1000 }, gateway: { store } })
  t.ok(r.gateway.view.totals.stateBytes > 100_000)
  await t.rejects(r.publish(value('a', 'new', 1)), { code: 'STATE_FULL', message: /room a has the most/ })
  await r.publish(value('a', '1', null))
  t.equal(await r.gateway.operator.clear('a'), 99)
  await r.publish(value('a', 'new', 1))
})
