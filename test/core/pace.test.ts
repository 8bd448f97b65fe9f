// The pace of a client (`paceMs`): values at most so often and then the newest, facts as ever. That nothing is lost by it, whatever
// the schedule, is in delivery.test.ts.

import t from 'tap'
import { Page } from '../page.ts'
import { rig } from './rig.ts'
import type { Client, Rig } from './rig.ts'

const SECOND = 1000

const gauge = (data: unknown, key = 'k', room = 'a'): object => ({ type: 'gauge', room, key, data })
const fact = (data: unknown, room = 'a'): object => ({ type: 'log', room, data })

function open (r: Rig, paceMs: number | null, cursor: string | null = null): Client & { readonly times: number[] } {
  const client = Object.assign(r.connect([{ room: 'a' }], cursor), { times: [] as number[] })
  client.session.setPace(paceMs)
  const send = client.send.bind(client)
  client.send = bundle => {
    if (bundle.entries.some(({ key }) => key !== null)) client.times.push(r.clock.now())
    return send(bundle)
  }
  return client
}

async function pass ({ clock }: Rig, ms: number, step = 50): Promise<void> {
  for (let passed = 0; passed < ms; passed += step) {
    clock.advance(step)
    await clock.settle()
  }
}

const pageOf = (...clients: Client[]): Page => {
  const page = new Page()
  for (const client of clients) for (const message of client.received) page.apply(message)
  return page
}

const valuesOf = (client: Client): unknown[] => client.events.filter(({ key }) => key !== undefined).map(({ data }) => data)
const factsOf = (client: Client): unknown[] => client.events.filter(({ key }) => key === undefined).map(({ data }) => data)

for (const tickMs of [0, 100]) {
  t.test(`with a tick of ${tickMs} ms`, async t => {
    const start = async (): Promise<Rig> => await rig({ limits: { tickMs, tickFloorMs: tickMs } })

    t.test('values go out at most once a pace, each time the newest; facts are never later than without a pace', async t => {
      const r = await start()
      const [paced, twin] = [open(r, SECOND), open(r, 0)]
      await pass(r, SECOND)
      for (let n = 0; n < 100; n++) {
        await r.publish(gauge(n), ...n % 10 === 0 ? [fact(n)] : [])
        await pass(r, 50)
        if (n % 10 === 9) t.same(factsOf(paced), factsOf(twin), `the facts up to ${n}`)
      }
      await pass(r, 2 * SECOND)
      t.equal(paced.times.length, 6, 'the first at once, then five in five seconds')
      for (const [n, at] of paced.times.slice(1).entries()) t.ok(at - (paced.times[n] as number) >= SECOND, `${at - (paced.times[n] as number)} ms`)
      t.ok(twin.times.length >= 50)
      t.equal(valuesOf(paced).at(-1), 99)
      t.same([...pageOf(paced).values], [...pageOf(twin).values])
    })

    t.test('a value after a quiet spell goes out at once', async t => {
      const r = await start()
      const paced = open(r, 10 * SECOND)
      await pass(r, SECOND)
      await r.publish(gauge(1))
      await pass(r, 200)
      t.same(valuesOf(paced), [1])
      await r.publish(gauge(2))
      await pass(r, 5 * SECOND)
      t.same(valuesOf(paced), [1])
      await pass(r, 30 * SECOND)
      await r.publish(gauge(3))
      await pass(r, 200)
      t.same(valuesOf(paced), [1, 2, 3])
    })

    t.test('with null only facts and the heartbeat, whatever is joined or deleted; set again, one catch-up', async t => {
      const r = await start()
      const [hidden, twin] = [open(r, 0), open(r, 0)]
      await r.publish(gauge(1), gauge(1, 'gone'), gauge(1, 'k', 'b'))
      await pass(r, SECOND)
      hidden.session.setPace(null)
      const before = hidden.received.length
      for (const client of [hidden, twin]) client.join([{ room: 'b' }])
      for (let n = 2; n < 50; n++) {
        await r.publish(gauge(n), gauge(n, 'k', 'b'), gauge(n, `key ${n % 3}`), ...n === 20 ? [gauge(null, 'gone'), fact('one'), fact('two', 'b')] : [])
        await pass(r, 500)
      }
      const meanwhile = hidden.received.slice(before).filter(({ kind }) => kind !== 'position' && kind !== 'joined')
      t.same(meanwhile.flatMap(message => message.kind === 'bundle' ? message.events.map(({ data }) => data) : message.kind), ['one', 'two'])
      t.ok(hidden.pings > 0, 'it is shown that the line lives')
      const [shown] = [hidden.bundles.length]
      hidden.session.setPace(0)
      await pass(r, SECOND)
      t.equal(hidden.bundles.length, shown + 1)
      t.match(hidden.received.at(-1), { kind: 'ready', rooms: ['b'] })
      t.same([...pageOf(hidden).values].sort(), [...pageOf(twin).values].sort())
      t.notOk(pageOf(hidden).values.has('a gauge gone'), 'what was deleted meanwhile is gone')
      t.same(pageOf(hidden).facts.map(({ data }) => data), ['one', 'two'])
    })

    t.test('cut behind any message and back with its cursor, a client gets every fact once, and the newest values, deletions among them', async t => {
      const r = await start()
      const [whole, twin] = [open(r, 700), open(r, 0)]
      const act = async (n: number): Promise<void> => {
        await r.publish(gauge(n), fact(n), gauge(n % 4 === 3 ? null : n, 'comes and goes'))
        await pass(r, 100)
      }
      for (let n = 0; n < 30; n++) await act(n)
      const [present, all] = [[...pageOf(twin).values], whole.received.length]
      for (let cut = 1; cut < all; cut++) {
        for (const paceMs of [0, 700, null]) {
          const page = new Page()
          for (const message of whole.received.slice(0, cut)) page.apply(message)
          const back = open(r, paceMs, page.cursor)
          await pass(r, 800)
          if (paceMs === null) {
            t.notOk(back.events.some(({ key }) => key !== undefined), `cut behind ${cut}, back with null`)
            back.session.setPace(0)
            await pass(r, 200)
          }
          for (const message of back.received) page.apply(message)
          t.same(page.facts.map(({ data }) => data), Array.from({ length: 30 }, (_, n) => n), `cut behind ${cut}, back with ${paceMs}`)
          t.same([...page.values], present)
          t.same(page.resets, [])
          back.session.end()
        }
      }
    })
  })
}

