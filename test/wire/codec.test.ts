// Decoders for bytes in any pieces.

import t from 'tap'
import { maskedFrame, readBlock, readText, splitBlocks, TEXT, unchunk, unframe } from './codec.ts'
import type { Feed } from './codec.ts'

/** A frame as servers send them. */
function unmasked (opcode: number, payload: Buffer): Buffer {
  const head = Buffer.from(maskedFrame(opcode, payload).subarray(0, -4 - payload.length))
  head[1] = (head[1] as number) & 127
  return Buffer.concat([head, payload])
}

const chunk = (text: string): Buffer => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)

function inPieces (bytes: Buffer, size: number, feed: Feed): void {
  // Each piece lies in the same memory, as it does where sockets read into one buffer.
  const memory = Buffer.alloc(size)
  for (let at = 0; at < bytes.length; at += size) feed(memory.subarray(0, bytes.copy(memory, 0, at, at + size)))
}

t.test('events of SSE come out whole however chunks and packets cut them', async t => {
  const bytes = Buffer.concat([chunk('retry: 100\n\n: comment\n\nid: 1\nda'), chunk('ta: ["ü"]\n\n'), chunk('id: 2\nevent: bye\ndata: {"a":1}\n\n')])
  const expected = [
    [null, chunk('retry: 100\n\n: comment\n\nid: 1\nda').length],
    [null, chunk('retry: 100\n\n: comment\n\nid: 1\nda').length],
    [{ name: 'events', data: ['ü'], id: '1' }, bytes.length - chunk('id: 2\nevent: bye\ndata: {"a":1}\n\n').length],
    [{ name: 'bye', data: { a: 1 }, id: '2' }, bytes.length]
  ]
  for (let size = 1; size <= bytes.length; size++) {
    const found: unknown[] = []
    let end = 0
    const blocks = splitBlocks(block => found.push([readBlock(block.toString()), end]))
    inPieces(bytes, size, unchunk((data, chunkEnd) => {
      end = chunkEnd
      blocks(data)
    }))
    t.same(found, expected, `pieces of ${size}`)
  }
})

t.test('frames of every length come out whole however packets cut them', async t => {
  const texts = [0, 1, 125, 126, 65_535, 65_536].map(length => JSON.stringify({ event: 'pong', data: 'x'.repeat(length) }).slice(0, Math.max(length, 26)))
  const frames = texts.map(text => unmasked(TEXT, Buffer.from(text)))
  const bytes = Buffer.concat(frames)
  for (const size of [1, 2, 3, 7, 100, 4096, 65_536, bytes.length]) {
    const found: string[] = []
    const ends: number[] = []
    inPieces(bytes, size, unframe((opcode, payload, end) => {
      found.push(opcode === TEXT ? payload.toString() : `opcode ${opcode}`)
      ends.push(end)
    }))
    t.same(found, texts, `pieces of ${size}`)
    t.same(ends, frames.map((_, index) => frames.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0)))
  }
  t.same(readText('{"event":"events","data":[],"id":"c"}'), { name: 'events', data: [], id: 'c', ref: undefined })
})

t.test('a message of 64 MB in packets of 64 KB is copied a few times, not once a packet', async t => {
  const payload = Buffer.alloc(64 * 1024 * 1024, 'x')
  const bytes = unmasked(TEXT, payload)
  const startedAt = performance.now()
  let length = 0
  inPieces(bytes, 65_536, unframe((_, payload) => { length = payload.length }))
  t.equal(length, payload.length)
  // 1,024 packets that each copy everything before them would be 32 GB.
  t.ok(performance.now() - startedAt < 3000)
})

t.test('what is masked with a key differs on the wire, and with zeros does not', async t => {
  t.same(maskedFrame(TEXT, Buffer.from('ab'), Buffer.from([1, 2, 3, 4])), Buffer.from([0x81, 0x82, 1, 2, 3, 4, 0x60, 0x60]))
  t.same(maskedFrame(TEXT, Buffer.from('ab')), Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x61, 0x62]))
})
