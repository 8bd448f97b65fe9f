// Records what was published and what arrived at which viewer and when, and checks that nothing is missing. Publisher and
// viewers are one process: both ends of a latency are read from one clock. An event carries its number.

import { compareIds, ORIGIN } from '../src/core/id.ts'
import { Histogram } from './histogram.ts'

/** An event as it arrives; only the members that are read. */
export interface Delivered {
  readonly id: string
  readonly key?: string
  readonly data: { readonly n: number }
}

interface Published {
  readonly key: string | null
  readonly startedAt: number
  /** Which value of its key it is, from 1. */
  readonly ordinal: number
  /** Null until it was acknowledged. */
  id: string | null
}

/** State of one viewer. */
class Holdings {
  readonly facts = new Set<number>()
  /** The value shown, by key. */
  readonly values = new Map<string, { id: string, ordinal: number }>()
  lastFact = ORIGIN
}

/** Errors in delivery: all counts must be zero. */
export interface Wrongs {
  /** Acknowledged facts a viewer did not get. */
  lost: number
  /** Events a viewer got again. */
  twice: number
  /** Facts, or values of one key, in another order than that of their ids. */
  disorder: number
  /** Keys whose value at a viewer is not the newest one acknowledged. */
  stale: number
}

export class Ledger {
  /**
   * From the start of a publisher's request to the receipt at a viewer, of events begun within the window: of every
   * fact, and of every update of a key, delivered or not, until it or a newer one was there.
   */
  readonly latency = new Histogram()
  /** The same, but only of delivered events. */
  readonly delivered = new Histogram()
  /** Received by all viewers so far. */
  events = 0
  messages = 0
  bytes = 0

  readonly #published: Published[] = []
  readonly #keys = new Map<string, Published[]>()
  readonly #viewers: Holdings[]
  readonly #window = { from: Infinity, to: Infinity }
  #twice = 0
  #disorder = 0

  constructor (viewers: number) {
    this.#viewers = Array.from({ length: viewers }, () => new Holdings())
  }

  openWindow (): void {
    this.#window.from = performance.now()
  }

  closeWindow (): void {
    this.#window.to = performance.now()
  }

  get published (): number {
    return this.#published.length
  }

  /** The request for the next event starts now. @returns its number */
  start (key: string | null): number {
    const sameKey = key === null ? [] : this.#valuesOf(key)
    const event: Published = { key, startedAt: performance.now(), ordinal: sameKey.length + 1, id: null }
    sameKey.push(event)
    return this.#published.push(event) - 1
  }

  acknowledged (n: number, id: string): void {
    (this.#published[n] as Published).id = id
  }

  /** All keys published so far. */
  get keys (): string[] {
    return [...this.#keys.keys()]
  }

  arrived (viewer: number, events: readonly Delivered[], at: number): void {
    const holdings = this.#viewers[viewer] as Holdings
    this.events += events.length
    for (const event of events) {
      const published = this.#published[event.data.n] as Published
      if (published.key === null) this.#fact(holdings, event, published, at)
      else this.#value(holdings, event, published.key, published, at)
    }
  }

  /** Whether every viewer has all that was acknowledged. */
  get complete (): boolean {
    const { lost, stale } = this.wrongs
    return lost === 0 && stale === 0
  }

  get wrongs (): Wrongs {
    const facts: number[] = []
    for (const [n, { key, id }] of this.#published.entries()) if (key === null && id !== null) facts.push(n)
    const newest = [...this.#keys].map(([key, values]) => [key, values.findLast(({ id }) => id !== null)?.id] as const)
    let lost = 0
    let stale = 0
    for (const { facts: held, values } of this.#viewers) {
      for (const n of facts) if (!held.has(n)) lost++
      for (const [key, id] of newest) if (values.get(key)?.id !== id) stale++
    }
    return { lost, twice: this.#twice, disorder: this.#disorder, stale }
  }

  #fact (holdings: Holdings, { id, data: { n } }: Delivered, published: Published, at: number): void {
    if (holdings.facts.has(n)) this.#twice++
    else if (compareIds(id, holdings.lastFact) <= 0) this.#disorder++
    holdings.facts.add(n)
    holdings.lastFact = id
    if (!this.#counts(published)) return
    this.latency.record(at - published.startedAt)
    this.delivered.record(at - published.startedAt)
  }

  #value (holdings: Holdings, { id }: Delivered, key: string, published: Published, at: number): void {
    const shown = holdings.values.get(key)
    const before = shown?.ordinal ?? 0
    if (shown?.id === id) this.#twice++
    else if (before >= published.ordinal || (shown !== undefined && compareIds(id, shown.id) < 0)) this.#disorder++
    holdings.values.set(key, { id, ordinal: published.ordinal })
    if (this.#counts(published)) this.delivered.record(at - published.startedAt)
    const values = this.#valuesOf(key)
    for (let index = before; index < published.ordinal; index++) {
      const update = values[index] as Published
      if (this.#counts(update)) this.latency.record(at - update.startedAt)
    }
  }

  #valuesOf (key: string): Published[] {
    let values = this.#keys.get(key)
    if (values === undefined) {
      values = []
      this.#keys.set(key, values)
    }
    return values
  }

  #counts ({ startedAt }: Published): boolean {
    return startedAt >= this.#window.from && startedAt < this.#window.to
  }
}
