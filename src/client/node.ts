// The client for Node, which has no WebSocket before version 22.

import { WebSocket as WsSocket } from 'ws'
import { connect as connectWith, RobustEventSource as RobustEventSourceWith } from './index.ts'
import type { Box, ConnectOptions } from './index.ts'

export * from './index.ts'

const Socket = (globalThis.WebSocket ?? WsSocket) as typeof WebSocket

/** As in the browser, except that `url` must be absolute and `share` has no effect. */
export const connect = (url: string, options: ConnectOptions = {}): Box => connectWith(absolute(url), { WebSocket: Socket, ...options, share: false })

export class RobustEventSource extends RobustEventSourceWith {
  constructor (url: string, options: ConnectOptions = {}) {
    super(absolute(url), { WebSocket: Socket, ...options, share: false })
  }
}

/** @throws TypeError if the URL has no host */
function absolute (url: string): string {
  if (URL.canParse(url, globalThis.location?.href)) return url
  throw new TypeError(`url must be absolute, such as http://127.0.0.1:3000; there is no page to resolve ${JSON.stringify(url)} against`)
}
