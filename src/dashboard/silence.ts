// A gateway may be heard and yet say nothing of itself: it cannot while its store is away. Its last figures must not
// pass for present ones then.

import type { Box } from '../client/index.ts'
import { clock } from './format.ts'
import { SYSTEM } from './reports.ts'

/** Reports come every second. */
const SILENT_MS = 5000
const ASK_MS = 5000
const ANSWER_MS = 5000

export class Silence {
  readonly #box: Pick<Box, 'on' | 'status'>
  readonly #changed: () => void
  #heardAt = performance.now()
  #heardTime = Date.now()
  #askedAt = -Infinity
  #reason = ''

  constructor (box: Pick<Box, 'on' | 'status'>, changed: () => void) {
    this.#box = box
    this.#changed = changed
    box.on('event', ({ room, type, data }) => {
      if (room !== SYSTEM || type !== 'gateway' || data === null) return
      this.#hear()
      this.#heardTime = Date.now()
      this.#reason = ''
    })
    // After an interruption it has its time again.
    box.on('status', () => this.#hear())
  }

  get isSilent (): boolean {
    return this.#box.status.state === 'connected' && performance.now() - this.#heardAt > SILENT_MS
  }

  /** What is to be said of it; empty where it speaks. */
  get sentence (): string {
    if (!this.isSilent) return ''
    void this.#ask()
    return `The gateway has told no figures of its own since ${clock(this.#heardTime)}: those are the last ones.${this.#reason}`
  }

  #hear (): void {
    this.#heardAt = performance.now()
  }

  /** Why, as far as the gateway's readiness tells it. */
  async #ask (): Promise<void> {
    if (performance.now() - this.#askedAt < ASK_MS) return
    this.#askedAt = performance.now()
    try {
      const response = await fetch('/readyz', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
      const { code, message } = await response.json() as { code?: string, message?: string }
      this.#reason = response.ok ? '' : ` It is not ready (${code ?? response.status}): ${message ?? 'it does not say why'}.`
    } catch {
      this.#reason = ' It does not answer.'
    }
    this.#changed()
  }
}
