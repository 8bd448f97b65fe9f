// What comes in through Redis: each message and each entry once at every client, in order, whatever becomes of workers and
// connections. Workers are whole gateways in this process; each has its Redis behind a wire of its own, which can be cut.

import { execFile } from 'node:child_process'
import { createServer, connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Event } from '../../src/core/event.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { newWorker } from '../../src/core/group.ts'
import type { Limits } from '../../src/core/limits.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { UnconfirmedMessages } from '../../src/store/redis/intake/unconfirmed.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import { readEntries } from '../../src/store/redis/intake/ingest-entries.ts'
import { Intake } from '../../src/store/redis/intake/intake.ts'
import { keysOf } from '../../src/store/redis/keys.ts'
import { ManualClock } from '../clock.ts'
import { Client, LIMITS, silent } from '../core/rig.ts'
import { childEnv, need } from '../tools/find.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'

t.setTimeout(600_000)
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
      const store = new RedisStore({ address: redisAddress(url), prefix, worker: name, historySize: 100_000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 10, idempotencyTtlMs: 3_600_000, clock: systemClock, log })
      const group = new RedisGroup({ store, worker: name, clock: systemClock, log })
      const gateway = new Gateway({
        store,
        group,
        clock: systemClock,
        limits: { ...LIMITS, tickMs: 10, tickFloorMs: 10, maxQueuePerClient: 10_000, ...options.limits, ...limits },
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

async function until (what: string, done: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
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

t.test('the three lines of a publisher of the earlier system reach every client', { skip: skipWithout('redis', 'python') }, async t => {
  const d = await deploy(t, 2)
  const python = need('python')
  const lines = `import json, time, redis
r = redis.Redis(port=${d.redis.port})
r.publish('${d.channel}', json.dumps({'type': 'cpu', 'data': {'percent': 42}, 'timestamp': time.time()}))
`
  await promisify(execFile)(python.bin, ['-c', lines], { env: childEnv(python) })
  for (const worker of d.workers) await until('it arrives', has(worker, 1))
  await settle()
  for (const { client } of d.workers) {
    const [event, ...more] = client.events as [Event, ...Event[]]
    t.same([event.type, event.data, more.length], ['cpu', { percent: 42 }, 0])
    t.ok(Math.abs(event.timestamp - Date.now()) < 60_000, 'seconds became milliseconds')
  }
})

for (const count of [1, 3]) {
  t.test(`with ${count} worker${count > 1 ? 's' : ''} each message reaches each client once, in order, those alike too`, { skip }, async t => {
    const d = await deploy(t, count)
    const data = numbers(600).map(n => n % 3 === 0 ? 'alike' : n)
    const pipeline = d.publisher.pipeline()
    for (const one of data) pipeline.publish(d.channel, json(one))
    await pipeline.exec()
    for (const worker of d.workers) await until('all arrive', has(worker, data.length))
    await settle()
    for (const worker of d.workers) t.same(worker.data(), data)
    t.equal(d.workers.reduce((sum, { intake }) => sum + intake.counters.channel.taken, 0), data.length)
  })
}

t.test('room, key and type of a message count, and other channels are not heard', { skip }, async t => {
  const d = await deploy(t, 1, { rooms: ['plant-1'] })
  await d.publisher.publish(`${d.channel}x`, json('elsewhere'))
  await d.publisher.publish(d.channel, json(1, 'plant-1', 'host-7'))
  const [worker] = d.workers as [Worker]
  await until('it arrives', has(worker, 1))
  t.match(worker.client.events, [{ type: 'note', room: 'plant-1', key: 'host-7', data: 1 }])
})

t.test('when the worker that takes in dies while messages flow, none is lost, none comes twice, and order is kept', { skip }, async t => {
  const d = await deploy(t, 3)
  const holder = await d.holder()
  const others = d.workers.filter(worker => worker !== holder)
  const published: unknown[] = []
  for (let n = 0; n < 1500; n++) {
    const one = n % 4 === 0 ? 'alike' : n
    if (n === 400) setImmediate(() => holder.wire.cut())
    const receivers = await d.publisher.publish(d.channel, json(one))
    if (receivers > 0) published.push(one)
    if (n % 20 === 0) await delay(50)
  }
  for (const worker of others) await until('all arrive', has(worker, published.length))
  await settle()
  for (const worker of others) t.same(worker.data(), published)
  t.not(await d.holder(), holder)
})

t.test('what the dead worker had sent does nothing when it arrives after all', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  holder.wire.hold()
  await d.publish('a', 'a', 'b')
  await d.ingest('c')
  await until('another takes in what it has heard', has(other, 4))
  t.same(other.data().sort(), ['a', 'a', 'b', 'c'])
  holder.wire.hold(false)
  await settle()
  await d.publish('d')
  await until('the next arrives', has(other, 5))
  await until('everything arrives at the other too', has(holder, 5))
  await delay(1500)
  t.equal(other.data().length, 5)
  t.equal(holder.data().length, 5)
})

t.test('a worker that takes over first hears what the one before has taken in', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  other.wire.delay('follow')
  await d.publish('a', 'b', 'b')
  await until('they are taken in', has(holder, 3))
  await holder.intake.close()
  await until('the other takes over', async () => await d.holder() === other)
  await delay(100)
  other.wire.delay('follow', false)
  await d.publish('c')
  for (const worker of d.workers) await until('all arrive', has(worker, 4))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), ['a', 'b', 'b', 'c'])
})

