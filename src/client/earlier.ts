// The names of the earlier system's client, over this one: pages that use them need no change but the import.

import { connect } from './box.ts'
import type { Box, ConnectOptions } from './box.ts'
import { pause, readAnswer, uniqueId } from './wire.ts'
import type { Event } from './wire.ts'

/** Takes the address of a stream as it did, but comes back by the rules of `connect` and follows the profile. Events go to `handleEvent`, each once. */
export class RobustEventSource {
  readonly url: string
  readonly box: Box

  /** @param url such as `/api/events/stream?rooms=plant-1&types=cpu` */
  constructor (url: string, options: ConnectOptions = {}) {
    this.url = url
    const { href, searchParams } = new URL(url, globalThis.location?.href)
    const list = (name: string): string[] => (searchParams.get(name) ?? '').split(',').filter(item => item !== '')
    this.box = connect(href.replace(/\/api\/events.*$|[?#].*$/, ''), { rooms: list('rooms'), types: list('types'), lastEventId: searchParams.get('lastEventId') ?? '', ...options })
    this.box.on('event', event => this.handleEvent(event))
  }

  /** To be overridden, or assigned. */
  handleEvent (_event: Event): void {}

  close (): void {
    this.box.close()
  }
}

/** Sends commands as they are given, and answers what the gateway answers, refusals too. */
export class ControlAPI {
  readonly url: string

  /** @param url where commands are taken */
  constructor (url = '/api/control') {
    this.url = url
  }

  /**
   * @param command such as `{ command: 'ping', args: {} }`
   * @param retries how often it is sent at most; repeats are carried out once
   * @throws where there was no answer to the last of them
   */
  async execute (command: object, retries = 3): Promise<unknown> {
    const idempotencyKey = uniqueId()
    for (let sent = 1, waitMs = 1000; ; sent++, waitMs *= 2) {
      try {
        const { status, body, retryMs } = await readAnswer(await fetch(this.url, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
          body: JSON.stringify(command)
        }))
        if (status !== 429 || sent >= retries) return body
        await pause(retryMs ?? waitMs)
      } catch (error) {
        if (sent >= retries) throw error
        await pause(waitMs)
      }
    }
  }
}
