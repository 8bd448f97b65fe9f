// Both groups keep one contract: a process without others, and the workers of a deployment over Redis.

import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { systemClock } from '../../src/core/clock.ts'
import { alone, newWorker } from '../../src/core/group.ts'
import type { Group } from '../../src/core/group.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import { silent } from '../core/rig.ts'
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
})