t.test('what a worker has missed does not count for what it hears', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  const list = String(await d.publisher.client('LIST')).split('\n')
  const id = /\bid=(\d+)/.exec(list.find(line => line.includes(` name=signalbox:channel:${other.name} `)) ?? '')?.[1] ?? ''
  const pipeline = d.publisher.pipeline().client('KILL', 'ID', id)
  for (let n = 0; n < 3; n++) pipeline.publish(d.channel, json('alike'))
  await pipeline.exec()
  await until('they arrive', has(other, 3))
  await until('it listens again', async () => (await d.publisher.pubsub('NUMSUB', d.channel))[1] === 2)
  await delay(100)
  holder.wire.hold()
  await d.publish('alike', 'alike', 'alike', 'last')
  await until('the other takes over', has(other, 7))
  holder.wire.hold(false)
  await settle()
  t.same(other.data(), ['alike', 'alike', 'alike', 'alike', 'alike', 'alike', 'last'])
})

t.test('an append whose answer is lost is neither lost nor repeated', { skip }, async t => {
  const d = await deploy(t, 2)
  for (const way of ['a connection that ends', 'a connection that goes silent']) {
    const holder = await d.holder()
    const other = d.workers.find(worker => worker !== holder) as Worker
    const before = other.data().length
    holder.wire.mute = 'commands'
    await d.publish('a', 'a')
    await d.ingest('b')
    await until('it is in the log', () => other.data().length > before)
    await delay(20)
    if (way.endsWith('ends')) holder.wire.drop('commands')
    else await delay(2000)
    holder.wire.mute = ''
    await d.publish('c')
    for (const worker of d.workers) await until('all arrive', has(worker, before + 4))
    await settle()
    for (const worker of d.workers) t.same(worker.data().slice(before).sort(), ['a', 'a', 'b', 'c'], way)
  }
})

t.test('an append that arrives when its worker has given it up does nothing', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const token = await d.publisher.get(d.key('intake'))
  holder.wire.holdPart('commands')
  await d.publish('a')
  await until('it is tried anew', has(holder, 1))
  t.not(await d.publisher.get(d.key('intake')), token)
  holder.wire.holdPart('commands', false)
  await delay(200)
  await d.publish('b')
  for (const worker of d.workers) await until('the next arrives', has(worker, 2))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), ['a', 'b'])
})

t.test('what a dead worker had asked to read is not read', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  holder.wire.hold()
  await d.ingest(1)
  await until('another takes over', async () => await d.holder() === other)
  await until('and takes it in', has(other, 1))
  other.wire.hold()
  await d.ingest(2)
  holder.wire.hold(false)
  await delay(200)
  other.wire.hold(false)
  await until('it arrives', has(other, 2))
  t.equal(await d.holder(), other)
  t.same(other.data(), [1, 2])
})

t.test('a worker that shuts down is followed at once, and nothing is lost', { skip }, async t => {
  const d = await deploy(t, 3)
  const published: number[] = []
  for (let round = 0; round < 2; round++) {
    const holder = await d.holder()
    const closing = delay(20).then(async () => {
      await holder.close()
      d.workers.splice(d.workers.indexOf(holder), 1)
    })
    const begun = Date.now()
    for (let n = 0; n < 100; n++) {
      await d.publish(published.push(published.length))
      await delay(1)
    }
    await closing
    const [left] = d.workers as [Worker]
    await until('all arrive', has(left, published.length))
    t.ok(Date.now() - begun < 20_000, `went on within ${Date.now() - begun} ms`)
  }
  await settle()
  for (const worker of d.workers) t.same(worker.data(), published.map(n => n + 1))
})

t.test('a gateway that drains lets another take in', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  await d.publish(1)
  await until('it arrives', has(other, 1))
  const drained = holder.gateway.drain()
  await d.publish(2, 3)
  await until('what follows arrives', has(other, 3))
  await drained
  await settle()
  t.same(other.data(), [1, 2, 3])
  t.equal(await d.holder(), other)
})

