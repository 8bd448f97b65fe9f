// What the WebSocket profile says: JSON text messages (contract, section 7).

import type { Bundle } from '../../src/core/connection.ts'

/** A bundle; its bytes go to every socket as they are. */
export function frame (bundle: Bundle): Buffer {
  let data = ''
  for (const { json } of bundle.entries) data += data === '' ? json : `,${json}`
  return Buffer.from(`{"event":"events","id":${JSON.stringify(bundle.cursor)},"data":[${data}]}`)
}

/** Any other message; `ref` is what the client sent with the one that is answered. */
export function message (event: string, data: object, ref?: unknown): string {
  return JSON.stringify({ event, data, ref })
}

/** A position without events. */
export function position (cursor: string): string {
  return JSON.stringify({ event: 'events', id: cursor, data: [] })
}
