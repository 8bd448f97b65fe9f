// The watchdog of systemd (WatchdogSec= in the unit): a process whose event loop hangs stops reporting, and is restarted.
// Node cannot send to the socket, which takes datagrams; the command systemd-notify of the same systemd does.

import { execFile } from 'node:child_process'
import type { pino } from 'pino'

/** Reports regularly, if this process was started with a watchdog. */
export function feedWatchdog (log: Pick<pino.Logger, 'warn'>): void {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = process.env
  const limitMs = Number(WATCHDOG_USEC) / 1000
  if (NOTIFY_SOCKET === undefined || !(limitMs > 0) || (WATCHDOG_PID !== undefined && Number(WATCHDOG_PID) !== process.pid)) return
  let isReported = false
  const report = (): void => {
    execFile('systemd-notify', ['WATCHDOG=1'], { timeout: limitMs }, error => {
      if (error === null || isReported) return
      isReported = true
      log.warn(`the watchdog of systemd cannot be told that this process lives (${error.message.trim()}); without WatchdogSec= nothing has to tell it`)
    })
  }
  report()
  // Each report takes a process of its own: three within the limit are enough.
  setInterval(report, limitMs / 3).unref()
}
