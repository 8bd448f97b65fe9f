// Where the client runs: in this process, or in a page of a real browser. What it was told is kept in the order in
// which it was told, so that a test reads the same log of either.

import type { ConnectOptions, Event, Hello, Ready, Reset, Status } from '../../src/client/index.ts'
import type { Test } from '../tools/daemon.ts'

/** What its listeners were told. `values`: those of `state.subscribe`; `mistake`: an error nobody has caught. */
export type Happening = { /** Milliseconds since 1970. */ readonly at: number } & (
  | { readonly name: 'event', readonly told: Event }
  | { readonly name: 'status', readonly told: Status }
  | { readonly name: 'hello', readonly told: Hello }
  | { readonly name: 'reset', readonly told: Reset }
  | { readonly name: 'ready', readonly told: Ready }
  | { readonly name: 'values', readonly told: number }
  | { readonly name: 'mistake', readonly told: string }
)

type Told<Name extends Happening['name']> = Extract<Happening, { readonly name: Name }>['told']

export type Wish = Pick<ConnectOptions, 'rooms' | 'types' | 'share'>

export interface Order {
  readonly idempotencyKey?: string
  /** It is not waited for any longer. */
  readonly abortMs?: number
}

export interface Outcome {
  readonly id?: string
  readonly command?: string
  readonly result?: unknown
  /** Where it threw. */
  readonly error?: { readonly name: string, readonly message: string, readonly code?: unknown }
}

/** A client somewhere. */
export interface Remote {
  /** What it was told, but for the first so many. */
  happenings (from: number): Promise<readonly Happening[]>
  status (): Promise<Status>
  value (room: string, type: string, key: string): Promise<Event | undefined>
  entries (): Promise<readonly Event[]>
  size (): Promise<number>
  /** Never throws. */
  control (command: string, args?: object, order?: Order): Promise<Outcome>
  close (): Promise<void>
}

export interface Driver {
  readonly name: string
  /** Why it cannot be had here. */
  readonly skip?: string | false
  open (t: Test, url: string, wish?: Wish): Promise<Remote>
}

/** The client as a test sees it. */
export class Seat {
  /** All that it was told up to the last look. */
  readonly seen: Happening[] = []
  readonly remote: Remote

  private constructor (remote: Remote) {
    this.remote = remote
  }

  static async open (driver: Driver, t: Test, url: string, wish: Wish = {}): Promise<Seat> {
    const seat = new Seat(await driver.open(t, url, wish))
    await seat.look()
    return seat
  }

  async look (): Promise<this> {
    this.seen.push(...await this.remote.happenings(this.seen.length))
    return this
  }

  told<Name extends Happening['name']> (name: Name): Array<Told<Name>> {
    return this.seen.filter(happening => happening.name === name).map(({ told }) => told as Told<Name>)
  }

  get events (): Event[] { return this.told('event') }
  get facts (): Event[] { return this.events.filter(({ key }) => key === undefined) }
  get statuses (): Status[] { return this.told('status') }
  get states (): string[] { return this.statuses.map(({ state }) => state) }
  get now (): Status | undefined { return this.statuses.at(-1) }

  /** The first spell of staleness it told of since `from`, ms since 1970. */
  stale (from = 0): Extract<Status, { state: 'stale' }> & { at: number } | undefined {
    for (const { name, told, at } of this.seen) if (name === 'status' && told.state === 'stale' && at >= from) return { ...told, at }
  }

  /** Looks until `done` holds. @throws Error with what it saw last where that takes longer than `ms` */
  async until (what: string, done: () => boolean, ms = 10_000): Promise<void> {
    const deadline = Date.now() + ms
    for (;;) {
      await this.look()
      if (done()) return
      if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}; ${this.events.length} events, statuses ${JSON.stringify(this.statuses.slice(-6))}`)
      await new Promise(resolve => setTimeout(resolve, 25))
    }
  }

  /** @param since among what it was told from then on, ms since 1970 */
  async untilConnected (since = 0): Promise<void> {
    await this.until('it is connected', () => this.seen.findLast(({ name, at }) => name === 'status' && at >= since)?.told !== undefined && this.now?.state === 'connected', 15_000)
  }
}