t.test('a deletion that history no longer holds when the values go on is not passed over: the client forgets its values, and misses no fact', async t => {
  const r = await rig({ historySize: 10 })
  const [hidden, untouched] = [open(r, 0), open(r, 0)]
  await r.publish(gauge(1), gauge(1, 'gone'))
  await pass(r, SECOND)
  for (const client of [hidden, untouched]) client.session.setPace(null)
  for (let n = 0; n < 30; n++) {
    await r.publish(fact(n))
    await pass(r, 100)
  }
  untouched.session.setPace(0)
  await pass(r, 200)
  t.same(pageOf(untouched).resets, [], 'facts alone are no reason')
  await r.publish(gauge(null, 'gone'))
  for (let n = 30; n < 60; n++) {
    await r.publish(fact(n))
    await pass(r, 100)
  }
  const cursor = hidden.cursorAfter()
  hidden.session.setPace(500)
  await pass(r, 200)
  const reset = { kind: 'reset', reason: 'trimmed', missed: 0, rooms: ['a'] }
  t.match(hidden.received.findLast(({ kind }) => kind === 'reset'), reset)
  t.same([...pageOf(hidden).values.keys()], ['a gauge k'])
  t.same(factsOf(hidden), Array.from({ length: 60 }, (_, n) => n))
  const back = open(r, 500, cursor)
  await pass(r, 200)
  t.match(back.received.find(({ kind }) => kind === 'reset'), reset, 'nor is it for one who returns')
})

t.test('viewers of equal subscription and pace share readings and frames, however far apart they came', async t => {
  const r = await rig({ limits: { tickMs: 20, tickFloorMs: 20 } })
  const bundles = new Set<unknown>()
  let sent = 0
  for (let n = 0; n < 20; n++) {
    const client = open(r, SECOND)
    const send = client.send.bind(client)
    client.send = bundle => {
      if (r.clock.now() > 5 * SECOND) {
        bundles.add(bundle)
        sent++
      }
      return send(bundle)
    }
    await r.publish(gauge(n))
    await pass(r, 130, 10)
  }
  for (let n = 0; n < 800; n++) {
    await r.publish(gauge(n))
    await pass(r, 10, 10)
  }
  t.equal(sent, 20 * bundles.size, `${bundles.size} bundles went to 20 viewers each`)
  t.ok(bundles.size <= 7)
})

t.test('what waits for its pace is no backlog and counts for no latency; what could have gone is and does', async t => {
  const r = await rig()
  const paced = open(r, 20 * SECOND)
  await pass(r, SECOND)
  await r.publish(gauge(0))
  await pass(r, SECOND)
  for (let n = 1; n < 10; n++) {
    await r.publish(gauge(n), fact(n))
    await pass(r, SECOND)
    t.equal(r.gateway.view.backlogMs, 0)
  }
  await pass(r, 11 * SECOND)
  t.same(valuesOf(paced), [0, 9])
  t.ok((r.gateway.latency.recent?.p99 ?? 0) < 200, 'facts only')
  paced.pending = 1
  await r.publish(fact(10))
  await pass(r, 5 * SECOND)
  t.ok(r.gateway.view.backlogMs >= 4 * SECOND, 'a fact waits for the socket')
})

t.test('a drain says bye at once; the values that waited come after the return', async t => {
  const r = await rig()
  const paced = open(r, 60 * SECOND)
  await pass(r, SECOND)
  await r.publish(gauge(1))
  await pass(r, SECOND)
  await r.publish(gauge(2), fact(2))
  await pass(r, SECOND)
  const drained = r.gateway.drain()
  await r.clock.settle()
  await drained
  t.equal(paced.closed, 'DRAINING')
  t.same(paced.events.map(({ data }) => data), [1, 2], 'value and fact; the value that waited is not sent')
})

t.test('a client that changes its pace, joins and leaves all the time leaves nothing waiting behind', async t => {
  const r = await rig()
  const client = open(r, 300)
  for (let n = 0; n < 200; n++) {
    client.session.setPace([300, null, 500, 0][n % 4] as number | null)
    if (n % 3 === 0) client.join([{ room: `room-${n % 5}` }])
    if (n % 3 === 1) client.session.leave([`room-${(n - 1) % 5}`])
    await r.publish(gauge(n), fact(n))
    await pass(r, 70, 10)
  }
  t.same(factsOf(client), Array.from({ length: 200 }, (_, n) => n))
  client.session.setPace(400)
  await pass(r, SECOND)
  t.equal(valuesOf(client).at(-1), 199)
  await r.publish(gauge('last'))
  await pass(r, 200)
  await r.publish(gauge('and one that waits'))
  await pass(r, 200)
  const before = r.clock.pending
  client.session.end()
  t.equal(r.clock.pending, before - 1, 'with the last session of a pace its timer ends')
})
