// Detects a dead connection. The gateway sends a heartbeat at every interval, so silence over several intervals means
// that the gateway or the network path is gone. Silence counts only while this side could listen: after a frozen tab or
// a sleeping machine wakes, it first reads what waits in its socket.

/** Silence for this many heartbeats ends a connection: one may be late, and one may be lost with a retransmitted segment. */
const HEARTBEATS = 2.5
/** After a sleep, silence for this many heartbeats starts a check: the connection has MOMENT_MS to show life. */
const SUSPICIOUS = 1.5
const MOMENT_MS = 2000

export interface Watchdog {
  /** Bytes have arrived. */
  alive_: () => void
  /** The page was hidden, frozen or offline: checks whether the connection still works. */
  suspect_: () => void
  stop_: () => void
}

/**
 * @param intervalMs heartbeat interval
 * @param probe asks for a sign of life, if the transport can send
 */
export function watch (intervalMs: number, probe: () => void, onDead: () => void): Watchdog {
  /** ms since 1970: this clock also runs while the machine sleeps. */
  let heardAt = Date.now()
  let lookedAt = heardAt
  let moment: ReturnType<typeof setTimeout> | undefined

  const timer = setInterval(() => {
    const now = Date.now()
    const passed = now - lookedAt
    lookedAt = now
    // The clock was set back.
    if (passed < 0) heardAt = now
    const silence = now - heardAt
    if (passed > intervalMs) suspect_()
    else if (silence > HEARTBEATS * intervalMs) onDead()
    else if (silence > intervalMs) probe()
  }, intervalMs / 2)

  function suspect_ (): void {
    if (moment !== undefined || Date.now() - heardAt < SUSPICIOUS * intervalMs) return
    probe()
    moment = setTimeout(onDead, MOMENT_MS)
  }

  return {
    alive_ () {
      heardAt = Date.now()
      clearTimeout(moment)
      moment = undefined
    },
    suspect_,
    stop_ () {
      clearInterval(timer)
      clearTimeout(moment)
    }
  }
}
