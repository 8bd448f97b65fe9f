// The contract of what the processes of a deployment share, as sentences about what is seen from outside. Any group runs
// it; what takes several processes is run where there can be several.

import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Group } from '../../src/core/group.ts'

type Tap = Pick<Test, 'test'>

/** How the contract suite gets at groups. */
export interface GroupHarness {
  /** The processes of a new deployment. They end with the test. */
  deploy (t: Pick<Test, 'teardown'>, count: number): Promise<Group[]>
  /** Whether a deployment can have more than one. */
  readonly isShared: boolean
  /** Takes a process out of its deployment. */
  leave (group: Group): Promise<void>
  /** Ends a process without a word. */
  kill (group: Group): Promise<void>
}

const one = (room: string, count = 1): ReadonlyMap<string, number> => new Map([[room, count]])

/** What is declared without waiting arrives at the others in the end. */
async function until (isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 5000; !await isSo(); await delay(20)) {
    if (Date.now() > deadline) throw new Error('not within 5 s')
  }
}

export function groupContract (t: Tap, name: string, harness: GroupHarness): void {
  const alone = async (t: Pick<Test, 'teardown'>): Promise<Group> => (await harness.deploy(t, 1))[0] as Group

  t.test(name, async t => {
    t.test('an order is carried out by this process too, and its answer comes back', async t => {
      const group = await alone(t)
      const orders: unknown[] = []
      group.onOrder(async (name, args) => {
        orders.push([name, args])
        return { done: name }
      })
      t.same(await group.orderAll('tune', { a: [1, 'ü', null] }), [{ done: 'tune' }])
      t.same(orders, [['tune', { a: [1, 'ü', null] }]])
    })

    t.test('orders given one after the other are carried out in that order', async t => {
      const group = await alone(t)
      const orders: unknown[] = []
      group.onOrder((_, n) => { orders.push(n) })
      for (const n of [1, 2, 3]) await group.orderAll('count', n)
      t.same(orders, [1, 2, 3])
    })

    t.test('an order that concerns nobody is answered by nobody', async t => {
      const group = await alone(t)
      group.onOrder((_, args) => args === 'mine' ? { done: true } : undefined)
      t.same(await group.askAll('steer', 'mine'), { done: true })
      t.equal(await group.askAll('steer', 'nobodys'), null)
    })

    t.test('a process is alive to itself, and a name nobody has is not', async t => {
      const group = await alone(t)
      t.match(group.worker, /^[\w-]{8,}$/)
      t.equal(await group.isAlive(group.worker), true)
      t.equal(await group.isAlive('nobody'), false)
      t.not((await alone(t)).worker, group.worker)
    })

    t.test('who enters is told how many each room has then', async t => {
      const group = await alone(t)
      const { totals, full } = await group.enter(new Map([['plant-1', 3], ['plant-2', 1]]), 3)
      t.same([...totals], [['plant-1', 3], ['plant-2', 1]])
      t.same(full, [])
    })

    t.test('a room that would have more members than its limit is named', async t => {
      const group = await alone(t)
      t.same((await group.enter(new Map([['plant-1', 2], ['plant-2', 3], ['plant-3', 4]]), 2)).full, ['plant-2', 'plant-3'])
    })

    t.test('without a limit no room is full, and the gateway\'s own have none', async t => {
      const group = await alone(t)
      t.same((await group.enter(one('plant-1', 1000), 0)).full, [])
      t.same((await group.enter(one('@system', 1000), 1)).full, [])
    })

    t.test('members of this process are not elsewhere', async t => {
      const group = await alone(t)
      await group.enter(one('plant-1'), 0)
      group.declare(one('plant-2', 5))
      t.same([...await group.membersElsewhere()], [])
      t.same([...await group.membersElsewhere(['plant-1', 'plant-2'])], [])
    })

    t.test('rooms without members elsewhere have been quiet there, whoever is in them here', async t => {
      const group = await alone(t)
      await group.enter(one('plant-1'), 0)
      t.same([...await group.quietElsewhere(['plant-1', 'plant-2'], 1000) ?? []], [['plant-1', 0], ['plant-2', 0]])
    })

    t.test('a request is counted within its second, or it is said that its count cannot be known', async t => {
      const group = await alone(t)
      for (let n = 0; n < 3; n++) {
        const hit = await group.hit('control', 'me')
        if (hit === null) continue
        t.ok(hit.count >= 1 && hit.count <= n + 1, `${hit.count}`)
        t.ok(hit.resetMs >= 0 && hit.resetMs <= 1000, `${hit.resetMs} ms`)
      }
    })

    if (harness.isShared) shared(t, harness)
  })
}

