// The API of the earlier system's client, on top of this one. Pages that use it only change their import.

import { accessOf } from './access.ts'
import type { Access } from './access.ts'
import { connect } from './box.ts'
import { baseOf, checked, CONNECT } from './options.ts'
import type { Box } from './box.ts'
import type { ConnectOptions } from './options.ts'
import { pause, uniqueId } from './wire.ts'
import type { Event } from './wire.ts'

/** Takes a stream's URL as before, but reconnects by the rules of `connect` and follows the profile. `handleEvent` gets each event once. */
export class RobustEventSource {
  declare readonly url: string
  declare readonly box: Box

  /** @param url such as `/api/events/stream?rooms=plant-1&types=cpu` */
  constructor (url: string, options: ConnectOptions = {}) {
    this.url = url
    if (!URL.canParse(url, globalThis.location?.href)) baseOf(url)
    const { href, searchParams } = new URL(url, globalThis.location?.href)
    const list = (name: string): string[] => (searchParams.get(name) ?? '').split(',').filter(Boolean)
    this.box = connect(href.replace(/\/api\/events.*$|[?#].*$/, ''), { rooms: list('rooms'), types: list('types'), lastEventId: searchParams.get('lastEventId') as string, ...checked(options, CONNECT) })
    this.box.on('event', event => this.handleEvent(event))
  }

  /** Override or assign it. */
  handleEvent (_event: Event): void {}

  close (): void {
    this.box.close()
  }
}

/** Sends commands unchanged and returns the gateway's answer, including refusals. */
export class ControlAPI {
  declare readonly url: string
  readonly #access: Access

  /** @param url address for commands. Default `/api/control` */
  constructor (url = '/api/control', { token, credentials }: Pick<ConnectOptions, 'token' | 'credentials'> = {}) {
    this.url = url
    this.#access = accessOf(checked({ token, credentials }, CONNECT))
  }

  /**
   * @param command such as `{ command: 'ping', args: {} }`
   * @param retries maximum number of attempts. Default 3. The command runs once
   * @throws if the last attempt got no answer
   */
  async execute (command: object, retries = 3): Promise<unknown> {
    const idempotencyKey = uniqueId()
    for (let sent = 1, waitMs = 1000; ; sent++, waitMs *= 2) {
      try {
        const { status, body, retryMs } = await this.#access.post_(this.url, command, { headers: { 'Idempotency-Key': idempotencyKey } })
        if (status !== 429 || sent >= retries) return body
        await pause(retryMs ?? waitMs)
      } catch (error) {
        if (sent >= retries) throw error
        await pause(waitMs)
      }
    }
  }
}
