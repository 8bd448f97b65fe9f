// Bundles made in this tick, for everybody who stands in the same place and hears the same: one reading and
// one encoded frame serve them all.

import type { Bundle } from './connection.ts'
import { SYSTEM } from './event.ts'
import type { Entry } from './event.ts'
import type { Id } from './id.ts'
import type { Turn } from './read.ts'

export interface Shared {
  readonly bundle: Bundle
  /** Its events but for what the gateway tells of itself, which is no traffic. */
  readonly events: number
  /** How far the reading went; null: to `head`, which was the log's head then. */
  readonly facts: Id | null
  readonly state: Id | null
  readonly head: Id
  readonly turn: Turn
}

/** What is kept at most; beyond it everybody reads for themselves. */
const MAX_BYTES = 16 * 1024 * 1024

export class SharedBundles {
  readonly #ticker: { readonly tick: number }
  readonly #bundles = new Map<string, Shared>()
  #tick = -1
  #bytes = 0

  constructor (ticker: { readonly tick: number }) {
    this.#ticker = ticker
  }

  /** @param key names what is heard and the place to read from */
  get (key: string): Shared | undefined {
    if (this.#ticker.tick !== this.#tick) {
      this.#tick = this.#ticker.tick
      this.#bundles.clear()
      this.#bytes = 0
    }
    return this.#bundles.get(key)
  }

  set (key: string, value: Shared): void {
    for (const entry of value.bundle.entries) this.#bytes += entry.size
    if (this.#bytes <= MAX_BYTES) this.#bundles.set(key, value)
  }
}

/** How many are not of the gateway's own figures. */
export function trafficOf (entries: readonly Entry[]): number {
  let events = 0
  for (const { room } of entries) if (room !== SYSTEM) events++
  return events
}
