// A server's own figures, from /metrics.

export class Metrics {
  readonly #figures = new Map<string, number>()
  /** By histogram: how many were at most as large as each bound. */
  readonly #buckets = new Map<string, Map<number, number>>()

  constructor (text: string) {
    for (const [, name = '', labels = '', value] of text.matchAll(/^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/gm)) {
      this.#figures.set(name, (this.#figures.get(name) ?? 0) + Number(value))
      const bound = /\ble="([^"]+)"/.exec(labels)?.[1]
      if (bound === undefined) continue
      const histogram = name.replace(/_bucket$/, '')
      const buckets = this.#buckets.get(histogram) ?? new Map<number, number>()
      this.#buckets.set(histogram, buckets.set(bound === '+Inf' ? Infinity : Number(bound), Number(value)))
    }
  }

  has (name: string): boolean {
    return this.#figures.has(name)
  }

  /** The sum over all labels. @throws Error if there is none */
  figure (name: string): number {
    const value = this.#figures.get(name)
    if (value === undefined || Number.isNaN(value)) throw new Error(`/metrics has no ${name}`)
    return value
  }

  buckets (histogram: string): ReadonlyMap<number, number> {
    return this.#buckets.get(histogram) ?? new Map()
  }
}

/** @throws Error if the answer is a refusal */
export async function readMetrics (address: string): Promise<Metrics> {
  const response = await fetch(address, { headers: { connection: 'close' }, signal: AbortSignal.timeout(10_000) })
  if (!response.ok) throw new Error(`${address} answers ${response.status}`)
  return new Metrics(await response.text())
}

/** As Prometheus computes it: evenly spread within a bucket. @returns null if nothing was counted, or it lies beyond the last bound */
export function quantile (share: number, buckets: Iterable<readonly [number, number]>): number | null {
  const sorted = [...buckets].sort(([a], [b]) => a - b)
  const rank = share * (sorted.at(-1)?.[1] ?? 0)
  if (rank === 0) return null
  let [low, below] = [0, 0]
  for (const [bound, count] of sorted) {
    if (count >= rank) return bound === Infinity ? null : low + (bound - low) * (rank - below) / (count - below)
    low = bound
    below = count
  }
  return null
}