t.test('a message that only another worker has heard arrives too', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  const id = async (worker: Worker): Promise<string> => /\bid=(\d+)/.exec(String(await d.publisher.client('LIST')).split('\n').find(line => line.includes(` name=signalbox:channel:${worker.name} `)) ?? '')?.[1] ?? ''
  const [first, second] = [await id(holder), await id(other)]
  const answers = await d.publisher.pipeline().client('KILL', 'ID', first).publish(d.channel, json(1)).exec()
  t.equal(answers?.[1]?.[1], 1)
  await until('the other takes over', has(other, 1))
  t.equal(await id(other), second)
  // One that does not know what it has missed.
  const now = await d.holder()
  await until('both listen', async () => (await d.publisher.pubsub('NUMSUB', d.channel))[1] === 2)
  now.wire.mute = 'channel'
  await d.publish(2)
  await delay(20)
  now.wire.mute = ''
  await d.publish(3)
  for (const worker of d.workers) await until('it arrives', has(worker, 3))
  t.not(await d.holder(), now)
  await settle()
  for (const worker of d.workers) t.same(worker.data(), [1, 3, 2])
})

t.test('a channel that has gone silent is given up, and nothing that others have heard is lost', { skip }, async t => {
  const d = await deploy(t, 2)
  const holder = await d.holder()
  const other = d.workers.find(worker => worker !== holder) as Worker
  holder.wire.mute = 'channel'
  await d.publish(1, 2)
  await until('they arrive', has(other, 2))
  t.equal(await d.holder(), other)
  holder.wire.mute = ''
  await settle()
  t.same(other.data(), [1, 2])
})

t.test('a malformed message is set aside and counted, and stops nothing', { skip }, async t => {
  const d = await deploy(t, 2, { limits: { maxHttpBufferSize: 1000 } })
  const bad: Array<[string | Buffer, RegExp]> = [
    ['{"type":"note"', /^BAD_EVENT: not valid JSON/],
    ['', /^BAD_EVENT/],
    ['{"type":"note"}', /^BAD_EVENT: data is missing/],
    ['[{"type":"note","data":1}]', /^BAD_EVENT/],
    ['null', /^BAD_EVENT/],
    ['{"type":"note","data":1,"extra":1}', /^BAD_EVENT: unknown field "extra"/],
    ['{"type":"note","data":12345678901234567890}', /^BAD_EVENT: the number/],
    [Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), /^BAD_EVENT: not valid UTF-8/],
    [json('x'.repeat(2000)), /^TOO_LARGE/]
  ]
  const pipeline = d.publisher.pipeline()
  for (const [at, [text]] of bad.entries()) pipeline.publish(d.channel, text).publish(d.channel, json(at))
  await pipeline.exec()
  for (const worker of d.workers) await until('the good ones arrive', has(worker, bad.length))
  const counters = (): number => d.workers.reduce((sum, { intake }) => sum + intake.counters.channel.refused, 0)
  await until('the bad ones are counted', () => counters() === bad.length)
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(bad.length))
  const refused = await refusedOf(d)
  t.equal(refused.length, bad.length)
  // Those of one batch are noticed by their text first, then by their shape.
  for (const [text, reason] of bad) t.ok(refused.some(entry => entry.source === 'channel' && reason.test(entry.reason as string) && entry.event === text.toString()), String(reason))
  const holder = await d.holder()
  t.ok(holder.warnings.length >= bad.length && holder.warnings.every(line => line.length < 500))
  await delay(6500)
  t.equal((await refusedOf(d)).length, bad.length, 'who only listens knows that they are done with')
})

t.test('a flood of garbage does not fill the log', { skip }, async t => {
  const d = await deploy(t, 1)
  const pipeline = d.publisher.pipeline()
  for (const n of numbers(3000)) pipeline.publish(d.channel, `{${n}`)
  await pipeline.exec()
  await d.publish('good')
  const [worker] = d.workers as [Worker]
  await until('the good one arrives', has(worker, 1))
  await until('all are counted', () => worker.intake.counters.channel.refused === 3000)
  t.equal(worker.warnings.filter(line => line.includes('refused')).length, 10)
  t.ok(await d.publisher.xlen(d.key('ingest:refused')) < 1200)
})

t.test('entries of the stream reach each client once, in order, and are gone from it', { skip }, async t => {
  const d = await deploy(t, 2)
  await d.ingest(...numbers(500))
  for (const worker of d.workers) await until('all arrive', has(worker, 500))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(500))
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
})

