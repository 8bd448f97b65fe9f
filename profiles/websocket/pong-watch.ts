// Ends connections that do not answer a ping in time. One timer for all: pings are answered or not in the
// order they were sent.

import { CLOSE } from './connection.ts'
import type { WsConnection } from './connection.ts'

export class PongWatch {
  readonly #timeoutMs: number
  readonly #outstanding: Array<{ connection: WsConnection, ping: number, due: number }> = []
  #timer: NodeJS.Timeout | null = null

  constructor (timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  readonly expect = (connection: WsConnection, ping: number): void => {
    this.#outstanding.push({ connection, ping, due: performance.now() + this.#timeoutMs })
    this.#timer ??= setTimeout(this.#check, this.#timeoutMs).unref()
  }

  stop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  readonly #check = (): void => {
    // After a stall of our own the pongs may be lying in the sockets: they are read before anybody is checked.
    setImmediate(() => {
      const now = performance.now()
      let checked = 0
      for (const { connection, ping, due } of this.#outstanding) {
        if (due > now) break
        if (!connection.answered(ping)) {
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
