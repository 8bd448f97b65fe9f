// A fault: what it needs, what starts it and what ends it, and how one sees that it hit.

import type { Env } from '../process/harness.ts'
import type { Auth } from './auth.ts'
import type { Deployment } from './deployment.ts'
import type { ResetReason } from './history.ts'
import type { Random } from './random.ts'
import type { Toxic } from './toxic.ts'

/** What a fault may reach. */
export interface Rig {
  readonly deployment: Deployment
  readonly random: Random
  /** Between half of the clients and the gateway, where the fault asks for it. */
  readonly proxy: Toxic | null
  /** Between the gateway and Redis, likewise. */
  readonly redisProxy: Toxic | null
  /** Milliseconds that it should last, unless it is over at once. */
  readonly holdMs: number
  /** The rooms of this round. */
  readonly rooms: readonly string[]
}

interface Needs {
  readonly store?: 'embedded' | 'redis'
  /** At least so many; the runner takes two on Redis. */
  readonly workers?: number
  readonly proxy?: true
  readonly redisProxy?: true
  /** DATA_DIR on a disk that is soon full. */
  readonly smallDisk?: true
  /** Clients and publishers have tokens. */
  readonly auth?: Auth
  /** Settings of the gateway. */
  readonly env?: Env
  /** A deployment of its own: what it leaves is no good for the next round. */
  readonly fresh?: true
  /** Which clients lose their connection. Default: `some`. */
  readonly reconnects?: 'all' | 'some' | 'none'
  /** Why it cannot be had here. */
  readonly missing?: string | false
}

export interface Fault {
  readonly name: string
  /** One line for `--list`. */
  readonly about: string
  readonly needs: Needs
  /** Resets that it may cause. */
  readonly causes?: readonly ResetReason[]
  /** Errors that the gateway may log meanwhile. */
  readonly logs?: RegExp
  start (rig: Rig): Promise<void>
  heal (rig: Rig): Promise<void>
  /** What shows that it hit; null if it did not. Asked after `heal`. */
  evidence (rig: Rig): Promise<string | null>
}

/** Makes one for a round: it may keep what it has seen. */
export type MakeFault = () => Fault
