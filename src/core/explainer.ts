// The command `explain`: finds an event by its id and asks all processes what became of it at their sessions (fate.ts). With
// 10,000 sessions in a process one answer takes 7 to 10 ms of its CPU (measured on a busy machine).

import type { Clock, LogClock } from './clock.ts'
import type { Departure, Departures } from './departures.ts'
import { fieldOf, PUBLIC } from './event.ts'
import type { Entry } from './event.ts'
import { fateAtEnd, fateOf } from './fate.ts'
import type { Fate, KnownEvent } from './fate.ts'
import { isAfter, millisOf } from './id.ts'
import type { Id } from './id.ts'
import type { Rooms } from './rooms.ts'
import type { Session } from './session.ts'
import type { Store } from './store.ts'

export interface ExplainRequest {
  /** The event's id, or the names under which a store may have kept an Idempotency-Key: the first that is known counts. */
  readonly event: Id | readonly string[]
  /** Only this session. */
  readonly session?: string | undefined
  /** Most sessions in the answer. */
  readonly limit?: number | undefined
}

type GoneFate = {
  readonly fate: 'gone'
  readonly reason: Departure['reason']
  /** How long ago, ms. */
  readonly goneMs: number
  /** What had become of the event when it ended. */
  readonly was: Fate
}

/** `behindMs`: how long an event has been pending. */
export type SessionFate = { readonly session: string, readonly behindMs?: number } & (Fate | GoneFate)

/** How many sessions there are of each fate. */
type FateCounts = Partial<Record<SessionFate['fate'], number>>

export interface Explanation {
  readonly event: { readonly id: Id, readonly room: string | null, readonly type: string, readonly key: string | null, readonly acceptedAt: number } | null
  /** Why the event is null: `trimmed` from history, or `unknown`. */
  readonly reason?: 'trimmed' | 'unknown'
  /** All that were published with the Idempotency-Key. The first of them is explained. */
  readonly ids?: readonly Id[]
  /** Over all sessions, also those that `sessions` has no room for. */
  readonly counts: FateCounts
  /** Those that lack it first. */
  readonly sessions: readonly SessionFate[]
  /** How many processes have answered. */
  readonly processes: number
}

interface Answer {
  readonly counts: FateCounts
  readonly sessions: readonly SessionFate[]
}

/** Most sessions in an answer, and how many where nothing is said. */
export const MAX_SESSIONS = 1000
const SESSIONS = 100
/** In the order of the answer. */
const FATES: ReadonlyArray<SessionFate['fate']> = ['pending', 'reset', 'gone', 'folded', 'delivered', 'not heard']

export interface ExplainerOptions {
  readonly clock: Pick<Clock, 'now'>
  readonly logClock: Pick<LogClock, 'now'>
  readonly rooms: Rooms<Session>
  readonly sessions: Iterable<Session>
  readonly departures: Departures
  /** See operator.ts. */
  readonly orders: {
    onOrder<Args> (name: string, run: (args: Args) => unknown): void
    orderAll (name: string, args?: unknown): Promise<unknown[]>
  }
  readonly answered: Store['answered']
}

export class Explainer {
  readonly #options: ExplainerOptions

  constructor (options: ExplainerOptions) {
    this.#options = options
    options.orders.onOrder('find', (id: Id) => this.#find(id))
    options.orders.onOrder('explain', ({ event, session, limit }: { event: KnownEvent, session?: string | undefined, limit: number }) => this.#answer(event, session, limit))
  }

  /** @throws Refusal STORE_UNAVAILABLE */
  async explain ({ event: asked, session, limit = SESSIONS }: ExplainRequest): Promise<Explanation> {
    const { orders, rooms } = this.#options
    const ids = typeof asked === 'string' ? null : await this.#idsOf(asked)
    const id = ids === null ? asked as Id : ids[0]
    const nothing = { event: null, counts: {}, sessions: [], ...ids === null ? {} : { ids } }
    if (id === undefined) return { ...nothing, reason: 'unknown', processes: 0 }
    // One that has just started does not know of values that were replaced before.
    const event = this.#find(id) ?? (await orders.orderAll('find', id) as Array<KnownEvent | null>).find(found => found !== null)
    if (event === undefined) return { ...nothing, reason: isAfter(id, rooms.floor) ? 'unknown' : 'trimmed', processes: 0 }
    const answers = await orders.orderAll('explain', { event, session, limit }) as Array<Answer | null>
    const { room, type, key } = event
    return {
      ...nothing,
      event: { id, room: room === PUBLIC ? null : room, type, key, acceptedAt: millisOf(id) },
      ...join(answers.filter(answer => answer !== null), limit),
      processes: answers.length
    }
  }

  async #idsOf (names: readonly string[]): Promise<Id[]> {
    for (const key of names) {
      const ids = await this.#options.answered({ key })
      if (ids !== null) return ids.filter(id => id !== null)
    }
    return []
  }

  #find (id: Id): KnownEvent | null {
    const { rooms } = this.#options
    const entry = rooms.find(id)
    if (entry !== undefined) return { ...namesOf(entry), next: null, newest: null, isEnded: false }
    const replaced = rooms.replacements.find(id)
    if (replaced === undefined) return null
    const { room: name, type, key, next } = replaced
    const room = rooms.get(name)
    const value = room?.value(fieldOf({ type, key }))
    const newest = value ?? room?.deletions.findLast(entry => entry.type === type && entry.key === key)
    return { id, room: name, type, key, deletion: false, next, newest: newest?.id ?? next, isEnded: value === undefined }
  }

