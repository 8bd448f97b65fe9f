// What bundling saves, compared with one message per event and connection. Messages are counted. CPU is an estimate: the
// messages saved, each at the average cost of handing over a bundle in the same time. It is an upper bound.

/** Counts since the process started. */
export interface SavingsSample {
  /** Messages there would have been without bundling. */
  readonly owed: number
  readonly bundles: number
  /** Bundles handed over for any reason, and the time spent on that. */
  readonly served: number
  readonly servingMs: number
  /** CPU time of the process. */
  readonly cpuMs: number
}

/** Samples that `recent` covers: with one per second, ten seconds. */
const SPAN = 10

export class Savings {
  /** CPU time saved since the first sample, estimated. Never falls. */
  cpuSeconds = 0
  readonly #samples: SavingsSample[] = []
  /** Highest number of messages saved so far. The current number goes up and down, because pending events are counted before their bundle is. */
  #messages = 0

  sample (sample: SavingsSample): void {
    this.#samples.push(sample)
    if (this.#samples.length > SPAN + 1) this.#samples.shift()
    const messages = Math.max(this.#messages, sample.owed - sample.bundles)
    this.cpuSeconds += (messages - this.#messages) * this.#bundleMs / 1000
    this.#messages = messages
  }

  /** Shares saved over the last ten seconds, 0 to 1; null if there was nothing to send. */
  get recent (): { readonly messages: number | null, readonly cpu: number | null } {
    const { owed, bundles, cpuMs } = this.#span
    if (owed === 0) return { messages: null, cpu: null }
    // Snapshots are bundles of events that are not counted in `owed`.
    const saved = Math.max(0, owed - bundles)
    const savedMs = saved * this.#bundleMs
    return { messages: saved / owed, cpu: savedMs === 0 ? 0 : savedMs / (savedMs + cpuMs) }
  }

  /** Average time to hand over a bundle in the last ten seconds, ms. */
  get #bundleMs (): number {
    const { served, servingMs } = this.#span
    return served === 0 ? 0 : servingMs / served
  }

  get #span (): SavingsSample {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (first === undefined || last === undefined) return { owed: 0, bundles: 0, served: 0, servingMs: 0, cpuMs: 0 }
    return {
      owed: last.owed - first.owed,
      bundles: last.bundles - first.bundles,
      served: last.served - first.served,
      servingMs: last.servingMs - first.servingMs,
      cpuMs: last.cpuMs - first.cpuMs
    }
  }
}
