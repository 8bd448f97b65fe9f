// One ticker for all sessions. Time is cut into ticks; each session is sent at most one bundle a tick. A session that
// had none in this tick is served at once (the leading edge); one that had waits for the next tick. A session with more
// pending than one bundle holds does not wait for ticks: it is served again as fast as its socket and its pace allow.
// Serving thousands is done in slices, which keeps the turns of the event loop short.
//
// The length of a tick floats: at the floor while the event loop is idle, towards the ceiling as the loop fills up. At 0
// there are no ticks: a session is served as soon as it is woken, entry by entry.

import type { Clock } from './clock.ts'

/** A session, as the ticker sees it. */
export interface Recipient {
  /** The tick in which it was last sent a bundle. It sets this itself: it knows whether there was anything to send. */
  readonly servedInTick: number
  serve (): void
}

export interface TickLimits {
  /** Longest tick, ms. */
  readonly tickMs: number
  /** Shortest tick, ms. */
  readonly tickFloorMs: number
}

/** One turn of fan-out: at some 10 us a write it serves about 500 sessions, and event-loop lag stays well below 30 ms. */
const SLICE_MS = 5
/** Sessions served between two readings of the clock, each of which costs a fraction of a write. */
const SLICE_CHECK = 16
/**
 * Share of the event loop in use up to which ticks stay at the floor, and from which they are at the ceiling. The 95th
 * percentile of latency is about a tick: with the default ticks it stays below 150 ms up to a share of four fifths.
 */
const IDLE = 0.7
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
   * @param options.onServed called with the duration of each slice, ms
   */
  constructor (options: { clock: Clock, limits: () => TickLimits, load: () => number, onServed?: (ms: number) => void }) {
    this.#clock = options.clock
    this.#limits = options.limits
    this.#load = options.load
    this.#onServed = options.onServed ?? (() => {})
    this.lengthMs = options.limits().tickFloorMs
  }

  /** Serves a session once this tick: at once where it had no bundle in this tick, otherwise with the next one. */
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

  /** Serves a session outside of ticks: it is new, or more is pending than its last bundle held. */
  now (session: Member): void {
    this.#ready.push(session)
    this.#slice()
  }

  /** Serves a session when its pace allows. All paces are equal: sessions come due in the order of the calls. @param ms monotonic */
  at (session: Member, ms: number): void {
    this.#paced.push({ session, at: ms })
    this.#stopPace ??= this.#clock.after(Math.max(0, ms - this.#clock.now()), this.#release)
  }

  /** Without ticks, every entry begins a new one. */
  newTick (): void {
    this.tick++
  }

  /** Limits have changed: no session waits by the old ones any longer. */
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
    const strain = Math.min(1, Math.max(0, (this.#load() - IDLE) / (BUSY - IDLE)))
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
    // Sessions that become ready meanwhile are served in a later slice: sockets and timers get their turn in between.
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
