// From what came as text to the log: read by the reader of every door, published in order, and each event's fate told.

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
  /** Whether it has to wait. Asked behind what became of those before it. */
  readonly holdBack: (arrival: A) => boolean
  /** They are in the log; null for one that was there before. */
  readonly onTaken: (arrivals: readonly A[], ids: ReadonlyArray<string | null>) => void
  /** It is not in the log, and will not be as it is now. */
  readonly onRefused: (arrival: A, refusal: Refusal) => void
}

/** Of no event in particular: nothing behind it would fare better. */
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
 * Publishes events in order: all at once, and where one of them is refused each half by itself, until it is alone.
 * @throws LeaseLost; Refusal where nothing can be published just now
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
