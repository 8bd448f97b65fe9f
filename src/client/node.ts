// The client in Node, which before version 22 has no WebSocket of its own.

import { WebSocket as WsSocket } from 'ws'
import { connect as connectWith, RobustEventSource as RobustEventSourceWith } from './index.ts'
import type { Box, ConnectOptions } from './index.ts'

export * from './index.ts'

const Socket = (globalThis.WebSocket ?? WsSocket) as typeof WebSocket

/** As in the browser; `url` must be a whole one. Tabs there are none, so `share` does nothing. */
export const connect = (url: string, options: ConnectOptions = {}): Box => connectWith(url, { WebSocket: Socket, ...options })

export class RobustEventSource extends RobustEventSourceWith {
  constructor (url: string, options: ConnectOptions = {}) {
    super(url, { WebSocket: Socket, ...options })
  }
}
