// A session is a subscription, a standing (its tracks, see standing.ts) and a pace. It holds no events: whenever it
// may be sent something it reads its rooms from where it stands.
//
// It is always in one of these states:
//   idle     nothing is pending; every room it hears will wake it. It stands at the head, whatever its tracks say
//   held     only values are pending, and wait for their pace (value-pace.ts); facts will wake it. Of the facts it stands at the head
//   due      somewhere in the ticker, which will call `serve`
//   stalled  its connection holds bytes the system has not taken; nothing is handed over until it has
//   ended
//
// It is longer than most files here: these states are one machine, and nearly every method moves it.

import type { Clock } from './clock.ts'
import type { Connection, EndReason } from './connection.ts'
import { MAX_LATER } from './cursor.ts'
import type { Departures } from './departures.ts'
import { Refusal } from './errors.ts'
import { PUBLIC } from './event.ts'
import type { Account } from './fate.ts'
import { countSent } from './figures/counters.ts'
import type { Counters } from './figures/counters.ts'
import type { Latency } from './figures/latency.ts'
import { heardAfterReset, heardSince, heardWithout, stillHeard } from './hearing.ts'
import type { Hearing } from './hearing.ts'
import { ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import { checkGranted } from './identity.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import { read } from './read.ts'
import type { Turn } from './read.ts'
import type { Reservations } from './reservations.ts'
import type { Rooms } from './rooms.ts'
import { factsOf, trafficOf } from './shared-bundles.ts'
import type { SharedBundles } from './shared-bundles.ts'
import { advance, advanceFacts, begin, checkDeletions, checkFloor, countKeys, countPassed, cursorOf, fromStart, isBeyond, isInStep, merge, narrow, newcomer, oldestPendingId, relocate, reset, sourcesOf, takeResets, takeTurn } from './standing.ts'
import type { Track } from './standing.ts'
import type { Stalls } from './stalls.ts'
import { added, Subscription } from './subscription.ts'
import type { Join } from './subscription.ts'
import type { Recipient, Ticker } from './ticker.ts'
import type { ValuePace, ValuePaces } from './value-pace.ts'

/** What a session shares with all others. */
export interface SessionContext {
  readonly clock: Clock
  readonly rooms: Rooms<Session>
  readonly reservations: Reservations
  readonly ticker: Ticker<Recipient>
  readonly paces: ValuePaces
  readonly stalls: Pick<Stalls<Session>, 'add' | 'delete'>
  readonly shared: SharedBundles
  readonly departures: Departures
  readonly counters: Counters
  readonly latency: Latency
  readonly limits: Limits
  /** Catches up with the log as other processes have written it. @throws Refusal STORE_UNAVAILABLE */
  sync (): Promise<void>
  /** The session's connection threw: the session must be ended. */
  fail (session: Session, error: unknown): void
  forget (session: Session): void
  /** The session ends earlier than it would have. */
  reschedule (session: Session, before: number | null, at: number): void
}

/** How a join begins. */
export interface JoinResult {
  readonly position: 'new' | 'resumed' | 'reset'
  /** Null where `position` is `reset`: the `reset` message brings the cursor, so that it cannot be lost. */
  readonly cursor: string | null
}

/** A pace holds on average: a bundle that went out up to half a step late lets the next one be early by as much. */
const PACE_SLACK = 0.5
/** Most bytes of a bundle around its events, besides the cursor as it was before: it may grow by an id for each side and one for deletions. */
const ENVELOPE_BYTES = 110

export class Session {
  readonly id: string
  readonly identity: Identity
  readonly connection: Connection
  /** Monotonic ms. */
  readonly openedAt: number
  /** When it ends with its rights, ms since 1970; null: never. */
  expiresAt: number | null
  /** The tick in which it was last sent a bundle. */
  servedInTick = -1
  subscription: Subscription

  readonly #context: SessionContext
  #state: 'idle' | 'held' | 'due' | 'stalled' | 'ended' = 'idle'
  /** The first join was made; a cursor counts in that one only. */
  #joined = false
  #tracks: Track[] = []
  #hearings: readonly Hearing[] = []
  #turn: Turn = 'values'
  /** The last position the client received. */
  #lastReportedId: Id = ORIGIN
  /** Monotonic ms before which no bundle may go out. */
  #nextAt = -Infinity
  #catchingUp = false
  /** The log's head at the last join or reset: earlier events count for no latency. */
  #listensFrom: Id = ORIGIN
  /** See `countPassed`; null also while the session is in step. */
  #passed: number | null = null
  /** Null: values go out with every tick. */
  #pace: ValuePace | null = null

  constructor (context: SessionContext, id: string, identity: Identity, connection: Connection) {
    this.#context = context
    this.id = id
    this.identity = identity
    this.connection = connection
    this.openedAt = context.clock.now()
    this.expiresAt = identity.expiresAt
    this.subscription = Subscription.none
    this.subscription.hold()
  }

  get state (): string {
    return this.#state
  }

  /**
   * Adds to what is heard; bundles follow by themselves.
   * @param cursor where to go on from, as the client brought it; counts in the first join only. `0-0`, in any: with the oldest fact of history
   * @param identity whose rights count, of the caller whose session it is
   * @param paceMs see `setPace`; undefined: as it was
   * @returns how it begins, and the members of each room over all processes
   * @throws Refusal BAD_SUBSCRIPTION, UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED, ROOM_FULL, ROOMS_FULL, OVERLOADED,
   *   DRAINING, STORE_UNAVAILABLE; nothing was joined then
   */
  async join (joins: readonly Join[], cursor: string | null = null, identity = this.identity, paceMs?: number | null): Promise<JoinResult & { readonly members: Record<string, number> }> {
    const entering = [...this.#allowed(joins, identity).rooms].filter(room => !this.subscription.rooms.has(room))
    const { rooms, reservations } = this.#context
    // Another process may have sent the client more than this one has read yet.
    if (cursor !== null && isBeyond(cursor, rooms)) await this.#context.sync()
    const staying = joins.flatMap(({ room }) => this.subscription.rooms.has(room) ? [room] : [])
    const others = await reservations.membersOf(staying)
    const { totals, settle } = await reservations.reserve(entering)
    try {
      const joined = this.enter(joins, cursor, identity)
      if (paceMs !== undefined) this.setPace(paceMs)
      const members = joins.map(({ room }) => [room, totals.get(room) ?? others.get(room) ?? rooms.get(room)?.members.size ?? 0])
      return { ...joined, members: Object.fromEntries(members) }
    } finally {
      settle()
    }
  }

  /** The subscription after a join, checked before anything is changed. */
  #allowed (joins: readonly Join[], identity: Identity): Subscription {
    const { limits, reservations } = this.#context
    if (this.#state === 'ended') throw new Refusal('DRAINING', 'this connection has been ended')
    const after = this.subscription.with(joins, limits.maxRoomsPerClient, identity.grants.allow('subscribe', PUBLIC))
    checkGranted(identity, 'subscribe', joins.map(({ room }) => room))
    reservations.checkJoin(after.rooms)
    reservations.checkShare(joins.flatMap(({ room }) => this.subscription.rooms.has(room) ? [] : [room]), this.identity)
    if (this.#tracks.length > MAX_LATER) {
      throw new Refusal('OVERLOADED', `${MAX_LATER} joins of this connection are still catching up; wait for their ready, or join several rooms at once`, { bound: 'catching_up' })
    }
    return after
  }

  /**
   * The part of a join that waits for nothing; MAX_ROOM_SIZE is not checked here.
   * @throws Refusal BAD_SUBSCRIPTION, RATE_LIMITED, ROOMS_FULL, OVERLOADED, DRAINING; nothing was joined then
   */
  enter (joins: readonly Join[], cursor: string | null = null, identity = this.identity): JoinResult {
    const before = this.subscription
    const after = this.#allowed(joins, identity)
    this.#endBy(identity.expiresAt)
    const fresh = added(before.parts, after.parts)
    const first = !this.#joined
    this.#joined = true
    this.settle()
    this.#subscribe(after)
    this.#passed = null
    // Nothing new is heard: the session stays where it stands.
    if (fresh.size === 0) return { position: 'resumed', cursor: this.safeCursor }
    const { rooms } = this.#context
    rooms.move(this, before.parts, after.parts)
    this.#listensFrom = rooms.head
    const isFromStart = cursor === ORIGIN
    const tracks = isFromStart ? [fromStart(fresh, rooms)] : first ? begin(fresh, cursor, after.signature, rooms) : [newcomer(fresh, rooms.head)]
    // A cursor covers a whole connection; it says nothing of a join that is added later.
    if (!first && cursor !== null && !isFromStart) reset(tracks, 'unknown', null)
    this.#hearings = heardSince(this.#hearings, tracks, rooms.head, cursor !== null && !isFromStart)
    this.#tracks = this.#tracks.concat(tracks) // Spreading would make room for seventeen.
    this.#merge()
    if (first) {
      this.#lastReportedId = (tracks[0] as Track).facts
      this.#turn = takeTurn(this.#tracks)
    }
    this.#awake()
    if (tracks.some(track => track.reset !== null)) return { position: 'reset', cursor: null }
    return { position: first && cursor !== null && !isFromStart ? 'resumed' : 'new', cursor: this.safeCursor }
  }

  /** What was joined by rights that end earlier is heard no longer than they last. */
  #endBy (at: number | null): void {
    if (at === null || (this.expiresAt !== null && this.expiresAt <= at)) return
    this.#context.reschedule(this, this.expiresAt, at)
    this.expiresAt = at
  }

  /**
   * How often values go out from now on; facts go out as ever. What is owed goes out at once.
   * @param ms least time from one bundle with values to the next; 0: with every tick; null: none go out until it is set again
   */
  setPace (ms: number | null): void {
    if (this.#state === 'ended') return
    this.settle()
    this.#paceBy(ms)
    if (this.#tracks.length > 0) this.#awake()
  }

  #paceBy (ms: number | null): void {
    const { paces, rooms } = this.#context
    this.#pace?.end(this)
    this.#pace = ms === 0 ? null : paces.of(this.subscription.shape, ms)
    if (ms !== null && this.#pace !== null) this.#pace.since = rooms.head
  }

  /** Stops hearing rooms. @returns the rooms it had joined */
  leave (rooms: readonly string[]): string[] {
    // It may have waited behind a join, and the connection ended meanwhile.
    if (this.#state === 'ended') return []
    const left = rooms.filter(room => this.subscription.rooms.has(room))
    this.settle()
    if (left.length > 0) this.#depart(null)
    const before = this.subscription.parts
    this.#subscribe(this.subscription.without(left))
    this.#passed = null
    this.#context.rooms.move(this, before, this.subscription.parts)
    this.#context.reservations.membershipChanged(left)
    this.#tracks = narrow(this.#tracks, this.subscription.parts)
    this.#hearings = stillHeard(this.#hearings, this.subscription.parts)
    if (this.#tracks.length > 0) this.#awake()
    return left
  }

  /** The position a client has once it has received what was sent so far. */
  get cursor (): string {
    return cursorOf(this.#tracks, this.subscription.signature, this.#context.rooms)
  }

  /** Null while a reset is pending: with its cursor a client could lose one that it has not been told. */
  get safeCursor (): string | null {
    return this.#isResetPending ? null : this.cursor
  }

  /** Its subscription was changed from elsewhere: tells the client its position, now or with what comes next. */
  tellPosition (): void {
    const cursor = this.safeCursor
    if (this.connection.pending > 0 || cursor === null) this.#lastReportedId = ORIGIN
    else if (this.#state !== 'ended') this.connection.ping(cursor)
  }

  /** The first entry since it went idle, or while its values wait the first fact, was taken in; `before` was the log's head. */
  wake (before: Id, isFact: boolean): void {
    // Only one room wakes it; the others may still list it as idle or held.
    if (this.#state !== 'idle' && !(this.#state === 'held' && isFact)) return
    this.#standAt(before)
    this.#state = 'due'
    this.#context.ticker.nextTick(this)
  }

  /** Its values may go out. */
  release (): void {
    if (this.#state !== 'held') return
    this.settle()
    this.#state = 'due'
    this.#context.ticker.nextTick(this)
  }

  /**
   * The log was loaded again because it had lost entries: the session goes on where the log still holds what was sent
   * in `epoch`, and begins again where it does not.
   */
  relocate (epoch: string): void {
    if (this.#tracks.length === 0) return
    this.#passed = null
    relocate(this.#tracks, epoch, this.#context.rooms)
    this.#hearAnew(true)
    this.#awake()
  }

  /** The system has taken all the connection's bytes: go on. */
  drained (): void {
    this.#context.stalls.delete(this)
    if (this.#state !== 'stalled') return
    this.#state = 'due'
    if (this.#catchingUp) this.#context.ticker.now(this)
    else this.#context.ticker.nextTick(this)
  }

  /** Called by the ticker. */
  serve (): void { this.#guarded(this.#serve) }

  /** Sends a last bundle without regard to tick and pace, if the connection takes it. */
  flush (): void { this.#guarded(this.#flush) }

  /** The heartbeat: a ping, and the client's position where the log has moved on with nothing for it. */
  beat (): void { this.#guarded(this.#beat) }

  /** The failure of one connection must not stop the ticker, nor the follower of the log. */
  #guarded (act: () => void): void {
    try {
      act.call(this)
    } catch (error) {
      this.#context.fail(this, error)
    }
  }

  #serve (): void {
    if (this.#state !== 'due') return
    const { clock, limits, ticker } = this.#context
    if (this.connection.pending > 0) {
      this.#stall()
      return
    }
    if (limits.tickMs > 0 && limits.maxEventsPerSecondPerClient > 0 && clock.now() < this.#nextAt) {
      ticker.at(this, this.#nextAt)
      return
    }
    this.#send()
    if (this.#state !== 'due') return
    const stalled = this.connection.pending > 0
    if (!stalled && isInStep(this.#tracks, this.#context.rooms.head, this.#valuesWait)) {
      this.#rest()
      return
    }
    this.#passed = countPassed(this.#tracks, this.#context.rooms)
    if (stalled) this.#stall()
    else if (this.#catchingUp) ticker.now(this)
    else ticker.nextTick(this)
  }

  #flush (): void {
    if (this.#state === 'due' && this.connection.pending === 0) this.#send()
  }

  #beat (): void {
    if (this.connection.pending > 0) {
      // The bytes may be something other than a bundle, an answer for example; the time limit applies to them too.
      this.#context.stalls.add(this)
      return
    }
    const { head } = this.#context.rooms
    if ((this.#state !== 'idle' && this.#state !== 'held') || this.#tracks.length === 0 || this.#lastReportedId === head) {
      this.connection.ping(null)
      return
    }
    this.settle()
    this.#lastReportedId = head
    this.connection.ping(this.cursor)
    this.#rest()
  }

  /** Ends the session from this side. */
  close (reason: EndReason, retryMs: number): void {
    if (this.#state === 'ended') return
    this.end(reason)
    try {
      this.connection.close(reason, retryMs)
    } catch {
      // It may be the connection's failure that ends the session. There is nobody left to tell.
    }
  }

  /** The connection is gone. Idempotent. */
  end (reason: EndReason | 'CLOSED' = 'CLOSED'): void {
    if (this.#state === 'ended') return
    this.#depart(reason)
    this.#state = 'ended'
    this.#context.rooms.move(this, this.subscription.parts, new Map())
    this.#context.reservations.membershipChanged(this.subscription.rooms)
    this.#tracks = []
    this.subscription.release()
    this.#pace?.end(this)
    this.#context.forget(this)
  }

  /** What tells the fate of an event here; see fate.ts. */
  get account (): Account {
    this.settle()
    const wait = this.#state === 'stalled' ? 'slow' : this.#catchingUp ? 'backlog' : 'tick'
    const valuesWait = wait === 'slow' || !this.#valuesWait ? wait : this.#pace?.ms === Infinity ? 'hidden' : 'pace'
    return { hearings: this.#hearings, tracks: this.#tracks, factsWait: wait, valuesWait }
  }

  /** It ends, or leaves rooms (null). The tracks are copied: those of a session that goes on move. */
  #depart (reason: EndReason | 'CLOSED' | null): void {
    if (!this.#joined) return
    this.#context.departures.add({ ...this.account, tracks: this.#tracks.map(track => ({ ...track, steps: [...track.steps ?? []] })), session: this.id, at: this.#context.clock.now(), head: this.#context.rooms.head, reason })
  }

  /** @param skips facts go on at another place too */
  #hearAnew (skips: boolean): void {
    if (this.#isResetPending) this.#hearings = heardAfterReset(this.#hearings, this.#tracks, this.#context.rooms.head, skips)
  }

  #subscribe (subscription: Subscription): void {
    subscription.hold()
    this.subscription.release()
    const { shape } = this.subscription
    this.subscription = subscription
    if (this.#pace !== null && subscription.shape !== shape) this.#paceBy(this.#pace.ms === Infinity ? null : this.#pace.ms)
  }

  /**
   * The id of the oldest pending event; null where none is pending.
   * @param known what was found for other sessions in this turn: those at the same position have the same pending
   */
  oldestPendingId (known: Map<string, Id | null>): Id | null {
    if (this.#state !== 'due' && this.#state !== 'stalled') return null
    const [main, later] = this.#tracks
    const since = this.#pace === null ? ORIGIN : this.#pace.since
    if (main === undefined || later !== undefined) return oldestPendingId(this.#tracks, this.#context.rooms, since)
    const name = `${this.subscription.signature}~${main.facts}~${main.state}~${since}`
    let id = known.get(name)
    if (id === undefined) known.set(name, id = oldestPendingId(this.#tracks, this.#context.rooms, since))
    return id
  }

  get #isResetPending (): boolean {
    return this.#tracks.some(({ reset }) => reset !== null)
  }

  get #valuesWait (): boolean {
    return this.#pace !== null && !this.#pace.isOpen
  }

  #send (): void {
    const { clock, counters, latency, limits, rooms, shared, ticker } = this.#context
    checkFloor(this.#tracks, rooms, this.#passed)
    const pace = this.#pace
    // A client that forgets its values gets the present ones at once.
    if (pace !== null && pace.ms !== Infinity && this.#isResetPending) pace.since ??= rooms.head
    const valuesWait = this.#valuesWait
    if (pace !== null && !valuesWait) pace.since ??= rooms.head
    if (!valuesWait) checkDeletions(this.#tracks, rooms)
    this.#tellResets()
    const [track] = this.#tracks
    const key = track === undefined || this.#tracks.length > 1
      ? null
      : { format: this.connection.format, shape: this.subscription.shape, facts: track.facts, state: track.state, deletions: track.deletions, valuesWait, snapshot: track.snapshot, inPart: track.inPart === true, turn: this.#turn }
    let found = key === null ? undefined : shared.get(key)
    // A bundle made earlier in this tick is still good; an empty one is good only while the head has not moved.
    if (found === undefined || (found.bundle.entries.length === 0 && found.head !== rooms.head)) {
      const reading = read(sourcesOf(this.#tracks, rooms, this.subscription.patched), { facts: limits.maxQueuePerClient, bytes: limits.maxBundleBytes - this.cursor.length - ENVELOPE_BYTES }, this.#turn, !valuesWait)
      const { facts, state, turn } = reading
      this.#advance(facts, state, rooms.head, valuesWait)
      if (state === null) rooms.noteReading(this.subscription.patched, ticker, clock.now())
      found = { bundle: { entries: reading.entries, cursor: this.cursor }, ...trafficOf(reading.entries), facts, state, head: rooms.head, turn }
      if (key !== null) shared.set(key, found)
    } else {
      this.#advance(found.facts, found.state, found.head, valuesWait)
    }
    this.#turn = found.turn
    this.#catchingUp = found.facts !== null || (found.state !== null && !valuesWait)
    if (pace !== null && found.state === null) pace.since = null
    if (found.bundle.entries.length > 0) {
      countSent(counters, found, this.connection.send(found.bundle), this.#listensFrom)
      const now = clock.now()
      if (found.events > 0) {
        const prompt = pace === null ? found.bundle.entries : factsOf(found)
        if (prompt.length > 0) latency.handed(prompt, now, this.#listensFrom)
      }
      if (pace !== null && factsOf(found).length < found.bundle.entries.length) pace.sent()
      this.#lastReportedId = found.head
      this.servedInTick = ticker.tick
      const stepMs = limits.maxEventsPerSecondPerClient === 0 ? 0 : 1000 / limits.maxEventsPerSecondPerClient
      this.#nextAt = Math.max(this.#nextAt, now - stepMs * PACE_SLACK) + stepMs
    }
    if (found.state === null) this.#tellReady()
    this.#merge()
  }

  #merge (): void {
    this.#hearings = heardWithout(this.#hearings, this.#tracks)
    this.#tracks = merge(this.#tracks)
  }

  #tellResets (): void {
    this.#hearAnew(false)
    const resets = takeResets(this.#tracks)
    if (resets === null) return
    this.#listensFrom = this.#context.rooms.head
    this.#context.counters.resets[resets.reason]++
    this.connection.tell({ kind: 'reset', ...resets, cursor: this.cursor })
  }

  #tellReady (): void {
    for (const track of this.#tracks) {
      if (!track.snapshot) continue
      track.snapshot = false
      this.connection.tell({ kind: 'ready', keys: countKeys(track.parts, this.#context.rooms), rooms: [...track.parts.keys()], cursor: this.cursor })
    }
  }

  /** Nothing is pending, or only values that wait: wait to be woken. */
  #rest (): void {
    // By the tracks where they are behind: time passes, and the pace may have opened since its values were left out.
    const isHeld = !isInStep(this.#tracks, this.#context.rooms.head) || this.#valuesWait
    this.#state = isHeld ? 'held' : 'idle'
    this.#passed = null
    for (const name of this.subscription.parts.keys()) {
      const room = this.#context.rooms.open(name)
      if (isHeld) (room.held ??= new Set()).add(this)
      else room.idle.add(this)
    }
    if (isHeld) this.#pace?.wait(this)
  }

  /** Writes to the tracks where a session stands that is idle or held: at the head. */
  settle (): void { this.#standAt(this.#context.rooms.head) }

  #standAt (id: Id): void {
    const main = this.#tracks[0]
    if (this.#state === 'idle' && main !== undefined) main.facts = main.state = id
    else if (this.#state === 'held') advanceFacts(this.#tracks, null, id)
  }

  #advance (facts: Id | null, state: Id | null, head: Id, valuesWait: boolean): void {
    if (valuesWait) advanceFacts(this.#tracks, facts, head)
    else advance(this.#tracks, facts, state, head)
  }

  #awake (): void {
    if (this.#state !== 'idle' && this.#state !== 'held') return
    this.#state = 'due'
    this.#context.ticker.now(this)
  }

  #stall (): void {
    this.#state = 'stalled'
    this.#context.stalls.add(this)
  }
}
