// Offers to upgrade: which requests ask for the WebSocket.

import { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { pathOf } from './methods.ts'
import { isBusy } from './turns.ts'

/** Whether a request asks for the WebSocket at `path`. */
export const asksForSocket = ({ method, url, headers }: Pick<IncomingMessage, 'method' | 'url' | 'headers'>, path: string): boolean =>
  method === 'GET' && pathOf(url ?? '') === path && /^websocket$/i.test(headers.upgrade ?? '')

const KEY = /^[+/0-9a-z]{22}==$/i
const PROTOCOL_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** What the package would refuse of a handshake, which by then has used up its ticket; null: nothing. */
export function faultOf (headers: IncomingHttpHeaders): string | null {
  const protocols = headers['sec-websocket-protocol']?.split(',').map(name => name.trim()) ?? []
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) return 'Missing or invalid Sec-WebSocket-Key header'
  if (!['13', '8'].includes(String(Number(headers['sec-websocket-version'])))) return 'Missing or invalid Sec-WebSocket-Version header'
  return protocols.every(name => PROTOCOL_NAME.test(name)) && new Set(protocols).size === protocols.length ? null : 'Invalid Sec-WebSocket-Protocol header'
}

/**
 * Requests for whom an offer to upgrade counts only where it asks for the WebSocket. All other offers are ignored (RFC 9110,
 * 7.8): HTTP libraries make them with any request, for HTTP/2 or TLS, and Node would hand such a request over without its
 * body as soon as anything listens for upgrades.
 */
export function messageClass (socketPath: () => string | null): typeof IncomingMessage {
  return class GatewayMessage extends IncomingMessage {
    /** Set by the constructor of IncomingMessage, before a field of this class would exist. */
    declare offered: boolean
    /** Decided when Node's parser asks first: the request's own turn makes its socket busy. */
    declare accepted: boolean | undefined

    get upgrade (): boolean {
      return this.offered && (this.accepted ??= this.method === 'CONNECT' || this.isForSocket)
    }

    /** Node's parser says here whether the request has an offer. */
    set upgrade (offered: boolean | null) {
      this.offered = offered === true
    }

    get isForSocket (): boolean {
      // A socket that still waits for answers cannot be given away; the request then gets one as well.
      const path = socketPath()
      return path !== null && asksForSocket(this, path) && !isBusy(this.socket)
    }
  }
}
