// The store that other tests let fail must fail as they say, and only then.

import t from 'tap'
import { Refusal } from '../../src/core/errors.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { silent } from '../core/rig.ts'
import { ManualClock } from '../clock.ts'
import { FailingStore } from './failing-store.ts'
import { fact } from './harness.ts'

const record = (by: string) => ({ command: 'move', status: 'running', fingerprint: 'x', by }) as const

async function open (): Promise<FailingStore> {
  return new FailingStore(await openEmbeddedStore({ dataDir: ':memory:', durability: 'process', gatherMs: 0, historySize: 0, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 60_000, clock: new ManualClock(), log: silent }))
}

t.test('a method fails as often as the test says, and then works', async t => {
  const store = await open()
  store.fail('append', undefined, { count: 2 })
  await t.rejects(store.append([fact(1)]), { code: 'STORE_UNAVAILABLE' })
  await t.rejects(store.append([fact(1)]), { code: 'STORE_UNAVAILABLE' })
  t.equal((await store.append([fact(1)])).length, 1)
  t.match(store.calls, { append: 3, claim: 0 })
})

t.test('a method fails with the refusal it is given until it recovers, and the others work', async t => {
  const store = await open()
  store.fail('recall', new Refusal('OVERLOADED', 'later'))
  await t.rejects(store.recall('c'), { code: 'OVERLOADED' })
  t.equal(await store.claim('c', record('one')), null)
  store.recover('recall')
  t.same(await store.recall('c'), record('one'))
})

t.test('a call may fail and take effect all the same', async t => {
  const store = await open()
  store.fail('claim', undefined, { count: 1, tookEffect: true })
  await t.rejects(store.claim('c', record('one')), { code: 'STORE_UNAVAILABLE' })
  t.same(await store.claim('c', record('two')), record('one'))
})
