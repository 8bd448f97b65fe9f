// Whether the page's figures can be believed: are there current ones, and does the gateway call itself ready, without warnings? A
// gateway whose store is unavailable is connected but publishes no figures. Its last ones, which a page that opens then gets as
// present values, must not look like current ones.

import type { Box } from '../client/index.ts'
import { clock } from './format.ts'
import { here } from './here.ts'
import { SYSTEM } from './reports.ts'

/** Reports arrive every second. */
const SILENT_MS = 5000
/** How often /readyz is asked: for the reason while there are no figures, for warnings otherwise. */
const ASK_MS = 5000
const WARNINGS_MS = 15_000
const ANSWER_MS = 5000

export class Silence {
  readonly #box: Pick<Box, 'on' | 'status'>
  readonly #changed: () => void
  readonly #isExpected: boolean
  #heardAt = performance.now()
  /** When the last report was made, ms since 1970. */
  #heardTime: number | null = null
  /** A report has come since the page caught up. */
  #isFresh = false
  #askedAt = -Infinity
  #isUnready = false
  #code: string | null = null
  #reason = ''
  #warnings: readonly string[] = []

  /** @param isExpected whether the page may hear the figures */
  constructor (box: Pick<Box, 'on' | 'status'>, isExpected: boolean, changed: () => void) {
    this.#isExpected = isExpected
    this.#box = box
    this.#changed = changed
    box.on('event', ({ room, type, data, timestamp }) => {
      if (room !== SYSTEM || type !== 'gateway' || data === null) return
      this.#heardTime = timestamp
      // In a snapshot it may be from long ago.
      if (box.status.state !== 'connected') return
      this.#heardAt = performance.now()
      this.#heardTime = Date.now()
      this.#isFresh = true
      this.#isUnready = false
      this.#code = null
      this.#reason = ''
    })
    // After an interruption the time starts again.
    box.on('status', ({ state }) => {
      this.#heardAt = performance.now()
      this.#isFresh = false
      if (state === 'connected') void this.#ask(0)
    })
  }

  get isSilent (): boolean {
    return this.#isConnected && this.#isExpected && (this.#isOverdue || (this.#isUnready && !this.#isFresh))
  }

  /** Connected so recently that no report has come yet. */
  get isWaiting (): boolean {
    return this.#isConnected && !this.#isFresh
  }

  /** Why the gateway is not ready; null if it is, or does not say. */
  get code (): string | null {
    return this.#code
  }

  /** What /readyz warns of, as long as it is ready. */
  get warnings (): readonly string[] {
    return this.#warnings
  }

  /** The sentence for the banner; empty while all is well. */
  get sentence (): string {
    if (!this.#isConnected) return ''
    void this.#ask(this.isSilent ? ASK_MS : WARNINGS_MS)
    if (!this.isSilent) return this.#warnings.length === 0 ? '' : `The gateway warns: ${this.#warnings.join('; ').replace(/\.$/, '')}.`
    return `${this.#heardTime === null ? 'The gateway reports no figures.' : `The gateway has reported no figures since ${clock(this.#heardTime)}: these are the last ones.`}${this.#reason}`
  }

  get #isConnected (): boolean {
    return this.#box.status.state === 'connected'
  }

  get #isOverdue (): boolean {
    return performance.now() - this.#heardAt > SILENT_MS
  }

  /** Asks /readyz, unless it was asked less than `everyMs` ago. */
  async #ask (everyMs: number): Promise<void> {
    if (performance.now() - this.#askedAt < everyMs) return
    this.#askedAt = performance.now()
    try {
      const response = await fetch(here('/readyz'), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
      const { code, message, warnings } = await response.json() as { code?: string, message?: string, warnings?: readonly string[] }
      this.#isUnready = response.status === 503
      this.#code = response.ok ? null : code ?? null
      this.#warnings = response.ok ? warnings ?? [] : []
      this.#reason = response.ok ? '' : ` It is not ready (${code ?? response.status}): ${message ?? 'it gives no reason'}.`
    } catch {
      this.#code = null
      this.#reason = ' It does not answer.'
    }
    this.#changed()
  }
}
