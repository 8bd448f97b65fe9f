// A session is a subscription, a standing (its tracks, see standing.ts) and a pace. It holds no events: whenever it
// may be sent something it reads its rooms from where it stands.
//
// It is always in one of these states:
//   idle     nothing is pending; every room it hears will wake it. It stands at the head, whatever its tracks say
//   due      somewhere in the ticker, which will call `serve`
//   stalled  its connection holds bytes the system has not taken; nothing is handed over until it has
//   ended

import type { Clock } from './clock.ts'
import type { Connection, EndReason } from './connection.ts'
import { MAX_LATER } from './cursor.ts'
import type { Counters } from './figures/counters.ts'
import { Refusal } from './errors.ts'
import type { Entry } from './event.ts'
import { isAfter, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Latency } from './figures/latency.ts'
import type { Limits } from './limits.ts'
import { read } from './read.ts'
import type { Turn } from './read.ts'
import type { Rooms } from './rooms.ts'
import { trafficOf } from './shared-bundles.ts'
import type { SharedBundles } from './shared-bundles.ts'
import { advance, begin, checkFloor, countKeys, countPassed, cursorOf, isBeyond, isInStep, merge, narrow, newcomer, oldestPendingId, relocate, reset, sourcesOf, takeResets } from './standing.ts'
import type { Track } from './standing.ts'
import { added, checkRooms, Subscription } from './subscription.ts'
import type { Join, Parts } from './subscription.ts'
import type { Ticker } from './ticker.ts'

/** What a session shares with all others. */
export interface Hub {
  readonly clock: Clock
  readonly rooms: Rooms<Session>
  readonly ticker: Ticker<Session>
  readonly shared: SharedBundles
  readonly counters: Counters
  readonly latency: Latency
  readonly limits: Limits
  /** The session's connection holds bytes back; it has let go of them. */
  stall (session: Session): void
  unstall (session: Session): void
  /** The session came into these rooms, or left them. */
  moved (rooms: Iterable<string>): void
  /** The session's connection threw: it is to be ended. */
  fail (session: Session, error: unknown): void
  forget (session: Session): void
}

/** How a join begins. */
export interface Joined {
  readonly position: 'new' | 'resumed' | 'reset'
  /** Null where `position` is `reset`: the `reset` message brings the cursor, so that it cannot be lost. */
  readonly cursor: string | null
}

/** A pace is kept over a longer time: who was up to half a step late may be early by as much. */
const PACE_SLACK = 0.5

export class Session {
  readonly id: string
  /** Who it counts for: rate limits, connections per address. */
  readonly caller: string
  readonly connection: Connection
  /** Monotonic ms. */
  readonly openedAt: number
  servedIn = -1
  subscription = Subscription.none

  readonly #hub: Hub
  #state: 'idle' | 'due' | 'stalled' | 'ended' = 'idle'
  /** The first join was made: a cursor counts in no other. */
  #joined = false
  #tracks: Track[] = []
  #turn: Turn = 'values'
  /** The last position the client was told. */
  #told: Id = ORIGIN
  /** Monotonic ms before which no bundle may go out. */
  #nextAt = -Infinity
  #catchingUp = false
  /** Where the log stood when it last joined something or was reset: what came before was there before it listened. */
  #listensFrom: Id = ORIGIN
  /** Facts of its rooms up to where it stands, counted from the process's start; known of a laggard that hears whole rooms. */
  #passed: number | null = null

  constructor (hub: Hub, id: string, caller: string, connection: Connection) {
    this.#hub = hub
    this.id = id
    this.caller = caller
    this.connection = connection
    this.openedAt = hub.clock.now()
  }

  get state (): string {
    return this.#state
  }

