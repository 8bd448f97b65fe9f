// The load of this process: event loop and CPU.

import { monitorEventLoopDelay, performance } from 'node:perf_hooks'

const LAG_RESOLUTION_MS = 10

/** @returns a function that returns the share of the event loop in use since its last call, 0 to 1 */
export function eventLoopLoad (): () => number {
  let last = performance.eventLoopUtilization()
  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    return utilization
  }
}

/** Lag and CPU of the time between the last two calls of `sample`. */
export class ProcessLoad {
  /** 99th percentile of the event-loop lag. */
  lagP99Ms = 0
  /** Percent of one core; several threads may use more than 100. */
  cpuPercent = 0
  /** CPU time since the process started. */
  cpuMs = cpuMs()
  readonly #delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
  #at = performance.now()

  constructor () {
    this.#delay.enable()
  }

  sample (): void {
    // NaN if nothing was recorded yet.
    this.lagP99Ms = Math.max(0, (this.#delay.percentile(99) || 0) / 1e6 - LAG_RESOLUTION_MS)
    this.#delay.reset()
    const [used, now] = [cpuMs(), performance.now()]
    this.cpuPercent = 100 * (used - this.cpuMs) / Math.max(1, now - this.#at)
    this.cpuMs = used
    this.#at = now
  }

  stop (): void {
    this.#delay.disable()
  }
}

function cpuMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
