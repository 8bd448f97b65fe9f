// Both groups keep one contract: a process without others, and the workers of a deployment over Redis.

import { Redis } from 'ioredis'
import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { systemClock } from '../../src/core/clock.ts'
import { alone, newWorker } from '../../src/core/group.ts'
import type { Group } from '../../src/core/group.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import { Toxic } from '../chaos/toxic.ts'
import { ManualClock } from '../clock.ts'
import { silent } from '../core/rig.ts'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { groupContract } from './group-contract.ts'
import { Recorder } from './harness.ts'

groupContract(t, 'a process without others', {
  isShared: false,
  deploy: async () => [alone()],
  leave: async () => {},
  kill: async () => {}
})

t.test('workers over Redis', { skip: skipWithout('redis') }, async t => {
  const server = await RedisServer.start(t)
  let deployments = 0
  const stores = new Map<Group, RedisStore>()
  groupContract(t, 'the contract of the group, on Redis', {
    isShared: true,
    deploy: async (t, count) => {
      const prefix = `group${++deployments}:`
      return await Promise.all(Array.from({ length: count }, async (): Promise<Group> => {
        const worker = newWorker()
        const store = new RedisStore({ address: redisAddress(server.url), prefix, worker, historySize: 1000, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 60_000, clock: systemClock, log: silent })
        const group = new RedisGroup({ store, worker, clock: systemClock, log: silent })
        stores.set(group, store)
        t.teardown(async () => {
          await group.close()
          await store.close()
        })
        await store.follow(new Recorder())
        return group
      }))
    },
    leave: async group => { if (group instanceof RedisGroup) await group.close() },
    kill: async group => { await stores.get(group)?.close() }
  })

  t.test('a worker whose lease is not on the server that took over is asked all the same, while it may not have renewed it', async t => {
    const redis = new Redis(server.url)
    t.teardown(() => redis.disconnect())
    const prefix = 'failover:'
    const open = async (port: number): Promise<{ group: RedisGroup, store: RedisStore, clock: ManualClock }> => {
      const worker = newWorker()
      const clock = new ManualClock()
      const store = new RedisStore({ address: redisAddress(`redis://127.0.0.1:${port}`), prefix, worker, historySize: 1000, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 60_000, clock: systemClock, log: silent })
      const group = new RedisGroup({ store, worker, clock, log: silent })
      t.teardown(async () => {
        await group.close()
        await store.close()
      })
      await store.follow(new Recorder())
      return { group, store, clock }
    }
    const leases = async (): Promise<number> => await redis.zcard(`${prefix}workers`)
    const other = await open(server.port)
    other.group.onOrder(() => 'by the other')
    await until('it has its lease', async () => await leases() === 1)
    const way = await Toxic.start(t, server.port)
    const one = await open(way.port)
    one.group.onOrder(() => null)
    // A beat: it learns who is alive.
    one.clock.advance(3000)
    await until('the beat has reached Redis', async () => await leases() === 2)
    // An answer that comes behind the beat's.
    t.equal(await one.group.isAlive(other.group.worker), true)

    await way.down()
    await until('it has lost its server', () => one.store.trouble !== null)
    await redis.del(`${prefix}workers`)
    await way.up()
    await until('it is connected again', async () => await leases() === 1)
    t.equal(await one.group.askAll('steer', null), 'by the other')
    t.equal(await one.group.isAlive(other.group.worker), true)
    one.clock.advance(4000)
    t.equal(await one.group.isAlive(other.group.worker), false, 'it could have renewed it by now')
  })
})
