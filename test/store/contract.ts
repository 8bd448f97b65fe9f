// The contract of the log, as sentences about what is seen from outside. Any store runs it; what only one
// of them has is tested beside it.

import type { Test } from 'tap'
import { isAfter, isId } from '../../src/core/id.ts'
import { draftOf, ttlOf } from '../../src/core/event.ts'
import type { Draft } from '../../src/core/event.ts'
import type { Id } from '../../src/core/id.ts'
import { dataOf, deletion, fact, record, value } from './harness.ts'
import type { Harness } from './harness.ts'

const HOUR = 3_600_000

export function storeContract (t: Tap, name: string, harness: Harness): void {
  t.test(name, async t => {
    // Where time is real most of these wait, for seconds: what must not have ended yet is asked long before its end.
    t.jobs = harness.jobs ?? 1

    t.test('an appended event has an id, is told once, and reads as it was published', async t => {
      const { store, follower, close } = await harness.open()
      const [id] = await store.append([fact({ a: [1, 'ü', null] }, 'plant-1')])
      t.ok(isId(id as string))
      t.equal(follower.applied.length, 1)
      const [entry] = follower.applied
      t.same(JSON.parse(entry?.json ?? ''), { id, type: 'note', room: 'plant-1', data: { a: [1, 'ü', null] }, timestamp: 1_700_000_000_000 })
      t.match(entry, { id, type: 'note', room: 'plant-1', key: null, deletion: false, size: Buffer.byteLength(entry?.json ?? '') })
      await close()
    })

    t.test('the follower has an event before its publisher is answered', async t => {
      const { store, follower, close } = await harness.open()
      const appends = Array.from({ length: 20 }, async (_, n) => {
        const [id] = await store.append([fact(n)])
        t.ok(follower.applied.some(entry => entry.id === id))
      })
      await Promise.all(appends)
      await close()
    })

    t.test('ids rise strictly in the order of publishing, over all appends', async t => {
      const { store, follower, close } = await harness.open()
      const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => store.append([fact(n), value(`k${n % 7}`, n)])))
      const ids = answers.flat() as string[]
      t.ok(ids.every((id, at) => at === 0 || isAfter(id, ids[at - 1] as string)))
      t.same(follower.applied.map(({ id }) => id), ids)
      await close()
    })

    t.test('ids rise when the clock is set back', async t => {
      const { store, turnBack, close } = await harness.open()
      const [first] = await store.append([fact(1)])
      turnBack(HOUR)
      const [second, third] = await store.append([fact(2), fact(3)])
      t.ok(isAfter(second as string, first as string))
      t.ok(isAfter(third as string, second as string))
      await close()
    })

    t.test('an append of nothing is answered with nothing', async t => {
      const { store, follower, close } = await harness.open()
      t.same(await store.append([]), [])
      t.equal(follower.applied.length, 0)
      await close()
    })

    t.test('of a key only the newest value is present, whatever its room and type have besides', async t => {
      const { store, follower, close } = await harness.open()
      await store.append([value('a', 1), value('a', 2), value('a', 3, 'plant-1'), value('b', 4), value('a', 5)])
      t.same(follower.values.map(dataOf), [3, 4, 5])
      t.equal(follower.history.length, 0, 'values are no history')
      await close()
    })

    t.test('a deletion ends its key, and is kept in history and told', async t => {
      const { store, follower, close } = await harness.open()
      await store.append([value('a', 1), value('b', 2)])
      const [id] = await store.append([deletion('a')])
      t.same(follower.values.map(dataOf), [2])
      t.match(follower.history, [{ id, key: 'a', deletion: true }])
      await close()
    })

    t.test('a deletion of a key that is not there is an event all the same', async t => {
      const { store, follower, close } = await harness.open()
      const [id] = await store.append([deletion('nobody')])
      t.ok(isId(id as string))
      t.match(follower.history, [{ id }])
      await close()
    })

    t.test('a deletion that ends a value does nothing where another is present', async t => {
      const { store, follower, close } = await harness.open()
      const [first] = await store.append([value('a', 1)])
      const [second] = await store.append([value('a', 2)])
      t.same(await store.append([deletion('a', undefined, first as string)]), [null])
      t.same(follower.values.map(dataOf), [2])
      t.equal(follower.history.length, 0)
      const [ended] = await store.append([deletion('a', undefined, second as string)])
      t.ok(isId(ended as string))
      t.same(await store.append([deletion('a', undefined, second as string)]), [null], 'it has ended already')
      t.same(follower.values, [])
      await close()
    })

    t.test('a value that is only for a key without one does nothing where there is one', async t => {
      const { store, follower, close } = await harness.open()
      const first = (data: unknown): Draft => ({ ...value('a', data), ifAbsent: true })
      const [id] = await store.append([first(1)])
      t.ok(isId(id as string))
      t.same(await store.append([first(2)]), [null])
      const ids = await store.append([first(3), deletion('a'), first(4), first(5)])
      t.same(ids.map(id => id === null), [true, false, false, true], 'it is judged after the events before it, in the same append too')
      t.same(follower.values.map(dataOf), [4])
      await close()
    })

    t.test('what a deletion ends is judged after the events before it, in the same append too', async t => {
      const { store, follower, close } = await harness.open()
      const [first] = await store.append([value('a', 1)])
      const [, passedOver] = await store.append([value('a', 2), deletion('a', undefined, first as string)])
      t.equal(passedOver, null)
      const both = await Promise.all([store.append([value('a', 3)]), store.append([deletion('a', undefined, first as string)])])
      t.same(both[1], [null])
      t.same(follower.values.map(dataOf), [3])
      await close()
    })

    t.test('a room takes as many keys as it may and refuses the next with KEYS_FULL', async t => {
      const { store, follower, close } = await harness.open({ maxKeysPerRoom: 2 })
      await store.append([value('a', 1, 'plant-1'), value('b', 1, 'plant-1')])
      await t.rejects(store.append([value('c', 1, 'plant-1')]), { code: 'KEYS_FULL', statusCode: 409 })
      await store.append([value('a', 2, 'plant-1')])
      await store.append([value('c', 1, 'plant-2')])
      await store.append([deletion('a', 'plant-1'), value('c', 3, 'plant-1')])
      t.same(follower.values.map(dataOf), [1, 1, 3])
      await close()
    })

    t.test('the public feed counts as one room; the gateway\'s own rooms have no limit', async t => {
      const { store, close } = await harness.open({ maxKeysPerRoom: 1 })
      await store.append([value('a', 1)])
      await t.rejects(store.append([value('b', 1)]), { code: 'KEYS_FULL' })
      await store.append([value('a', 1, '@system'), value('b', 1, '@system')])
      await close()
    })

    t.test('0 keys per room is any number', async t => {
      const { store, follower, close } = await harness.open({ maxKeysPerRoom: 0 })
      await store.append(Array.from({ length: 100 }, (_, n) => value(`k${n}`, n)))
      t.equal(follower.values.length, 100)
      await close()
    })

    t.test('an append is refused whole, and takes no room of those beside it', async t => {
      const { store, follower, close } = await harness.open({ maxKeysPerRoom: 2 })
      const [first, refused, second] = await Promise.allSettled([
        store.append([value('a', 1), fact('before')]),
        store.append([fact('half'), deletion('a'), value('b', 1), value('c', 1), value('d', 1)]),
        store.append([value('b', 2), fact('behind')])
      ])
      t.equal(first.status, 'fulfilled')
      t.match(refused, { status: 'rejected', reason: { code: 'KEYS_FULL' } })
      t.equal(second.status, 'fulfilled')
      t.same(follower.applied.map(dataOf), [1, 'before', 2, 'behind'])
      t.same(follower.values.map(dataOf), [1, 2])
      await t.rejects(store.append([value('c', 1)]), { code: 'KEYS_FULL' })
      await close()
    })

    t.test('appends asked for at once come to the same as one after the other', async t => {
      let seed = 1
      const any = (below: number): number => (seed = seed * 48271 % 2147483647) % below
      const key = (): string => `k${any(4)}`
      const kinds: Array<(n: number, room: string) => Draft> = [
        (n, room) => fact(n, room), (n, room) => value(key(), n, room), (n, room) => value(key(), n, room), (_, room) => deletion(key(), room), (_, room) => deletion(key(), room, '1-1')
      ]
      const asked = Array.from({ length: 300 }, (_, n) => {
        const drafts = Array.from({ length: any(4) }, () => (kinds[any(kinds.length)] as typeof kinds[0])(n, `plant-${any(3)}`))
        const once = any(3) === 0 ? { key: `once${any(30)}`, fingerprint: `${any(2)}` } : undefined
        return { drafts, once }
      })
      const outcome = async (inTurn: boolean): Promise<object> => {
        const { store, follower, close } = await harness.open({ maxKeysPerRoom: 2 })
        const answers: Array<Promise<unknown>> = []
        for (const { drafts, once } of asked) {
          const at = (id: Id | null): number => follower.applied.findIndex(entry => entry.id === id)
          answers.push(store.append(drafts, once).then(ids => ids.map(at), error => error.code))
          if (inTurn) await answers.at(-1)
        }
        const answered = await Promise.all(answers)
        const { values, history, applied } = follower
        await close()
        return { answered, values: values.map(dataOf), history: history.map(dataOf), applied: applied.map(({ json }) => json.replace(/"id":"[^"]+",/, '')) }
      }
      const inTurn = await outcome(true)
      t.same(await outcome(false), inTurn)
      for (const code of ['KEYS_FULL', 'IDEMPOTENCY_CONFLICT']) t.ok(JSON.stringify(inTurn).includes(code), `some were refused for ${code}`)
    })

    t.test('an append repeated under its key is answered with the ids of the first time', async t => {
      const { store, follower, close } = await harness.open()
      const once = { key: 'me /api/events 1', fingerprint: 'x' }
      const first = await store.append([fact(1), deletion('a', undefined, '1-1')], once)
      t.equal(first[1], null)
      t.same(await store.append([fact(1), deletion('a', undefined, '1-1')], once), first)
      t.equal(follower.applied.length, 1)
      await close()
    })

    t.test('an append repeated while the first is on its way is answered like it', async t => {
      const { store, follower, close } = await harness.open()
      const once = { key: 'k', fingerprint: 'x' }
      const answers = await Promise.all(Array.from({ length: 10 }, () => store.append([fact(1)], once)))
      for (const ids of answers) t.same(ids, answers[0])
      t.equal(follower.applied.length, 1)
      await close()
    })

    t.test('the same key with another fingerprint is IDEMPOTENCY_CONFLICT', async t => {
      const { store, follower, close } = await harness.open()
      const [first, other] = await Promise.allSettled([
        store.append([fact(1)], { key: 'k', fingerprint: 'x' }),
        store.append([fact(2)], { key: 'k', fingerprint: 'y' })
      ])
      t.equal(first.status, 'fulfilled')
      t.match(other, { status: 'rejected', reason: { code: 'IDEMPOTENCY_CONFLICT', statusCode: 409 } })
      await t.rejects(store.append([fact(2)], { key: 'k', fingerprint: 'y' }), { code: 'IDEMPOTENCY_CONFLICT' })
      await store.append([fact(3)], { key: 'K', fingerprint: 'y' })
      t.same(follower.applied.map(dataOf), [1, 3])
      await close()
    })

    t.test('a refused append is not remembered', async t => {
      const { store, follower, close } = await harness.open({ maxKeysPerRoom: 1 })
      await store.append([value('a', 1)])
      const once = { key: 'k', fingerprint: 'x' }
      await t.rejects(store.append([value('b', 1)], once), { code: 'KEYS_FULL' })
      await store.append([deletion('a')])
      t.ok(isId((await store.append([value('b', 1)], once))[0] as string))
      t.same(follower.values.map(dataOf), [1])
      await close()
    })

    t.test('an idempotency key is forgotten after its time, counted from the first', async t => {
      const { store, follower, pass, close } = await harness.open({ idempotencyTtlMs: 10_000 })
      const once = { key: 'k', fingerprint: 'x' }
      const first = await store.append([fact(1)], once)
      await pass(4000)
      t.same(await store.append([fact(1)], once), first)
      await pass(6500)
      t.not((await store.append([fact(1)], once))[0], first[0])
      t.equal(follower.applied.length, 2)
      await close()
    })

    t.test('history is trimmed from the old end by number, deletions counted like facts', async t => {
      const { store, follower, close } = await harness.open({ historySize: 3 })
      await store.append([fact(1), value('a', 2), deletion('a'), fact(3)])
      const [fourth] = await store.append([fact(4)])
      t.same(follower.history.map(dataOf), [null, 3, 4])
      await store.append([value('b', 5)])
      t.equal(follower.history.length, 3, 'values take no room in it')
      await store.append(Array.from({ length: 10 }, (_, n) => fact(n)))
      t.same(follower.history.map(dataOf), [7, 8, 9])
      t.ok(isAfter(follower.floor, fourth as string))
      t.equal(follower.floor, follower.applied.at(-4)?.id, 'the floor is the newest trimmed')
      await close()
    })

    t.test('history is trimmed by bytes', async t => {
      const { store, follower, close } = await harness.open({ historyBytes: 1000 })
      for (let n = 0; n < 20; n++) await store.append([fact('x'.repeat(100))])
      const bytes = follower.history.reduce((sum, { size }) => sum + size, 0)
      t.ok(bytes <= 1000 && bytes > 600, `${bytes} bytes`)
      await close()
    })

    t.test('history is trimmed by age while nothing is published', async t => {
      const { store, follower, pass, close } = await harness.open({ historyTtlMs: 10_000 })
      const [first] = await store.append([fact(1)])
      await store.append([value('a', 1)])
      await pass(5000)
      const [second] = await store.append([fact(2)])
      t.equal(follower.history.length, 2)
      await pass(5100)
      await follower.until(({ history }) => history.length === 1)
      t.equal(follower.floor, first)
      await pass(5000)
      await follower.until(({ history }) => history.length === 0)
      t.equal(follower.floor, second)
      t.same(follower.values.map(dataOf), [1], 'values do not age')
      await close()
    })

    t.test('after a clock that was ahead for a moment history ends in its time', async t => {
      const { store, follower, pass, wasAhead, close } = await harness.open({ historyTtlMs: 10_000 })
      await wasAhead(HOUR)
      const [behind] = await store.append([fact('behind')])
      await pass(4000)
      const [later] = await store.append([value('a', 1)])
      t.same(follower.history.map(dataOf), ['behind'])
      t.ok(isAfter(later as string, behind as string))
      await pass(6300)
      await follower.until(({ history }) => history.length === 0)
      await close()
    })

    t.test('after a clock that was ahead for a moment an idempotency key and a command\'s record are kept for their time', async t => {
      const { store, pass, wasAhead, close } = await harness.open({ idempotencyTtlMs: 10_000 })
      const [once, late] = [{ key: 'k', fingerprint: 'x' }, { key: 'late', fingerprint: 'x' }]
      const first = await store.append([fact(1)], once)
      await store.claim('c1', record(1))
      await wasAhead(HOUR)
      const second = await store.append([fact(2)], late)
      await pass(4000)
      t.same(await store.append([fact(1)], once), first)
      t.same(await store.recall('c1'), record(1))
      await pass(6200)
      t.not((await store.append([fact(1)], once))[0], first[0])
      t.not((await store.append([fact(2)], late))[0], second[0])
      t.equal(await store.recall('c1'), null)
      await close()
    })

    t.test('nothing is trimmed where the limits are 0', async t => {
      const { store, follower, pass, close } = await harness.open({ historySize: 0, historyBytes: 0, historyTtlMs: 0 })
      await store.append(Array.from({ length: 500 }, (_, n) => fact(n)))
      await pass(3000)
      await store.append([fact('last')])
      t.equal(follower.history.length, 501)
      await close()
    })

    t.test('a command is claimed by one of those who ask at the same time', async t => {
      const { store, close } = await harness.open()
      const claims = await Promise.all(Array.from({ length: 10 }, (_, n) => store.claim('c1', record(n))))
      t.equal(claims.filter(before => before === null).length, 1)
      const winner = claims.indexOf(null)
      for (const before of claims) if (before !== null) t.same(before, record(winner))
      t.same(await store.recall('c1'), record(winner))
      await close()
    })

    t.test('a command\'s record is replaced, recalled and forgotten', async t => {
      const { store, follower, close } = await harness.open()
      t.equal(await store.recall('c1'), null)
      await store.claim('c1', record())
      await store.settle('c1', record([1, 'ü']))
      t.same(await store.recall('c1'), record([1, 'ü']))
      t.same(await store.claim('c1', record()), record([1, 'ü']))
      await store.settle('c1', null)
      t.equal(await store.recall('c1'), null)
      t.equal(await store.claim('c1', record()), null)
      t.equal(follower.applied.length, 0, 'commands are no events')
      await close()
    })

    t.test('a command\'s record is forgotten after its time', async t => {
      const { store, pass, close } = await harness.open({ idempotencyTtlMs: 10_000 })
      await store.claim('c1', record(1))
      await pass(4000)
      t.same(await store.recall('c1'), record(1))
      await pass(6500)
      t.equal(await store.recall('c1'), null)
      t.equal(await store.claim('c1', record(2)), null)
      await pass(4000)
      t.same(await store.recall('c1'), record(2))
      await close()
    })

    t.test('a closed store has answered what waited, refuses what comes, and can be closed again', async t => {
      const { store, follower, close } = await harness.open()
      const waiting = Promise.all(Array.from({ length: 50 }, (_, n) => store.append([fact(n)])))
      const closing = store.close()
      await t.rejects(store.append([fact('late')]), { code: 'STORE_UNAVAILABLE', statusCode: 503 })
      await t.rejects(store.recall('c1'), { code: 'STORE_UNAVAILABLE' })
      t.equal((await waiting).length, 50)
      await Promise.all([closing, store.close()])
      t.equal(follower.applied.length, 50)
      await close()
    })

    t.test('the secret of the deployment is 32 bytes, the same whenever it is asked for', async t => {
      const { store, close } = await harness.open()
      const first = await store.secret()
      t.equal(first.length, 32)
      await store.append([fact(1)])
      t.same(await store.secret(), first)
      t.same(await Promise.all([store.secret(), store.secret()]), [first, first])
      await close()
    })

    if (harness.lasts) opensAgain(t, harness)
  })
}

