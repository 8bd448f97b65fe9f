// Which rooms have members anywhere in the deployment, for backends that produce only what somebody watches. A room is
// occupied from its first member to a second after its last one has left.
//
// The log is the one truth: a keyed event of `@system` says that a room is occupied, its deletion that it is vacated. So
// every process hears of the same changes in the same order, and a restart knows what was said before. The store on
// Redis copies each change to a stream, in the step that makes it.
//
// Each process answers for its own members: while a room has one, it sees to it that the log says so. Any process may
// end that where no process has had a member for a second. Whatever gets lost meanwhile (a process, Redis, the end of the
// log), a look at all rooms makes it good.

import type { Clock } from './clock.ts'
import { draftOf, fieldOf, MAX_BATCH, SYSTEM } from './event.ts'
import type { Draft, Entry } from './event.ts'
import type { Group } from './group.ts'
import type { Id } from './id.ts'
import type { Room } from './room.ts'

export interface OccupancyOptions {
  readonly clock: Clock
  readonly group: Pick<Group, 'quietElsewhere' | 'onGone'>
  readonly rooms: Iterable<Room<unknown>> & { get (name: string): Room<unknown> | undefined }
  /** Members of a room in this process, newcomers with a place included. */
  readonly countOf: (room: string) => number
  readonly append: (drafts: readonly Draft[]) => Promise<Array<Id | null>>
  /** Time for clients to come back after a process has gone. */
  readonly returnMs: number
  readonly onError: (error: unknown, what: string) => void
}

export type OccupancyChange = 'occupied' | 'vacated'

/** The type of the keyed events in `@system`. */
const OCCUPIED = 'occupied'
/** How long a room stays occupied without members. */
const QUIET_MS = 1000
/** How late that may be noticed. */
const GRAIN_MS = 100
/** What failed is tried again after this. */
const AGAIN_MS = 1000
/**
 * Rooms that may become occupied at once, and a second after that, as far as this process says it: each is vacated again, so that it
 * costs two events. Whoever may join rooms could otherwise push everybody else's out of the changes that are remembered.
 */
const BURST = 5000
const PER_SECOND = 100
/** After a start, or a loss, other processes may take as long to say what members they have. */
const SETTLE_MS = 5000

export class Occupancy {
  readonly #options: OccupancyOptions
  readonly #listeners = { occupied: new Set<(room: string) => unknown>(), vacated: new Set<(room: string) => unknown>() }
  /** The rooms that are occupied, as listeners know it once they have heard `#changes`. */
  readonly #known = new Set<string>()
  #changes: Array<readonly [OccupancyChange, string]> = []
  /** Rooms with members of ours of which the log says nothing yet, and those of them that are on the way to it. */
  readonly #arriving = new Set<string>()
  #announced: ReadonlySet<string> = new Set()
  /** Occupied rooms without members of ours, and when others are asked about them. Monotonic ms. */
  readonly #leaving = new Map<string, number>()
  #isAsking = false
  /** What cancels each timer. */
  #stopWaiting: (() => void) | null = null
  #stopRetrying: (() => void) | null = null
  #state: 'starting' | 'started' | 'stopped' = 'starting'
  #hasFailed = false
  /** How many rooms may be told of now, as of when. */
  #allowed = BURST
  #allowedAt = 0

  constructor (options: OccupancyOptions) {
    this.#options = options
  }

