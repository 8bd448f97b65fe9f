// The gateway's figures from the room `@system`: one key for each process. Any figure may be missing, because a gateway may
// be older than the page.

import type { Box, Event } from '../client/index.ts'
import type { SystemFigures } from '../core/figures/system.ts'

export const SYSTEM = '@system'

/** Fields that identify an item of a list. They are never missing. */
type Identity = 'room' | 'session' | 'name' | 'at' | 'code' | 'message'

type Partly<Shape> =
  Shape extends ReadonlyArray<infer Item> ? ReadonlyArray<Partly<Item>>
    : Shape extends object ? { readonly [Name in keyof Shape & Identity]: Shape[Name] } & { readonly [Name in Exclude<keyof Shape, Identity>]?: Partly<Shape[Name]> }
      : Shape

/** By event type, what a process reports: the figures that its version knows. */
export type ReportTypes = { [Type in keyof SystemFigures]: Partly<SystemFigures[Type]> }

export type GatewayReport = ReportTypes['gateway']
export type CounterReport = NonNullable<GatewayReport['counters']>
export type RoomReport = NonNullable<ReportTypes['rooms']['rooms']>[number]
export type SessionReport = NonNullable<ReportTypes['sessions']['sessions']>[number]
export type TroubleReport = NonNullable<ReportTypes['troubles']['recent']>[number]
export type SettingReport = NonNullable<ReportTypes['settings']['settings']>[number]

/** The last report of one process. */
export interface ProcessReport<Data> {
  readonly key: string
  readonly at: number
  readonly data: Data
}

/** Splits the client's values into the gateway's reports and the public feed, once for all panels. */
export class Reports {
  readonly #state: Pick<Box['state'], 'entries' | 'subscribe'>
  #isOld = true
  #system = new Map<string, Event[]>()
  #public: Event[] = []

  constructor (state: Pick<Box['state'], 'entries' | 'subscribe'>) {
    this.#state = state
    state.subscribe(() => { this.#isOld = true })
  }

  /** By process, in a stable order. */
  of<Type extends keyof ReportTypes> (type: Type): Array<ProcessReport<ReportTypes[Type]>> {
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
      else if (event.room === SYSTEM) {
        const events = system.get(event.type)
        if (events === undefined) system.set(event.type, [event])
        else events.push(event)
      }
    }
    // A process that ends deletes its reports. If it was the only one, its last reports stay until another process
    // reports.
    this.#system = new Map([...this.#system, ...system])
  }
}
