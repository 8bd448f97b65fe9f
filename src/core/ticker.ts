// One clock for all sessions. Time is cut into ticks; each session is sent at most one bundle a tick. Who
// has had none in this tick is served at once (the leading edge), who has waits for the next. A session owed
// more than one bundle holds does not wait for ticks: it is served again as fast as its socket and its pace
// allow. Serving thousands is done in slices, so that no turn of the event loop becomes long.
//
// The tick floats: at the floor while the loop is at leisure, towards the ceiling as it fills up. At 0 there
// are no ticks: whoever is woken is served then and there, entry by entry.

import type { Clock } from './clock.ts'

export interface Recipient {
  /** The tick it was last sent something in; kept by itself, as it knows whether there was anything to send. */
  readonly servedInTick: number
  serve (): void
}

export interface TickLimits {
  /** Longest tick, ms. */
  readonly tickMs: number
  /** Shortest tick, ms. */
  readonly tickFloorMs: number
}

/** A turn of fan-out: at some 10 us a write it serves about 500 sessions and leaves the loop well below 30 ms of lag. */
const SLICE_MS = 5
/** Reading the clock costs as much as a fraction of a write: so many sessions are served between two looks. */
const SLICE_CHECK = 16
/**
 * Share of the event loop in use up to which ticks stay at the floor, and from which they are at the ceiling. The
 * 95th percentile of latency is about a tick: so it stays below 150 ms with the default ticks up to four fifths.
 */
const AT_LEISURE = 0.7
const BUSY = 0.95

export class Ticker<Member extends Recipient> {
  /** Number of the current tick. */
  tick = 0
  /** Length of the current tick, ms. */
  lengthMs: number

  readonly #clock: Clock
  readonly #limits: () => TickLimits
  readonly #load: () => number
  readonly #onServed: (ms: number) => void
  #startedAt = -Infinity
  #ready: Member[] = []
  #waiting: Member[] = []
  #paced: Array<{ session: Member, at: number }> = []
  #slicing = false
  #stopBeat: (() => void) | null = null
  #stopPace: (() => void) | null = null

  /**
   * @param options.load share of the event loop in use since the last call, 0 to 1
   * @param options.onServed told how long each slice took, ms
   */
  constructor (options: { clock: Clock, limits: () => TickLimits, load: () => number, onServed?: (ms: number) => void }) {
    this.#clock = options.clock
    this.#limits = options.limits
    this.#load = options.load
    this.#onServed = options.onServed ?? (() => {})
    this.lengthMs = options.limits().tickFloorMs
  }

  /** Something is owed to a session that was owed nothing, or what came meanwhile is owed to one just served. */
  nextTick (session: Member): void {
    if (this.#limits().tickMs === 0) {
      session.serve()
      return
    }
    if (this.#clock.now() >= this.#startedAt + this.lengthMs && this.#stopBeat === null) this.#begin()
    if (session.servedInTick !== this.tick) {
      this.now(session)
      return
    }
    this.#waiting.push(session)
    this.#stopBeat ??= this.#clock.after(this.#startedAt + this.lengthMs - this.#clock.now(), this.#beat)
  }

  /** Serves a session outside of ticks: it is new, or owed more than its last bundle held. */
  now (session: Member): void {
    this.#ready.push(session)
    this.#slice()
  }

  /** Serves a session when its pace allows. Paces are equal, so those who ask later are also due later. */
  at (session: Member, ms: number): void {
    this.#paced.push({ session, at: ms })
    this.#stopPace ??= this.#clock.after(Math.max(0, ms - this.#clock.now()), this.#release)
  }

  /** Without ticks every entry is a tick of its own. */
  newTick (): void {
    this.tick++
  }

  /** Limits have changed: nobody goes on waiting by the old ones. */
  retune (): void {
    this.#stopBeat?.()
    this.#stopBeat = null
    this.#stopPace?.()
    this.#stopPace = null
    const { tickMs } = this.#limits()
    this.lengthMs = Math.min(this.lengthMs, tickMs)
    this.#ready = this.#ready.concat(this.#waiting, this.#paced.map(({ session }) => session))
    this.#waiting = []
    this.#paced = []
    this.#slice()
  }

  stop (): void {
    this.#stopBeat?.()
    this.#stopPace?.()
    this.#ready = []
    this.#waiting = []
    this.#paced = []
  }

  #begin (): void {
    const { tickMs, tickFloorMs } = this.#limits()
    const strain = Math.min(1, Math.max(0, (this.#load() - AT_LEISURE) / (BUSY - AT_LEISURE)))
    this.tick++
    this.#startedAt = this.#clock.now()
    this.lengthMs = tickFloorMs + (tickMs - tickFloorMs) * strain
  }

  readonly #beat = (): void => {
    this.#stopBeat = null
    this.#begin()
    this.#ready = this.#ready.concat(this.#waiting)
    this.#waiting = []
    this.#slice()
  }

  readonly #release = (): void => {
    this.#stopPace = null
    const now = this.#clock.now()
    let released = 0
    for (const { session, at } of this.#paced) {
      if (at > now) break
      this.#ready.push(session)
      released++
    }
    this.#paced.splice(0, released)
    const next = this.#paced[0]
    if (next !== undefined) this.#stopPace = this.#clock.after(next.at - now, this.#release)
    if (released > 0) this.#slice()
  }

  #slice (): void {
    if (this.#slicing || this.#ready.length === 0) return
    this.#slicing = true
    this.#clock.soon(this.#run)
  }

  readonly #run = (): void => {
    // Who becomes ready meanwhile is served in a later slice: sockets and timers get their turn in between.
    const ready = this.#ready
    this.#ready = []
    const began = this.#clock.now()
    const until = began + SLICE_MS
    let index = 0
    while (index < ready.length) {
      (ready[index++] as Member).serve()
      if (index % SLICE_CHECK === 0 && this.#clock.now() >= until) break
    }
    if (index < ready.length) this.#ready = ready.slice(index).concat(this.#ready)
    this.#onServed(this.#clock.now() - began)
    this.#slicing = false
    this.#slice()
  }
}
