// Whether a connection that says nothing still stands. The gateway speaks at every heartbeat, so silence over several
// of them means that it is gone, or the way to it. But silence is only what was not heard by somebody who listened:
// a tab that was frozen, or a machine that slept, first takes what waits in its socket before it judges.

/** So many heartbeats of silence end a connection: one may be late, and one lost with a segment sent again. */
const HEARTBEATS = 2.5
/** After a sleep: silent for longer than this many, and it gets a moment to show itself. */
const SUSPICIOUS = 1.5
const MOMENT_MS = 2000

export interface WatchdogOptions {
  /** Between two heartbeats, ms. */
  readonly intervalMs: number
  /** Asks for a sign of life, where that can be asked for. */
  readonly probe: () => void
  readonly onDead: () => void
}

export class Watchdog {
  /** When something came last, ms since 1970: a clock that goes on while the machine sleeps. */
  heardAt = Date.now()

  readonly #options: WatchdogOptions
  readonly #timer: ReturnType<typeof setInterval>
  #lookedAt = Date.now()
  #moment: ReturnType<typeof setTimeout> | undefined

  constructor (options: WatchdogOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#look(), options.intervalMs / 2)
  }

  alive (): void {
    this.heardAt = Date.now()
    clearTimeout(this.#moment)
    this.#moment = undefined
  }

  /** The page has just come back from somewhere: is the connection still there? */
  suspect (): void {
    if (this.#moment !== undefined || Date.now() - this.heardAt < SUSPICIOUS * this.#options.intervalMs) return
    this.#options.probe()
    this.#moment = setTimeout(this.#options.onDead, MOMENT_MS)
  }

  stop (): void {
    clearInterval(this.#timer)
    clearTimeout(this.#moment)
  }

  #look (): void {
    const { intervalMs, probe, onDead } = this.#options
    const now = Date.now()
    const passed = now - this.#lookedAt
    this.#lookedAt = now
    // Somebody has put the clock back.
    if (passed < 0) this.heardAt = now
    const silence = now - this.heardAt
    if (passed > intervalMs) this.suspect()
    else if (silence > HEARTBEATS * intervalMs) onDead()
    else if (silence > intervalMs) probe()
  }
}
