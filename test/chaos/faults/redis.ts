// What becomes of a Redis.

import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../process/harness.ts'
import { RedisServer } from '../../tools/redis.ts'
import type { Fault, Rig } from '../fault.ts'
import { Toxic } from '../toxic.ts'

const redisOf = ({ deployment: { redis } }: Rig): RedisServer => {
  if (redis === null) throw new Error('there is no Redis')
  return redis
}

/** It stays away longer than a publish waits. */
const AWAY_MS = [500, 4000] as const
const needs = { store: 'redis', workers: 2, reconnects: 'none' } as const
/** The gateway says so when it has lost its Redis. */
const logs = /redis/i

export function redisKill (): Fault {
  let wasGone = false
  return {
    name: 'redis-kill',
    about: 'kill -9 of Redis, which is started again with its data; clients stay connected',
    needs,
    logs,
    async start (rig) {
      await redisOf(rig).kill9()
      wasGone = !redisOf(rig).running
      await delay(rig.random.between(...AWAY_MS))
    },
    heal: async rig => await redisOf(rig).restart(),
    evidence: async () => wasGone ? 'Redis was gone' : null
  }
}

export function redisHang (): Fault {
  let wasSilent = false
  return {
    name: 'redis-hang',
    about: 'SIGSTOP of Redis: connections stay open, and nothing is answered; then SIGCONT',
    needs,
    logs,
    async start (rig) {
      redisOf(rig).freeze()
      wasSilent = await redisOf(rig).ping(500).then(() => false, () => true)
      await delay(rig.random.between(...AWAY_MS))
    },
    heal: async rig => redisOf(rig).thaw(),
    evidence: async () => wasSilent ? 'Redis did not answer' : null
  }
}

export function redisKick (): Fault {
  let killed = 0
  return {
    name: 'redis-kick',
    about: 'CLIENT KILL of all connections of the gateway to Redis, five times',
    needs,
    logs,
    async start (rig) {
      for (let times = 0; times < 5; times++) {
        for (const type of ['normal', 'pubsub']) killed += Number(await redisOf(rig).cli('client', 'kill', 'type', type, 'skipme', 'yes'))
        await delay(rig.random.between(20, 800))
      }
    },
    heal: async () => {},
    evidence: async () => killed === 0 ? null : `${killed} connections killed`
  }
}

export function redisFull (): Fault {
  let rejected = ''
  return {
    name: 'redis-full',
    about: 'Redis is out of memory (noeviction): it takes no event; then it has some again',
    needs,
    logs: /redis|OOM|memory|store/i,
    start: async rig => {
      await redisOf(rig).cli('config', 'set', 'maxmemory', '1mb')
      await delay(rig.random.between(...AWAY_MS))
    },
    async heal (rig) {
      rejected = /errorstat_OOM:count=(\d+)/.exec(await redisOf(rig).cli('info', 'errorstats'))?.[1] ?? ''
      await redisOf(rig).cli('config', 'set', 'maxmemory', '0')
    },
    evidence: async () => rejected === '' ? null : `${rejected} calls refused with OOM`
  }
}

export function redisFlush (): Fault {
  let keys = 0
  return {
    name: 'redis-flush',
    about: 'FLUSHALL: all data is gone, and everybody is told so',
    needs: { ...needs, fresh: true },
    logs: /./,
    causes: ['unknown', 'ahead', 'trimmed'],
    async start (rig) {
      keys = Number(await redisOf(rig).cli('dbsize'))
      await redisOf(rig).cli('flushall')
    },
    heal: async () => {},
    evidence: async () => keys === 0 ? null : `${keys} keys flushed`
  }
}

export function redisPartition (): Fault {
  let bytes = 0
  return {
    name: 'redis-partition',
    about: 'between the gateway and Redis no byte passes, and nothing is closed',
    needs: { ...needs, redisProxy: true, fresh: true },
    logs,
    async start ({ redisProxy, random }) {
      (redisProxy as Toxic).count()
      ;(redisProxy as Toxic).hang()
      await delay(random.between(...AWAY_MS))
    },
    async heal ({ redisProxy }) {
      bytes = (redisProxy as Toxic).harmed
      ;(redisProxy as Toxic).flow()
    },
    evidence: async () => bytes === 0 ? null : `${bytes} bytes held up`
  }
}

export function redisFailover (): Fault {
  const closers: Array<() => unknown> = []
  let lag = 0
  return {
    name: 'redis-failover',
    about: 'a replica that lags takes over from a primary that is killed: what it had not got is lost, and everybody is told so',
    needs: { ...needs, redisProxy: true, fresh: true },
    logs: /./,
    causes: ['unknown', 'ahead', 'trimmed'],
    async start (rig) {
      const primary = redisOf(rig)
      const t = { teardown: (close: () => unknown) => { closers.push(close) } }
      const link = await Toxic.start(t, primary.port)
      const replica = await RedisServer.start(t, { args: ['--replicaof', '127.0.0.1', String(link.port)] })
      await until('the replica follows', async () => /master_link_status:up/.test(await replica.cli('info', 'replication')))
      const offset = async (of: RedisServer): Promise<number> => Number(/(?:slave|master)_repl_offset:(\d+)/.exec(await of.cli('info', 'replication'))?.[1])
      await delay(rig.random.between(100, 500))
      // From now on the replica hears nothing, and the primary acknowledges all the same.
      link.hang()
      await delay(rig.random.between(100, 1000))
      lag = await offset(primary) - await offset(replica)
      await primary.kill9()
      await link.down()
      await replica.cli('replicaof', 'no', 'one')
      ;(rig.redisProxy as Toxic).to = replica.port
      ;(rig.redisProxy as Toxic).reset()
    },
    heal: async () => {},
    evidence: async () => lag > 0 ? `${lag} bytes were not replicated` : null
  }
}