t.test('what was written while no worker was there is taken in from the beginning', { skip }, async t => {
  const d = await deploy(t, 0)
  await d.ingest(...numbers(300))
  const worker = await d.start()
  await until('all arrive', has(worker, 300))
  t.same(worker.data(), numbers(300))
})

t.test('entries arrive once and in order while the lease changes hands and connections are killed', { skip }, async t => {
  const d = await deploy(t, 3)
  const total = 1000
  let n = 0
  let turns = 0
  let killed = 0
  while (n < total) {
    for (let some = 0; some < 25 && n < total; some++) await d.ingest(n++)
    if (n % 100 === 0) {
      // Somebody else holds it for a moment: whatever is on its way is refused.
      await d.publisher.set(d.key('intake'), 'nobody', 'PX', 50)
      turns++
    } else if (n % 50 === 0) {
      const { name } = await d.holder()
      killed += await kill(d, `signalbox:commands:${name}`, `signalbox:intake:${name}`)
    }
    await delay(20)
  }
  t.ok(turns >= 8 && killed >= 8, `${turns} turns, ${killed} connections killed`)
  for (const worker of d.workers) await until('all arrive', has(worker, total))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(total))
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
  t.equal(d.workers.reduce((sum, { intake }) => sum + intake.counters.ingest.refused, 0), 0)
})

t.test('messages arrive once while the lease changes hands and connections are killed', { skip }, async t => {
  const d = await deploy(t, 3)
  const total = 1000
  for (let n = 0; n < total; n++) {
    await d.publish(n)
    if (n % 100 === 50) await d.publisher.set(d.key('intake'), 'nobody', 'PX', 50)
    else if (n % 50 === 0) await kill(d, `signalbox:commands:${(await d.holder()).name}`)
    else if (n % 10 === 0) await delay(20)
  }
  for (const worker of d.workers) await until('all arrive', has(worker, total))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(total))
})

t.test('an entry that cannot become an event is set aside with the reason, and stops nothing', { skip }, async t => {
  const d = await deploy(t, 1, { limits: { maxHttpBufferSize: 1000 }, rooms: ['full'] })
  const [worker] = d.workers as [Worker]
  const pipeline = d.publisher.pipeline()
  const bad: Array<[Array<string | Buffer>, RegExp]> = [
    [['event', '{"type":'], /^BAD_EVENT: not valid JSON/],
    [['data', '{"type":"note","data":1}'], /^BAD_EVENT: an entry has one field/],
    [['event', json(1), 'event', json(2)], /^BAD_EVENT: an entry has one field/],
    [['event', json(1), 'trace', 'x'], /^BAD_EVENT: an entry has one field/],
    [numbers(10_000).flatMap(n => [`f${n}`, 'x']), /^BAD_EVENT: an entry has one field/],
    [['event', Buffer.from([0x22, 0xff, 0x22])], /^BAD_EVENT: not valid UTF-8/],
    [['event', json('x'.repeat(100_000))], /^TOO_LARGE/],
    [['event', '{"type":"note","room":"@system","data":1}'], /^BAD_EVENT: rooms beginning with @/]
  ]
  for (const [at, [fields]] of bad.entries()) pipeline.xadd(d.key('ingest'), '*', ...fields).xadd(d.key('ingest'), '*', 'event', json(at))
  await pipeline.exec()
  // One key more than a room may have.
  for (const n of numbers(11)) await d.publisher.xadd(d.key('ingest'), '*', 'event', json(n, 'full', `k${n}`))
  await d.ingest('last')
  await until('the good ones arrive', has(worker, bad.length + 11))
  t.same(worker.client.events.filter(({ room }) => room === undefined).map(({ data }) => data), [...numbers(bad.length), 'last'])
  await until('all are set aside', () => worker.intake.counters.ingest.refused === bad.length + 1)
  const refused = await refusedOf(d)
  for (const [, reason] of bad) t.ok(refused.some(entry => reason.test(entry.reason as string) && /^\d+-\d+$/.test(entry.source as string)), String(reason))
  t.match(refused.at(-1), { reason: /^KEYS_FULL/, event: json(10, 'full', 'k10') })
  t.ok(refused.every(({ event = '' }) => event.length <= 65_536))
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
  const pending = await d.publisher.xpending(d.key('ingest'), 'gateway')
  t.equal(pending[0], 0)
})

