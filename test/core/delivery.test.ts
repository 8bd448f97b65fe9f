// Delivery as a whole, against a model without cursors: whatever the schedule of publishing,
// ticks, stalls, cuts, returns, joins and trimming, a client ends up with every fact once, in order, and with the
// present values; and where history no longer reached it, it received a reset. Of the two pages one, or both, take patches: what they
// make of them is the value that was published, at every step.

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import type { Join } from '../../src/core/subscription.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { Page } from '../page.ts'
import { rig } from './rig.ts'
import type { Client, Rig } from './rig.ts'

const ROOMS = ['a', 'b', 'c']
const TYPES = ['x', 'y']

type Step =
  | { do: 'fact', room: number, type: number }
  | { do: 'value', room: number, type: number, key: number, remove: boolean, size: number, data: Members }
  | { do: 'burst', room: number, count: number }
  | { do: 'pass', ms: number }
  | { do: 'clog' | 'drain', client: number }
  | { do: 'cut', client: number, lose: number }
  | { do: 'join', client: number, room: number, types: number }
  | { do: 'leave', client: number, room: number }
  | { do: 'resume', client: number }
  | { do: 'pace', client: number, ms: number | null }

type Members = Record<string, unknown>

const part = fc.constantFrom<unknown>(0, -0, 'null', [], [1], {}, { b: {} }, { b: 0 })
const members: fc.Arbitrary<Members> = fc.dictionary(fc.constantFrom('a', 'b', '1'), fc.oneof({ weight: 9, arbitrary: part }, { weight: 9, arbitrary: fc.dictionary(fc.constantFrom('a', 'b'), part, { maxKeys: 2, noNullPrototype: true }) }, { weight: 1, arbitrary: fc.constant(null) }), { maxKeys: 3, noNullPrototype: true })
const small = (max: number): fc.Arbitrary<number> => fc.nat({ max })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('fact' as const), room: small(2), type: small(1) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('value' as const), room: small(2), type: small(1), key: small(2), remove: fc.boolean(), size: small(300), data: members }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('burst' as const), room: small(2), count: small(12) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: small(250) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('clog' as const, 'drain' as const), client: small(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), client: small(1), lose: small(4) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resume' as const), client: small(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pace' as const), client: small(1), ms: fc.constantFrom(null, null, 0, 150, 400) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('join' as const), client: small(1), room: small(2), types: small(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), client: small(1), room: small(2) }) }
)

/** Of few keys, and clients that are soon back: one may hold what the other has not been sent. */
const change: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('value' as const), room: fc.constant(0), type: fc.constant(0), key: small(1), remove: fc.constantFrom(false, false, false, false, true), size: fc.constantFrom(0, 100, 100, 100), data: members }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: small(150) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('resume' as const, 'drain' as const), client: small(1) }) }
)

/** A page and its connection, which may be cut behind any message. */
class Visitor extends Page {
  readonly patch: boolean
  joins: Join[]
  client: Client | null = null
  paceMs: number | null = 0
  readonly #published: ReadonlyMap<string, unknown>
  #applied = 0

  /** @param published the data of each event */
  constructor (room: string, patch: boolean, published: ReadonlyMap<string, unknown>) {
    super()
    this.#published = published
    this.patch = patch
    this.joins = [{ room, patch }]
  }

  connect (rigged: Rig): void {
    this.#applied = 0
    this.client = rigged.connect(this.joins, this.cursor)
    this.client.session.setPace(this.paceMs)
  }

  pace (ms: number | null): void {
    this.paceMs = ms
    this.client?.session.setPace(ms)
  }

