// What has arrived in part: bodies of requests and messages of sockets. Each holds memory until the rest comes, so their sum is
// bounded, and so is the time each may take. Beyond the sum the oldest is ended: whoever is quick gets through.

import type { Troubles } from '../core/figures/troubles.ts'

/** A connection with something unfinished. */
export interface Sender {
  /** Called once, when what it sends is given up; it is forgotten then. */
  giveUp (bound: 'arriving' | 'message_time'): void
}

export interface ArrivalsOptions {
  readonly troubles: Troubles
  /** Time for one message to arrive whole, ms. */
  readonly timeoutMs: number
  /** Largest message, bytes. */
  readonly maxBytes: number
}

const MAX_BYTES = 64 * 1024 * 1024
const SWEEP_MS = 500

export class Arrivals {
  readonly #troubles: Troubles
  readonly #timeoutMs: number
  readonly #maxBytes: number
  /** The oldest first. */
  readonly #unfinished = new Map<Sender, { bytes: number, readonly since: number }>()
  #bytes = 0
  #timer: NodeJS.Timeout | null = null

  constructor ({ troubles, timeoutMs, maxBytes }: ArrivalsOptions) {
    this.#troubles = troubles
    this.#timeoutMs = timeoutMs
    this.#maxBytes = Math.max(MAX_BYTES, 4 * maxBytes)
  }

  /** Bytes held for what is unfinished. */
  get bytes (): number {
    return this.#bytes
  }

  /** @param bytes held for the unfinished message of a sender */
  note (sender: Sender, bytes: number): void {
    const known = this.#unfinished.get(sender)
    if (known === undefined) {
      this.#unfinished.set(sender, { bytes, since: performance.now() })
      this.#timer ??= setInterval(this.#sweep, SWEEP_MS).unref()
    } else {
      this.#bytes -= known.bytes
      known.bytes = bytes
    }
    this.#bytes += bytes
    for (const oldest of this.#unfinished.keys()) {
      if (this.#bytes <= this.#maxBytes) break
      this.#giveUp(oldest, 'arriving')
    }
  }

  /** The message is whole, or its connection gone. */
  forget (sender: Sender): void {
    const known = this.#unfinished.get(sender)
    if (known === undefined) return
    this.#unfinished.delete(sender)
    this.#bytes -= known.bytes
    if (this.#unfinished.size > 0 || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }

  #giveUp (sender: Sender, bound: 'arriving' | 'message_time'): void {
    this.forget(sender)
    this.#troubles.bounds[bound]++
    sender.giveUp(bound)
  }

  readonly #sweep = (): void => {
    const due = performance.now() - this.#timeoutMs
    for (const [sender, { since }] of this.#unfinished) {
      if (since > due) break
      this.#giveUp(sender, 'message_time')
    }
  }
}