t.test('entries of a paused room wait, others flow, and after it is resumed they come first and in order', { skip }, async t => {
  const d = await deploy(t, 2, { rooms: ['calm', 'busy'] })
  const [one] = d.workers as [Worker]
  const write = async (room: string, ...data: number[]): Promise<void> => { for (const n of data) await d.publisher.xadd(d.key('ingest'), '*', 'event', json(n, room)) }
  const arrived = (worker: Worker, room: string): unknown[] => worker.client.events.filter(event => event.room === room).map(({ data }) => data)
  await write('calm', 0)
  await until('it flows', has(one, 1))
  await one.gateway.operator.pause('calm', true)
  for (let n = 1; n <= 300; n++) await write(n % 2 === 0 ? 'busy' : 'calm', n)
  for (const worker of d.workers) await until('the others flow', () => arrived(worker, 'busy').length === 150)
  const holder = await d.holder()
  await until('they wait', () => holder.intake.counters.ingest.waiting === 150)
  t.same(arrived(one, 'calm'), [0])
  // Another worker finds them waiting too.
  await d.publisher.set(d.key('intake'), 'nobody', 'PX', 50)
  await until('they wait again', () => d.workers.some(({ intake }) => intake.counters.ingest.waiting === 150))
  const resuming = one.gateway.operator.pause('calm', false)
  await write('calm', ...numbers(50, 301))
  await resuming
  for (const worker of d.workers) await until('they go on', () => arrived(worker, 'calm').length >= 201)
  await settle()
  const expected = [0, ...numbers(150).map(n => 2 * n + 1), ...numbers(50, 301)]
  for (const worker of d.workers) t.same(arrived(worker, 'calm'), expected)
  t.equal(d.workers.reduce((sum, { intake }) => sum + intake.counters.ingest.refused + intake.counters.ingest.waiting, 0), 0)
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
})

t.test('entries that waited come in pages of a bounded size, each in its place, also where some are gone', { skip }, async t => {
  const d = await deploy(t, 1, { rooms: ['calm'] })
  const [worker] = d.workers as [Worker]
  await worker.gateway.operator.pause('calm', true)
  const ids: string[] = []
  for (const n of numbers(12)) ids.push(await d.publisher.xadd(d.key('ingest'), '*', 'event', JSON.stringify({ type: 'x', room: 'calm', data: [n, 'x'.repeat(500_000)] })) as string)
  await until('they wait', () => worker.intake.counters.ingest.waiting === 12)
  await d.publisher.set(d.key('intake'), 'of the test')
  const { entries, next } = await readEntries(d.publisher, keysOf(d.key('')), { token: 'of the test', from: '=', ids, most: 200, mostBytes: 1_000_000, largest: 1_000_000 })
  t.same([entries.map(({ id }) => id), next], [ids.slice(0, 2), '2'])
  await d.publisher.del(d.key('intake'))
  await until('they wait again', () => worker.intake.counters.ingest.waiting === 12)
  await d.publisher.xdel(d.key('ingest'), ids[5] as string)
  await worker.gateway.operator.pause('calm', false)
  await until('all arrive', has(worker, 11))
  t.same(worker.data().map(data => (data as unknown[])[0]), numbers(12).filter(n => n !== 5))
  await settle()
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
})

t.test('when too many entries wait no more are read, and none is lost', { skip }, async t => {
  const d = await deploy(t, 1, { rooms: ['calm'] })
  const [worker] = d.workers as [Worker]
  await worker.gateway.operator.pause('calm', true)
  const total = 10_500
  const pipeline = d.publisher.pipeline()
  for (const n of numbers(total)) pipeline.xadd(d.key('ingest'), '*', 'event', json(n, 'calm'))
  await pipeline.exec()
  await until('so many wait', () => worker.intake.counters.ingest.waiting >= 10_000)
  await d.ingest('behind them')
  await settle()
  t.ok(worker.intake.counters.ingest.waiting < 10_300)
  t.same(worker.data(), [])
  await worker.gateway.operator.pause('calm', false)
  await until('all arrive', has(worker, total + 1))
  t.same(worker.data(), [...numbers(total), 'behind them'])
  t.equal(await d.publisher.xlen(d.key('ingest')), 0)
})

t.test('messages for a paused room are set aside', { skip }, async t => {
  const d = await deploy(t, 1, { rooms: ['calm'] })
  const [worker] = d.workers as [Worker]
  await worker.gateway.operator.pause('calm', true)
  await d.publisher.publish(d.channel, json(1, 'calm'))
  await d.publish(2)
  await until('the other one arrives', has(worker, 1))
  await until('it is counted', () => worker.intake.counters.channel.refused === 1)
  t.match(await refusedOf(d), [{ source: 'channel', reason: /^ROOM_PAUSED/, event: json(1, 'calm') }])
})