  /**
   * Which rooms a join would enter.
   * @throws Refusal BAD_SUBSCRIPTION, ROOMS_FULL, OVERLOADED or DRAINING where it is not allowed
   */
  entering (joins: readonly Join[]): string[] {
    return [...this.#allowed(joins).rooms].filter(room => !this.subscription.rooms.has(room))
  }

  #allowed (joins: readonly Join[]): Subscription {
    const after = this.subscription.with(joins)
    if (this.#state === 'ended') throw new Refusal('DRAINING', 'this connection has been ended')
    this.#checkLimits(after)
    if (this.#tracks.length > MAX_LATER) {
      throw new Refusal('OVERLOADED', `${MAX_LATER} joins of this connection are still catching up; wait for their ready, or join several rooms at once`)
    }
    return after
  }

  /**
   * Adds to what is heard; bundles follow by themselves. Whether the rooms have a place is for the gateway to see to.
   * @param cursor where to go on from, as the client brought it; counts in the first join only
   * @throws Refusal as `entering`; nothing was joined then
   */
  join (joins: readonly Join[], cursor: string | null = null): Joined {
    const before = this.subscription
    const after = this.#allowed(joins)
    const fresh = added(before.parts, after.parts)
    const first = !this.#joined
    this.#joined = true
    this.settle()
    this.subscription = after
    this.#passed = null
    // Nothing new to hear: it goes on where it stands.
    if (fresh.size === 0) return { position: 'resumed', cursor: this.cursor }
    for (const room of fresh.keys()) this.#hub.rooms.open(room).members.add(this)
    this.#changeAudience(before.parts, after.parts)
    this.#listensFrom = this.#hub.rooms.head
    const tracks = first ? begin(fresh, cursor, after.signature, this.#hub.rooms) : [newcomer(fresh, this.#hub.rooms.head)]
    // A cursor tells of the whole connection, so it can say nothing of what is added later.
    if (!first && cursor !== null) reset(tracks, 'unknown', null)
    this.#tracks = merge([...this.#tracks, ...tracks])
    if (first) this.#told = (tracks[0] as Track).facts
    this.#awake()
    if (tracks.some(track => track.reset !== null)) return { position: 'reset', cursor: null }
    return { position: first && cursor !== null ? 'resumed' : 'new', cursor: this.cursor }
  }

  /** Stops hearing rooms. @returns those it was in */
  leave (rooms: readonly string[]): string[] {
    const left = rooms.filter(room => this.subscription.rooms.has(room))
    this.settle()
    const before = this.subscription.parts
    this.subscription = this.subscription.without(left)
    this.#passed = null
    const { parts } = this.subscription
    this.#changeAudience(before, parts)
    for (const room of before.keys()) {
      if (!parts.has(room)) this.#hub.rooms.leave(room, this)
    }
    this.#hub.moved(left)
    this.#tracks = narrow(this.#tracks, parts)
    if (this.#tracks.length > 0) this.#awake()
    return left
  }

  /** Whether a cursor may name a position that this process has not read yet. */
  isBeyond (cursor: string): boolean {
    return isBeyond(cursor, this.#hub.rooms)
  }

  /** The position a client has once it has received what was sent so far. */
  get cursor (): string {
    return cursorOf(this.#tracks, this.subscription.signature, this.#hub.rooms)
  }

  wake (before: Id): void {
    // What it hears may still name it as idle in rooms it has not been woken by.
    if (this.#state !== 'idle') return
    const main = this.#tracks[0] as Track
    main.facts = main.state = before
    this.#state = 'due'
    this.#hub.ticker.due(this)
  }

  /**
   * The log was loaded anew, because it had lost something: goes on where it still holds what was sent in
   * `epoch`, and begins again where it does not.
   */
  relocate (epoch: string): void {
    if (this.#tracks.length === 0) return
    this.#passed = null
    relocate(this.#tracks, epoch, this.#hub.rooms)
    this.#awake()
  }

  /** The connection has taken everything: go on. */
  drained (): void {
    this.#hub.unstall(this)
    if (this.#state !== 'stalled') return
    this.#state = 'due'
    if (this.#catchingUp) this.#hub.ticker.soon(this)
    else this.#hub.ticker.due(this)
  }

  /** Called by the ticker. */
  serve (): void {
    this.#guarded(this.#serve)
  }

  /** A last bundle, whatever tick and pace say, if the connection takes it. */
  flush (): void {
    this.#guarded(this.#flush)
  }

  /** The heartbeat: a sign of life, and the position where the log has moved on without this client. */
  beat (): void {
    this.#guarded(this.#beat)
  }

  /** One connection's failure must not cost the others their turn, nor the log its follower. */
  #guarded (act: () => void): void {
    try {
      act.call(this)
    } catch (error) {
      this.#hub.fail(this, error)
    }
  }

  #serve (): void {
    if (this.#state !== 'due') return
    const { clock, limits, ticker } = this.#hub
    if (this.connection.pending > 0) {
      this.#stall()
      return
    }
    if (limits.tickMs > 0 && limits.messagesPerSecond > 0 && clock.now() < this.#nextAt) {
      ticker.later(this, this.#nextAt)
      return
    }
    this.#send()
    if (this.#state !== 'due') return
    const stalled = this.connection.pending > 0
    if (!stalled && isInStep(this.#tracks, this.#hub.rooms.head)) {
      this.#rest()
      return
    }
    this.#passed = countPassed(this.#tracks, this.#hub.rooms)
    if (stalled) this.#stall()
    else if (this.#catchingUp) ticker.soon(this)
    else ticker.due(this)
  }

  #flush (): void {
    if (this.#state === 'due' && this.connection.pending === 0) this.#send()
  }

  #beat (): void {
    if (this.connection.pending > 0) {
      // Whatever it is that is not taken, an answer for example: there is a limit to waiting for it.
      this.#hub.stall(this)
      return
    }
    this.connection.ping()
    const { head } = this.#hub.rooms
    if (this.#state !== 'idle' || this.#tracks.length === 0 || this.#told === head) return
    this.settle()
    this.#told = head
    this.connection.tell({ kind: 'position', cursor: this.cursor })
    this.#rest()
  }

  /** Ends the session from this side. */
  close (reason: EndReason, retryMs: number): void {
    if (this.#state === 'ended') return
    this.end()
    this.connection.close(reason, retryMs)
  }

  /** The connection is gone. Idempotent. */
  end (): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#changeAudience(this.subscription.parts, new Map())
    for (const room of this.subscription.parts.keys()) this.#hub.rooms.leave(room, this)
    this.#hub.moved(this.subscription.rooms)
    this.#tracks = []
    this.#hub.forget(this)
  }

  /** The id of the oldest pending event; null where none is pending. */
  get oldestPendingId (): Id | null {
    return this.#state === 'due' || this.#state === 'stalled' ? oldestPendingId(this.#tracks, this.#hub.rooms) : null
  }

  /** Checks a wider subscription against the limits before anything is changed. */
  #checkLimits (after: Subscription): void {
    const { limits, rooms } = this.#hub
    checkRooms(after.rooms.size, limits.roomsPerClient)
    const opening = [...after.rooms].filter(room => !room.startsWith('@') && rooms.get(room) === undefined).length
    if (limits.rooms > 0 && opening > 0 && rooms.named + opening > limits.rooms) {
      throw new Refusal('ROOMS_FULL', `there are ${rooms.named} rooms, and ${limits.rooms} may exist (MAX_ROOMS); join an existing one or try again later`)
    }
  }

  #changeAudience (before: Parts, after: Parts): void {
    const { rooms } = this.#hub
    for (const [room, filter] of before) rooms.get(room)?.audience.delete(filter)
    for (const [room, filter] of after) rooms.get(room)?.audience.add(filter)
  }

  #send (): void {
    const { clock, counters, limits, rooms, shared, ticker } = this.#hub
    checkFloor(this.#tracks, rooms, this.#passed)
    this.#tellResets()
    const [track] = this.#tracks
    const key = track === undefined || this.#tracks.length > 1
      ? null
      : { signature: this.subscription.signature, facts: track.facts, state: track.state, snapshot: track.snapshot, turn: this.#turn }
    let found = key === null ? undefined : shared.get(key)
    // A bundle made earlier in this tick still leads onwards; that there was nothing yet says nothing of now.
    if (found === undefined || (found.bundle.entries.length === 0 && found.head !== rooms.head)) {
      const reading = read(sourcesOf(this.#tracks, rooms), { facts: limits.bundleFacts, bytes: limits.bundleBytes }, this.#turn)
      const { facts, state, turn } = reading
      advance(this.#tracks, facts, state, rooms.head)
      found = { bundle: { entries: reading.entries, cursor: this.cursor }, events: trafficOf(reading.entries), facts, state, head: rooms.head, turn }
      if (key !== null) shared.set(key, found)
    } else {
      advance(this.#tracks, found.facts, found.state, found.head)
    }
    this.#turn = found.turn
    this.#catchingUp = found.facts !== null || found.state !== null
    if (found.bundle.entries.length > 0) {
      const bytes = this.connection.send(found.bundle)
      const now = clock.now()
      counters.served++
      if (found.events > 0) {
        counters.bytes += bytes
        counters.bundles++
        counters.delivered += found.events
        this.#time(found.bundle.entries, now)
      }
      this.#told = found.head
      this.servedIn = ticker.tick
      const stepMs = limits.messagesPerSecond === 0 ? 0 : 1000 / limits.messagesPerSecond
      this.#nextAt = Math.max(this.#nextAt, now - stepMs * PACE_SLACK) + stepMs
    }
    if (found.state === null) this.#tellReady()
    this.#tracks = merge(this.#tracks)
  }

  /** Of what was just handed over, what had come while it listened tells how long events wait. */
  #time (entries: readonly Entry[], now: number): void {
    const { latency } = this.#hub
    if (isAfter((entries[0] as Entry).id, this.#listensFrom)) latency.handed(entries, now)
    else if (isAfter((entries.at(-1) as Entry).id, this.#listensFrom)) latency.handed(entries.filter(({ id }) => isAfter(id, this.#listensFrom)), now)
  }

  #tellResets (): void {
    const resets = takeResets(this.#tracks)
    if (resets === null) return
    this.#listensFrom = this.#hub.rooms.head
    this.#hub.counters.resets[resets.reason]++
    this.connection.tell({ kind: 'reset', ...resets, cursor: this.cursor })
  }

  #tellReady (): void {
    for (const track of this.#tracks) {
      if (!track.snapshot) continue
      track.snapshot = false
      this.connection.tell({ kind: 'ready', keys: countKeys(track.parts, this.#hub.rooms), rooms: [...track.parts.keys()], cursor: this.cursor })
    }
  }

  /** Nothing is owed: wait to be woken. */
  #rest (): void {
    this.#state = 'idle'
    for (const room of this.subscription.parts.keys()) this.#hub.rooms.open(room).idle.add(this)
  }

  /** Makes the tracks say where an idle session stands. */
  settle (): void {
    const main = this.#tracks[0]
    if (this.#state === 'idle' && main !== undefined) main.facts = main.state = this.#hub.rooms.head
  }

  #awake (): void {
    if (this.#state !== 'idle') return
    this.#state = 'due'
    this.#hub.ticker.soon(this)
  }

  #stall (): void {
    this.#state = 'stalled'
    this.#hub.stall(this)
  }
}
