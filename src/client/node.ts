// The client in Node, which before version 22 has no WebSocket of its own.

import { WebSocket as WsSocket } from 'ws'
import { connect as connectWith, RobustEventSource as RobustEventSourceWith } from './index.ts'
import type { Box, ConnectOptions } from './index.ts'

export * from './index.ts'

const Socket = (globalThis.WebSocket ?? WsSocket) as typeof WebSocket

/** As in the browser; `url` must be a whole one. Tabs there are none, so `share` does nothing. */
export const connect = (url: string, options: ConnectOptions = {}): Box => connectWith(whole(url), { WebSocket: Socket, ...options, share: false })

export class RobustEventSource extends RobustEventSourceWith {
  constructor (url: string, options: ConnectOptions = {}) {
    super(whole(url), { WebSocket: Socket, ...options, share: false })
  }
}

/** @throws TypeError where only a page would know the host */
function whole (url: string): string {
  if (URL.canParse(url, globalThis.location?.href)) return url
  throw new TypeError(`url must be a whole one, such as http://127.0.0.1:3000; here there is no page to complete ${JSON.stringify(url)} with`)
}
