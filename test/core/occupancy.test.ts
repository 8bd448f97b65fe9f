// Which rooms are occupied: one process with a clock of the test's own, over a real store.

import t from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import { Refusal } from '../../src/core/errors.ts'
import { draftOf } from '../../src/core/event.ts'
import { fullOf } from '../../src/core/group.ts'
import type { Group } from '../../src/core/group.ts'
import type { Store } from '../../src/core/store.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { tempDir } from '../store/harness.ts'
import { Client, rig, silent } from './rig.ts'
import type { Rig } from './rig.ts'

/** What listeners are told, as `+room` and `-room`. */
function listen ({ gateway }: Pick<Rig, 'gateway'>): string[] {
  const heard: string[] = []
  gateway.occupancy.on('occupied', room => heard.push(`+${room}`))
  gateway.occupancy.on('vacated', room => heard.push(`-${room}`))
  return heard
}

async function enter ({ gateway, clock }: Rig, ...rooms: string[]): Promise<Client> {
  const client = new Client(gateway)
  await client.session.join(rooms.map(room => ({ room })))
  await clock.settle()
  return client
}

/** Lets time pass in small steps: what is asked in between is answered in between. */
async function pass ({ clock }: Pick<Rig, 'clock'>, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    clock.advance(Math.min(50, left))
    await clock.settle()
  }
}

/** The disk takes its own time. */
async function written ({ gateway, clock }: Rig, occupied: number): Promise<void> {
  for (let turn = 0; turn < 10_000 && gateway.occupancy.rooms.size !== occupied; turn++) await clock.settle()
  for (let turn = 0; turn < 100; turn++) await clock.settle()
}

t.test('a room is occupied from its first member to a second after its last one has left', async t => {
  const r = await rig()
  const heard = listen(r)
  const [first, second] = [await enter(r, 'a'), await enter(r, 'a', 'b')]
  t.same(heard, ['+a', '+b'])
  t.same([...r.gateway.occupancy.rooms], ['a', 'b'])
  first.session.end()
  await pass(r, 5000)
  t.same(heard, ['+a', '+b'], 'one is left')
  second.session.end()
  await pass(r, 950)
  t.same(heard, ['+a', '+b'])
  await pass(r, 200)
  t.same(heard, ['+a', '+b', '-a', '-b'])
  t.same([...r.gateway.occupancy.rooms], [])
  await r.close()
})

t.test('it is a keyed event of @system with the time since when, and its deletion', async t => {
  const r = await rig()
  const watcher = await enter(r, '@system')
  const client = await enter(r, 'a')
  await pass(r, 100)
  const since = r.clock.wall() - 100
  t.match(watcher.events, [{ type: 'occupied', room: '@system', key: 'a', data: { since } }])
  client.session.leave(['a'])
  await pass(r, 1200)
  t.match(watcher.events.slice(1), [{ type: 'occupied', room: '@system', key: 'a', data: null }])
  t.equal(watcher.events.length, 2)
  await r.close()
})

t.test('who leaves and is back within a second says nothing, however often', async t => {
  const r = await rig()
  const heard = listen(r)
  for (let n = 0; n < 20; n++) {
    const client = await enter(r, 'a')
    await pass(r, 300)
    client.session.end()
    await pass(r, 900)
  }
  t.same(heard, ['+a'])
  await pass(r, 300)
  t.same(heard, ['+a', '-a'])
  await r.close()
})

t.test('the public feed and the gateway\'s own rooms are never occupied', async t => {
  const r = await rig()
  const heard = listen(r)
  await enter(r, '@public', '@system')
  await pass(r, 2000)
  t.same(heard, [])
  t.equal(r.gateway.view.history.head, '0-0', 'nothing was written')
  await r.close()
})

