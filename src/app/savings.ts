// What bundling saves against a message for each event and connection. The messages are counted. The CPU is an
// estimate: the messages saved, each at what handing over a bundle cost in the same time.

/** Counts since the process started. */
export interface SavingsSample {
  /** Messages there would have been without bundling. */
  readonly owed: number
  readonly bundles: number
  /** Bundles handed over for any reason, and what was spent on that. */
  readonly served: number
  readonly servingMs: number
  /** Spent by the process. */
  readonly cpuMs: number
}

/** Samples a look goes back: with one a second, ten seconds. */
const SPAN = 10

export class Savings {
  /** Estimate, since the first sample. Never falls. */
  cpuSeconds = 0
  readonly #samples: SavingsSample[] = []
  /** Most messages ever saved: what is owed just now is not sent yet, so the count itself swings. */
  #messages = 0

  sample (sample: SavingsSample): void {
    this.#samples.push(sample)
    if (this.#samples.length > SPAN + 1) this.#samples.shift()
    const messages = Math.max(this.#messages, sample.owed - sample.bundles)
    this.cpuSeconds += (messages - this.#messages) * this.#bundleMs / 1000
    this.#messages = messages
  }

  /** Shares from 0 to 1 over the last ten seconds; null where nothing was owed. */
  get recent (): { readonly messages: number | null, readonly cpu: number | null } {
    const { owed, bundles, cpuMs } = this.#span
    if (owed === 0) return { messages: null, cpu: null }
    // Snapshots are bundles for which nothing is owed.
    const saved = Math.max(0, owed - bundles)
    const savedMs = saved * this.#bundleMs
    return { messages: saved / owed, cpu: savedMs === 0 ? 0 : savedMs / (savedMs + cpuMs) }
  }

  /** What handing over a bundle cost lately. */
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
