// Closes connections that do not answer a ping in time. All have the same timeout, so pings expire in the order they
// were sent and one timer is enough.

import { CLOSE } from './connection.ts'
import type { WsConnection } from './connection.ts'

export class PongWatch {
  readonly #timeoutMs: number
  readonly #onMissing: () => void
  readonly #outstanding: Array<{ connection: WsConnection, ping: number, due: number }> = []
  #timer: NodeJS.Timeout | null = null

  /** @param onMissing called for each connection that is closed */
  constructor (timeoutMs: number, onMissing: () => void) {
    this.#timeoutMs = timeoutMs
    this.#onMissing = onMissing
  }

  readonly expect = (connection: WsConnection, ping: number): void => {
    this.#outstanding.push({ connection, ping, due: performance.now() + this.#timeoutMs })
    this.#timer ??= setTimeout(this.#check, this.#timeoutMs).unref()
  }

  stop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  readonly #check = (): void => {
    // After the event loop was blocked, pongs may be unread in the sockets: setImmediate lets them be read first.
    setImmediate(() => {
      const now = performance.now()
      let checked = 0
      for (const { connection, ping, due } of this.#outstanding) {
        if (due > now) break
        if (!connection.answered(ping)) {
          this.#onMissing()
          connection.end(CLOSE.goingAway, 'no pong')
          connection.destroy()
        }
        checked++
      }
      this.#outstanding.splice(0, checked)
      const next = this.#outstanding[0]
      this.#timer = next === undefined ? null : setTimeout(this.#check, next.due - now).unref()
    })
  }
}
