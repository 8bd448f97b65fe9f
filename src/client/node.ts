// The client for Node, which has no WebSocket before version 22.

import { WebSocket as WsSocket } from 'ws'
import { connect as connectWith, RobustEventSource as RobustEventSourceWith } from './index.ts'
import type { Box, ConnectOptions } from './index.ts'
import { checked, CONNECT } from './options.ts'

export * from './index.ts'

const Socket = (globalThis.WebSocket ?? WsSocket) as typeof WebSocket

/** As in the browser, except that `url` must be absolute and `share` has no effect. */
export const connect = <Events extends object = Record<string, unknown>>(url: string | URL, options: ConnectOptions = {}): Box<Events> => connectWith<Events>(url, forNode(options))

export class RobustEventSource extends RobustEventSourceWith {
  constructor (url: string, options: ConnectOptions = {}) {
    super(url, forNode(options))
  }
}

const forNode = (options: ConnectOptions): ConnectOptions => ({ WebSocket: Socket, ...checked(options, CONNECT), share: false })
