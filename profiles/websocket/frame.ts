// The wire format of the WebSocket profile: JSON text messages (docs/protocol.md).

import { compressedMessage } from '../../src/app/compression.ts'
import type { Bundle } from '../../src/core/connection.ts'

/**
 * A bundle as a whole frame with its header: the same buffer is written to every socket. A separate header would be a second
 * write for each client: 8.1 us instead of 7.4.
 */
export function frame (bundle: Bundle): Buffer {
  let data = ''
  for (const { json } of bundle.entries) data += data === '' ? json : `,${json}`
  return textFrame(`{"event":"events","id":${JSON.stringify(bundle.cursor)},"data":[${data}]}`)
}

/** A frame as a compressed message; as it is where that is not shorter. */
export function compressed (frame: Buffer, minBytes?: number): Buffer {
  const payload = compressedMessage(frame.subarray(headBytes(frame[1] as number)), minBytes)
  return payload === null ? frame : wholeFrame(COMPRESSED_TEXT, payload)
}

/** The FIN bit and the opcode for text; of a compressed message RSV1 too (RFC 7692, 6.1). */
const TEXT = 0x81
const COMPRESSED_TEXT = 0xc1
const PING = 0x89
/** In place of a length: it follows in two bytes, or in eight. */
const TWO_BYTES = 126
const EIGHT_BYTES = 127

export const textFrame = (text: string): Buffer => wholeFrame(TEXT, text)

/** An unmasked, unfragmented frame (RFC 6455, 5.2). */
function wholeFrame (first: number, payload: string | Buffer): Buffer {
  const length = Buffer.byteLength(payload)
  const short = length < TWO_BYTES ? length : length < 0x10000 ? TWO_BYTES : EIGHT_BYTES
  const start = headBytes(short)
  const frame = Buffer.allocUnsafe(start + length)
  frame[0] = first
  frame[1] = short
  if (short === TWO_BYTES) frame.writeUInt16BE(length, 2)
  else if (short === EIGHT_BYTES) frame.writeBigUInt64BE(BigInt(length), 2)
  if (typeof payload === 'string') frame.write(payload, start)
  else payload.copy(frame, start)
  return frame
}

/** @param short the second byte of a frame that is not masked */
const headBytes = (short: number): number => short < TWO_BYTES ? 2 : short === TWO_BYTES ? 4 : 10

/** Any other message. `ref` is that of the client's message it answers. */
export function textMessage (event: string, data: object, ref?: unknown): string {
  return JSON.stringify({ event, data, ref })
}

/**
 * A ping, and behind it the client's position where it has moved on without events. One write: of thousands of connections that
 * are sent nothing else, such as those of hidden pages, it is all they cost.
 * @param ping comes back with the pong
 */
export function heartbeat (ping: number, cursor: string | null): Buffer {
  const frame = wholeFrame(PING, String(ping))
  return cursor === null ? frame : Buffer.concat([frame, textFrame(JSON.stringify({ event: 'events', id: cursor, data: [] }))])
}
