// What a gateway stands on: where the log is kept, what its processes share, and what comes in through the store itself.

import type { Gateway } from './gateway.ts'
import type { Group } from './group.ts'
import type { Store } from './store.ts'

export interface Backing {
  /** `program`: a store that the program around the gateway brought. */
  readonly kind: 'embedded' | 'memory' | 'redis' | 'program'
  /** Whether it is a service that other processes use too, and that may be away. */
  readonly isShared: boolean
  readonly store: Store
  readonly group: Group
  /** Counts what comes in through the store rather than over HTTP; absent where nothing can. */
  readonly intake?: IntakeFigures
  /** Begins to take in what comes through the store. For a gateway that has started. */
  serve (gateway: Gateway): void
  /** Leaves the deployment: gives back leases, stops taking in. The store stays open. */
  leave (): Promise<void>
}

/** Events that came in through the store, of this process. */
export interface IntakeFigures {
  readonly channel: { readonly taken: number, readonly refused: number, readonly dropped: number }
  readonly ingest: { readonly taken: number, readonly refused: number, readonly waiting: number }
}
