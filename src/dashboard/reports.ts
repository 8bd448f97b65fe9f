// What the gateway says of itself in the room `@system`: a key for each of its processes. Every figure may be missing,
// for a gateway may be older than its page.

import type { Event } from '../client/index.ts'

export const SYSTEM = '@system'

export interface Counters {
  readonly events?: number
  readonly owed?: number
  readonly delivered?: number
  readonly bundles?: number
  readonly bytes?: number
  readonly opened?: number
  readonly slow?: number
}

export interface GatewayReport {
  readonly profile?: string
  readonly store?: string
  readonly version?: string
  readonly host?: string
  readonly pid?: number
  readonly worker?: number
  readonly uptimeSeconds?: number
  readonly tickMs?: number
  readonly sessions?: { readonly count?: number, readonly stalled?: number }
  readonly rooms?: number
  readonly keys?: number
  readonly backlogMs?: number
  readonly lagP99Ms?: number
  readonly memoryBytes?: number
  readonly cpuPercent?: number
  readonly latencyMs?: { readonly p50?: number, readonly p95?: number, readonly p99?: number } | null
  readonly saved?: { readonly messages?: number | null, readonly cpu?: number | null }
  readonly counters?: Counters
}

export interface RoomFigures {
  readonly room: string
  readonly members?: number
  readonly keys?: number
  readonly eventsPerSecond?: number
  readonly paused?: boolean
}

export interface SessionFigures {
  readonly session: string
  readonly rooms?: readonly string[]
  readonly roomCount?: number
  readonly behindMs?: number
  readonly stalled?: boolean
  readonly pendingBytes?: number
  readonly ageSeconds?: number
}

export interface Trouble {
  readonly at: number
  readonly code: string
  readonly message: string
  readonly count?: number
}

export interface Setting {
  readonly name: string
  readonly value?: unknown
  readonly meaning?: string
  readonly unit?: string
  readonly tunable?: boolean
  readonly isDefault?: boolean
}

/** By type, what is reported. */
export interface ReportTypes {
  gateway: GatewayReport
  rooms: { readonly total?: number, readonly rooms?: readonly RoomFigures[] }
  sessions: { readonly total?: number, readonly sessions?: readonly SessionFigures[] }
  troubles: { readonly recent?: readonly Trouble[] }
  settings: { readonly settings?: readonly Setting[] }
}

/** What one process said last. */
export interface Report<Data> {
  readonly key: string
  readonly at: number
  readonly data: Data
}

interface State {
  entries: () => IterableIterator<Event>
  subscribe: (listener: () => void) => () => void
}

/** What the client holds, parted into what the gateway says of itself and what is public; once for all who draw it. */
export class Reports {
  readonly #state: State
  #isOld = true
  #system = new Map<string, Event[]>()
  #public: Event[] = []

  constructor (state: State) {
    this.#state = state
    state.subscribe(() => { this.#isOld = true })
  }

  /** By process, in a lasting order. */
  of<Type extends keyof ReportTypes> (type: Type): Array<Report<ReportTypes[Type]>> {
    this.#look()
    return (this.#system.get(type) ?? [])
      .map(({ key = '', timestamp, data }) => ({ key, at: timestamp, data: data as ReportTypes[Type] }))
      .sort((a, b) => a.key.localeCompare(b.key, 'en', { numeric: true }))
  }

  /** The values of the public feed. */
  get public (): readonly Event[] {
    this.#look()
    return this.#public
  }

  #look (): void {
    if (!this.#isOld) return
    this.#isOld = false
    const system = new Map<string, Event[]>()
    this.#public = []
    for (const event of this.#state.entries()) {
      if (event.room === undefined) this.#public.push(event)
      else if (event.room === SYSTEM) system.set(event.type, [...system.get(event.type) ?? [], event])
    }
    // A process that ends takes its reports away. Where it was the only one they stay, as the last values there are,
    // until another one speaks.
    this.#system = new Map([...this.#system, ...system])
  }
}
