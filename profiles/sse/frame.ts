// What SSE puts on the wire (https://html.spec.whatwg.org/multipage/server-sent-events.html), already cut
// into the chunks of HTTP/1.1 (RFC 9112, 7.1), so that one buffer goes to every socket as it is.

import type { Bundle } from '../../src/core/connection.ts'

/** A bundle: an unnamed event, so that a plain `onmessage` gets it. */
export function frame (bundle: Bundle): Buffer {
  // JSON never holds a raw line break, so the array is one `data:` line whatever publishers sent.
  let data = ''
  for (const { json } of bundle.entries) data += data === '' ? json : `,${json}`
  return chunk(`id: ${bundle.cursor}\ndata: [${data}]\n\n`)
}

/** A named event; with `id` it is also a position. */
export function namedEvent (event: string, data: object, id: string | null): Buffer {
  return chunk(`${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

/** A sign of life that no handler sees. */
export const HEARTBEAT = chunk(': \n\n')

/** Ends a chunked body. */
export const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** A frame without its chunk, for HTTP/1.0. */
export function unchunked (frame: Buffer): Buffer {
  return frame.subarray(frame.indexOf('\r\n') + 2, frame.length - 2)
}

function chunk (text: string): Buffer {
  return Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
}
