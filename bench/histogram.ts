// Durations counted in steps of 0.05 ms: a million of them cost no memory and no sorting.

const STEP_MS = 0.05
const LONGEST_MS = 30_000

export class Histogram {
  readonly #counts = new Uint32Array(LONGEST_MS / STEP_MS + 1)
  count = 0
  max = 0
  #sum = 0

  record (ms: number): void {
    const step = Math.min(this.#counts.length - 1, Math.max(0, Math.floor(ms / STEP_MS)))
    this.#counts[step] = (this.#counts[step] as number) + 1
    this.count++
    this.#sum += ms
    if (ms > this.max) this.max = ms
  }

  /** @param share 0 to 1. @returns the upper end of the step it falls into; null if nothing was recorded */
  percentile (share: number): number | null {
    if (this.count === 0) return null
    let left = Math.ceil(this.count * share)
    let step = 0
    while ((left -= this.#counts[step] as number) > 0) step++
    return Math.min(this.max, (step + 1) * STEP_MS)
  }

  /** How many took at most `ms`. */
  upTo (ms: number): number {
    let count = 0
    for (let step = 0; step < this.#counts.length && (step + 1) * STEP_MS <= ms + 1e-9; step++) count += this.#counts[step] as number
    return count
  }

  get summary (): Summary | null {
    if (this.count === 0) return null
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map(share => round(this.percentile(share) as number)) as [number, number, number]
    return { count: this.count, mean: round(this.#sum / this.count), p50, p95, p99, max: round(this.max) }
  }
}

export interface Summary {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

const round = (ms: number): number => Math.round(ms * 100) / 100
