// Detects a gateway that is connected but publishes no figures, as while its store is unavailable. Its last figures must not
// look like current ones.

import type { Box } from '../client/index.ts'
import { clock } from './format.ts'
import { here } from './here.ts'
import { SYSTEM } from './reports.ts'

/** Reports arrive every second. */
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
    // After an interruption the time starts again.
    box.on('status', () => this.#hear())
  }

  get isSilent (): boolean {
    return this.#box.status.state === 'connected' && performance.now() - this.#heardAt > SILENT_MS
  }

  /** The sentence for the banner; empty while reports arrive. */
  get sentence (): string {
    if (!this.isSilent) return ''
    void this.#ask()
    return `The gateway has reported no figures since ${clock(this.#heardTime)}: these are the last ones.${this.#reason}`
  }

  #hear (): void {
    this.#heardAt = performance.now()
  }

  /** Asks /readyz for the reason. */
  async #ask (): Promise<void> {
    if (performance.now() - this.#askedAt < ASK_MS) return
    this.#askedAt = performance.now()
    try {
      const response = await fetch(here('/readyz'), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
      const { code, message } = await response.json() as { code?: string, message?: string }
      this.#reason = response.ok ? '' : ` It is not ready (${code ?? response.status}): ${message ?? 'it gives no reason'}.`
    } catch {
      this.#reason = ' It does not answer.'
    }
    this.#changed()
  }
}
