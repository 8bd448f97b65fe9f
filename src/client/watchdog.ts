// Detects a dead connection. The gateway sends a heartbeat at every interval, so silence over several intervals means
// that the gateway or the network path is gone. Silence counts only while this side could listen: after a frozen tab or
// a sleeping machine wakes, it first reads what waits in its socket.

/** Silence for this many heartbeats ends a connection: one may be late, and one may be lost with a retransmitted segment. */
const HEARTBEATS = 2.5
/** After a sleep, silence for this many heartbeats starts a check: the connection has MOMENT_MS to show life. */
const SUSPICIOUS = 1.5
const MOMENT_MS = 2000

export interface WatchdogOptions {
  /** Heartbeat interval, ms. */
  readonly intervalMs: number
  /** Asks for a sign of life, if the transport can send. */
  readonly probe: () => void
  readonly onDead: () => void
}

export class Watchdog {
  /** Time of the last bytes, ms since 1970. This clock also runs while the machine sleeps. */
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

  /** The page was hidden, frozen or offline: checks whether the connection still works. */
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
    // The clock was set back.
    if (passed < 0) this.heardAt = now
    const silence = now - this.heardAt
    if (passed > intervalMs) this.suspect()
    else if (silence > HEARTBEATS * intervalMs) onDead()
    else if (silence > intervalMs) probe()
  }
}
