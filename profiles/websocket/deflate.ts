// permessage-deflate (RFC 7692) without context takeover on either side: a message is compressed by itself, so that one frame
// serves every socket, and none keeps a window of 32 KiB for it. `ws` negotiates and inflates; what is sent is compressed in
// frame.ts, never by `ws`, which would do it for each socket and in a thread, behind what is written to the TCP socket meanwhile.

import type { IncomingMessage } from 'node:http'
import * as ws from 'ws'
import type { WebSocket } from 'ws'

/** What `ws` keeps of compression with a socket. */
interface Deflate {
  /** The window of a message that is being inflated; null between messages, if `cleanup` was called. */
  readonly _inflate: object | null
  /** Frees the window. */
  cleanup (): void
  /** What was agreed on. */
  params: Readonly<Record<string, unknown>>
  _options: object
}

/** Exported by `ws`, but not in its types. */
const { extension, PerMessageDeflate } = ws as unknown as {
  readonly extension: { parse (header: string): Record<string, object[]> }
  readonly PerMessageDeflate: (new (options: object) => { accept (offers: object[]): unknown }) & { readonly extensionName: string }
}

const HEADER = 'sec-websocket-extensions'

export const DEFLATE_OPTIONS = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  // Frames for all have one window, the largest: an offer that sets it is declined. The type does not know of `false`.
  serverMaxWindowBits: false as unknown as number,
  threshold: Infinity
}

/** Leaves of a handshake's offers only what will be accepted: `ws` refuses a handshake where it can accept no offer. */
export function declineOffers ({ headers }: IncomingMessage): void {
  const header = headers[HEADER]
  if (header === undefined) return
  try {
    const offers = extension.parse(header)[PerMessageDeflate.extensionName]
    if (offers !== undefined) new PerMessageDeflate({ ...DEFLATE_OPTIONS, isServer: true }).accept(offers)
  } catch {
    Reflect.deleteProperty(headers, HEADER)
  }
}

/** What nearly all sockets agree on. */
const AGREED = { server_no_context_takeover: true, client_no_context_takeover: true } as const

/** Null where the socket is not compressed. */
export function deflateOf (socket: WebSocket): Deflate | null {
  const { _extensions: extensions } = socket as unknown as { readonly _extensions: Record<string, Deflate> }
  const deflate = extensions[PerMessageDeflate.extensionName]
  if (deflate === undefined) return null
  // Two objects for each socket, one of them a hash table.
  deflate._options = DEFLATE_OPTIONS
  if (deflate.params.client_max_window_bits === undefined) deflate.params = AGREED
  return deflate
}
