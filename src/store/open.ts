// The one place that chooses what a gateway stands on: the embedded store, or Redis.

import type { RedisAddress } from '../../config/redis-url.ts'
import type { Backing } from '../core/backing.ts'
import type { Clock } from '../core/clock.ts'
import { alone } from '../core/group.ts'
import type { Logger } from '../core/logger.ts'
import type { Store } from '../core/store.ts'

export interface BackingOptions {
  /** Null for the embedded store. */
  readonly redis: RedisAddress | null
  /** Put literally before every key in Redis. */
  readonly redisPrefix: string
  /** Pub/Sub channel on which events may be published. */
  readonly redisChannel: string
  /** Of the embedded store: a directory, which is created, or `:memory:`. */
  readonly dataDir: string
  /** Of the embedded store. `fsync`: acknowledged events survive power loss; `process`: they survive a crash of the process only. */
  readonly durability: 'fsync' | 'process'
  /** Of the embedded store: how long an append may wait for others to be written with, ms. */
  readonly gatherMs: number
  /** Events that history holds; 0 for no limit, here and in the next three. */
  readonly historySize: number
  readonly historyBytes: number
  readonly historyTtlMs: number
  readonly maxKeysPerRoom: number
  /** How long Idempotency-Keys and records of commands are kept, ms. */
  readonly idempotencyTtlMs: number
  /** Makes a JSON Schema a check of a backend's arguments: what is wrong with them, in words, or null. @throws Error where it is no schema */
  readonly compile: (schema: object) => (args: unknown) => string | null
  readonly clock: Clock
  readonly log: Logger
}

/** @throws Error with a sentence for the operator where the directory cannot be used. Redis may be away: the store then waits for it. */
export async function openBacking ({ redis, redisPrefix, redisChannel, dataDir, durability, gatherMs, compile, ...options }: BackingOptions): Promise<Backing> {
  // Each half is loaded only where it is used: ioredis and LevelDB take memory and time to load.
  if (redis !== null) {
    const { openRedis } = await import('./redis/open.ts')
    return openRedis({ ...options, address: redis, prefix: redisPrefix, channel: redisChannel, compile })
  }
  const { MEMORY, openEmbeddedStore } = await import('./embedded/store.ts')
  const store = await openEmbeddedStore({ ...options, dataDir, durability, gatherMs })
  return backingOf(store, dataDir === MEMORY ? 'memory' : 'embedded')
}

/** What a gateway stands on that is the only process with its store. */
export const backingOf = (store: Store, kind: Backing['kind'] = 'program'): Backing =>
  ({ kind, isShared: false, store, group: alone(), serve () {}, leave: async () => {} })
