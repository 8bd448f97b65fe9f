// Everything on Redis: the log, the group of workers, what comes in through Redis, and commands of backends.

import type { Backing } from '../../core/backing.ts'
import type { Clock } from '../../core/clock.ts'
import { newWorker } from '../../core/group.ts'
import { Handlers } from './commands/handlers.ts'
import type { HandlersOptions } from './commands/handlers.ts'
import { RedisGroup } from './group.ts'
import { Intake } from './intake/intake.ts'
import { RedisStore } from './log/store.ts'
import type { RedisOptions } from './log/store.ts'

export interface RedisBackingOptions extends Omit<RedisOptions, 'url' | 'prefix' | 'worker'> {
  readonly redisUrl: string
  readonly redisPrefix: string
  readonly redisChannel: string
  readonly clock: Clock
  /** Makes a JSON Schema, as a backend declares it, a check of arguments. @throws Error where it is none */
  readonly compile: HandlersOptions['compile']
}

export async function openRedisBacking ({ redisUrl, redisPrefix, redisChannel, compile, ...options }: RedisBackingOptions): Promise<Backing> {
  const { clock, log, idempotencyTtlMs } = options
  const worker = newWorker()
  const store = new RedisStore({ ...options, url: redisUrl, prefix: redisPrefix, worker })
  const group = new RedisGroup({ store, worker, clock, log })
  const handlers = new Handlers({ store, worker, clock, idempotencyTtlMs, compile, log })
  const intake = new Intake({ store, worker, channel: redisChannel, clock, log })
  return {
    store,
    group,
    intake: intake.counters,
    serve (gateway) {
      handlers.start(gateway)
      intake.start(gateway)
    },
    async leave () {
      await intake.close()
      await handlers.close()
      await group.close()
    }
  }
}
