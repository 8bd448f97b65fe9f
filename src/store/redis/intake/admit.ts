// From a text to the log: parsed by the same parser as every other event, published in order, and the outcome of each event
// reported.

import { pause } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Code } from '../../../core/errors.ts'
import { PUBLIC } from '../../../core/event.ts'
import type { Gateway } from '../../../core/gateway.ts'
import { readJson } from '../../../core/json.ts'
import type { IntakeSource, RedisStore } from '../log/store.ts'

/** A time during which this worker holds the lease; see lease.ts. */
export interface Term {
  readonly token: string
  readonly over: boolean
}

/** An event on its way into the log. */
export interface Arrival {
  readonly source: IntakeSource
  readonly event: unknown
  readonly room: string
}

export interface Admission<A extends Arrival> {
  readonly gateway: Gateway
  readonly store: RedisStore
  readonly clock: Clock
  readonly term: Term
  /** Whether it must wait. Called once the outcome of the events before it is known. */
  readonly holdBack: (arrival: A) => boolean
  /** They are in the log; null for one that was in it before. */
  readonly onTaken: (arrivals: readonly A[], ids: ReadonlyArray<string | null>) => void
  /** It is not in the log, and cannot be as things are. */
  readonly onRefused: (arrival: A, refusal: Refusal) => void
}

/** Refusals that concern no event in particular: those after it would fail alike. */
const PASSING: ReadonlySet<Code> = new Set(['STORE_UNAVAILABLE', 'DRAINING'])
const AGAIN_MS = 100

/**
 * Reads an event.
 * @throws Refusal BAD_EVENT
 */
export function readEvent (text: string): { event: unknown, room: string } {
  const event = readJson(text, 'BAD_EVENT')
  const room = (event as { room?: unknown } | null)?.room
  return { event, room: typeof room === 'string' ? room : PUBLIC }
}

/**
 * Publishes events in order: all at once, and if one is refused each half separately, down to that event alone.
 * @throws LeaseLost; Refusal if nothing can be published now
 */
export async function admit<A extends Arrival> (arrivals: readonly A[], admission: Admission<A>): Promise<void> {
  const { gateway, store, clock, term, holdBack, onTaken, onRefused } = admission
  const given = arrivals.filter(arrival => !holdBack(arrival))
  if (given.length === 0) return
  let ids: Array<string | null>
  try {
    ids = await gateway.take(given.map(({ event }) => event), async drafts => await store.appendUnderLease(drafts, given.map(({ source }) => source), term.token))
  } catch (error) {
    if (!(error instanceof Refusal) || PASSING.has(error.code)) throw error
    if (error.code === 'OVERLOADED') {
      await pause(clock, AGAIN_MS)
      if (term.over) throw error
      return await admit(given, admission)
    }
    if (given.length === 1) return onRefused(given[0] as A, error)
    const middle = given.length >> 1
    await admit(given.slice(0, middle), admission)
    return await admit(given.slice(middle), admission)
  }
  onTaken(given, ids)
}
