// What comes in through Redis: each message and each entry once at every client, in order, whatever becomes of workers and
// connections. Workers are whole gateways in this process; each has its Redis behind a wire of its own, which can be cut.

import { execFile } from 'node:child_process'
import { createServer, connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import type { Event } from '../../src/core/event.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { newWorker } from '../../src/core/group.ts'
import type { Limits } from '../../src/core/limits.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { Heard } from '../../src/store/redis/heard.ts'
import { RedisStore } from '../../src/store/redis/index.ts'
import { Intake } from '../../src/store/redis/intake.ts'
import { ManualClock } from '../clock.ts'
import { Client, LIMITS, silent } from '../core/rig.ts'
import { childEnv, need } from '../tools/find.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'

t.setTimeout(580_000)
t.jobs = 4
const skip = skipWithout('redis')

interface Test { teardown (close: () => unknown): void }

interface Link {
  /** What the worker uses the connection for. */
  part: string
  readonly client: Socket
  readonly upstream: Socket
}

/** Between a worker and its Redis. */
class Wire {
  readonly #links = new Set<Link>()
  readonly #server
  #held = false
  #cut = false
  /** The part of the worker whose answers get lost. */
  mute = ''

  constructor (port: number) {
    this.#server = createServer(client => {
      if (this.#cut) return client.destroy()
      const link: Link = { part: '', client, upstream: connect(port, '127.0.0.1') }
      this.#links.add(link)
      client.on('data', data => {
        if (link.part === '') link.part = /signalbox:(\w+)/.exec(data.toString('latin1'))?.[1] ?? ''
        link.upstream.write(data)
      }).on('close', () => {
        this.#links.delete(link)
        link.upstream.end()
      })
      link.upstream.on('data', data => { if (this.mute === '' || this.mute !== link.part) client.write(data) }).on('close', () => client.destroy())
      for (const socket of [client, link.upstream]) socket.on('error', () => {})
      if (this.#held) client.pause()
    })
  }

  async listen (): Promise<string> {
    await new Promise<void>(resolve => { this.#server.listen(0, '127.0.0.1', resolve) })
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Nothing passes any more, in either direction. */
  cut (): void {
    this.#cut = true
    this.drop()
  }

  /** The connections of one part end, or all. */
  drop (part?: string): void {
    for (const link of this.#links) if (part === undefined || link.part === part) link.client.destroy()
  }

  /** What the worker sends stays on its way. */
  hold (held = true): void {
    this.#held = held
    for (const { client } of this.#links) client[held ? 'pause' : 'resume']()
  }

  /** What one part has sent over the connections it has now stays on its way. */
  holdPart (part: string, held = true): void {
    for (const link of this.#links) if (link.part === part) link.client[held ? 'pause' : 'resume']()
  }

  /** What Redis sends to one part stays on its way. */
  delay (part: string, delayed = true): void {
    for (const link of this.#links) if (link.part === part) link.upstream[delayed ? 'pause' : 'resume']()
  }

  close (): void {
    this.cut()
    this.#server.close()
  }
}

interface Worker {
  readonly name: string
  readonly gateway: Gateway
  readonly intake: Intake
  readonly client: Client
  readonly wire: Wire
  readonly warnings: string[]
  readonly data: () => unknown[]
  close (): Promise<void>
}

interface Deployment {
  readonly redis: RedisServer
  readonly publisher: Redis
  readonly channel: string
  readonly key: (name: string) => string
  readonly workers: Worker[]
  start (limits?: Partial<Limits>): Promise<Worker>
  /** The worker that takes in. */
  holder (): Promise<Worker>
  publish (...data: unknown[]): Promise<void>
  ingest (...data: unknown[]): Promise<void>
}

let deployments = 0
let shared: RedisServer | null = null

async function deploy (t: Test, workers: number, options: { own?: boolean, redis?: RedisServer, user?: string, mayBeDeaf?: boolean, limits?: Partial<Limits>, rooms?: string[] } = {}): Promise<Deployment> {
  const redis = options.redis ?? (options.own === true ? await RedisServer.start(t) : shared as RedisServer)
  const publisher = new Redis(redis.port, '127.0.0.1', { enableOfflineQueue: true, maxRetriesPerRequest: null })
  publisher.on('error', () => {})
  t.teardown(() => publisher.disconnect())
  const prefix = `test${++deployments}:`
  const channel = `events${deployments}`
  const key = (name: string): string => prefix + name
  const deployment: Deployment = {
    redis,
    publisher,
    channel,
    key,
    workers: [],
    async start (limits = {}) {
      const wire = new Wire(redis.port)
      const url = (await wire.listen()).replace('//', `//${options.user ?? ''}`)
      const name = newWorker()
      const warnings: string[] = []
      const log = { ...silent, warn: (_: object, message: string) => { warnings.push(message) }, error: (details: object, message: string) => { warnings.push(`${message} ${String((details as { err?: Error }).err?.stack)}`) } }
      const store = new RedisStore({ url, prefix, worker: name, historySize: 100_000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 10, idempotencyTtlMs: 3_600_000, clock: systemClock, log })
      const group = new RedisGroup({ store, worker: name, clock: systemClock, log })
      const gateway = new Gateway({
        store,
        group,
        clock: systemClock,
        limits: { ...LIMITS, tickMs: 10, tickFloorMs: 10, bundleFacts: 10_000, ...options.limits, ...limits },
        load: () => 0,
        pingIntervalMs: 10_000,
        reconnectJitterMs: 0,
        commandTimeoutMs: 10_000,
        stateTtlMs: 0,
        stateTypes: new Set(),
        log
      })
      const intake = new Intake({ store, worker: name, channel, clock: systemClock, log })
      await gateway.start()
      const client = new Client(gateway)
      client.join([{ room: '@public' }, ...(options.rooms ?? []).map(room => ({ room }))])
      intake.start(gateway)
      const worker = {
        name,
        gateway,
        intake,
        client,
        wire,
        warnings,
        data: () => client.events.map(({ data }) => data),
        close: async () => {
          await intake.close()
          await group.close()
          await store.close()
          wire.close()
        }
      }
      deployment.workers.push(worker)
      t.teardown(worker.close)
      // Its subscription has begun.
      if (options.mayBeDeaf !== true) await until('it listens', async () => (await publisher.pubsub('NUMSUB', channel))[1] === deployment.workers.length)
      return worker
    },
    async holder () {
      let worker: Worker | undefined
      await until('a worker takes in', async () => {
        const token = await publisher.get(key('intake'))
        worker = deployment.workers.find(({ name }) => token?.startsWith(`${name}.`))
        return worker !== undefined
      })
      return worker as Worker
    },
    async publish (...data) {
      for (const one of data) await publisher.publish(channel, JSON.stringify({ type: 'note', data: one }))
    },
    async ingest (...data) {
      for (const one of data) await publisher.xadd(key('ingest'), '*', 'event', JSON.stringify({ type: 'note', data: one }))
    }
  }
  for (let n = 0; n < workers; n++) await deployment.start()
  if (workers > 0) await deployment.holder()
  return deployment
}

async function until (what: string, done: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!await done()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await delay(10)
  }
}

const has = (worker: Worker, count: number) => (): boolean => worker.client.events.length >= count
const numbers = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => from + n)
const json = (data: unknown, room?: string, key?: string): string => JSON.stringify({ type: 'note', room, key, data })
/** Long enough for whatever would come twice. */
const settle = async (): Promise<void> => { await delay(300) }

/** Kills the connections of a worker that serve a purpose. */
async function kill ({ publisher }: Deployment, ...names: string[]): Promise<number> {
  const clients = String(await publisher.client('LIST')).split('\n').filter(line => names.some(name => line.includes(` name=${name} `)))
  for (const line of clients) await publisher.client('KILL', 'ID', /\bid=(\d+)/.exec(line)?.[1] ?? '').catch(() => {})
  return clients.length
}

async function refusedOf ({ publisher, key }: Deployment): Promise<Array<Record<string, string>>> {
  const entries = await publisher.xrange(key('ingest:refused'), '-', '+')
  return entries.map(([, fields]) => Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, n) => [fields[2 * n], fields[2 * n + 1]])))
}

t.before(async () => {
  if (skip === false) shared = await RedisServer.start(t)
})


const SECONDS = Number(process.env.SECONDS ?? 60)
t.test('chaos', async t => {
  const d = await deploy(t, 3, { own: true })
  const sent: unknown[] = []
  let entries = 0
  let stop = false
  const pace = Number(process.env.PACE ?? 2)
  const flow = (async () => {
    let n = 0
    while (!stop) {
      const one = n % 3 === 0 ? `alike${n % 2}` : n
      n++
      const receivers = await d.publisher.publish(d.channel, json(one))
      if (receivers > 0) sent.push(one)
      await d.publisher.xadd(d.key('ingest'), '*', 'event', json(`i${entries++}`))
      if (n % pace === 0) await delay(1)
    }
  })()
  const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T
  const end = Date.now() + SECONDS * 1000
  const counts: Record<string, number> = {}
  while (Date.now() < end) {
    const worker = pick(d.workers)
    const part = pick(['commands', 'follow', 'intake', 'ingest', 'channel'])
    const ms = Math.random() < 0.2 ? 2000 + Math.random() * 3500 : Math.random() * 400
    const what = pick(['steal', 'drop', 'dropall', 'hold', 'holdPart', 'mute', 'delay', 'freeze', 'kill', 'none'])
    counts[what] = (counts[what] ?? 0) + 1
    if (what === 'steal') await d.publisher.set(d.key('intake'), 'x', 'PX', 50)
    else if (what === 'drop') worker.wire.drop(part)
    else if (what === 'dropall') { worker.wire.drop() }
    else if (what === 'hold') { worker.wire.hold(); await delay(ms); worker.wire.hold(false) }
    else if (what === 'holdPart') { worker.wire.holdPart(part); await delay(ms); worker.wire.holdPart(part, false) }
    else if (what === 'mute') { worker.wire.mute = part; await delay(ms); worker.wire.mute = ''; worker.wire.drop(part) }
    else if (what === 'delay') { worker.wire.delay(part); await delay(ms); worker.wire.delay(part, false) }
    else if (what === 'freeze') { d.redis.freeze(); await delay(ms / 2); d.redis.thaw() }
    else if (what === 'kill') await kill(d, `signalbox:${part}:${worker.name}`)
    await delay(Math.random() * 300)
    // All channels heard again, so that no message is heard by nobody else.
    await until('heard', async () => (await d.publisher.pubsub('NUMSUB', d.channel))[1] === 3)
  }
  stop = true
  await flow
  console.log(counts, { sent: sent.length, entries })
  for (const worker of d.workers) await until('all arrive', has(worker, sent.length + entries), 40_000).catch(e => console.log(e.message, worker.data().length, sent.length + entries))
  await delay(8000)
  for (const worker of d.workers) {
    const got = worker.data()
    const ing = got.filter(x => String(x).startsWith('i'))
    t.same(ing.length === entries && ing.every((x, n) => x === `i${n}`), true, 'ingest in order, once')
    const chan = got.filter(x => !String(x).startsWith('i'))
    const tally = (list: unknown[]) => { const m = new Map<unknown, number>(); for (const x of list) m.set(x, (m.get(x) ?? 0) + 1); return m }
    const a = tally(sent); const b = tally(chan)
    const lost = [...a].filter(([x, c]) => (b.get(x) ?? 0) < c).map(([x, c]) => `${x}:${c}>${b.get(x) ?? 0}`)
    const twice = [...b].filter(([x, c]) => (a.get(x) ?? 0) < c).map(([x, c]) => `${x}:${a.get(x) ?? 0}<${c}`)
    console.log('resets', worker.client.kinds().filter(k => k === 'reset').length, 'lost', lost.length, lost.slice(0, 10), 'twice', twice.length, twice.slice(0, 10), 'in order', JSON.stringify(chan) === JSON.stringify(sent), worker.intake.counters)
    t.same([lost.length, twice.length], [0, 0])
  }
})
