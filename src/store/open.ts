// The one place that chooses where the log is kept: in this process, or on Redis.

import { alone } from '../core/group.ts'
import type { Backing } from '../core/backing.ts'
import type { EmbeddedOptions } from './embedded/store.ts'
import type { RedisBackingOptions } from './redis/open.ts'

export type BackingOptions = EmbeddedOptions & Omit<RedisBackingOptions, 'worker'> & {
  /** Empty for the embedded store. */
  readonly redisUrl: string
}

/** @throws Error with a sentence for the operator where the store cannot be used */
export async function openBacking (options: BackingOptions): Promise<Backing> {
  if (options.redisUrl !== '') return await (await import('./redis/open.ts')).openRedisBacking(options)
  const { openEmbeddedStore } = await import('./embedded/store.ts')
  return { store: await openEmbeddedStore(options), group: alone(), serve () {}, leave: async () => {} }
}