  #answer (asked: KnownEvent, only: string | undefined, limit: number): Answer {
    const { clock, logClock, sessions, departures } = this.#options
    // It may have been replaced since it was found.
    const event = this.#find(asked.id) ?? asked
    const behindMs = Math.max(0, logClock.now() - millisOf(event.id))
    const found = new FateTable(limit)
    const left = new Map<string, Fate>()
    for (const departure of departures.all) {
      const { session, at, head, reason } = departure
      if (only !== undefined && session !== only) continue
      const was = withLeft(fateAtEnd(event, departure, head), left.get(session))
      if (reason === null) {
        // What it was not sent by then it did not hear.
        if (was.fate === 'delivered' || was.fate === 'reset' || ('certain' in was && was.certain === false)) left.set(session, was)
        continue
      }
      if (was.fate !== 'not heard' || only !== undefined) found.add({ session, fate: 'gone', reason, goneMs: Math.round(clock.now() - at), was })
    }
    for (const session of sessions) {
      if (only !== undefined && session.id !== only) continue
      const { account } = session
      // A socket that only sends commands, for example.
      if (account.hearings.length === 0 && !left.has(session.id) && only === undefined) continue
      const fate = withLeft(fateOf(event, account, room => session.identity.grants.allow('subscribe', room)), left.get(session.id))
      found.add({ session: session.id, ...fate, ...fate.fate === 'pending' ? { behindMs } : {} })
    }
    return { counts: found.counts, sessions: found.sessions }
  }
}

const namesOf = ({ id, room, type, key, deletion }: Entry): Omit<KnownEvent, 'next' | 'newest' | 'isEnded'> => ({ id, room, type, key, deletion })

/** A session that has left a room, and perhaps joined it again. @param left what had become of the event there until then */
function withLeft (fate: Fate, left: Fate | undefined): Fate {
  if (left === undefined) return fate
  if (fate.fate === 'not heard') return left.fate === 'pending' ? { ...fate, certain: false } : left
  // Folded now, but it may have had the event before it left.
  return fate.fate === 'folded' && fate.certain !== false ? { ...fate, certain: false } : fate
}

/** Counts fates, and keeps so many sessions of each. */
class FateTable {
  readonly counts: FateCounts = {}
  readonly #limit: number
  readonly #sessions = new Map<SessionFate['fate'], SessionFate[]>(FATES.map(fate => [fate, []]))

  constructor (limit: number) {
    this.#limit = limit
  }

  add (session: SessionFate): void {
    const { fate } = session
    this.counts[fate] = (this.counts[fate] ?? 0) + 1
    const list = this.#sessions.get(fate) as SessionFate[]
    if (list.length < this.#limit) list.push(session)
  }

  get sessions (): SessionFate[] {
    return [...this.#sessions.values()].flat().slice(0, this.#limit)
  }
}

function join (answers: readonly Answer[], limit: number): Answer {
  const counts: FateCounts = {}
  for (const fate of FATES) {
    const count = answers.reduce((sum, answer) => sum + (answer.counts[fate] ?? 0), 0)
    if (count > 0) counts[fate] = count
  }
  return { counts, sessions: FATES.flatMap(fate => answers.flatMap(({ sessions }) => sessions.filter(session => session.fate === fate))).slice(0, limit) }
}
