// The shapes of the room `@system`, by event type: `src/app/system.ts` publishes them, and the page at / reads them. Types only,
// because the page may import nothing else of the core.

import type { Id } from '../id.ts'
import type { Counters } from './counters.ts'
import type { Percentiles } from './latency.ts'
import type { Trouble, TroubleCounts } from './troubles.ts'
import type { RoomTraffic, SessionView } from './view.ts'

/** One process; also the result of the command `stats`. */
export interface GatewayFigures {
  readonly profile: string
  readonly store: string
  readonly version: string
  readonly host: string
  readonly pid: number
  /** Which worker of its primary this is, from 1. */
  readonly worker: number
  readonly uptimeSeconds: number
  readonly tickMs: number
  /** `stalled`: those whose connection holds bytes back. */
  readonly sessions: { readonly count: number, readonly stalled: number }
  /** How many there are. */
  readonly rooms: number
  readonly keys: number
  /** What the current values take. */
  readonly stateBytes: number
  readonly history: { readonly events: number, readonly head: Id, readonly floor: Id, readonly epoch: string }
  /** Age of the oldest event pending for a connected client; 0 if there is none. */
  readonly backlogMs: number
  /** Of the last ten seconds; null if nothing was delivered. */
  readonly latencyMs: Percentiles | null
  /** Shares from 0 to 1 that bundling saved in the last ten seconds; null if nothing was pending. */
  readonly saved: { readonly messages: number | null, readonly cpu: number | null }
  /** 99th percentile of the event loop's delay. */
  readonly lagP99Ms: number
  /** Of one core. */
  readonly cpuPercent: number
  /** Resident set size. */
  readonly memoryBytes: number
  readonly counters: Readonly<Counters>
}

/** One second of a process: what lines over time are drawn from. */
export interface FigureSample extends Pick<GatewayFigures, 'backlogMs' | 'latencyMs' | 'saved' | 'lagP99Ms' | 'cpuPercent' | 'counters'> {
  /** By the process's clock, ms since 1970. */
  readonly at: number
}

/** What one process remembers of itself; the result of the command `recent` has one for each. */
export interface RecentFigures {
  /** The key of its reports. */
  readonly key: string
  /** One a second, of the last five minutes; the oldest first. */
  readonly samples: readonly FigureSample[]
}

/** A setting as it may be shown, without secrets. */
export interface SettingView {
  readonly name: string
  readonly value: string | number | boolean
  readonly meaning: string
  readonly unit?: string
  readonly tunable: boolean
  readonly isDefault: boolean
}

/** By event type, the data of an event. Lists hold the first few; `total` counts all. */
export interface SystemFigures {
  gateway: GatewayFigures
  rooms: { readonly total: number, readonly rooms: readonly RoomTraffic[] }
  sessions: { readonly total: number, readonly sessions: readonly SessionView[] }
  troubles: { readonly recent: readonly Trouble[], readonly lastMinute: TroubleCounts }
  settings: { readonly settings: readonly SettingView[] }
}
