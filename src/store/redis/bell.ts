// Something to wait for that may come before one waits: it is then not waited for.

import type { Clock } from '../../core/clock.ts'

export class Bell {
  readonly #clock: Clock
  #rung = false
  #answer = (): void => {}

  constructor (clock: Clock) {
    this.#clock = clock
  }

  ring (): void {
    this.#rung = true
    this.#answer()
  }

  /** Resolves once rung, at once where that was since it was last waited for; or after `ms`. For one that waits. */
  async heard (ms: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>(resolve => {
        const cancel = this.#clock.after(ms, resolve)
        this.#answer = () => {
          cancel()
          resolve()
        }
      })
      this.#answer = () => {}
    }
    this.#rung = false
  }
}