/** Where the log outlives the store. */
function opensAgain (t: Tap, harness: Harness): void {
  t.test('a store opened again gives the image that was followed', async t => {
    let opened = await harness.open({ historySize: 20 })
    for (let n = 0; n < 30; n++) {
      await opened.store.append([fact({ n, text: 'line\nbreak "ü" \u2028' }, n % 2 ? 'plant-1' : undefined), value(`k ${n % 5}"\ud800`, n, 'plant-1'), value('gone', n)])
    }
    await opened.store.append([deletion('gone')])
    for (let round = 0; round < 3; round++) {
      const before = opened.follower.image
      opened = await opened.reopen()
      t.same(opened.follower.image, before)
    }
    await opened.store.append([fact('one more')])
    t.equal(opened.follower.history.length, 20, 'sizes and counts were restored too')
    await opened.close()
  })

  t.test('deletions of @system take no place in history; the newest of them is remembered', async t => {
    let opened = await harness.open({ historySize: 3, historyBytes: 4000 })
    await opened.store.append([fact(1), fact(2), fact(3)])
    for (let n = 0; n < 50; n++) await opened.store.append([value(`room-${n}`, 1, '@system'), deletion(`room-${n}`, '@system')])
    const [last] = await opened.store.append([deletion('room-0', '@system')])
    t.equal(opened.follower.applied.filter(({ deletion }) => deletion).length, 51, 'followers hear of them')
    await opened.store.append([value('b', 1, '@system')])
    for (let round = 0; round < 2; round++) {
      t.same(opened.follower.history.map(dataOf), [1, 2, 3])
      t.equal(opened.follower.floor, '0-0')
      t.same(opened.follower.values.map(({ key }) => key), ['b'])
      opened = await opened.reopen()
      t.equal(opened.follower.systemFloor, last)
    }
    const [later] = await opened.store.append([deletion('b', '@system')])
    opened = await opened.reopen()
    t.equal(opened.follower.systemFloor, later)
    await opened.close()
  })

  t.test('ids rise over restarts and clocks set back, also where all events were trimmed', async t => {
    let opened = await harness.open({ historySize: 1 })
    let last = '0-0'
    for (let round = 0; round < 4; round++) {
      const ids = await opened.store.append([fact(1), value('a', 1), deletion('a'), value('b', 1)]) as string[]
      for (const id of ids) {
        t.ok(isAfter(id, last), `${id} comes after ${last}`)
        last = id
      }
      opened.turnBack(HOUR)
      opened = await opened.reopen()
      t.equal(opened.follower.head, last)
    }
    await opened.close()
  })

  t.test('after a clock that was ahead for a moment history and idempotency keys keep their time over restarts, and ids rise', async t => {
    let opened = await harness.open({ historyTtlMs: 10_000, idempotencyTtlMs: 10_000 })
    const once = { key: 'k', fingerprint: 'x' }
    const first = await opened.store.append([fact('before')], once)
    await opened.wasAhead(HOUR)
    const [last] = await opened.store.append([fact('behind')])
    opened = await opened.reopen()
    t.equal(dataOf(opened.follower.history.at(-1)), 'behind')
    t.same(await opened.store.append([fact('before')], once), first)
    const [next] = await opened.store.append([value('a', 1)])
    t.ok(isAfter(next as string, last as string))
    await opened.pass(4000)
    opened = await opened.reopen()
    await opened.pass(10_100)
    await opened.follower.until(({ history }) => history.length === 0)
    t.not((await opened.store.append([fact('again')], once))[0], first[0])
    await opened.close()
  })

  t.test('the floor is no lower after a restart than what was trimmed', async t => {
    let opened = await harness.open({ historyTtlMs: 2000 })
    const [, last] = await opened.store.append([fact(1), fact(2)])
    await opened.pass(3100)
    await opened.follower.until(({ floor }) => floor === last)
    opened = await opened.reopen()
    t.match(opened.follower, { floor: last, head: last, history: [] })
    await opened.close()
  })

  t.test('what grew too old, or too much, while the store was away is not in the image', async t => {
    let opened = await harness.open({ historyTtlMs: 12_000 })
    await opened.store.append([fact(1)])
    await opened.pass(7000)
    await opened.store.append([fact(2), fact(3)])
    await opened.store.close()
    await opened.pass(5200)
    opened = await opened.reopen()
    t.same(opened.follower.history.map(dataOf), [2, 3])
    opened = await opened.reopen({ historySize: 1 })
    t.same(opened.follower.history.map(dataOf), [3])
    opened = await opened.reopen()
    t.same(opened.follower.history.map(dataOf), [3], 'trimmed for good')
    await opened.close()
  })

  t.test('an idempotency key is remembered across restarts until its time is over', async t => {
    let opened = await harness.open({ idempotencyTtlMs: 10_000 })
    const once = { key: 'k', fingerprint: 'x' }
    const first = await opened.store.append([fact(1)], once)
    opened = await opened.reopen()
    t.same(await opened.store.append([fact(1)], once), first)
    await t.rejects(opened.store.append([fact(2)], { ...once, fingerprint: 'y' }), { code: 'IDEMPOTENCY_CONFLICT' })
    opened = await opened.reopen()
    await opened.pass(10_100)
    t.not((await opened.store.append([fact(1)], once))[0], first[0])
    await opened.close()
  })

  t.test('room limits and ends hold across restarts', async t => {
    let opened = await harness.open({ maxKeysPerRoom: 2 })
    const [, b] = await opened.store.append([value('a', 1), value('b', 1)])
    opened = await opened.reopen()
    await t.rejects(opened.store.append([value('c', 1)]), { code: 'KEYS_FULL' })
    t.same(await opened.store.append([deletion('a', undefined, b as string)]), [null])
    t.ok(isId((await opened.store.append([deletion('b', undefined, b as string)]))[0] as string))
    opened = await opened.reopen()
    await opened.store.append([value('c', 1)])
    t.same(opened.follower.values.length, 2)
    await opened.close()
  })

  t.test('a command\'s record outlives the store', async t => {
    let opened = await harness.open()
    await opened.store.claim('c1', record())
    await opened.store.claim('c2', record())
    await opened.store.settle('c2', record('done'))
    opened = await opened.reopen()
    t.same(await opened.store.claim('c1', record('again')), record())
    t.same(await opened.store.recall('c2'), record('done'))
    await opened.close()
  })

  // What keeps the log is started anew: these have it to themselves.

  t.test('a value keeps the ttl it was given, over restarts too', { buffered: false }, async t => {
    let opened = await harness.open()
    await opened.store.append([draftOf({ type: 'gauge', key: 'a', data: 1, timestamp: 1_700_000_000_000, ttl: 31_536_000 }), value('b', 2), draftOf({ type: 'gauge', key: 'c', data: ',"ttl":1}', timestamp: 1_700_000_000_000 })])
    for (let round = 0; round < 2; round++) {
      t.same(opened.follower.values.map(ttlOf), [31_536_000_000, null, null])
      opened = await opened.restart()
    }
    await opened.close()
  })

  t.test('each start of what keeps the log begins an epoch whose seam is the last id it held', { buffered: false }, async t => {
    let opened = await harness.open()
    t.same(opened.follower.lineage.epochs, [{ epoch: opened.follower.lineage.epoch, seam: '0-0' }])
    for (let round = 0; round < 3; round++) {
      const ids = await opened.store.append([fact(1), value('a', 1)])
      const before = opened.follower.lineage.epochs
      opened = await opened.restart()
      const { epoch, epochs } = opened.follower.lineage
      t.match(epoch, /^[A-Za-z0-9]{8,16}$/)
      t.same(epochs, [...before, { epoch, seam: ids[1] }])
      t.equal(new Set(epochs.map(({ epoch }) => epoch)).size, epochs.length)
    }
    await opened.close()
  })
}

type Tap = Pick<Test, 'test'>
