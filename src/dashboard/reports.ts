// What the gateway says of itself in the room `@system`: a key for each of its processes. Every figure may be missing,
// for a gateway may be older than its page.

import type { Box, Event } from '../client/index.ts'
import type { SystemFigures } from '../core/figures/system.ts'

export const SYSTEM = '@system'

/** Names the things in lists. It is never missing. */
type Identity = 'room' | 'session' | 'name' | 'at' | 'code' | 'message'

type Partly<Shape> =
  Shape extends ReadonlyArray<infer Item> ? ReadonlyArray<Partly<Item>>
    : Shape extends object ? { readonly [Name in keyof Shape & Identity]: Shape[Name] } & { readonly [Name in Exclude<keyof Shape, Identity>]?: Partly<Shape[Name]> }
      : Shape

/** By event type, what a process reports, as far as its version knows the figures. */
export type ReportTypes = { [Type in keyof SystemFigures]: Partly<SystemFigures[Type]> }

export type GatewayReport = ReportTypes['gateway']
export type CounterReport = NonNullable<GatewayReport['counters']>
export type RoomReport = NonNullable<ReportTypes['rooms']['rooms']>[number]
export type SessionReport = NonNullable<ReportTypes['sessions']['sessions']>[number]
export type TroubleReport = NonNullable<ReportTypes['troubles']['recent']>[number]
export type SettingReport = NonNullable<ReportTypes['settings']['settings']>[number]

/** What one process said last. */
export interface ProcessReport<Data> {
  readonly key: string
  readonly at: number
  readonly data: Data
}

/** What the client holds, parted into what the gateway says of itself and what is public; once for all who draw it. */
export class Reports {
  readonly #state: Pick<Box['state'], 'entries' | 'subscribe'>
  #isOld = true
  #system = new Map<string, Event[]>()
  #public: Event[] = []

  constructor (state: Pick<Box['state'], 'entries' | 'subscribe'>) {
    this.#state = state
    state.subscribe(() => { this.#isOld = true })
  }

  /** By process, in a lasting order. */
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
      else if (event.room === SYSTEM) system.set(event.type, [...system.get(event.type) ?? [], event])
    }
    // A process that ends takes its reports away. Where it was the only one they stay, as the last values there are,
    // until another one speaks.
    this.#system = new Map([...this.#system, ...system])
  }
}
