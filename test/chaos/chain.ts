// One logical client over all of its connections, and what it writes down. By the wire (wire-chain.ts), by our client library
// (library-chain.ts) or by reads without a stream (read-chain.ts).

import type { Event } from '../../src/core/event.ts'
import type { Auth } from './auth.ts'
import { FINAL, FINAL_VALUE, writeEvent } from './data.ts'
import type { HistoryWriter, Profile } from './history.ts'

export interface ChainPlan {
  readonly name: string
  readonly kind: 'wire' | 'library' | 'read'
  readonly port: number
  /** The profile that it tries first. */
  readonly profile: Profile
  readonly rooms: readonly string[]
  readonly compressed: boolean
  readonly patch: boolean
  readonly paceMs: number
  readonly auth?: Auth
  /** A room that it joins on the open connection, and leaves, again and again. */
  readonly extraRoom?: string
}

/** After this long without a byte a connection is dead to it; the gateway says something every PING_INTERVAL. */
export const SILENT_MS = 8000

export abstract class Chain {
  readonly plan: ChainPlan
  protected readonly history: HistoryWriter
  /** Rooms whose first snapshot is complete. */
  readonly #ready = new Set<string>()
  /** `room type` of the final events that have come. */
  readonly #final = new Set<string>()
  #bundles = 0
  protected stopped = false
  /** The gateway has answered its last request, and the connection is open. */
  isConnected = false

  constructor (plan: ChainPlan, history: HistoryWriter) {
    this.plan = plan
    this.history = history
  }

  abstract start (): void
  /** Resolves when its last line is written. */
  abstract stop (): Promise<void>

  /** Resolves when its rooms change no more. */
  async settle (): Promise<void> {}

  get isReady (): boolean {
    return this.plan.rooms.every(room => this.#ready.has(room))
  }

  get isDone (): boolean {
    return this.rooms.every(room => [FINAL, FINAL_VALUE].every(type => this.#final.has(`${room} ${type}`)))
  }

  protected get rooms (): readonly string[] {
    return this.plan.rooms
  }

  protected nextBundle (): void {
    this.#bundles++
  }

  protected takeEvent (event: Event, patched = false): void {
    writeEvent(this.history, this.plan.name, event, this.#bundles, patched)
    if (event.type === FINAL || event.type === FINAL_VALUE) this.#final.add(`${event.room ?? '@public'} ${event.type}`)
  }

  protected takeReady (rooms: readonly string[]): void {
    this.history.write({ f: 'ready', chain: this.plan.name, rooms: [...rooms] })
    for (const room of rooms) this.#ready.add(room)
  }
}