t.test('a herd is heard once a room, in few writes', async t => {
  const store = await counting()
  const r = await rig({ gateway: { store } })
  const heard = listen(r)
  const clients = Array.from({ length: 3000 }, () => new Client(r.gateway))
  await Promise.all(clients.map(async ({ session }, n) => await session.join([{ room: 'all' }, { room: `own-${n}` }])))
  await r.clock.settle()
  await pass(r, 100)
  t.equal(heard.length, 3001)
  t.equal(new Set(heard).size, 3001)
  t.ok(store.appends <= 5, `${store.appends} appends`)
  for (const { session } of clients) session.end()
  await pass(r, 2000)
  t.equal(heard.length, 6002)
  t.equal(new Set(heard).size, 6002)
  t.ok(store.appends <= 10, `${store.appends} appends`)
  await store.close()
})

t.test('whoever opens room after room does not fill the log with it: 5,000 at once, then 100 a second', async t => {
  const r = await rig()
  const heard = listen(r)
  const clients = Array.from({ length: 60 }, () => new Client(r.gateway))
  await Promise.all(clients.map(async ({ session }, n) => await session.join(Array.from({ length: 100 }, (_, m) => ({ room: `${n}-${m}` })))))
  await r.clock.settle()
  t.equal(heard.length, 5000)
  await pass(r, 5000)
  t.ok(heard.length >= 5400 && heard.length <= 5500, `${heard.length} after five seconds`)
  await pass(r, 6000)
  t.equal(heard.length, 6000)
  await r.close()
})

t.test('a refused join occupies nothing', async t => {
  const r = await rig({ limits: { maxRoomSize: 1, maxRoomsPerClient: 2 } })
  const heard = listen(r)
  await enter(r, 'full')
  await t.rejects(new Client(r.gateway).session.join([{ room: 'full' }, { room: 'b' }]), { code: 'ROOM_FULL' })
  await t.rejects(new Client(r.gateway).session.join([{ room: 'x' }, { room: 'y' }, { room: 'z' }]), { code: 'BAD_SUBSCRIPTION' })
  await pass(r, 3000)
  t.same(heard, ['+full'])
  await r.close()
})

t.test('a listener hears of the rooms that are occupied already; one that fails, or ends, concerns no other', async t => {
  const warned: unknown[] = []
  const r = await rig({ gateway: { log: { ...silent, warn: (...args: unknown[]) => { warned.push(args) } } } })
  await enter(r, 'a')
  r.gateway.occupancy.on('occupied', () => { throw new Error('mine') })
  r.gateway.occupancy.on('occupied', async () => { throw new Error('mine, later') })
  const heard: string[] = []
  const end = r.gateway.occupancy.on('occupied', room => heard.push(room))
  t.same(heard, ['a'])
  await enter(r, 'b')
  t.same(heard, ['a', 'b'])
  await r.clock.settle()
  t.equal(warned.length, 4)
  end()
  await enter(r, 'c')
  t.same(heard, ['a', 'b'])
  await r.close()
})

t.test('a restart tells of what was occupied, and vacates it after five seconds unless its members are back', async t => {
  const dataDir = await tempDir(t)
  const first = await counting(dataDir)
  const before = await rig({ gateway: { store: first } })
  await enter(before, 'back', 'gone')
  await written(before, 2)
  await before.gateway.drain()
  await first.close()
  const store = await counting(dataDir)
  const again = await rig({ gateway: { store } })
  const heard = listen(again)
  t.same(heard, ['+back', '+gone'])
  await pass(again, 2000)
  await enter(again, 'back')
  await pass(again, 2900)
  t.same(heard, ['+back', '+gone'])
  await pass(again, 300)
  await written(again, 1)
  t.same(heard, ['+back', '+gone', '-gone'])
  await pass(again, 20_000)
  t.equal(heard.length, 3)
  await store.close()
})

t.test('what cannot be written now is written when the store is back, and is true then', async t => {
  const store = await counting()
  const warned: unknown[] = []
  const r = await rig({ gateway: { store, log: { ...silent, warn: (_: unknown, what: unknown) => { warned.push(what) } } } })
  const heard = listen(r)
  const leaver = await enter(r, 'left')
  store.isAway = true
  leaver.session.end()
  await enter(r, 'came')
  const short = await enter(r, 'short')
  await pass(r, 10_000)
  short.session.end()
  await pass(r, 3000)
  t.same(heard, ['+left'])
  t.same(warned.filter(what => /occupied/.test(String(what))), ['the log could not be told which rooms are occupied; it will be tried again'], 'in one line')
  store.isAway = false
  await pass(r, 2500)
  t.same(heard, ['+left', '+came', '-left'])
  await store.close()
})