/** Where a deployment has several processes. */
function shared (t: Tap, harness: GroupHarness): void {
  t.test('an order is carried out by every process once, and all answers come back', async t => {
    const groups = await harness.deploy(t, 3)
    const orders: string[] = []
    for (const { worker, onOrder } of groups.map(group => ({ worker: group.worker, onOrder: group.onOrder.bind(group) }))) {
      onOrder(() => {
        orders.push(worker)
        return worker
      })
    }
    await allAlive(groups)
    const workers = groups.map(({ worker }) => worker).sort()
    t.same((await groups[1]?.orderAll('name', null))?.sort(), workers)
    t.same(orders.sort(), workers)
  })

  t.test('of an order that concerns one of them its answer comes back, without waiting for the others', async t => {
    const groups = await harness.deploy(t, 3)
    for (const [n, group] of groups.entries()) group.onOrder(async (_, who) => n === who ? `by ${n}` : n === 2 && who === 1 ? await new Promise(() => {}) : null)
    await allAlive(groups)
    t.equal(await groups[0]?.askAll('steer', 0), 'by 0')
    t.equal(await groups[0]?.askAll('steer', 1), 'by 1')
    t.equal(await groups[0]?.askAll('steer', 3), null)
  })

  t.test('where one of them is silent it is not known whether it concerns nobody', async t => {
    const groups = await harness.deploy(t, 2)
    groups[0]?.onOrder(() => null)
    groups[1]?.onOrder(async () => await new Promise(() => {}))
    await allAlive(groups)
    await t.rejects(groups[0]?.askAll('steer', null) ?? Promise.resolve(), { code: 'STORE_UNAVAILABLE' })
  })

  t.test('one that was killed is not waited for until its lease ends: an order concerns nobody then', async t => {
    const groups = await harness.deploy(t, 3) as [Group, Group, Group]
    for (const group of groups) group.onOrder(() => null)
    await allAlive(groups)
    await harness.kill(groups[2])
    t.equal(await groups[0].askAll('steer', null), null)
    t.equal(await groups[0].isAlive(groups[2].worker), true, 'its lease has not ended')
  })

  t.test('processes know each other, until one leaves', async t => {
    const groups = await harness.deploy(t, 2) as [Group, Group]
    await allAlive(groups)
    const [one, other] = groups
    await harness.leave(other)
    t.equal(await one.isAlive(other.worker), false)
    t.equal(await one.isAlive(one.worker), true)
  })

  t.test('members are counted over all processes, and each sees those of the others', async t => {
    const groups = await harness.deploy(t, 2) as [Group, Group]
    await allAlive(groups)
    const [first, second] = groups
    await first.enter(one('plant-1', 2), 0)
    t.same([...(await second.enter(one('plant-1'), 0)).totals], [['plant-1', 3]])
    t.same([...await first.membersElsewhere()], [['plant-1', 1]])
    t.same([...await second.membersElsewhere(['plant-1', 'plant-2'])], [['plant-1', 2]])
  })

  t.test('nothing is declared for who finds a room full', async t => {
    const groups = await harness.deploy(t, 2) as [Group, Group]
    await allAlive(groups)
    const [first, second] = groups
    await first.enter(one('plant-1', 2), 2)
    t.same((await second.enter(new Map([['plant-1', 1], ['plant-2', 1]]), 2)).full, ['plant-1'])
    t.same([...await first.membersElsewhere()], [])
  })

  t.test('what is declared takes the place of what was, and goes with its process', async t => {
    const groups = await harness.deploy(t, 2) as [Group, Group]
    await allAlive(groups)
    const [first, second] = groups
    await first.enter(one('plant-1', 4), 0)
    first.declare(new Map([['plant-1', 1], ['plant-2', 2]]))
    await until(async () => JSON.stringify([...await second.membersElsewhere()].sort()) === '[["plant-1",1],["plant-2",2]]')
    first.declare(one('plant-1', 0))
    await until(async () => JSON.stringify([...await second.membersElsewhere()]) === '[["plant-2",2]]')
    await harness.leave(first)
    t.same([...await second.membersElsewhere()], [])
  })

  t.test('a room is quiet when no other process has a member, and none has lost one for a time', async t => {
    const groups = await harness.deploy(t, 3) as [Group, Group, Group]
    await allAlive(groups)
    const [first, second, third] = groups
    const wait = async (group: Group, quietMs = 400): Promise<number | undefined> => (await group.quietElsewhere(['plant-2', 'plant-1'], quietMs))?.get('plant-1')
    await first.enter(one('plant-1', 2), 0)
    await second.enter(one('plant-1'), 0)
    t.equal(await wait(third), undefined)
    second.declare(one('plant-1', 0))
    await until(async () => (await first.membersElsewhere(['plant-1'])).size === 0)
    t.equal(await wait(third), undefined, 'the first still has members')
    first.declare(one('plant-1', 0))
    await until(async () => (await third.membersElsewhere(['plant-1'])).size === 0)
    for (const group of groups) {
      const ms = await wait(group, 9000) ?? -1
      t.ok(ms > 0 && ms <= 9000, `the last one has just left: ${ms} ms`)
    }
    await until(async () => await wait(third) === 0)
    t.same([...await third.quietElsewhere(['plant-1', 'plant-2'], 0) ?? []], [['plant-1', 0], ['plant-2', 0]])
    await second.enter(one('plant-1'), 0)
    t.equal(await wait(third), undefined)
    await harness.leave(second)
    t.ok((await wait(third) ?? -1) >= 0, 'members go with their process')
  })

  t.test('the others hear that a process has gone', async t => {
    const groups = await harness.deploy(t, 3) as [Group, Group, Group]
    await allAlive(groups)
    const heard: string[] = []
    for (const { worker, onGone } of groups.map(group => ({ worker: group.worker, onGone: group.onGone.bind(group) }))) onGone(() => heard.push(worker))
    // They learn of each other with their heartbeats.
    await delay(3500)
    t.same(heard, [])
    await harness.leave(groups[2])
    await until(async () => heard.length === 2)
    t.same(heard.sort(), [groups[0].worker, groups[1].worker].sort())
  })

  t.test('requests of one caller are counted over all processes, those of others apart', async t => {
    const groups = await harness.deploy(t, 2) as [Group, Group]
    await allAlive(groups)
    // A second may end between two of them.
    for (let attempt = 0; ; attempt++) {
      const caller = `me ${attempt}`
      const counts = [await groups[0].hit('control', caller), await groups[1].hit('control', caller), await groups[0].hit('control', `not ${caller}`)].map(hit => hit?.count)
      if (counts[1] === 1 && attempt < 5) continue
      t.same(counts, [1, 2, 1])
      break
    }
  })
}

/** A process that has just come is not known to the others at once. */
async function allAlive (groups: readonly Group[]): Promise<void> {
  for (const group of groups) {
    for (const { worker } of groups) await until(async () => await group.isAlive(worker))
  }
}
