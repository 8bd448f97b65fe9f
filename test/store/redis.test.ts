// The store on Redis: the contract of every store over a real server, and what only this one has.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { newWorker } from '../../src/core/group.ts'
import { systemClock } from '../../src/core/clock.ts'
import { RedisStore } from '../../src/store/redis/index.ts'
import { silent } from '../core/rig.ts'
import { RedisServer } from '../tools/redis.ts'
import { storeContract } from './contract.ts'
import { Recorder } from './harness.ts'
import type { Harness, Limits, Opened } from './harness.ts'

t.setTimeout(120_000)

const server = await RedisServer.start(t)
let prefixes = 0

const LIMITS: Limits = { historySize: 100_000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 3_600_000 }

async function open (prefix: string, limits: Partial<Limits> = {}): Promise<Opened> {
  const store = new RedisStore({ url: server.url, prefix, worker: newWorker(), ...LIMITS, ...limits, clock: systemClock, log: silent })
  const follower = new Recorder()
  await store.follow(follower)
  return {
    store,
    follower,
    pass: async ms => { await delay(ms) },
    // The ids are the server's to give, and its clock is the system's.
    turnBack () {},
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

const harness: Harness = { lasts: true, open: async limits => await open(`test${++prefixes}:`, limits) }

storeContract('the contract of the log, on Redis', harness)