t.test('a room that another process vacates while a member of this one arrives is occupied again', async t => {
  const r = await rig()
  const heard = listen(r)
  await enter(r, 'a')
  await r.store.append([draftOf({ type: 'occupied', room: '@system', key: 'a', data: null, timestamp: 0 })])
  await pass(r, 100)
  t.same(heard, ['+a', '-a', '+a'])
  await r.close()
})

t.test('members elsewhere keep a room occupied, and so does not knowing about them', async t => {
  let elsewhere: ReadonlyMap<string, number> | null = null
  let gone = (): void => {}
  const group: Group = {
    worker: 'me',
    onOrder () {},
    orderAll: async () => [],
    askAll: async () => null,
    isAlive: async () => true,
    enter: async (counts, limit) => ({ totals: counts, full: fullOf(counts, limit) }),
    declare () {},
    membersElsewhere: async () => new Map(),
    quietElsewhere: async () => elsewhere,
    onGone (run) { gone = run },
    hit: async () => null
  }
  const r = await rig({ gateway: { group } })
  const heard = listen(r)
  const client = await enter(r, 'a')
  client.session.end()
  await pass(r, 5000)
  t.same(heard, ['+a'], 'nobody could be asked')
  elsewhere = new Map([['a', 700]])
  await pass(r, 1200)
  t.same(heard, ['+a'], 'somebody left elsewhere a moment ago')
  elsewhere = new Map()
  await pass(r, 5000)
  t.same(heard, ['+a'], 'others answer for it')
  elsewhere = new Map([['a', 0]])
  await pass(r, 5000)
  t.same(heard, ['+a'])
  gone()
  await pass(r, 1500)
  t.same(heard, ['+a', '-a'], 'and are gone')
  await r.close()
})

t.test('a log that has lost what it said is told again; listeners hear only what changed', async t => {
  const r = await rig()
  const heard = listen(r)
  await enter(r, 'mine')
  await r.store.append([draftOf({ type: 'occupied', room: '@system', key: 'theirs', data: { since: 1 }, timestamp: 0 })])
  await pass(r, 100)
  t.same(heard, ['+mine', '+theirs'])
  const { follower, image } = r.reload()
  follower.load({ ...image, lineage: { epoch: 'new', epochs: [{ epoch: 'new', seam: '0-0' }] } })
  await pass(r, 6000)
  t.same(heard, ['+mine', '+theirs', '-theirs'])
  t.ok(r.gateway.occupancy.rooms.has('mine'))
  await r.close()
})

t.test('a drain ends it: nothing is written any more', async t => {
  const store = await counting()
  const r = await rig({ gateway: { store } })
  const heard = listen(r)
  await enter(r, 'a')
  const { appends } = store
  await r.gateway.drain()
  await pass(r, 20_000)
  t.same(heard, ['+a'])
  t.equal(store.appends, appends)
  await store.close()
})

interface CountingStore extends Store {
  appends: number
  isAway: boolean
}

/** A store that counts its appends and can be away. */
async function counting (dataDir = ':memory:'): Promise<CountingStore> {
  const store = await openEmbeddedStore({ historySize: 0, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 1000, clock: systemClock, dataDir, durability: 'process', gatherMs: 0, log: silent })
  const append = store.append.bind(store)
  const counted: CountingStore = Object.assign(store, {
    appends: 0,
    isAway: false,
    append: async (...args: Parameters<Store['append']>) => {
      if (counted.isAway) throw new Refusal('STORE_UNAVAILABLE', 'it is away')
      counted.appends++
      return await append(...args)
    }
  })
  return counted
}
