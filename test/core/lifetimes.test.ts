// `ttl`: a value ends at the time its publisher gave it, unless a newer one comes first.

import fc from 'fast-check'
import t from 'tap'
import { LogClock } from '../../src/core/clock.ts'
import { draftOf, entryOf, fieldOf, parseEvent } from '../../src/core/event.ts'
import type { Entry } from '../../src/core/event.ts'
import { alone } from '../../src/core/group.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { millisOf } from '../../src/core/id.ts'
import { Lifetimes } from '../../src/core/lifetimes.ts'
import { Rooms } from '../../src/core/rooms.ts'
import type { Follower, Image, Store } from '../../src/core/store.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { ManualClock } from '../clock.ts'
import { LIMITS, rig, silent } from './rig.ts'
import type { Rig } from './rig.ts'

const SECOND = 1000
const HOUR = 3_600_000
/** How much later than its time a value may end. */
const LATE = SECOND

const host = (key: string, data: unknown, ttl?: number): object => ({ type: 'host', room: 'a', key, data, ...(ttl === undefined ? {} : { ttl }) })

/** Time passes in steps in which everything has its turn. */
async function pass (clock: ManualClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    clock.advance(Math.min(50, left))
    await clock.settle()
  }
}

/** A gateway that is stopped and started over a log that outlives it. */
class Deployment {
  readonly clock = new ManualClock()
  gateway: Gateway | null = null
  readonly #stateTtlMs: number
  #store: Store | null = null
  #follower: Follower | null = null
  #image: Image | null = null
  readonly #log: Entry[] = []

  constructor (stateTtlMs = 0) {
    this.#stateTtlMs = stateTtlMs
  }