  /** Applies the messages that arrived, without the last `lose`. */
  take (lose = 0): void {
    const { received } = this.client as Client
    const until = Math.max(this.#applied, received.length - lose)
    for (const message of received.slice(this.#applied, until)) {
      this.apply(message)
      // Whatever it was made of.
      for (const [field, { id, data }] of this.values) if (!isDeepStrictEqual(data, this.#published.get(id))) throw new Error(`${field} ${id}: ${JSON.stringify(data)} instead of ${JSON.stringify(this.#published.get(id))}`)
    }
    this.#applied = until
  }

  cut (lose: number): void {
    this.take(lose)
    this.client?.session.end()
    this.client = null
  }
}

const typesOf = (choice: number): { types?: string[] } => choice === 0 ? {} : { types: choice === 3 ? TYPES : [TYPES[choice - 1] as string] }

async function play (steps: Step[], options: { historySize: number, tickMs: number, maxBundleBytes: number, redis?: string, isRival?: boolean }): Promise<{ resets: number, patches: number }> {
  const rigged = await rig({
    ...(options.redis === undefined ? {} : { redis: options.redis }),
    historySize: options.historySize,
    limits: { tickMs: options.tickMs, tickFloorMs: options.tickMs, maxQueuePerClient: 5, maxBundleBytes: options.maxBundleBytes }
  })
  const { clock, gateway } = rigged
  const facts = new Map<string, string[]>()
  const values = new Map<string, string>()
  const published = new Map<string, unknown>()
  const publish = async (event: { type: string, room: string, key?: string, data: unknown }): Promise<void> => {
    const [id] = await gateway.publish([event]) as [string]
    published.set(id, event.data)
    const name = `${event.room} ${event.type}`
    if (event.key === undefined) facts.set(name, [...facts.get(name) ?? [], id])
    else if (event.data === null) values.delete(`${name} ${event.key}`)
    else values.set(`${name} ${event.key}`, id)
  }
  const pages = [new Visitor('a', true, published), options.isRival === true ? new Visitor('a', true, published) : new Visitor('b', false, published)]
  for (const page of pages) page.connect(rigged)

  for (const s of steps) {
    const page = 'client' in s ? pages[s.client] as Visitor : null
    const room = 'room' in s ? ROOMS[s.room] as string : ''
    switch (s.do) {
      case 'fact': await publish({ type: TYPES[s.type] as string, room, data: 1 }); break
      case 'value': await publish({ type: TYPES[s.type] as string, room, key: `k${s.key}`, data: s.remove ? null : { ...s.data, text: 'v'.repeat(s.size) } }); break
      case 'burst': for (let n = 0; n < s.count; n++) await publish({ type: 'x', room, data: n }); break
      case 'pass': clock.advance(s.ms); break
      case 'clog': if (page?.client != null) page.client.clogged = true; break
      case 'drain': unclog(page); break
      case 'cut': if (page?.client != null) page.cut(s.lose); break
      case 'resume': if (page?.client === null) page.connect(rigged); break
      case 'pace': page?.pace(s.ms); break
      case 'join':
        if (page?.client != null) {
          const join = { room, patch: page.patch, ...typesOf(s.types) }
          page.joins.push(join)
          page.client.join([join])
        }
        break
      case 'leave':
        if (page?.client != null && page.joins.some(join => join.room !== room)) {
          page.take()
          page.joins = page.joins.filter(join => join.room !== room)
          page.client.session.leave([room])
          page.cursor = page.client.session.cursor
          page.forget(room)
          // A join with types hears the public feed too: a `ready` that was to come for it comes no more.
          if (page.joins.every(({ types }) => types === undefined)) page.unready.delete('@public')
        }
        break
    }
    await clock.settle()
  }

  // All clients return, all connections drain, and each client must have what the model holds.
  for (const page of pages) {
    if (page.client === null) page.connect(rigged)
    if (page.paceMs === null) page.pace(200)
  }
  for (let round = 0; round < 40; round++) {
    for (const page of pages) unclog(page)
    clock.advance(250)
    await clock.settle()
  }
  for (const page of pages) {
    page.take()
    const heard = (room: string, type: string): boolean => page.joins.some(join => join.room === room && (join.types === undefined || join.types.includes(type)))
    const expected = [...values].filter(([field]) => heard(...field.split(' ') as [string, string])).sort()
    const present = [...page.values].map(([field, event]) => [field, event.id]).sort()
    if (JSON.stringify(present) !== JSON.stringify(expected)) throw new Error(`values ${JSON.stringify(present)} instead of ${JSON.stringify(expected)}`)
    for (const [name, runs] of page.runs) {
      const all = facts.get(name) ?? []
      for (const [index, events] of runs.entries()) {
        const run = events.map(({ id }) => id)
        if (run.length === 0) continue
        const from = all.indexOf(run[0] as string)
        if (all.slice(from, from + run.length).join() !== run.join()) throw new Error(`${name}: facts ${run.join()} are not a run of ${all.join()}`)
        if (index === runs.length - 1 && run.at(-1) !== all.at(-1) && heard(...name.split(' ') as [string, string])) throw new Error(`${name}: the last facts are missing: ${run.at(-1)} of ${all.at(-1)}`)
      }
    }
    if (page.unready.size > 0) throw new Error(`ready never came for ${[...page.unready].join()}`)
  }
  const resets = pages.reduce((sum, page) => sum + page.resets.length, 0)
  for (const { patch, patches } of pages) if (!patch && patches > 0) throw new Error('a patch for somebody who did not ask')
  const patches = pages.reduce((sum, page) => sum + page.patches, 0)
  await rigged.close()
  return { resets, patches }
}

function unclog (page: Visitor | null): void {
  if (page?.client == null) return
  page.client.clogged = false
  page.client.drain()
}

const RUNS = Number(process.env.FC_RUNS ?? 300)

const STORES = [
  { name: 'the embedded store', skip: false, runs: RUNS, start: async () => ({}) },
  // A run asks a server some hundred times.
  { name: 'Redis', skip: skipWithout('redis'), runs: Math.ceil(RUNS / 2), start: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]

for (const { name, skip, runs, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const store = await start(t)

    t.test('whatever happens, every fact arrives once in order and the values end present', async t => {
      let resets = 0
      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fc.constantFrom(0, 100), fc.constantFrom(600, 100_000), async (steps, tickMs, maxBundleBytes) => {
        resets += (await play(steps, { ...store, historySize: 100_000, tickMs, maxBundleBytes })).resets
      }), { numRuns: runs })
      t.ok(resets >= 0)
    })

    t.test('the same while history is trimmed to a few events: what is missed is reported', async t => {
      let resets = 0
      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fc.constantFrom(0, 100), fc.constantFrom(600, 100_000), async (steps, tickMs, maxBundleBytes) => {
        resets += (await play(steps, { ...store, historySize: 6, tickMs, maxBundleBytes })).resets
      }), { numRuns: runs })
      t.ok(resets > 0, 'some resets were sent')
    })

    t.test('what is made of patches is what was published, while few keys change often', async t => {
      let patches = 0
      await fc.assert(fc.asyncProperty(fc.array(fc.oneof({ weight: 5, arbitrary: change }, { weight: 2, arbitrary: step }), { minLength: 40, maxLength: 80, size: 'max' }), fc.constantFrom(6, 100_000), fc.constantFrom(0, 100), fc.constantFrom(600, 100_000), async (steps, historySize, tickMs, maxBundleBytes) => {
        patches += (await play(steps, { ...store, historySize, tickMs, maxBundleBytes, isRival: true })).patches
      }), { numRuns: Math.ceil(runs / 3) })
      t.ok(patches > runs / 3, `${patches} patches`)
    })
  })
}
