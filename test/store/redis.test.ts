// The store on Redis: the contract of every store over a real server, and what only this one has.

import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { newWorker } from '../../src/core/group.ts'
import { systemClock } from '../../src/core/clock.ts'
import { isAfter } from '../../src/core/id.ts'
import type { Clock } from '../../src/core/clock.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import type { RedisStoreOptions } from '../../src/store/redis/log/store.ts'
import { silent } from '../core/rig.ts'
import { until } from '../process/harness.ts'
import { redisCluster, redisSentinel } from '../tools/redis-topologies.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { storeContract } from './contract.ts'
import { dataOf, deletion, fact, record, Recorder, value } from './harness.ts'
import type { Harness, ContractLimits, Opened } from './harness.ts'

t.setTimeout(600_000)

type Tap = Pick<typeof t, 'teardown' | 'same' | 'fail'>

/** What takes longer hangs. How soon an append is refused is held by the clock, in calls.test.ts; a busy machine adds seconds. */
const PATIENCE_MS = 10_000

/** As the operations guide gives it, for the prefix {sb}: and the channel events. */
const ACL = '~{sb}:* &events +@read +@write +@scripting +@connection +@pubsub +@transaction +info +time -@admin -flushall -flushdb -keys -script|flush -swapdb'
/** Where the server is somebody else's. */
const none = null as unknown as RedisServer