  async start (): Promise<void> {
    const { clock } = this
    const store = this.#store ??= await openEmbeddedStore({ historySize: 1000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: HOUR, clock, dataDir: ':memory:', durability: 'process', gatherMs: 0, log: silent })
    const follow = async (follower: Follower): Promise<void> => {
      this.#follower = follower
      if (this.#image === null) {
        await store.follow({
          load: image => {
            this.#image = image
            this.#follower?.load(image)
          },
          apply: (entries, floor) => {
            this.#log.push(...entries)
            this.#follower?.apply(entries, floor)
          },
          begin: () => {},
          available: () => {}
        })
      } else {
        const values = new Map<string, Entry>()
        for (const entry of this.#log) {
          const name = `${entry.room} ${fieldOf(entry)}`
          values.delete(name)
          if (entry.key !== null && !entry.deletion) values.set(name, entry)
        }
        follower.load({ ...this.#image, head: this.#log.at(-1)?.id ?? this.#image.head, values: [...values.values()], history: [] })
      }
    }
    const lasting = new Proxy(store, { get: (target, name) => name === 'follow' ? follow : typeof target[name as keyof Store] === 'function' ? (target[name as keyof Store] as () => unknown).bind(target) : target[name as keyof Store] })
    this.gateway = new Gateway({ store: lasting, clock, group: alone(), limits: LIMITS, load: () => 0, pingIntervalMs: HOUR, reconnectJitterMs: 0, commandTimeoutMs: SECOND, stateTtlMs: this.#stateTtlMs, stateTypes: new Set(), log: silent })
    await this.#done(this.gateway.start())
  }

  async stop (): Promise<void> {
    await this.#done(this.gateway?.drain() ?? Promise.resolve())
    this.#follower = null
  }

  async publish (event: object): Promise<string> {
    const [id] = await this.#done((this.gateway as Gateway).publish([event]))
    return id as string
  }

  async pause (yes: boolean): Promise<void> {
    await this.#done((this.gateway as Gateway).operator.pause('a', yes))
  }

  get keys (): number {
    return this.gateway?.view.totals.keys ?? 0
  }

  /** Timers run only where the clock moves. */
  async #done<T> (promise: Promise<T>): Promise<T> {
    const progress = { isOver: false }
    const over = (): void => { progress.isOver = true }
    promise.then(over, over)
    while (!progress.isOver) {
      this.clock.advance(1)
      await this.clock.settle()
    }
    return await promise
  }
}

t.test('a value ends at its time, a newer one with its own, one without stays, facts have none', async t => {
  const r: Rig = await rig()
  const client = r.connect([{ room: 'a' }])
  const ended = (): string[] => client.events.filter(({ data }) => data === null).map(({ key }) => key as string)
  await r.publish(host('brief', 1, 2), host('renewed', 1, 2), host('kept', 1, 2), host('long', 1, 31_536_000), host('plain', 1))
  await pass(r.clock, 1.5 * SECOND)
  await r.publish(host('renewed', 2, 3), host('kept', 2))
  t.same(ended(), [])
  await pass(r.clock, 0.5 * SECOND + LATE)
  t.same(ended(), ['brief'])
  await pass(r.clock, 2 * SECOND)
  t.same(ended(), ['brief', 'renewed'], 'three seconds after its newer value')
  await pass(r.clock, 60 * SECOND)
  t.same(ended(), ['brief', 'renewed'])
  t.match(client.events.find(({ key }) => key === 'long'), { ttl: 31_536_000 }, 'clients get the field')
  await t.rejects(r.publish({ type: 'host', room: 'a', data: 1, ttl: 5 }), { code: 'BAD_EVENT', message: /ttl needs a key/ })
  await t.rejects(r.publish(host('x', null, 5)), { code: 'BAD_EVENT', message: /data null/ })
  for (const ttl of [0, -1, 1.5, 31_536_001, '5', true]) await t.rejects(r.publish({ ...host('x', 1), ttl }), { code: 'BAD_EVENT', message: /whole seconds, 1 to 31536000/ }, String(ttl))
  await r.publish({ ...host('x', 1), ttl: null })
})

t.test('a type in STATE_TYPES takes a ttl without a key', async t => {
  const r = await rig({ gateway: { stateTypes: new Set(['load']) } })
  await r.publish({ type: 'load', room: 'a', data: 1, ttl: 2 })
  t.equal(r.gateway.view.totals.keys, 1)
  await pass(r.clock, 2 * SECOND + LATE)
  t.equal(r.gateway.view.totals.keys, 0)
  await t.rejects(r.publish({ type: 'load', room: 'a', data: null, ttl: 2 }), { code: 'BAD_EVENT', message: /data null/ })
})

t.test('keys that come and go before their time leave nothing to look at', async t => {
  const r = await rig()
  const before = r.clock.pending
  for (let n = 0; n < 20; n++) {
    await r.publish(host(`k${n}`, 1, 86_400))
    await r.publish(host(`k${n}`, 2, 100))
  }
  t.equal(r.clock.pending, before + 1, 'one timer for all of them')
  for (let n = 0; n < 20; n++) await r.publish(host(`k${n}`, null))
  await pass(r.clock, SECOND)
  t.equal(r.clock.pending, before)
})

t.test('values that end at once end in batches, between which others have their turn; where the store refuses, all are tried again', async t => {
  const clock = new ManualClock()
  const rooms = new Rooms<never>()
  const values = Array.from({ length: 2500 }, (_, n) => entryOf(parseEvent(host(`k${n}`, 1, 2), { stateTypes: new Set(), maxBytes: Infinity, now: clock.wall() }), `${clock.wall()}-${n}`))
  for (const value of values) rooms.apply(value)
  const batches: number[] = []
  const errors: unknown[] = []
  let isAway = true
  const lifetimes = new Lifetimes({
    clock,
    logClock: new LogClock(clock),
    rooms,
    async end (over) {
      await Promise.resolve()
      if (isAway) throw new Error('away')
      batches.push(over.length)
      for (const { id, ...value } of over) {
        const end = entryOf(draftOf({ type: value.type, room: value.room, key: value.key as string, data: null, timestamp: 0, ends: id }), `${clock.wall()}-${5000 + batches.length}`)
        rooms.apply(end)
        lifetimes.saw(end)
      }
    },
    onError: error => errors.push(error)
  })
  lifetimes.load()
  await lifetimes.start()
  await pass(clock, 2 * SECOND + 250)
  t.ok(errors.length > 0)
  t.equal(rooms.get('a')?.keys, 2500)
  isAway = false
  await pass(clock, 1.5 * SECOND)
  t.ok(batches.every(size => size <= 1000), String(batches))
  t.equal(batches.reduce((sum, size) => sum + size, 0), 2500, 'each once')
  t.equal(rooms.get('a')?.keys, 0)
  t.equal(clock.pending, 0)
})

t.test('what is over at the start is waited for by one timer, which ends with it; nothing begins behind the end', async t => {
  const clock = new ManualClock()
  const rooms = new Rooms<never>()
  for (const key of ['k', 'l']) rooms.apply(entryOf(parseEvent(host(key, 1, 1), { stateTypes: new Set(), maxBytes: Infinity, now: clock.wall() }), `${clock.wall() - HOUR}-${key === 'k' ? 0 : 1}`))
  let ends = 0
  const make = (): Lifetimes => {
    const lifetimes = new Lifetimes({ clock, logClock: new LogClock(clock), rooms, end: async () => { ends++ }, onError: () => {} })
    lifetimes.load()
    return lifetimes
  }
  const lifetimes = make()
  await lifetimes.start()
  t.equal(ends, 1)
  t.equal(clock.pending, 1)
  lifetimes.stop()
  t.equal(clock.pending, 0)
  const stopped = make()
  stopped.stop()
  await stopped.start()
  await pass(clock, 10 * SECOND)
  t.equal(ends, 1)
  t.equal(clock.pending, 0)
})

t.test('data that ends as a ttl does gives no time', async t => {
  const r = await rig()
  await r.publish(host('k', { ttl: 1 }), host('l', ',"ttl":1}'))
  await pass(r.clock, 10 * SECOND)
  t.equal(r.gateway.view.totals.keys, 2)
})

t.test('a ttl stands in place of STATE_TTL, shorter or longer', async t => {
  const deployment = new Deployment(10 * SECOND)
  await deployment.start()
  for (const event of [host('shorter', 1, 3), host('longer', 1, 30), host('plain', 1)]) await deployment.publish(event)
  await pass(deployment.clock, 4 * SECOND)
  t.equal(deployment.keys, 2)
  await pass(deployment.clock, 9 * SECOND)
  t.equal(deployment.keys, 1, 'the one without')
  await pass(deployment.clock, 16 * SECOND)
  t.equal(deployment.keys, 1)
  await pass(deployment.clock, 3 * SECOND)
  t.equal(deployment.keys, 0)
  await deployment.stop()
})

t.test('a wall clock that leaps ends nothing early and keeps nothing for ever', async t => {
  for (const leap of [HOUR, -HOUR]) {
    const r = await rig()
    await r.publish(host('k', 1, 10))
    await pass(r.clock, 3 * SECOND)
    r.clock.turn(leap)
    await pass(r.clock, 6 * SECOND)
    t.equal(r.gateway.view.totals.keys, 1, `9 s, and a leap of ${leap / HOUR} h`)
    await pass(r.clock, SECOND + LATE)
    t.equal(r.gateway.view.totals.keys, 0)
  }
})

t.test('whatever is published, paused, stopped and started again: a value stands for its time and no longer', async t => {
  type Step = { readonly does: 'put', readonly key: string, readonly ttl: number | undefined } | { readonly does: 'delete', readonly key: string } | { readonly does: 'pass' | 'rest', readonly ms: number } | { readonly does: 'pause' }
  const key = fc.constantFrom('a', 'b', 'c')
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ does: fc.constant('put' as const), key, ttl: fc.constantFrom(undefined, 1, 2, 5, 40, 100_000) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('delete' as const), key }) },
    { weight: 4, arbitrary: fc.record({ does: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 8000 }) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('rest' as const), ms: fc.integer({ min: 0, max: 8000 }) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('pause' as const) }) }
  )
  let ended = 0
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async steps => {
    const deployment = new Deployment()
    const { clock } = deployment
    await deployment.start()
    try {
      const model = new Map<string, { readonly until: number }>()
      let isPaused = false
      for (const step of steps) {
        if (step.does === 'put' && !isPaused) {
          const id = await deployment.publish(host(step.key, 1, step.ttl))
          model.set(step.key, { until: step.ttl === undefined ? Infinity : millisOf(id) + step.ttl * SECOND })
        }
        if (step.does === 'delete' && !isPaused) {
          await deployment.publish(host(step.key, null))
          model.delete(step.key)
        }
        if (step.does === 'pass') await pass(clock, step.ms)
        if (step.does === 'rest') {
          await deployment.stop()
          clock.advance(step.ms)
          await deployment.start()
          await pass(clock, 50)
        }
        if (step.does === 'pause') await deployment.pause(isPaused = !isPaused)
        const now = clock.wall()
        const certain = [...model.values()].filter(({ until }) => until > now).length
        const possible = [...model.values()].filter(({ until }) => until + LATE > now).length
        if (deployment.keys < certain || deployment.keys > possible) throw new Error(`${JSON.stringify(step)}: ${deployment.keys} values stand at ${now}, of ${JSON.stringify([...model])}, not ${certain}${possible === certain ? '' : ` to ${possible}`}`)
        for (const [name, { until }] of model) {
          if (until + LATE > now) continue
          model.delete(name)
          ended++
        }
      }
    } finally {
      await deployment.stop()
    }
  }), { numRuns: 200 })
  t.ok(ended > 80, `${ended} values ended`)
})