t.test('entries for rooms beyond MAX_ROOMS wait until there is a place', { skip }, async t => {
  const d = await deploy(t, 1, { limits: { maxRooms: 1 } })
  const [worker] = d.workers as [Worker]
  await d.publisher.xadd(d.key('ingest'), '*', 'event', json(1, 'other', 'k'))
  for (const n of numbers(5)) await d.publisher.xadd(d.key('ingest'), '*', 'event', json(n, 'b', `k${n}`))
  await d.ingest('flows')
  await until('the others flow', () => worker.data().includes('flows'))
  t.equal(worker.intake.counters.ingest.waiting, 5)
  worker.gateway.operator.tune({ ...worker.gateway.limits, maxRooms: 2 })
  await until('they go on', () => worker.intake.counters.ingest.taken === 7)
  const late = new Client(worker.gateway)
  late.join([{ room: 'b' }])
  await until('they are there', () => late.events.length === 5)
  t.same(late.events.map(({ data }) => data), numbers(5))
  t.equal(worker.intake.counters.ingest.refused, 0)
})

t.test('a room that opens while entries for it are turned away keeps their order', { skip }, async t => {
  const d = await deploy(t, 1, { limits: { maxRooms: 1 } })
  const [{ gateway, intake }] = d.workers as [Worker]
  await d.publisher.xadd(d.key('ingest'), '*', 'event', json(0, 'other', 'k'))
  await until('the only place is taken', () => intake.counters.ingest.taken === 1)
  const take = gateway.take.bind(gateway)
  gateway.take = async (events, append) => {
    try {
      return await take(events, append)
    } catch (error) {
      if (events.length === 1) gateway.operator.tune({ ...gateway.limits, maxRooms: 2 })
      throw error
    }
  }
  const pipeline = d.publisher.multi()
  for (const n of numbers(8)) pipeline.xadd(d.key('ingest'), '*', 'event', json(n, 'b', `k${n}`))
  await pipeline.exec()
  await until('all are in', () => intake.counters.ingest.taken === 9)
  const late = new Client(gateway)
  late.join([{ room: 'b' }])
  await until('they are there', () => late.events.length === 8)
  t.same(late.events.map(({ data }) => data), numbers(8))
})

t.test('after FLUSHALL, and without its group, it goes on by itself', { skip }, async t => {
  const d = await deploy(t, 2, { own: true })
  const [one] = d.workers as [Worker]
  await d.publisher.xgroup('DESTROY', d.key('ingest'), 'gateway')
  await d.ingest(1)
  await until('without the group', () => one.data().includes(1))
  await d.publisher.flushall()
  // A value, because facts that came while the log was read anew are behind the reset.
  await d.publisher.xadd(d.key('ingest'), '*', 'event', json(2, undefined, 'k'))
  await until('after FLUSHALL', () => one.data().includes(2))
  await d.holder()
  await d.publish(3)
  await until('the channel', () => one.data().includes(3))
  await d.publisher.set(d.key('ingest'), 'of another kind')
  await d.publish(4)
  await until('the channel beside a stream that is none', () => one.data().includes(4))
  await d.publisher.del(d.key('ingest'))
  await d.ingest(5)
  await until('a stream again', () => one.data().includes(5))
  await settle()
  t.same(one.data(), [1, 2, 3, 4, 5])
})

t.test('connections killed fifty times, and a Redis that is started anew: it goes on by itself', { skip }, async t => {
  const d = await deploy(t, 2, { own: true })
  const [one, other] = d.workers as [Worker, Worker]
  for (let round = 0; round < 50; round++) {
    await kill(d, ...d.workers.flatMap(({ name }) => ['channel', 'intake', 'ingest', 'commands', 'follow'].filter((_, at) => (round + at) % 3 !== 0).map(part => `signalbox:${part}:${name}`)))
    await d.ingest(round)
    await delay(30)
  }
  for (const worker of d.workers) await until('all arrive', has(worker, 50))
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(50))
  await d.redis.restart()
  await until('they listen', async () => (await d.publisher.pubsub('NUMSUB', d.channel).catch(() => []))[1] === 2)
  await d.publish('after')
  await d.ingest('and')
  for (const worker of d.workers) await until('all arrive', has(worker, 52))
  const commands = async (): Promise<number> => Number(/total_commands_processed:(\d+)/.exec(await d.publisher.info('stats'))?.[1])
  const before = await commands()
  await delay(1000)
  const idle = await commands() - before
  t.ok(idle < 150, `${idle} commands while nothing happens`)
  t.same(other.data().slice(50).sort(), ['after', 'and'])
  t.same(one.data().slice(50).sort(), ['after', 'and'])
})

