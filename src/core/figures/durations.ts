// A histogram of durations. To record one costs a few comparisons and no memory: it stands on the way of every publish.

import type { Clock } from '../clock.ts'

export class Durations {
  /** Upper bounds of the buckets, ms. */
  static readonly BOUNDS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500] as const

  /** By bound, the last ones beyond all bounds. */
  readonly counts: number[] = Array(Durations.BOUNDS_MS.length + 1).fill(0) as number[]
  sumMs = 0

  record (ms: number): void {
    let bound = 0
    while (bound < Durations.BOUNDS_MS.length && ms > (Durations.BOUNDS_MS[bound] as number)) bound++
    this.counts[bound] = (this.counts[bound] as number) + 1
    this.sumMs += ms
  }

  /** Records how long it takes; of what fails nothing. */
  async time<T> (clock: Pick<Clock, 'now'>, act: () => Promise<T>): Promise<T> {
    const begun = clock.now()
    const result = await act()
    this.record(clock.now() - begun)
    return result
  }
}
