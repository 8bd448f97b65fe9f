// Opens embedded stores for damage.test.ts in a process of its own, as LevelDB may end it on damaged files, and some tests need
// another user. Each message names a directory; the answer is what a gateway would serve from it.

import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { fact, Recorder } from './harness.ts'
import type { Entry } from '../../src/core/event.ts'
import type { Id } from '../../src/core/id.ts'
import type { Lineage } from '../../src/core/store.ts'

export interface Order {
  readonly dataDir: string
  /** Publishes a fact once it is open. */
  readonly publish: boolean
  /** Milliseconds since 1970. */
  readonly wall: number
  /** A user to become before, for good. */
  readonly uid?: number
}

export interface Finding {
  readonly refused?: string
  readonly history: Entry[]
  readonly values: Entry[]
  readonly head: Id
  readonly floor: Id
  readonly lineage: Lineage
  readonly warnings: readonly string[]
  readonly damaged: number
  readonly published: Id | null
}

process.on('message', (order: Order) => {
  void examine(order).then(
    finding => process.send?.(finding),
    (error: Error) => process.send?.({ refused: error.message })
  )
})

async function examine ({ dataDir, publish, wall, uid }: Order): Promise<Finding> {
  if (uid !== undefined) process.setuid?.(uid)
  const quiet = (): void => {}
  const store = await openEmbeddedStore({
    dataDir,
    durability: 'process',
    historySize: 0,
    historyBytes: 0,
    historyTtlMs: 0,
    maxKeysPerRoom: 0,
    idempotencyTtlMs: 3_600_000,
    clock: { now: () => performance.now(), wall: () => wall, after: () => () => {}, soon: setImmediate },
    log: { info: quiet, warn: quiet, error: quiet }
  })
  const follower = new Recorder()
  try {
    await store.follow(follower)
    const { history, values, head, floor, lineage } = follower
    const found = { history: [...history], values, head, floor, lineage }
    const [published = null] = publish ? await store.append([fact('goes on')]) : []
    return { ...found, warnings: store.warnings, damaged: store.figures?.damaged() ?? 0, published }
  } finally {
    await store.close()
  }
}
