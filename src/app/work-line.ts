// Bodies that take a while to read and publish are taken one in each turn of the event loop, so that every connection, stream and
// timer is served in between. Node hands over all that has arrived in one turn: 200 publishers with batches of 1,000 events held up
// everybody else for seconds, /healthz for 12 s (measured; with this line 50 ms, at the same rate of publishing).

import { Refusal } from '../core/errors.ts'

/** Shorter texts are read and published in a fraction of a millisecond. */
export const LINE_FROM = 4096
/** While the first in the line has waited for so long, nobody is let in: publishers hear within seconds that there is too much. */
const MAX_WAIT_MS = 2000
/** Characters that may wait: as many bytes as may be unfinished, see arrivals.ts. */
const MAX_WAITING = 64 * 1024 * 1024

interface Waiting {
  readonly size: number
  readonly since: number
  readonly go: () => void
}

export interface WorkLineOptions {
  /** When a refused publisher should come back, ms. */
  readonly returnAfterMs: () => number
  readonly maxWaitMs?: number
  readonly maxWaiting?: number
}

export class WorkLine {
  readonly #options: Required<WorkLineOptions>
  readonly #waiting: Waiting[] = []
  #size = 0
  /** Somebody had this turn of the event loop. */
  #isTaken = false

  constructor (options: WorkLineOptions) {
    this.#options = { maxWaitMs: MAX_WAIT_MS, maxWaiting: MAX_WAITING, ...options }
  }

  /** Waits for a turn of the event loop that no other text has. @throws Refusal OVERLOADED */
  async turn ({ length: size }: { readonly length: number }): Promise<void> {
    if (size < LINE_FROM) return
    if (!this.#isTaken) {
      this.#isTaken = true
      setImmediate(() => this.#next())
      return
    }
    const { returnAfterMs, maxWaitMs, maxWaiting } = this.#options
    const since = performance.now()
    if (this.#size + size > maxWaiting || since - (this.#waiting[0]?.since ?? since) > maxWaitMs) {
      throw new Refusal('OVERLOADED', 'this gateway has more to publish than it can; try again later', { retryMs: returnAfterMs(), bound: 'load' })
    }
    this.#size += size
    await new Promise<void>(resolve => this.#waiting.push({ size, since, go: resolve }))
  }

  #next (): void {
    const first = this.#waiting.shift()
    this.#isTaken = first !== undefined
    if (first === undefined) return
    this.#size -= first.size
    setImmediate(() => this.#next())
    first.go()
  }
}
