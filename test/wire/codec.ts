// Both profiles as bytes, for clients on bare sockets: the requests and frames they send, and decoders that take the
// answer as it arrives, in any pieces. Decoding costs the same per byte for a message of 20 bytes and for one of 20 MB,
// and copies only what is incomplete, because a benchmark runs hundreds of these clients on one core.

import { randomBytes } from 'node:crypto'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'

export const TEXT = 1
export const CLOSE = 8
export const PING = 9
export const PONG = 10

/** A request without a body. */
export const getRequest = (path: string, headers: Readonly<Record<string, string>>): string =>
  `GET ${path} HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`

/** The headers that ask for a WebSocket. */
export const upgradeHeaders = (): Record<string, string> =>
  ({ Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': randomBytes(16).toString('base64') })

/** What asks for compression in either profile. */
export const COMPRESSED_HEADERS = { SSE: { 'Accept-Encoding': 'gzip' }, WEBSOCKET: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } } as const

const FLUSH_END = Buffer.from([0, 0, 0xff, 0xff])
const UP_TO_FLUSH = { finishFlush: constants.Z_SYNC_FLUSH }

/** A message of a socket before it was compressed (RFC 7692, 7.2.2). */
export const inflateMessage = (payload: Buffer): Buffer => inflateRawSync(Buffer.concat([payload, FLUSH_END]), UP_TO_FLUSH)

export const deflateMessage = (payload: Buffer): Buffer => deflateRawSync(payload, UP_TO_FLUSH).subarray(0, -FLUSH_END.length)

const GZIP_MAGIC = 0x1f8b
const GZIP_HEADER_BYTES = 10

/** One chunk of a compressed stream, by itself: no chunk needs what came before it. */
export const inflateChunk = (chunk: Buffer): Buffer =>
  inflateRawSync(chunk.subarray(chunk.readUInt16BE() === GZIP_MAGIC ? GZIP_HEADER_BYTES : 0), UP_TO_FLUSH)

const ZEROS = Buffer.alloc(4)

/** A whole message as clients send it (RFC 6455, 5.2). @param mask four bytes; the default leaves the payload as it is */
export function maskedFrame (opcode: number, payload: Buffer, mask: Buffer = ZEROS): Buffer {
  const { length } = payload
  const wide = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const frame = Buffer.alloc(6 + wide + length)
  frame[0] = 0x80 | opcode
  frame[1] = 0x80 | (wide === 0 ? length : wide === 2 ? 126 : 127)
  if (wide === 2) frame.writeUInt16BE(length, 2)
  else if (wide === 8) frame.writeBigUInt64BE(BigInt(length), 2)
  mask.copy(frame, 2 + wide)
  const start = 6 + wide
  payload.copy(frame, start)
  if (mask !== ZEROS) for (let at = 0; at < length; at++) frame[start + at] = (frame[start + at] as number) ^ (mask[at & 3] as number)
  return frame
}

/** A message of either profile. */
export interface WireMessage {
  /** `events` for a bundle. */
  readonly name: string
  readonly data: unknown
  /** The cursor. */
  readonly id: string | null
  /** The reference by which a WebSocket client finds the answer to its request. */
  readonly ref?: unknown
}

/** @param block an SSE event without the blank line behind it. @returns null for a comment or `retry:` */
export function readBlock (block: string): WireMessage | null {
  const fields = new Map<string, string>()
  // A bundle has a line for each event.
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ')
    if (colon <= 0) continue
    const name = line.slice(0, colon)
    if (name === 'data') data.push(line.slice(colon + 2))
    else fields.set(name, line.slice(colon + 2))
  }
  return data.length === 0 ? null : { name: fields.get('event') ?? 'events', data: JSON.parse(data.join('\n')), id: fields.get('id') ?? null }
}

/** @param text of a WebSocket message */
export function readText (text: string): WireMessage {
  const { event, data, id = null, ref } = JSON.parse(text)
  return { name: event, data, id, ref }
}

/** Takes bytes as they arrive. */
export type Feed = (bytes: Buffer) => void

const KEPT_BYTES = 65_536

/** Bytes in one block whose size doubles: appending costs the same per byte however many there are. */
export class GrowingBuffer {
  #block: Buffer = Buffer.alloc(0)
  #length = 0

  get length (): number {
    return this.#length
  }

  /** A view; valid until bytes are dropped. */
  get bytes (): Buffer {
    return this.#block.subarray(0, this.#length)
  }