t.test('a Redis that hangs for a while: what was on its way arrives once', { skip }, async t => {
  const d = await deploy(t, 2, { own: true })
  const total = 300
  const sent = numbers(total).map(n => [d.publisher.publish(d.channel, json(n)), d.publisher.xadd(d.key('ingest'), '*', 'event', json(`entry ${n}`))])
  await until('some have arrived', has(d.workers[0] as Worker, 20))
  d.redis.freeze()
  await delay(4000)
  d.redis.thaw()
  await Promise.all(sent.flat())
  for (const worker of d.workers) await until('all arrive', has(worker, 2 * total))
  await settle()
  for (const worker of d.workers) {
    t.same(worker.data().filter(one => typeof one === 'number'), numbers(total))
    t.same(worker.data().filter(one => typeof one === 'string'), numbers(total).map(n => `entry ${n}`))
  }
})

t.test('while Redis takes no writes messages are kept, as far as there is room, and what is dropped is counted', { skip }, async t => {
  const d = await deploy(t, 2, { own: true })
  await d.publish(0)
  for (const worker of d.workers) await until('it arrives', has(worker, 1))
  await d.publisher.config('SET', 'maxmemory', '1')
  const kept = 50_000
  const total = kept + 5000
  for (let n = 1; n <= total;) {
    const pipeline = d.publisher.pipeline()
    for (let some = 0; some < 1000; some++) pipeline.publish(d.channel, json(n++))
    await pipeline.exec()
  }
  await delay(4000)
  for (const worker of d.workers) t.equal(worker.data().length, 1)
  await d.publisher.config('SET', 'maxmemory', '0')
  for (const worker of d.workers) await until('what was kept arrives', has(worker, kept + 1))
  const dropped = (): number => d.workers.reduce((sum, { intake }) => sum + intake.counters.channel.dropped, 0)
  await until('what was not is counted', () => dropped() === total - kept)
  await settle()
  for (const worker of d.workers) t.same(worker.data(), numbers(kept + 1))
  t.equal(dropped(), total - kept)
})

t.test('a user that may no more than the operations guide says is enough; one that may not subscribe still takes in entries', { skip }, async t => {
  const rights = '~test*:* +@read +@write +@scripting +@connection +@pubsub +@transaction +info +time -@admin -flushall -flushdb -keys -script|flush -swapdb'
  const redis = await RedisServer.start(t, { acl: ['user default on nopass ~* &* +@all', `user gateway on >word &events* ${rights}`, `user deaf on >word resetchannels ${rights}`] })
  const heard = await deploy(t, 1, { redis, user: 'gateway:word@' })
  await heard.publish(1)
  await heard.ingest(2)
  const deaf = await deploy(t, 1, { redis, user: 'deaf:word@', mayBeDeaf: true })
  await deaf.ingest(3)
  await until('both arrive', has(heard.workers[0] as Worker, 2))
  await until('it arrives', has(deaf.workers[0] as Worker, 1))
  t.same(heard.workers[0]?.warnings, [])
  t.match(deaf.workers[0]?.warnings, [/^channel events\d+ cannot be subscribed to now: NOPERM/])
})

t.test('a lease that a clock set back has made too long is taken over all the same', { skip }, async t => {
  const { redis, key, start, publish, workers } = await deploy(t, 0)
  await redis.cli('SET', key('intake'), 'dead.1', 'PX', '3600000')
  await start()
  await publish('a')
  await until('it is taken in', () => workers[0]?.data().length === 1)
})

t.test('where ingest:refused is no stream, it is set aside with what is in it, and the intake goes on', { skip }, async t => {
  const { redis, key, publish, ingest, workers, publisher, channel } = await deploy(t, 1)
  const [worker] = workers as [Worker]
  await redis.cli('SET', key('ingest:refused'), 'mine')
  await publisher.xadd(key('ingest'), '*', 'event', 'rubbish')
  await publisher.publish(channel, 'rubbish')
  await ingest('a')
  await publish('b')
  await until('both are taken in', () => worker.data().length === 2)
  await until('the refused ones are set aside', async () => await redis.cli('XLEN', key('ingest:refused')) === '2')
  t.equal(await redis.cli('GET', key('ingest:refused:string')), 'mine')
  t.equal(worker.warnings.filter(line => / was no stream: what it was is .*ingest:refused:string now/.test(line)).length, 1)
})

t.test('a lease of a wrong type is reported', { skip }, async t => {
  const { redis, key, start } = await deploy(t, 0)
  await redis.cli('HSET', key('intake'), 'a', 'b')
  const worker = await start()
  await until('it is reported', () => worker.warnings.some(line => /nothing is taken in through Redis: the lease .*intake cannot be used: .*WRONGTYPE/.test(line)))
})

