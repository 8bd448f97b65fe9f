// The wire format of SSE (https://html.spec.whatwg.org/multipage/server-sent-events.html), each message already in a chunk
// of HTTP/1.1 (RFC 9112, 7.1): the same buffer can be written to every socket.

import { blocksOf } from '../../src/app/compression.ts'
import type { Bundle } from '../../src/core/connection.ts'

/**
 * A bundle as an unnamed event, which a plain `onmessage` receives: a line for each event, which the client joins to one JSON
 * array. Many readers of lines take no more than 64 KiB in one.
 */
export function frame (bundle: Bundle): Buffer {
  // JSON text has no raw line breaks.
  let data = ''
  for (const { json } of bundle.entries) data += data === '' ? json : `,\ndata: ${json}`
  return chunk(`id: ${bundle.cursor}\ndata: [${data}]\n\n`)
}

/** A named event. With `id` it is also a position. */
export function namedEvent (event: string, data: object, id: string | null): Buffer {
  return chunk(`${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

/** The heartbeat where the client's position has not changed. A comment would be seen by no handler of an EventSource. */
export const HEARTBEAT = namedEvent('position', {}, null)

/** A frame as a part of a gzip body. */
export const compressed = (frame: Buffer, minBytes?: number): Buffer => chunk(blocksOf(unchunked(frame), minBytes))

export const COMPRESSED_HEARTBEAT = compressed(HEARTBEAT)

/** A frame without its chunk framing, for HTTP/1.0. */
export function unchunked (frame: Buffer): Buffer {
  return frame.subarray(frame.indexOf('\r\n') + 2, frame.length - 2)
}

function chunk (content: string | Buffer): Buffer {
  const head = `${Buffer.byteLength(content).toString(16)}\r\n`
  if (typeof content === 'string') return Buffer.from(`${head}${content}\r\n`)
  const bytes = Buffer.allocUnsafe(head.length + content.length + 2)
  bytes.write(head)
  content.copy(bytes, head.length)
  bytes.write('\r\n', head.length + content.length)
  return bytes
}
