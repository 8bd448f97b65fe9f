// Reads without a stream (`Gateway.read`): the question of `read` asked once, from a cursor or from the beginning. Where
// nothing is new a poll may wait: until it hears an entry, and then for the tick like a session, so that what is published
// together is answered together; until its time is up; or until it is not wanted any more. Whatever ends the wait, it is
// answered with what there is.
//
// A poll is no member of its rooms and opens none: nothing is left of it when it is answered. While it waits it takes the
// place of a connection.

import type { Clock } from './clock.ts'
import { Refusal } from './errors.ts'
import { PUBLIC } from './event.ts'
import type { Entry } from './event.ts'
import type { Counters } from './figures/counters.ts'
import { matches } from './filter.ts'
import type { Filter } from './filter.ts'
import { ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import { checkGranted } from './identity.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Places } from './places.ts'
import { read } from './read.ts'
import type { Listener, Rooms } from './rooms.ts'
import { advance, begin, checkFloor, cursorOf, fromStart, isBeyond, merge, relocate, sourcesOf, takeResets, takeTurn } from './standing.ts'
import type { PendingReset, Track } from './standing.ts'
import { Subscription } from './subscription.ts'
import type { Join } from './subscription.ts'
import type { Recipient, Ticker } from './ticker.ts'

export interface ReadRequest {
  readonly joins: readonly Join[]
  /** Where to go on from, as the client brought it; `0-0`: with the oldest fact of history. Null: the present values. */
  readonly cursor?: string | null
  /** How long to wait where nothing is new, ms. Without a cursor a read never waits. Default 0. */
  readonly waitMs?: number
  /** Cursors of answers that the client holds: where nothing is new since one of them, the answer says so. */
  readonly held?: readonly string[]
  /** Whose rights count. Default: the program around the gateway, which may hear everything. */
  readonly identity?: Identity
  /** Ends a wait early. */
  readonly signal?: AbortSignal | undefined
}

export interface ReadAnswer {
  readonly position: 'new' | 'resumed' | 'reset'
  /** The position behind this answer. */
  readonly cursor: string
  /** Why the client could not resume: it forgets its values, and gets the present ones. */
  readonly reset: PendingReset | null
  /** There is more to be read at once. */
  readonly more: boolean
  /** In id order, at most a bundle's worth. */
  readonly entries: readonly Entry[]
  /** Nothing is new since a cursor that the client holds. */
  readonly isUnmodified: boolean
}

/** Longest wait that a client may ask for. */
export const MAX_WAIT_SECONDS = 60
/** Most bytes of an answer around its events, besides the cursor as it was before. */
const ENVELOPE_BYTES = 200
/** Polls answered in one turn: what follows for each, an HTTP response, takes some 50 us. */
const SLICE = 32

export interface PollsOptions {
  readonly clock: Clock
  readonly limits: () => Limits
  readonly rooms: Rooms<Listener>
  readonly ticker: Ticker<Recipient>
  readonly places: Places
  readonly counters: Counters
  /** Catches up with the log as other processes have written it. @throws Refusal STORE_UNAVAILABLE */
  readonly sync: () => Promise<void>
}

export class Polls {
  readonly #options: PollsOptions
  /** Those that are not answered yet. */
  readonly #open = new Set<Poll>()
  /** Those that wait to hear something, by room. */
  readonly #byRoom = new Map<string, Set<Poll>>()
  #ready: Poll[] = []
  #isAnswering = false
  #isDraining = false

  constructor (options: PollsOptions) {
    this.#options = options
  }

  /** How many wait. */
  get waiting (): number {
    return this.#open.size
  }

  /**
   * @throws Refusal BAD_SUBSCRIPTION, UNAUTHENTICATED (also where the rights end during a wait), FORBIDDEN,
   *   STORE_UNAVAILABLE; where it would have to wait OVERLOADED (MAX_CLIENTS), RATE_LIMITED (MAX_CLIENTS_PER_IP, MAX_CLIENTS_PER_SUBJECT)
   */
  async read (request: ReadRequest, identity: Identity): Promise<ReadAnswer> {
    const { joins, cursor = null, waitMs = 0, held = [], signal } = request
    const { clock, limits, rooms, ticker, counters, sync } = this.#options
    const subscription = Subscription.none.with(joins, limits().maxRoomsPerClient, identity.grants.allow('subscribe', PUBLIC))
    checkGranted(identity, 'subscribe', joins.map(({ room }) => room))
    // Another process may have sent the client more than this one has read yet.
    if ([...cursor === null ? [] : [cursor], ...held].some(text => isBeyond(text, rooms))) await sync()
    const poll = new Poll({ clock, rooms, ticker, limits, subscription, cursor, onServed: () => this.#queue(poll) })
    const mayWait = waitMs > 0 && cursor !== null && !this.#isDraining && signal?.aborted !== true
    let answer = poll.read(mayWait)
    if (mayWait && isNothing(answer)) answer = await this.#wait(poll, waitMs, identity, signal)
    const since = firstAtHead(subscription, held, rooms)
    counters.reads++
    if (answer.reset !== null) counters.resets[answer.reset.reason]++
    return since === null ? answer : { ...answer, cursor: since, entries: [], isUnmodified: true }
  }

  /** An entry was taken in; `before` was the log's head. */
  heard (entry: Entry, before: Id): void {
    for (const poll of this.#byRoom.get(entry.room) ?? []) {
      if (!poll.hears(entry)) continue
      this.#listen(poll, false)
      poll.settle(before)
      this.#options.ticker.nextTick(poll)
    }
  }

  /** Those that wait stand at the head, whatever their tracks say. */
  settle (): void {
    for (const poll of this.#open) if (poll.isListening) poll.settle(this.#options.rooms.head)
  }

  /** The log was loaded again; see `Session.relocate`. */
  relocate (epoch: string): void {
    for (const poll of this.#open) {
      poll.relocate(epoch)
      if (!poll.isListening) continue
      this.#listen(poll, false)
      this.#options.ticker.now(poll)
    }
  }

  /** Ends the waits of a token's subject. @returns how many */
  endOf (subject: string): number {
    const ended = [...this.#open].filter(({ subject: whose }) => whose === subject)
    for (const poll of ended) poll.end()
    return ended.length
  }

  /** Answers those that wait with what there is. From now on none waits. */
  async drain (): Promise<void> {
    this.#isDraining = true
    let count = 0
    for (const poll of [...this.#open]) {
      poll.end()
      if (++count % SLICE === 0) await new Promise<void>(resolve => this.#options.clock.soon(resolve))
    }
  }

  async #wait (poll: Poll, waitMs: number, identity: Identity, signal: AbortSignal | undefined): Promise<ReadAnswer> {
    const { clock, places } = this.#options
    places.check(identity)
    places.take(identity)
    const rightsMs = identity.expiresAt === null ? Infinity : Math.max(0, identity.expiresAt - clock.wall())
    // Those that ask for the same next share it.
    poll.subscription.hold()
    this.#open.add(poll)
    this.#listen(poll, true)
    let cancel = (): void => {}
    try {
      return await new Promise<ReadAnswer>((resolve, reject) => {
        poll.subject = identity.subject
        poll.answer = resolve
        poll.end = () => {
          if (poll.isListening) poll.settle(this.#options.rooms.head)
          resolve(poll.read())
        }
        cancel = clock.after(Math.min(waitMs, rightsMs), () => {
          if (rightsMs > waitMs) poll.end()
          else reject(new Refusal('UNAUTHENTICATED', 'the token has expired during the wait: come back with a new one, and the same cursor'))
        })
        signal?.addEventListener('abort', poll.end, { once: true })
      })
    } finally {
      cancel()
      signal?.removeEventListener('abort', poll.end)
      this.#listen(poll, false)
      this.#open.delete(poll)
      poll.subscription.release()
      poll.isOver = true
      places.give(identity)
    }
  }

  #listen (poll: Poll, isListening: boolean): void {
    if (poll.isListening === isListening) return
    poll.isListening = isListening
    for (const room of poll.rooms) {
      const polls = this.#byRoom.get(room) ?? new Set()
      if (isListening) this.#byRoom.set(room, polls.add(poll))
      else if (polls.delete(poll) && polls.size === 0) this.#byRoom.delete(room)
    }
  }

  /** The ticker serves it: it is answered in a slice of its own, for its response is made in the same turn. */
  #queue (poll: Poll): void {
    this.#ready.push(poll)
    if (this.#isAnswering) return
    this.#isAnswering = true
    this.#options.clock.soon(this.#answerSome)
  }

  readonly #answerSome = (): void => {
    for (const poll of this.#ready.splice(0, SLICE)) {
      if (poll.isOver) continue
      const answer = poll.read(true)
      if (!isNothing(answer)) poll.answer(answer)
      // The log was loaded again, and nothing was lost.
      else this.#listen(poll, true)
    }
    this.#isAnswering = this.#ready.length > 0
    if (this.#isAnswering) this.#options.clock.soon(this.#answerSome)
  }
}

interface PollOptions {
  readonly clock: Clock
  readonly rooms: Rooms<Listener>
  readonly ticker: Ticker<Recipient>
  readonly limits: () => Limits
  readonly subscription: Subscription
  readonly cursor: string | null
  readonly onServed: () => void
}

/** One read: where it stands, and what ends its wait. */
class Poll implements Recipient {
  /** It had its last answer in the tick in which it asks again, as far as anybody knows. */
  readonly servedInTick: number
  readonly serve: () => void
  readonly subscription: Subscription
  isListening = false
  isOver = false
  /** Whom it waits for. */
  subject: string | null = null
  /** Set while it waits: to be called with the answer; and to answer with what there is. */
  answer: (answer: ReadAnswer) => void = () => {}
  end: () => void = () => {}

  readonly #options: PollOptions
  readonly #begins: 'new' | 'resumed'
  #tracks: Track[]

  constructor (options: PollOptions) {
    const { rooms, subscription, subscription: { parts, signature }, cursor, ticker, onServed } = this.#options = options
    this.subscription = subscription
    this.servedInTick = ticker.tick
    this.serve = onServed
    this.#begins = cursor === null || cursor === ORIGIN ? 'new' : 'resumed'
    this.#tracks = cursor === ORIGIN ? [fromStart(parts, rooms)] : begin(parts, cursor, signature, rooms)
  }

  get rooms (): Iterable<string> {
    return this.subscription.parts.keys()
  }

  hears ({ room, type }: Entry): boolean {
    return matches(this.subscription.parts.get(room) as Filter, type)
  }

  /** Nothing it hears lies before this id that it has not had. */
  settle (id: Id): void {
    const main = this.#tracks[0] as Track
    main.facts = main.state = id
  }

  relocate (epoch: string): void {
    relocate(this.#tracks, epoch, this.#options.rooms)
  }

  /** Reads on from where it stands. @param waits where nothing is new, nobody is told so yet */
  read (waits = false): ReadAnswer {
    const { clock, rooms, ticker, limits } = this.#options
    const { signature, patched } = this.subscription
    checkFloor(this.#tracks, rooms, null)
    const resets = takeResets(this.#tracks)
    const { maxQueuePerClient, maxBundleBytes } = limits()
    const bytes = maxBundleBytes - cursorOf(this.#tracks, signature, rooms).length - ENVELOPE_BYTES
    const { entries, facts, state, turn } = read(sourcesOf(this.#tracks, rooms, patched), { facts: maxQueuePerClient, bytes }, takeTurn(this.#tracks))
    advance(this.#tracks, facts, state, rooms.head)
    if (state === null) rooms.noteReading(patched, ticker, clock.now())
    const more = facts !== null || state !== null
    // Until then nobody has been told that the values are complete: who goes on by a stream hears it there.
    const isTold = !waits || entries.length > 0 || resets !== null
    if (!more && isTold) for (const track of this.#tracks) track.snapshot = false
    this.#tracks = merge(this.#tracks)
    // Only where both sides have more does it matter whose turn it is.
    if (facts !== null && state !== null && turn === 'facts') (this.#tracks[0] as Track).turn = turn
    return {
      position: resets === null ? this.#begins : 'reset',
      cursor: cursorOf(this.#tracks, signature, rooms),
      reset: resets === null ? null : { reason: resets.reason, missed: resets.missed },
      more,
      entries,
      isUnmodified: false
    }
  }
}

const isNothing = ({ entries, reset }: ReadAnswer): boolean => entries.length === 0 && reset === null

function firstAtHead (subscription: Subscription, held: readonly string[], rooms: Rooms<Listener>): string | null {
  for (const text of held) {
    const cursor = cursorAtHead(subscription, text, rooms)
    if (cursor !== null) return cursor
  }
  return null
}

/** The cursor of somebody who stands at the head, where nothing is new since one that he brings; else null. */
function cursorAtHead ({ parts, signature }: Subscription, text: string, rooms: Rooms<Listener>): string | null {
  const tracks = begin(parts, text, signature, rooms)
  checkFloor(tracks, rooms, null)
  if (tracks.some(({ reset }) => reset !== null)) return null
  const { entries } = read(sourcesOf(tracks, rooms), { facts: 1, bytes: 1 })
  if (entries.length > 0) return null
  advance(tracks, null, null, rooms.head)
  for (const track of tracks) track.snapshot = false
  takeTurn(tracks)
  return cursorOf(merge(tracks), signature, rooms)
}
