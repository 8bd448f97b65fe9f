// Reads a server's /metrics during a window: CPU, event-loop lag, backlog and its own delivery figures. Each reading
// resets the histogram of the lag, which therefore covers the time since the reading before.

import { readMetrics, quantile } from './metrics.ts'
import type { Metrics } from './metrics.ts'

/** Without any lag the metric shows the period of its timer. */
const LAG_RESOLUTION_MS = 10
const DELIVERY = 'signalbox_delivery_seconds'

export interface Observed {
  readonly seconds: number
  /** Share of a core, all threads. */
  readonly serverCpu: number
  /** Maximum of all readings. */
  readonly lagP99Ms: number
  readonly backlogSeconds: number
  readonly inside: Inside
}

/** The server's own figures. */
export interface Inside {
  /** From acceptance to hand-over, over the window. */
  readonly meanMs: number | null
  readonly p95Ms: number | null
  /** Bounds of its buckets, ms. A figure to compare with `p95Ms` must be counted in the same buckets. */
  readonly boundsMs: readonly number[]
  readonly events: number
  readonly bundles: number
  readonly bytes: number
  /** Shares: of the messages there would have been, counted; and of CPU time, estimated. */
  readonly savedMessages: number
  readonly savedCpu: number
  /** Shares of the bytes there would have been without any of them; null if an older server does not count them. */
  readonly savedBytes: SavedBytes | null
}

export interface SavedBytes {
  readonly bundling: number
  readonly patches: number
  readonly compression: number
}

/** @param grown how much a counter of /metrics has grown */
export function savedBytes (grown: (name: string) => number): SavedBytes {
  const [sent, plain, whole, unbundled] = ['sent', 'plain', 'whole', 'unbundled'].map(name => grown(`signalbox_${name}_bytes_total`)) as [number, number, number, number]
  const share = (bytes: number): number => unbundled === 0 ? 0 : Math.max(0, bytes / unbundled)
  return { bundling: share(unbundled - whole), patches: share(whole - plain), compression: share(plain - sent) }
}

export class Watch {
  readonly #address: string
  readonly #timer: NodeJS.Timeout
  readonly #first: Metrics
  readonly #startedAt = performance.now()
  #lagMs = 0
  #backlogSeconds = 0
  #readings = Promise.resolve()
  #failed: Error | null = null

  private constructor (address: string, everyMs: number, first: Metrics) {
    this.#address = address
    this.#first = first
    this.#timer = setInterval(() => {
      this.#readings = this.#readings.then(async () => { await this.#read() }).catch((error: Error) => { this.#failed = error })
    }, everyMs)
  }

  /** @throws Error if there are no metrics */
  static async start (address: string, everyMs: number): Promise<Watch> {
    return new Watch(address, everyMs, await readMetrics(address))
  }

  /** Ends it. @throws Error if a reading failed */
  async stop (): Promise<Observed> {
    clearInterval(this.#timer)
    await this.#readings
    if (this.#failed !== null) throw this.#failed
    const last = await this.#read()
    const seconds = (performance.now() - this.#startedAt) / 1000
    const grown = (name: string): number => last.figure(name) - this.#first.figure(name)
    const cpu = grown('process_cpu_seconds_total')
    const saved = grown('signalbox_saved_cpu_seconds_total')
    const [bundles, uncoalesced] = [grown('signalbox_bundles_total'), grown('signalbox_uncoalesced_messages_total')]
    const events = grown(`${DELIVERY}_count`)
    const before = this.#first.buckets(DELIVERY)
    const buckets = [...last.buckets(DELIVERY)].map(([bound, count]) => [bound * 1000, count - (before.get(bound) ?? 0)] as const)
    return {
      seconds,
      serverCpu: cpu / seconds,
      lagP99Ms: this.#lagMs,
      backlogSeconds: this.#backlogSeconds,
      inside: {
        meanMs: events === 0 ? null : grown(`${DELIVERY}_sum`) * 1000 / events,
        p95Ms: quantile(0.95, buckets),
        boundsMs: buckets.map(([bound]) => bound).filter(Number.isFinite),
        events: grown('signalbox_delivered_events_total'),
        bundles,
        bytes: grown('signalbox_sent_bytes_total'),
        savedMessages: uncoalesced === 0 ? 0 : Math.max(0, 1 - bundles / uncoalesced),
        savedCpu: saved === 0 ? 0 : saved / (saved + cpu),
        savedBytes: last.has('signalbox_unbundled_bytes_total') ? savedBytes(grown) : null
      }
    }
  }

  /** Ends it without a result. */
  cancel (): void {
    clearInterval(this.#timer)
  }

  async #read (): Promise<Metrics> {
    const metrics = await readMetrics(this.#address)
    this.#lagMs = Math.max(this.#lagMs, metrics.figure('nodejs_eventloop_lag_p99_seconds') * 1000 - LAG_RESOLUTION_MS)
    this.#backlogSeconds = Math.max(this.#backlogSeconds, metrics.figure('signalbox_backlog_seconds'))
    return metrics
  }
}