  append (bytes: Buffer): void {
    const length = this.#length + bytes.length
    if (length > this.#block.length) {
      const block = Buffer.allocUnsafe(Math.max(length, 2 * this.#block.length))
      this.bytes.copy(block)
      this.#block = block
    }
    bytes.copy(this.#block, this.#length)
    this.#length = length
  }

  /** Removes the first bytes. */
  drop (count: number): void {
    this.#block.copyWithin(0, count, this.#length)
    this.#length -= count
    if (this.#length === 0 && this.#block.length > KEPT_BYTES) this.#block = Buffer.alloc(0)
  }
}

/**
 * Keeps what is not whole yet.
 * @param take returns how many of the bytes it has used. `seen`: how many of them it was given before; `base`: where in
 * the stream they begin. The bytes are a view, valid until it returns
 */
function pieces (take: (bytes: Buffer, seen: number, base: number) => number): Feed {
  const rest = new GrowingBuffer()
  let base = 0
  return bytes => {
    const seen = rest.length
    let used: number
    if (seen === 0) {
      used = take(bytes, 0, base)
      if (used < bytes.length) rest.append(bytes.subarray(used))
    } else {
      rest.append(bytes)
      used = take(rest.bytes, seen, base)
      if (used > 0) rest.drop(used)
    }
    base += used
  }
}

/** Reads the head of the response, then hands everything behind it on. */
export function afterHead (onHead: (head: string) => void, next: Feed): Feed {
  let open = false
  return pieces((bytes, seen) => {
    let start = 0
    if (!open) {
      const end = bytes.indexOf('\r\n\r\n', Math.max(0, seen - 3))
      if (end === -1) return 0
      open = true
      start = end + 4
      onHead(bytes.toString('latin1', 0, end))
    }
    if (start < bytes.length) next(bytes.subarray(start))
    return bytes.length
  })
}

/** HTTP/1.1 chunks (RFC 9112, 7.1). @param next is given what is in one, and where in the stream the chunk ends */
export function unchunk (next: (data: Buffer, end: number) => void): Feed {
  return pieces((bytes, _seen, base) => {
    for (let start = 0; ;) {
      const line = bytes.indexOf('\r\n', start)
      if (line === -1) return start
      const size = Number.parseInt(bytes.toString('latin1', start, line), 16)
      const end = line + 2 + size
      // Not a number: the answer is no chunks, and nothing in it is a message.
      if (!(end + 2 <= bytes.length)) return start
      next(bytes.subarray(line + 2, end), base + end + 2)
      start = end + 2
    }
  })
}

/** SSE events, which end with a blank line. */
export function splitBlocks (next: (block: Buffer) => void): Feed {
  return pieces((bytes, seen) => {
    for (let start = 0; ;) {
      const end = bytes.indexOf('\n\n', Math.max(start, seen - 1))
      if (end === -1) return start
      next(bytes.subarray(start, end))
      start = end + 2
    }
  })
}

/** The position of a frame's payload in the bytes, which may end before it does. */
export interface FrameHead {
  readonly opcode: number
  /** RSV1. */
  readonly compressed: boolean
  readonly start: number
  readonly end: number
}

/** The head of the unmasked frame at `at`; null where it is not whole yet. */
export function frameHead (bytes: Buffer, at: number): FrameHead | null {
  if (at + 2 > bytes.length) return null
  const short = bytes[at + 1] as number
  const wide = short === 127 ? 8 : short === 126 ? 2 : 0
  const start = at + 2 + wide
  if (start > bytes.length) return null
  // 48 bits of the 64 are enough here, and need no BigInt.
  const length = wide === 0 ? short : bytes.readUIntBE(start - Math.min(6, wide), Math.min(6, wide))
  return { opcode: (bytes[at] as number) & 15, compressed: ((bytes[at] as number) & 0x40) !== 0, start, end: start + length }
}

/** Frames of a server that sends each message in one (RFC 6455, 5.2). @param next is also given where in the stream the frame ends, and whether the payload is still compressed. @param inflates compression was agreed on */
export function unframe (next: (opcode: number, payload: Buffer, end: number, compressed: boolean) => void, inflates = false): Feed {
  return pieces((bytes, _seen, base) => {
    for (let at = 0; ;) {
      const head = frameHead(bytes, at)
      if (head === null || head.end > bytes.length) return at
      const payload = bytes.subarray(head.start, head.end)
      next(head.opcode, inflates && head.compressed ? inflateMessage(payload) : payload, base + head.end, head.compressed && !inflates)
      at = head.end
    }
  })
}
