// Refusals in the log, a few lines a minute however many there are: the first of each kind at once, the others as a count.

import type { Clock } from '../clock.ts'
import type { Code } from '../errors.ts'
import type { Logger } from '../logger.ts'

const WINDOW_MS = 60_000
/** Lines in a window; one of them is for the count of the rest. */
const LINES = 10

export class RefusalLog {
  readonly #clock: Pick<Clock, 'after'>
  readonly #log: Pick<Logger, 'info'>
  /** The kinds that have a line in this window; null if none is open. */
  #kinds: Set<string> | null = null
  /** Refusals without a line, by code. */
  readonly #rest = new Map<Code, number>()

  constructor (clock: Pick<Clock, 'after'>, log: Pick<Logger, 'info'>) {
    this.#clock = clock
    this.#log = log
  }

  /** @param kind the same for refusals that differ in nothing of interest. @param address of who was refused */
  add (code: Code, message: string, kind: string, address?: string): void {
    if (this.#kinds === null) {
      this.#kinds = new Set()
      this.#clock.after(WINDOW_MS, () => this.#close())
    }
    if (this.#kinds.has(kind) || this.#kinds.size === LINES - 1) {
      this.#rest.set(code, (this.#rest.get(code) ?? 0) + 1)
    } else {
      this.#kinds.add(kind)
      this.#log.info({ code, address }, `refused: ${code}: ${message}`)
    }
  }

  #close (): void {
    this.#kinds = null
    if (this.#rest.size === 0) return
    const codes = Object.fromEntries(this.#rest)
    const sum = [...this.#rest.values()].reduce((a, b) => a + b)
    this.#rest.clear()
    this.#log.info({ codes }, `${sum} more refused in the last minute: ${Object.entries(codes).map(([code, count]) => `${count} ${code}`).join(', ')}`)
  }
}