  /** For a log that has been read. */
  start (): void {
    if (this.#state !== 'starting') return
    this.#state = 'started'
    this.#options.group.onGone(() => this.#look(this.#options.returnMs))
    this.available()
  }

  /** What is occupied stays so; the next start finds out. */
  stop (): void {
    this.#state = 'stopped'
    this.#stopWaiting?.()
    this.#stopRetrying?.()
  }

  /** The rooms that are occupied now. */
  get rooms (): ReadonlySet<string> {
    return this.#known
  }

  /**
   * Calls `run` with the name of each room that becomes occupied, or is vacated, in the whole deployment. Rooms that are
   * occupied already are told at once.
   * @returns what ends it
   */
  on (change: OccupancyChange, run: (room: string) => unknown): () => void {
    // Nothing is heard twice.
    this.#tell()
    const listener = (room: string): unknown => run(room)
    this.#listeners[change].add(listener)
    if (change === 'occupied') for (const room of [...this.#known]) this.#call(listener, room)
    return () => { this.#listeners[change].delete(listener) }
  }

  /** The members of these rooms in this process have changed. */
  changed (rooms: Iterable<string>): void {
    if (this.#state !== 'started') return
    for (const room of rooms) {
      if (room.startsWith('@')) continue
      if (this.#options.countOf(room) > 0) {
        this.#leaving.delete(room)
        if (this.#valueOf(room) === undefined && !this.#announced.has(room)) this.#arriving.add(room)
      } else if (this.#valueOf(room) !== undefined || this.#announced.has(room)) {
        this.#leaving.set(room, this.#options.clock.now() + QUIET_MS)
      } else {
        this.#arriving.delete(room)
      }
    }
    this.#announce()
    this.#wait()
  }

  /** An entry of `@system` was taken in. */
  saw ({ type, key, deletion }: Entry): void {
    if (type !== OCCUPIED || key === null) return
    this.#note(deletion ? 'vacated' : 'occupied', key)
    if (!deletion) return
    this.#leaving.delete(key)
    // Others asked before our newcomer was counted.
    if (this.#options.countOf(key) > 0) this.changed([key])
  }

  /** The log was read as a whole. */
  loaded (): void {
    for (const { key } of this.#values()) this.#note('occupied', key)
    // Where the log has lost rooms that are still occupied, it is told so again: that is no change.
    if ([...this.#known].some(room => this.#valueOf(room) === undefined)) this.#options.clock.after(SETTLE_MS, () => this.#forget())
    this.#look(SETTLE_MS)
  }

  /** The log can be written to, again. */
  available (): void {
    this.#look(Math.max(SETTLE_MS, this.#options.returnMs))
  }

  /** Looks at all rooms. @param ms after which others are asked about rooms that none of our clients is in */
  #look (ms: number): void {
    const { clock, rooms, countOf } = this.#options
    if (this.#state !== 'started') return
    const here: string[] = []
    for (const { name, members } of rooms) if (members.size > 0) here.push(name)
    for (const { key } of this.#values()) {
      if (countOf(key) === 0 && !this.#leaving.has(key)) this.#leaving.set(key, clock.now() + ms)
    }
    this.changed(here)
  }

  /** What the log does not know is vacated. */
  #forget (): void {
    for (const room of [...this.#known]) if (this.#valueOf(room) === undefined && this.#options.countOf(room) === 0) this.#note('vacated', room)
  }

  /** Writes to the log that rooms are occupied, a batch at a time: what comes meanwhile shares the next one. */
  #announce (): void {
    const { clock, append, countOf } = this.#options
    if (this.#announced.size > 0 || this.#arriving.size === 0 || this.#stopRetrying !== null) return
    const timestamp = clock.wall()
    const drafts: Draft[] = []
    const rooms = new Set<string>()
    const most = Math.min(MAX_BATCH, this.#allowance())
    for (const room of this.#arriving) {
      if (rooms.size >= most) break
      this.#arriving.delete(room)
      if (countOf(room) === 0 || this.#valueOf(room) !== undefined) continue
      rooms.add(room)
      drafts.push(draftOf({ type: OCCUPIED, room: SYSTEM, key: room, data: { since: timestamp }, timestamp, ifAbsent: true }))
    }
    if (rooms.size === 0) {
      if (this.#arriving.size > 0) this.#stopRetrying = clock.after(AGAIN_MS, () => { this.#stopRetrying = null; this.#announce() })
      return
    }
    this.#allowed -= rooms.size
    this.#announced = rooms
    void append(drafts).then(() => { this.#hasFailed = false }, (error: unknown) => this.#failed(error)).finally(() => {
      this.#announced = new Set()
      this.#announce()
    })
  }

  #allowance (): number {
    const now = this.#options.clock.now()
    this.#allowed = Math.min(BURST, this.#allowed + (now - this.#allowedAt) * PER_SECOND / 1000)
    this.#allowedAt = now
    return Math.floor(this.#allowed)
  }

  #wait (): void {
    if (this.#stopWaiting !== null || this.#leaving.size === 0 || this.#state !== 'started') return
    this.#stopWaiting = this.#options.clock.after(GRAIN_MS, () => {
      this.#stopWaiting = null
      void this.#vacate().finally(() => this.#wait())
    })
  }

  /** Writes to the log that rooms are vacated, where that is so. */
  async #vacate (): Promise<void> {
    const { clock, group, countOf, append } = this.#options
    if (this.#isAsking || this.#stopRetrying !== null) return
    const due: string[] = []
    for (const [room, at] of this.#leaving) {
      if (at > clock.now() || this.#announced.has(room)) continue
      this.#leaving.delete(room)
      if (countOf(room) === 0 && this.#valueOf(room) !== undefined && due.push(room) === MAX_BATCH) break
    }
    if (due.length === 0) return
    this.#isAsking = true
    try {
      const waits = await group.quietElsewhere(due, QUIET_MS)
      const ended: Entry[] = []
      for (const room of due) {
        const value = this.#valueOf(room)
        const waitMs = waits === null ? AGAIN_MS : waits.get(room)
        // Back here, or another process answers for it.
        if (value === undefined || waitMs === undefined || countOf(room) > 0) continue
        if (waitMs > 0) this.#leaving.set(room, clock.now() + waitMs)
        else ended.push(value)
      }
      if (ended.length === 0) return
      const timestamp = clock.wall()
      await append(ended.map(({ key, id }) => draftOf({ type: OCCUPIED, room: SYSTEM, key: key as string, data: null, timestamp, ends: id })))
      this.#hasFailed = false
    } catch (error) {
      this.#failed(error)
    } finally {
      this.#isAsking = false
    }
  }

  /** The look finds again what could not be written. */
  #failed (error: unknown): void {
    const { clock, onError } = this.#options
    if (!this.#hasFailed) onError(error, 'the log could not be told which rooms are occupied; it will be tried again')
    this.#hasFailed = true
    this.#stopRetrying ??= clock.after(AGAIN_MS, () => {
      this.#stopRetrying = null
      this.#look(QUIET_MS)
    })
  }

  #note (change: OccupancyChange, room: string): void {
    if (change === 'occupied') {
      if (this.#known.has(room)) return
      this.#known.add(room)
    } else if (!this.#known.delete(room)) {
      return
    }
    // Not at once: what listeners do must not hold up the events behind this one.
    if (this.#changes.push([change, room]) === 1) this.#options.clock.soon(() => this.#tell())
  }

  #tell (): void {
    const changes = this.#changes
    this.#changes = []
    for (const [change, room] of changes) for (const listener of [...this.#listeners[change]]) this.#call(listener, room)
  }

  /** A listener may be asynchronous: its failure is nobody else's either way. */
  #call (listener: (room: string) => unknown, room: string): void {
    const failed = (error: unknown): void => this.#options.onError(error, 'a listener for occupied or vacated rooms failed')
    try {
      Promise.resolve(listener(room)).catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  /** What the log says of a room. */
  #valueOf (room: string): Entry | undefined {
    return this.#options.rooms.get(SYSTEM)?.value(fieldOf({ type: OCCUPIED, key: room }))
  }

  * #values (): Generator<Entry & { readonly key: string }> {
    for (let value = this.#options.rooms.get(SYSTEM)?.oldestValue ?? null; value !== null; value = value.newer) {
      if (value.entry.type === OCCUPIED) yield value.entry as Entry & { readonly key: string }
    }
  }
}
