// A gateway's backing on Redis: the log, the group, the commands of backends and the intake, over one store.

import type { Backing } from '../../core/backing.ts'
import { newWorker } from '../../core/group.ts'
import { Handlers } from './commands/handlers.ts'
import type { HandlersOptions } from './commands/handlers.ts'
import { RedisGroup } from './group.ts'
import { Intake } from './intake/intake.ts'
import { RedisStore } from './log/store.ts'
import type { RedisStoreOptions } from './log/store.ts'

export interface RedisBackingOptions extends Omit<RedisStoreOptions, 'worker'> {
  /** Where messages are published (REDIS_CHANNEL). */
  readonly channel: string
  /** Makes a JSON Schema a check of arguments. @throws Error where it is none */
  readonly compile: HandlersOptions['compile']
}

export function openRedis ({ channel, compile, ...options }: RedisBackingOptions): Backing {
  const { clock, log, idempotencyTtlMs } = options
  const worker = newWorker()
  const store = new RedisStore({ ...options, worker })
  const group = new RedisGroup({ store, worker, clock, log })
  const handlers = new Handlers({ store, worker, clock, idempotencyTtlMs, compile, log })
  const intake = new Intake({ store, worker, channel, clock, log })
  return {
    kind: 'redis',
    isShared: true,
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