t.test('a burst beyond what is kept is reported with its count, in the log and by /readyz', { skip }, async t => {
  const { redis, publisher, channel, workers } = await deploy(t, 1, { own: true })
  const [worker] = workers as [Worker]
  await redis.cli('CONFIG', 'SET', 'maxmemory', '1mb')
  const text = JSON.stringify({ type: 'x', data: 'x'.repeat(1024 * 1024) })
  for (let n = 0; n < 20; n++) await publisher.publish(channel, text)
  await delay(500)
  await redis.cli('CONFIG', 'SET', 'maxmemory', '0')
  const says = /^\d+ messages on channel \S+ were dropped: of those not taken in yet 50000 are kept, and 16 Mi characters\. Entries of \S+ingest are never dropped$/
  await until('it is reported', () => worker.warnings.some(line => says.test(line)))
  t.ok(worker.gateway.warnings.some(line => says.test(line)))
  t.ok(worker.intake.counters.channel.dropped > 0)
})

t.test('a subscription that Redis ends alone is reported with the setting that does it; one that ends with the others is not', { skip }, async t => {
  const { redis, workers } = await deploy(t, 1, { own: true })
  const [worker] = workers as [Worker]
  const reported = (): number => worker.warnings.filter(line => /client-output-buffer-limit pubsub/.test(line)).length
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await delay(2500)
  t.equal(reported(), 0)
  t.same(worker.gateway.warnings.filter(line => /client-output-buffer-limit pubsub/.test(line)), [])
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until('it is reported', () => reported() === 1)
  t.ok(worker.gateway.warnings.some(line => /client-output-buffer-limit pubsub/.test(line)), 'at /readyz too')
})

t.test('UnconfirmedMessages: a hundred thousand messages alike are struck in no time, from either end', async t => {
  const waiting = new UnconfirmedMessages(new ManualClock())
  const begun = performance.now()
  for (let n = 0; n < 100_000; n++) waiting.add('same', 'x', null)
  for (let n = 0; n < 50_000; n++) waiting.strikeAlike('same')
  for (const message of waiting.first(50_000, Infinity).reverse()) waiting.strike(message)
  for (let n = 0; n < 100_000; n++) waiting.strikeAlike('other')
  for (let n = 0; n < 100_000; n++) waiting.add('other', 'x', null)
  t.equal(waiting.since, undefined)
  t.ok(performance.now() - begun < 20_000, `${Math.round(performance.now() - begun)} ms`)
})

t.test('UnconfirmedMessages: each of several messages alike is struck once, whichever is quicker, the log or the subscription', async t => {
  const clock = new ManualClock()
  const heard = new UnconfirmedMessages(clock)
  const texts = (): Array<string | null> => heard.first(100, Infinity).map(({ text }) => text)
  heard.add('a', 'a1', null)
  heard.add('b', 'b1', null)
  heard.add('a', 'a2', null)
  heard.strikeAlike('a')
  t.same(texts(), ['b1', 'a2'])
  heard.strikeAlike('c')
  heard.add('c', 'c1', null)
  heard.add('c', 'c2', null)
  t.same(texts(), ['b1', 'a2', 'c2'], 'the one the log knew of is not heard anew')
  heard.strikeAlike('d')
  clock.advance(31_000)
  heard.add('d', 'd1', null)
  t.same(texts(), ['b1', 'a2', 'c2', 'd1'], 'but not for ever')
  t.equal(heard.expected, null)
  heard.strikeAlike('e')
  const { expected } = heard
  heard.strikeAlike('f')
  heard.expectNot(expected as number)
  heard.add('e', 'e1', null)
  heard.add('f', 'f1', null)
  t.same(texts(), ['b1', 'a2', 'c2', 'd1', 'e1'], 'nor when it is known that it will not come')
  t.same(heard.first(2, Infinity).map(({ text }) => text), ['b1', 'a2'])
  t.same(heard.first(5, 4).map(({ text }) => text), ['b1', 'a2'])
  t.same(heard.first(5, 1).map(({ text }) => text), ['b1'])
})

t.test('UnconfirmedMessages: what there is no room for still counts, so that those alike are not confused', async t => {
  const heard = new UnconfirmedMessages(new ManualClock())
  const large = 'x'.repeat(16 * 1024 * 1024)
  heard.add('large', large, null)
  heard.add('a', 'a1', null)
  t.same(heard.first(5, Infinity).map(({ text }) => text?.length ?? null), [large.length, null])
  heard.strikeAlike('large')
  heard.add('a', 'a2', null)
  heard.strikeAlike('a')
  t.same(heard.first(5, Infinity).map(({ text }) => text), ['a2'])
  for (let n = 0; n < 99_999; n++) heard.add(`${n}`, '', null)
  t.equal(heard.add('more', '', null), false)
})