t.test('the store on Redis', { skip: skipWithout('redis') }, async t => {
  // Most of them wait.
  t.jobs = 8
  const server = await RedisServer.start(t)
  let prefixes = 0

  const LIMITS: ContractLimits = { historySize: 100_000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 3_600_000 }

  async function open (prefix: string, limits: Partial<ContractLimits> = {}): Promise<Opened> {
    const store = new RedisStore({ address: redisAddress(server.url), prefix, worker: newWorker(), ...LIMITS, ...limits, clock: systemClock, log: silent })
    const follower = new Recorder()
    await store.follow(follower)
    return {
      store,
      follower,
      pass: async ms => { await delay(ms) },
      // The ids are the server's to give, and its clock is the system's.
      turnBack () {},
      // As where a server whose clock was ahead had the last word.
      async wasAhead (ms) {
        const ahead = `${Date.now() + ms}-0`
        await server.cli('HSET', `${prefix}meta`, 'head', ahead)
        await server.cli('XADD', `${prefix}log`, ahead, `${follower.head} ${follower.lineage.epoch} ${follower.floor} probe`, '')
      },
      reopen: async (again = limits) => {
        await store.close()
        return await open(prefix, again)
      },
      restart: async () => {
        await store.close()
        await server.restart()
        return await open(prefix, limits)
      },
      close: async () => { await store.close() }
    }
  }

  const harness: Harness = { lasts: true, jobs: 32, open: async limits => await open(`test${++prefixes}:`, limits) }

  storeContract(t, 'the contract of the log, on Redis', harness)

  /** A store with a server of its own, which the test may harm. */
  async function alone (t: Tap, options: { args?: string[], limits?: Partial<RedisStoreOptions>, server?: RedisServer, url?: string, clock?: Clock } = {}): Promise<{ redis: RedisServer, store: RedisStore, follower: Recorder, logged: string[] }> {
    const redis = options.server ?? (options.url === undefined ? await RedisServer.start(t, options.args === undefined ? {} : { args: options.args }) : none)
    const logged: string[] = []
    const log = (_: object, message: string): void => { logged.push(message) }
    const store = new RedisStore({ address: redisAddress(options.url ?? redis.url), prefix: '{sb}:', worker: newWorker(), ...LIMITS, ...options.limits, clock: options.clock ?? systemClock, log: { info: log, warn: log, error: log } })
    t.teardown(async () => await store.close())
    const follower = new Recorder()
    await store.follow(follower)
    return { redis, store, follower, logged }
  }

  /** Publishes until it is told to stop, each fact under a key of its own until it is acknowledged. */
  function publisher (store: RedisStore, first = 0): { stop (): Promise<Map<number, string>>, refused: () => number } {
    const acknowledged = new Map<number, string>()
    let refused = 0
    const state = { stopped: false }
    const loop = (async () => {
      for (let n = first; !state.stopped; n++) {
        for (;;) {
          const begun = performance.now()
          try {
            const [id] = await store.append([fact(n)], { key: `p${n}`, fingerprint: 'x' })
            acknowledged.set(n, id as string)
            break
          } catch (error) {
            refused++
            if ((error as { code?: string }).code !== 'STORE_UNAVAILABLE') throw error
            if (performance.now() - begun > PATIENCE_MS) throw new Error(`refused after ${performance.now() - begun} ms`)
            await delay(20)
          }
        }
      }
    })()
    return {
      refused: () => refused,
      stop: async () => {
        state.stopped = true
        await loop
        return acknowledged
      }
    }
  }

  /** Every acknowledged fact was told, once, under its id. */
  async function sameFacts (t: Tap, follower: Recorder, acknowledged: Map<number, string>): Promise<void> {
    // An answer may come before the entry is read.
    const newest = [...acknowledged.values()].at(-1)
    await follower.until(({ applied }) => newest === undefined || applied.some(({ id }) => id === newest))
    const told = new Map<unknown, string>()
    for (const entry of follower.applied) {
      if (told.has(dataOf(entry))) t.fail(`${String(dataOf(entry))} was told twice`)
      told.set(dataOf(entry), entry.id)
    }
    const lost = [...acknowledged].filter(([n, id]) => told.get(n) !== id)
    t.same(lost, [], `${acknowledged.size} acknowledged, none lost`)
  }

  const unavailable = { code: 'STORE_UNAVAILABLE', statusCode: 503 }
  const healthy = (follower: Recorder): boolean => follower.states.at(-1)?.yes === true

  t.test('where Redis is down at the start the store waits for it and says why', async t => {
    const redis = await RedisServer.start(t)
    await redis.stop()
    const logged: string[] = []
    const log = (_: object, message: string): void => { logged.push(message) }
    const store = new RedisStore({ address: redisAddress(redis.url), prefix: '{sb}:', worker: newWorker(), ...LIMITS, clock: systemClock, log: { info: log, warn: log, error: log } })
    t.teardown(async () => await store.close())
    const follower = new Recorder()
    const following = store.follow(follower)
    await follower.until(({ states }) => states.some(({ yes, reason }) => !yes && /ECONNREFUSED/.test(reason ?? '')))
    await t.rejects(store.append([fact(1)]), { ...unavailable, message: /ECONNREFUSED/ })
    t.notMatch([store.trouble, ...follower.states.map(({ reason }) => reason)].join(), /127\.0\.0\.1/, 'where it is stands in the log only')
    t.match(logged.join(), redis.url.slice('redis://'.length))
    t.equal(follower.loads, 0)
    await redis.restart()
    await following
    t.equal(healthy(follower), true)
    t.ok(await store.append([fact(1)]))
    t.same(logged.filter(message => message.includes('ECONNREFUSED')).length, 1, 'told once')
  })

  for (const how of ['stopped', 'killed', 'frozen'] as const) {
    t.test(`Redis ${how} for a while: appends are refused, then all goes on where it stopped`, async t => {
      // With everysec, Redis may answer before it has written.
      const { redis, store, follower } = await alone(t, { args: ['--appendfsync', 'always'] })
      const flow = publisher(store)
      await follower.until(({ applied }) => applied.length > 20)
      if (how === 'stopped') await redis.stop()
      if (how === 'killed') await redis.kill9()
      if (how === 'frozen') redis.freeze()
      await follower.until(() => !healthy(follower))
      await delay(3000)
      const before = follower.applied.length
      if (how === 'frozen') redis.thaw()
      else await redis.restart()
      const back = performance.now()
      await follower.until(({ applied }) => applied.length > before + 20)
      t.ok(performance.now() - back < PATIENCE_MS, `fresh events ${Math.round(performance.now() - back)} ms after its return`)
      const acknowledged = await flow.stop()
      t.ok(flow.refused() > 0, `${flow.refused()} refused`)
      await sameFacts(t, follower, acknowledged)
      t.equal(follower.loads, 1, 'nothing had to be read again')
      t.equal(follower.lineage.epochs.length, how === 'frozen' ? 1 : 2, 'another start of the server is another epoch')
      const { epochs } = follower.lineage
      t.ok(follower.applied.some(({ id }) => id === epochs.at(-1)?.seam) || how === 'frozen', 'whose seam is the last event before')
    })
  }

  t.test('connections killed 50 times under load: nothing lost, nothing twice', async t => {
    const { redis, store, follower } = await alone(t)
    const flow = publisher(store)
    for (let kill = 0; kill < 50; kill++) {
      await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
      await delay(40)
    }
    await follower.until(({ applied }) => healthy(follower) && applied.length > 20)
    const acknowledged = await flow.stop()
    await sameFacts(t, follower, acknowledged)
    t.equal(follower.loads, 1)
  })

  t.test('connections killed under many publishers at once: nothing lost, nothing twice', async t => {
    const { redis, store, follower } = await alone(t)
    const flows = Array.from({ length: 40 }, (_, at) => publisher(store, at * 1_000_000))
    for (let kill = 0; kill < 20; kill++) {
      await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
      await delay(40)
    }
    await follower.until(({ applied }) => healthy(follower) && applied.length > 40)
    const acknowledged = new Map((await Promise.all(flows.map(async flow => [...await flow.stop()]))).flat())
    await sameFacts(t, follower, acknowledged)
    t.equal(follower.loads, 1)
  })

  t.test('of appends on a connection that was lost those with a key are repeated, those without refused; what still waited goes on', async t => {
    const { redis, store, follower } = await alone(t)
    await redis.cli('CLIENT', 'PAUSE', '10000', 'WRITE')
    const asked: Array<Promise<unknown>> = []
    for (let n = 0; n < 20; n++) {
      asked.push(store.append([fact(n)], n % 2 === 0 ? undefined : { key: `k${n}`, fingerprint: 'x' }))
      // One after the other also on a slow machine, where timers come together: appends of the same turn share a call.
      await delay(10)
    }
    const settled = Promise.allSettled(asked)
    await delay(400)
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
    await redis.cli('CLIENT', 'UNPAUSE')
    const told = await settled
    t.match(told[0], { status: 'rejected', reason: unavailable })
    t.same(told.flatMap(({ status }, n) => n % 2 === 1 && status === 'rejected' ? n : []), [], 'with a key')
    // How many had been sent is up to the machine.
    t.match(told.flatMap(({ status }, n) => n % 2 === 0 ? status : []).join(' '), /^rejected( rejected)*( fulfilled)+$/, 'waiting')
    const accepted = told.flatMap(({ status }, n) => status === 'fulfilled' ? n : [])
    t.same(follower.applied.map(dataOf).sort((a, b) => Number(a) - Number(b)), accepted, 'nothing lost, nothing twice')
  })

  t.test('whoever waits behind others while Redis hangs is refused too', async t => {
    const { redis, store } = await alone(t)
    redis.freeze()
    const waits = await Promise.all(Array.from({ length: 300 }, async (_, n) => {
      await delay(5 * n)
      const begun = performance.now()
      await t.rejects(store.append([fact(n)], n % 2 === 0 ? undefined : { key: `k${n}`, fingerprint: 'x' }), unavailable)
      return performance.now() - begun
    }))
    redis.thaw()
    t.ok(Math.max(...waits) < PATIENCE_MS, `the last after ${Math.round(Math.max(...waits))} ms`)
  })

  t.test('many appends asked for at once take few calls, none of which holds Redis up', async t => {
    const { redis, store } = await alone(t)
    const callsFor = async (appends: number, bytes: number): Promise<number> => {
      await redis.cli('CONFIG', 'RESETSTAT')
      await Promise.all(Array.from({ length: appends }, (_, n) => store.append([fact([n, 'x'.repeat(bytes)])])))
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await redis.cli('INFO', 'commandstats'))?.[1])
    }
    const small = await callsFor(1000, 10)
    t.ok(small >= 2 && small < 20, `1000 small ones: ${small}`)
    const large = await callsFor(100, 16_000)
    t.ok(large > 10 && large < 30, `100 of 16 KB: ${large}`)
  })

  t.test('where the stream of the intake is gone its entries are passed over, and other appends of the call go on', async t => {
    const { redis, store, follower } = await alone(t)
    await redis.cli('SET', '{sb}:intake', 'mine')
    const taken = async (): Promise<unknown> => await store.appendUnderLease([fact(2)], ['i1-1'], 'mine')
    t.same((await Promise.all([store.append([fact(1)]), taken(), store.append([fact(3)])]))[1], [null])
    t.same(follower.applied.map(dataOf), [1, 3])
    t.equal(store.trouble, null)
    await redis.cli('SET', '{sb}:ingest', 'something else')
    await t.rejects(taken(), unavailable)
  })

  t.test('a full memory refuses appends with what Redis says, and nothing is half done', async t => {
    const { redis, store, follower } = await alone(t)
    const [first] = await store.append([fact(1), value('a', 1)])
    await redis.cli('CONFIG', 'SET', 'maxmemory', '1mb')
    await t.rejects(store.append([fact(2), value('a', 2)]), { ...unavailable, message: /OOM/ })
    await follower.until(({ states }) => /OOM/.test(states.at(-1)?.reason ?? ''))
    await redis.cli('CONFIG', 'SET', 'maxmemory', '0')
    await follower.until(() => healthy(follower))
    await store.append([value('b', 3)])
    t.same(follower.values.map(dataOf), [1, 3])
    t.equal(follower.history.length, 1)
    t.ok(first)
  })

  t.test('LOADING, NOAUTH, READONLY and MISCONF are told as they are, and pass', async t => {
    const { redis, store, follower } = await alone(t)
    const reasons = (): string => follower.states.map(({ reason }) => reason ?? '').join('\n')

    await redis.cli('CONFIG', 'SET', 'requirepass', 'sesame')
    await redis.cli('-a', 'sesame', 'CLIENT', 'KILL', 'TYPE', 'normal')
    await follower.until(() => /NOAUTH/.test(reasons()))
    await redis.cli('-a', 'sesame', 'CONFIG', 'SET', 'requirepass', '')
    await follower.until(() => healthy(follower))

    const other = await RedisServer.start(t)
    await redis.cli('REPLICAOF', '127.0.0.1', String(other.port))
    await t.rejects(store.append([fact(1)]), unavailable)
    await follower.until(() => /READONLY/.test(reasons()))
    await redis.cli('REPLICAOF', 'NO', 'ONE')
    await follower.until(() => healthy(follower))
    t.ok(await store.append([fact(2)]))
  })

  t.test('FLUSHALL: the log begins anew with no epoch anybody knows, and ids go on rising', async t => {
    const { redis, store, follower } = await alone(t)
    const [, last] = await store.append([value('a', 1), fact(1)]) as string[]
    const before = follower.lineage.epoch
    await redis.cli('FLUSHALL')
    await follower.until(({ loads }) => loads === 2)
    await follower.until(() => healthy(follower))
    t.notOk(follower.lineage.epochs.some(({ epoch }) => epoch === before))
    t.same([follower.values, follower.history], [[], []])
    const [next] = await store.append([fact(2)])
    t.ok(isAfter(next as string, last as string))
  })

  for (const key of ['log', 'facts', 'state', 'meta', 'epochs', 'rooms']) {
    t.test(`the key ${key} deleted from outside: either nothing is missing, or everybody is told`, async t => {
      const { redis, store, follower } = await alone(t)
      await store.append([value('a', 1), fact(1), value('b', 1, 'plant-1')])
      const { epoch } = follower.lineage
      await redis.cli('DEL', `{sb}:${key}`)
      await store.append([fact(2)]).catch(() => {})
      await delay(300)
      await follower.until(() => healthy(follower))
      await store.append([fact(3)])
      const second = await alone(t, { server: redis })
      const seen = ({ image, lineage }: Recorder): string => JSON.stringify({ image, lineage })
      await until('both see the same', () => seen(second.follower) === seen(follower)).catch(() => {})
      t.same(second.follower.values, follower.values, 'all workers have the same values')
      t.same(second.follower.history, follower.history, 'and the same history')
      t.equal(second.follower.floor, follower.floor)
      t.same(second.follower.lineage, follower.lineage)
      const isWhole = follower.history.length === 3 && follower.values.length === 2
      t.ok(isWhole || !follower.lineage.epochs.some(of => of.epoch === epoch), isWhole ? 'nothing is missing' : 'what is missing is told')
    })
  }

  t.test('a key of a wrong type stops the store with a sentence, and changes nothing', async t => {
    const { redis, store, follower } = await alone(t)
    await store.append([fact(1)])
    await redis.cli('RENAME', '{sb}:log', '{sb}:kept')
    await redis.cli('SET', '{sb}:log', 'something')
    await t.rejects(store.append([fact(2)]), { ...unavailable, message: /WRONGTYPE/ })
    t.equal(await redis.cli('XLEN', '{sb}:facts'), '1')
    await redis.cli('RENAME', '{sb}:kept', '{sb}:log')
    await follower.until(() => healthy(follower))
    await store.append([fact(3)])
    t.same(follower.applied.map(dataOf), [1, 3])
  })

  t.test('a tail that was lost is declared: the worker that had told it begins again from what is left', async t => {
    const { redis, store, follower } = await alone(t, { args: ['--appendonly', 'no'] })
    const [seam] = await store.append([value('a', 1)]) as string[]
    await redis.cli('SAVE')
    const [, lost] = await store.append([value('a', 2), fact('lost')]) as string[]
    const before = follower.lineage.epoch
    // With appendonly no, what came since the last save is gone with the process.
    await redis.kill9()
    await redis.restart()
    await follower.until(({ loads }) => loads === 2)
    await follower.until(() => healthy(follower))
    t.match(follower.lineage.epochs, [{ epoch: before }, { epoch: follower.lineage.epoch, seam }])
    t.same([follower.values.map(dataOf), follower.history], [[1], []])
    const [next] = await store.append([fact('next')])
    t.ok(isAfter(next as string, lost as string), 'no id comes back with another event')
  })

  t.test('a follower that the log was trimmed under reads it as a whole again, and misses nothing that history holds', async t => {
    const { redis, store, follower } = await alone(t, { limits: { logBytes: 2000 } })
    const other = await alone(t, { server: redis, limits: { logBytes: 2000 } })
    await store.append(Array.from({ length: 500 }, (_, n) => fact(n)))
    await store.append([value('a', 1)])
    await Promise.all([follower, other.follower].map(async follower => await follower.until(({ values }) => values.length === 1)))
    t.same(follower.history.map(dataOf), Array.from({ length: 500 }, (_, n) => n))
    t.same(other.follower.history, follower.history)
    t.ok(Number(await redis.cli('XLEN', '{sb}:log')) < 50)
  })

  t.test('many workers append and follow at once: all are told the same, in one order, each once', async t => {
    const { redis, store, follower } = await alone(t)
    const others = [await alone(t, { server: redis }), await alone(t, { server: redis }), await alone(t, { server: redis })]
    const stores = [store, ...others.map(({ store }) => store)]
    const followers = [follower, ...others.map(({ follower }) => follower)]
    const ids = (await Promise.all(stores.flatMap((store, at) => Array.from({ length: 100 }, (_, n) => store.append([fact(`${at}/${n}`), value(`k${n % 9}`, `${at}/${n}`)]))))).flat()
    await Promise.all(followers.map(async follower => await follower.until(({ applied }) => applied.length === 800)))
    t.equal(new Set(ids).size, 800)
    for (const { applied, values } of followers) {
      t.same(applied.map(({ id }) => id), follower.applied.map(({ id }) => id))
      t.same(values, follower.values)
    }
    const late = await alone(t, { server: redis })
    t.same(late.follower.values, follower.values, 'who comes later has the same')
    t.same(late.follower.history, follower.history)
  })

  t.test('an image read while others write is whole', async t => {
    const { redis, store } = await alone(t)
    await store.append(Array.from({ length: 1000 }, (_, n) => value(`k${n}`, n)))
    const state = { stopped: false }
    const writing = (async () => {
      for (let n = 0; !state.stopped; n++) await store.append([value(`k${n % 1000}`, `new ${n}`), deletion(`k${(n * 7) % 1000}`), value(`n${n}`, n), fact(n)])
    })()
    const readers = []
    for (let n = 0; n < 5; n++) readers.push((await alone(t, { server: redis })).follower)
    state.stopped = true
    await writing
    const late = (await alone(t, { server: redis })).follower
    for (const reader of readers) {
      await reader.until(({ head }) => head === late.head)
      t.same(reader.values, late.values)
      t.same(reader.history, late.history)
    }
  })

  t.test('a worker that starts while others write faster than the log is long gets in at its first attempt, with everything', async t => {
    const { redis, store } = await alone(t, { limits: { logBytes: 128 * 1024, historySize: 30_000 } })
    const limits = { logBytes: 128 * 1024, historySize: 30_000 }
    for (let n = 0; n < 20; n++) await store.append(Array.from({ length: 1000 }, (_, k) => value(`k${n * 1000 + k}`, 0)))
    for (let n = 0; n < 10; n++) await store.append(Array.from({ length: 1000 }, (_, k) => fact([n, k])))
    const state = { stopped: false }
    let written = 0
    const writing = Promise.all([0, 1].map(async writer => {
      for (let n = 0; !state.stopped; n++) {
        await store.append(Array.from({ length: 50 }, (_, k) => k % 5 === 0 ? fact([writer, n, k]) : k % 5 === 1 ? deletion(`k${(n * 50 + k) % 20_000}`) : value(`k${(n * 50 + k) % 20_000}`, [writer, n])))
        written += 50
      }
    }))
    await delay(200)
    const before = written
    const late = await alone(t, { server: redis, limits })
    t.comment(`${written - before} events were written meanwhile`)
    t.notOk(late.logged.some(message => message.includes('reading it again')), 'at once')
    t.ok(written - before > 2000, 'more than the log holds')
    state.stopped = true
    await writing
    const after = await alone(t, { server: redis, limits })
    await late.follower.until(({ head }) => head === after.follower.head)
    t.same(late.follower.values, after.follower.values)
    t.same(late.follower.history, after.follower.history)
  })

  t.test('spoilt values and facts keep no worker from starting: they are left out, and named', async t => {
    const { redis, store, follower } = await alone(t)
    await store.append([value('a', 1), value('b', 1), fact(1), value('c', 1), value('d', 1), value('e', 1)])
    const fields = (await redis.cli('HKEYS', '{sb}:state')).split('\n')
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(key => fields.find(field => field.includes(`"${key}"`)) as string)
    await redis.cli('HSET', '{sb}:state', a as string, 'rubbish')
    await redis.cli('HSET', '{sb}:state', b as string, 'no-id {"type":"gauge","key":"b","data":1,"timestamp":1}')
    await redis.cli('HSET', '{sb}:state', c as string, '1-1 {"type":"gauge","key":"\\q","data":1,"timestamp":1}')
    await redis.cli('HSET', '{sb}:state', d as string, '1-1 {"type":"gauge","key":"d","data":{,"timestamp":1}')
    const late = await alone(t, { server: redis })
    t.same(late.follower.values.map(({ key }) => key), ['e'])
    t.same(late.follower.history.map(dataOf), [1])
    t.match(late.store.warnings, [/^4 values and facts that are not Signalbox's were left out, the first is the field @public gauge "." of \{sb\}:state: delete it/])
    t.ok(late.logged.some(message => message.includes('were left out')))
    await store.append([value('a', 2)])
    await late.follower.until(({ values }) => values.some(({ key }) => key === 'a'))
    t.equal((await alone(t, { server: redis })).follower.values.length, 2, 'publishing it again heals it')
    t.equal(follower.loads, 1)
  })

  t.test('after a head that is ahead of the clock time goes on: ids rise with it, and history ages', async t => {
    const limits = { historyTtlMs: 10_000 }
    const { redis, store, follower } = await alone(t, { limits })
    await store.append([fact('before')])
    const HOUR = 3_600_000
    // As where a server whose clock was ahead had the last word.
    const ahead = `${Date.now() + HOUR}-0`
    await redis.cli('HSET', '{sb}:meta', 'head', ahead)
    await redis.cli('XADD', '{sb}:log', ahead, `${follower.head} ${follower.lineage.epoch} 0-0 probe`, '')
    const [first] = await store.append([fact('first')]) as string[]
    await delay(5000)
    const [second] = await store.append([fact('second')]) as string[]
    const millis = (id: string | undefined): number => Number(id?.split('-')[0])
    t.ok(millis(first) >= millis(ahead))
    const passed = millis(second) - millis(first)
    t.ok(passed > 4900 && passed < 60_000, `five seconds later the id is ${passed} ms later`)
    await delay(5200)
    await store.append([value('a', 1)])
    await follower.until(({ history }) => !history.some(entry => ['before', 'first'].includes(dataOf(entry) as string)))
    t.ok(follower.history.some(entry => dataOf(entry) === 'second'), 'only what is old enough is gone')
    const [third] = await (await alone(t, { server: redis, limits })).store.append([fact('third')]) as string[]
    t.ok(millis(third) > millis(second), 'for a worker that starts later too')
  })

  t.test('a clock of Redis that leaps ahead ends no history early, for workers that start later either', async t => {
    const limits = { historyTtlMs: 4000 }
    const state = { behind: 0, stoodAt: null as number | null, held: [] as Array<() => void> }
    const clock = {
      ...systemClock,
      now: () => (state.stoodAt ?? performance.now()) - state.behind,
      after: (ms: number, run: () => void) => systemClock.after(ms, () => { state.stoodAt === null ? run() : state.held.push(run) })
    }
    const standStill = async (ms: number): Promise<void> => {
      state.stoodAt = performance.now()
      await delay(ms)
      state.behind += performance.now() - state.stoodAt
      state.stoodAt = null
      for (const run of state.held.splice(0)) run()
    }
    const { redis, store, follower } = await alone(t, { limits, clock })
    await store.append([fact('before')])
    // To a worker whose own clock stands still Redis's leaps.
    await standStill(6000)
    await store.append([fact('behind')])
    t.same(follower.history.map(dataOf), ['before', 'behind'])
    const late = await alone(t, { server: redis, limits })
    await late.store.append([value('a', 1)])
    t.same(late.follower.history.map(dataOf), ['before', 'behind'])
    await late.follower.until(({ history }) => history.length === 0)
    // While others write no time passes unseen.
    await late.store.append([fact('third')])
    await standStill(6000)
    await store.append([fact('fourth')])
    t.same(follower.history.map(dataOf), ['fourth'])
  })

  t.test('workers and members of a wrong type are reported, and each worker goes by its own counts', async t => {
    const { redis, store } = await alone(t)
    const lines: string[] = []
    const group = new RedisGroup({ store, worker: newWorker(), clock: systemClock, log: { warn: (_: object, message: string) => { lines.push(message) } } })
    t.teardown(async () => await group.close())
    for (const key of ['workers', 'members']) {
      await redis.cli('DEL', `{sb}:${key}`)
      await redis.cli('SET', `{sb}:${key}`, 'rubbish')
      t.match(await group.enter(new Map([['a', 1]]), 5), { full: [] })
      await redis.cli('DEL', `{sb}:${key}`)
    }
    t.ok(lines.some(line => /cannot be counted, .*\{sb\}:workers, \{sb\}:members .*WRONGTYPE/.test(line)), lines.join('\n'))
    t.ok(lines.length <= 2, 'once')
  })

  t.test('leases that a clock set back has made too long are shortened', async t => {
    const { redis, store } = await alone(t)
    const FAR = String(Date.now() + 3_600_000)
    await redis.cli('ZADD', '{sb}:workers', FAR, 'dead')
    await redis.cli('HSET', '{sb}:members', 'dead a', '5')
    const group = new RedisGroup({ store, worker: newWorker(), clock: systemClock, log: silent })
    t.teardown(async () => await group.close())
    await until('it is shortened', async () => await redis.cli('ZSCORE', '{sb}:workers', 'dead') !== FAR)
    t.ok(Number(await redis.cli('ZSCORE', '{sb}:workers', 'dead')) < Date.now() + 15_000)
  })

  t.test('what is written and does not come back is noticed: the connection that follows is made anew', async t => {
    const redis = await RedisServer.start(t)
    // Passes everything on, but for what comes back on a connection it was told to starve.
    const pairs: Array<{ text: string, starve: boolean }> = []
    const proxy = createServer(client => {
      const pair = { text: '', starve: false }
      pairs.push(pair)
      const upstream = connect(redis.port, '127.0.0.1')
      client.on('data', data => { pair.text += data.toString('latin1'); upstream.write(data) })
      upstream.on('data', data => { if (!pair.starve) client.write(data) })
      for (const [one, other] of [[client, upstream], [upstream, client]] as const) one.on('close', () => other.destroy()).on('error', () => {})
    })
    await new Promise<void>(resolve => { proxy.listen(0, '127.0.0.1', resolve) })
    t.teardown(() => proxy.close())
    const store = new RedisStore({ address: redisAddress(`redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`), prefix: '{sb}:', worker: newWorker(), ...LIMITS, clock: systemClock, log: silent })
    t.teardown(async () => await store.close())
    const follower = new Recorder()
    await store.follow(follower)
    for (const pair of pairs) if (pair.text.includes('signalbox:follow')) pair.starve = true
    const [id] = await store.append([fact(1)])
    t.ok(id, 'what is durable is acknowledged')
    await follower.until(({ applied }) => applied.length === 1)
    await follower.until(() => healthy(follower))
    t.equal(follower.loads, 1)
  })

  t.test('an append that is repeated on a new connection is refused in the same time as any other', async t => {
    const { redis, store } = await alone(t)
    await redis.cli('CLIENT', 'PAUSE', '10000', 'WRITE')
    const order: string[] = []
    const refused = async (key: string): Promise<void> => {
      await t.rejects(store.append([fact(1)], { key, fingerprint: 'x' }), unavailable)
      order.push(key)
    }
    const repeated = refused('repeated')
    await delay(1000)
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
    await Promise.all([repeated, refused('asked later')])
    t.same(order, ['repeated', 'asked later'], 'its time began when it was asked for')
    await redis.cli('CLIENT', 'UNPAUSE')
  })

  t.test('an append that was answered late by a killed connection is repeated without harm under its key', async t => {
    const { redis, store, follower } = await alone(t)
    await redis.cli('CONFIG', 'SET', 'maxmemory', '0')
    const answers = await Promise.all(Array.from({ length: 200 }, async (_, n) => {
      if (n === 100) await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
      return await store.append([fact(n)], { key: `k${n}`, fingerprint: 'x' })
    }))
    t.equal(answers.length, 200, 'no publisher was refused')
    await follower.until(({ applied }) => applied.length >= 200)
    t.equal(new Set(follower.applied.map(dataOf)).size, follower.applied.length)
  })

  t.test('who comes and goes while Redis does not answer is counted right when it does again', async t => {
    const { redis, store } = await alone(t)
    const other = await alone(t, { server: redis })
    const group = new RedisGroup({ store, worker: newWorker(), clock: systemClock, log: silent })
    const second = new RedisGroup({ store: other.store, worker: newWorker(), clock: systemClock, log: silent })
    t.teardown(async () => { await Promise.all([group.close(), second.close()]) })
    await group.enter(new Map([['left', 2], ['stays', 1]]), 5)
    const seen = async (): Promise<object> => Object.fromEntries(await second.membersElsewhere())
    while (Object.keys(await seen()).length < 2) await delay(50)
    redis.freeze()
    group.declare(new Map([['left', 0]]))
    t.match(await group.enter(new Map([['came', 1]]), 5), { full: [] }, 'by what this worker knows itself')
    await delay(1000)
    group.declare(new Map([['came', 3]]))
    redis.thaw()
    await until('the counts are right', async () => JSON.stringify(await seen()) === '{"stays":1,"came":3}').catch(() => {})
    t.same(await seen(), { stays: 1, came: 3 })
  })

  t.test('what Redis does not promise is told as a warning', async t => {
    const careless = await alone(t, { args: ['--appendonly', 'no', '--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
    t.match(careless.store.warnings, [/appendonly no/, /maxmemory-policy allkeys-lru/])
    t.same((await alone(t)).store.warnings, [])
  })

  t.test('a user that may only what the guide lists can serve, and no other key is touched', async t => {
    const redis = await RedisServer.start(t, { acl: ['user default off', `user signalbox on >sesame ${ACL}`, 'user admin on >admin ~* &* +@all'] })
    const { store, follower } = await alone(t, { server: redis, url: `redis://signalbox:sesame@127.0.0.1:${redis.port}` })
    const group = new RedisGroup({ store, worker: newWorker(), clock: systemClock, log: silent })
    await store.append([fact(1), value('a', 1)], { key: 'k', fingerprint: 'x' })
    t.equal(await store.claim('c', record(1)), null)
    t.match(await group.hit('control', 'me'), { count: 1 })
    t.match(await group.enter(new Map([['plant-1', 1]]), 5), { full: [] })
    t.equal(follower.applied.length, 2)
    await group.close()
    t.match(await redis.cli('--user', 'admin', '--pass', 'admin', 'KEYS', '*'), /\{sb\}:log/)
    t.notMatch(await redis.cli('--user', 'admin', '--pass', 'admin', '--raw', 'KEYS', '*'), /^(?!\{sb\}:|Warning)./m)
  })

  t.test('on a cluster, the prefix with a hash tag keeps everything in one slot', async t => {
    const nodes = await redisCluster(t)
    const url = `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join()}`
    const { store, follower } = await alone(t, { url })
    const other = await alone(t, { url })
    const group = new RedisGroup({ store, worker: newWorker(), clock: systemClock, log: silent })
    await store.append([fact(1), value('a', 1)], { key: 'k', fingerprint: 'x' })
    await other.store.append([value('a', 2)])
    await follower.until(({ values }) => dataOf(values[0]) === 2)
    t.match(await group.hit('control', 'me'), { count: 1 })
    t.match(await group.enter(new Map([['plant-1', 1]]), 5), { full: [] })
    t.equal(await store.claim('c', record(1)), null)
    t.same(await other.store.recall('c'), record(1))
    await group.close()
  })

  t.test('Sentinel fails over to a replica that had not heard the last: that is declared, and all goes on', async t => {
    const { name, primary, replica, sentinel } = await redisSentinel(t)
    const { store, follower, logged } = await alone(t, { url: `redis+sentinel://127.0.0.1:${sentinel.port}/${name}` })
    const [kept] = await store.append([value('a', 1)]) as string[]
    while (await replica.cli('HLEN', '{sb}:state') !== '1') await delay(20)
    replica.freeze()
    await primary.cli('CLIENT', 'KILL', 'TYPE', 'replica')
    const [lost] = await store.append([value('a', 2)]) as string[]
    const { epoch } = follower.lineage
    await primary.kill9()
    replica.thaw()
    await follower.until(({ loads }) => loads === 2)
    await follower.until(() => healthy(follower))
    t.same(follower.values.map(dataOf), [1])
    t.match(follower.lineage.epochs, [{ epoch }, { seam: kept }], logged.join('\n'))
    const [next] = await store.append([fact('next')]) as string[]
    t.ok(isAfter(next as string, lost as string))
  })
})
