// Compression, once for all. A frame is deflated by itself, without the history of any connection, and ends on a whole byte:
// behind whatever a client has received, the same bytes are right. So they are made once, on first use, and shared like the
// frame itself, and a connection that is compressed has no state for it.

import { constants, deflateRawSync } from 'node:zlib'
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply } from 'fastify'

/** Of bundles of gauges level 3 leaves 1 to 3 % fewer bytes, level 6 3 to 6 % for twice the time (bench/deflate.ts). */
const LEVEL = 1
const OPTIONS = { level: LEVEL, finishFlush: constants.Z_FULL_FLUSH } as const

/**
 * The header of a gzip body (RFC 1952, 2.3): what follows are deflated blocks. The body of a stream never ends properly, so its
 * checksum is never sent.
 */
export const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])

/** An empty stored block, with which each flush ends (RFC 1951, 3.2.4). Some decoders hand on what they have only here (Go). */
const FLUSH = Buffer.from([0, 0, 0, 0xff, 0xff])
/** What a flush ends with where the header of its block shares a byte with what stands before it. A WebSocket's message goes without (RFC 7692, 7.2.1). */
const FLUSH_BYTES = 4
/** Most bytes of a stored block, and what stands before them. */
const MAX_STORED = 0xffff
const STORED_HEAD = 5

/**
 * Shortest text that is compressed: to begin takes 9 us, and shorter ones shrink by less than 25 bytes. A message for one
 * connection alone, and an answer, must be worth it by itself.
 */
const MIN_BYTES = 160
export const MIN_SINGLE_BYTES = 1024

/**
 * Answers to requests, by @fastify/compress. Larger ones are compressed in a thread. Bodies are decompressed by body.ts, which
 * bounds them.
 */
export const ANSWER_OPTIONS = {
  encodings: ['gzip' as const],
  threshold: MIN_SINGLE_BYTES,
  syncThreshold: 16 * 1024,
  zlibOptions: { level: LEVEL },
  globalDecompression: false
}

/** Whether a client prefers gzip to plain bytes. Without the header, or where it says `*` alone, it gets plain ones. */
export const acceptsGzip = (acceptEncoding: string | string[] | undefined): boolean =>
  negotiate(String(acceptEncoding ?? '').toLowerCase().replaceAll('*', 'any'), ['gzip', 'identity']) === 'gzip'

/** The answer depends on Accept-Encoding: tells caches so. */
export function varyByEncoding (reply: FastifyReply): void {
  const vary = reply.getHeader('Vary')
  reply.header('Vary', vary === undefined ? 'Accept-Encoding' : `${String(vary)}, Accept-Encoding`)
}

/** Blocks for a gzip body: deflated, or stored where that is shorter. */
export function blocksOf (bytes: Buffer, minBytes = MIN_BYTES): Buffer {
  return deflate(bytes, minBytes) ?? stored(bytes)
}

/** The payload of a compressed message; null where the plain one is shorter. */
export function compressedMessage (bytes: Buffer, minBytes = MIN_BYTES): Buffer | null {
  return deflate(bytes, minBytes)?.subarray(0, -FLUSH_BYTES) ?? null
}

function deflate (bytes: Buffer, minBytes: number): Buffer | null {
  if (bytes.length < minBytes) return null
  const deflated = deflateRawSync(bytes, OPTIONS)
  return deflated.length < bytes.length ? deflated : null
}

function stored (bytes: Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += MAX_STORED) {
    const length = Math.min(MAX_STORED, bytes.length - at)
    const head = Buffer.alloc(STORED_HEAD)
    head.writeUInt16LE(length, 1)
    head.writeUInt16LE(length ^ 0xffff, 3)
    blocks.push(head, bytes.subarray(at, at + length))
  }
  return Buffer.concat([...blocks, FLUSH])
}
