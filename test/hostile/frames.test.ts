// RFC 6455 frame by frame: the cases that the Autobahn TestSuite numbers 1 to 7 and 10, sent as raw bytes. The suite itself
// needs Python 2.
//
// Autobahn's server under test echoes every message. This gateway takes text messages of JSON, so an echo is a round trip of
// `{"action": "ping", "ref": …}`: the payload that a case is about is the `ref`, or the spaces behind it that make up its
// length. Numbers are Autobahn's; those that do not apply:
//   1.2.*, 3.5, 5.*, 7.* with binary messages: they are refused with 1003, once (1.2.1), whatever their length
//   6.4.*: whether text that cannot become UTF-8 is refused before its end; it is at its end (RFC 6455, 8.1 asks for no more)
//   9.*: speed and size; the limits of size are at the end of the table
//   12.*, 13.*: compression of many sizes; what is compressed and wrong is at the end

import { randomBytes } from 'node:crypto'
import { constants, deflateRawSync } from 'node:zlib'
import t from 'tap'
import { WireClient } from '../wire/client.ts'
import { CLOSE, COMPRESSED_HEADERS, deflateMessage, PING, PONG } from '../wire/codec.ts'
import { startServer } from '../wire/harness.ts'
import { closeFrame, frameOf, RawSocket } from './raw.ts'

const LIMIT = 100_000
const CONTINUATION = 0
const BINARY = 2

interface Case {
  readonly number: string
  readonly what: string
  readonly send: readonly Buffer[]
  /** Bytes in a piece of what is sent. */
  readonly chop?: number
  /** The `ref` of each round trip, in order; `error` for a message that is answered with one. */
  readonly echoes?: readonly unknown[]
  readonly pongs?: readonly Buffer[]
  /** The code it is closed with; absent: the connection goes on. */
  readonly close?: number
}

const ping = (ref: unknown, length = 0): Buffer => Buffer.from(JSON.stringify({ action: 'ping', ref }).padEnd(length))
const text = (payload: Buffer | string, fin = true): Buffer => frameOf({ payload, fin })
const more = (payload: Buffer | string, fin = true): Buffer => frameOf({ opcode: CONTINUATION, payload, fin })
const control = (opcode: number, payload: Buffer | string = ''): Buffer => frameOf({ opcode, payload })

/** A message in fragments of a size. */
function fragments (payload: Buffer, size: number): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; at < payload.length; at += size) {
    const last = at + size >= payload.length
    const piece = payload.subarray(at, at + size)
    frames.push(at === 0 ? text(piece, last) : more(piece, last))
  }
  return frames
}

/** A round trip whose `ref` is made of these bytes. */
const around = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from('{"action":"ping","ref":"'), bytes, Buffer.from('"}')])
const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex')

const B125 = Buffer.alloc(125, 0xfe)
const HELLO = ping('hello')
const [HEL, LO] = [HELLO.subarray(0, 12), HELLO.subarray(12)]
const TEN = Array.from({ length: 10 }, (_, n) => Buffer.from(`payload-${n}`))
const PINGED = [text(HELLO.subarray(0, 5), false), more(HELLO.subarray(5, 10), false), control(PING, 'one'), more(HELLO.subarray(10, 15), false), more(HELLO.subarray(15, 20), false), control(PING, 'two'), more(HELLO.subarray(20))]

/** Sequences that are UTF-8 (6.2, 6.5, 6.7, 6.9, 6.11, 6.13, 6.17, 6.22, 6.23): each begins or ends a range, or is one that decoders get wrong. */
const GOOD_TEXT: ReadonlyArray<readonly [string, string]> = [
  ['6.2.1', '48 65 6c 6c 6f 2d c2 b5 40 c3 9f c3 b6 c3 a4 c3 bc c3 a0 c3 a1 2d 55 54 46 2d 38 21 21'],
  ['6.5.1', 'ce ba e1 bd b9 cf 83 ce bc ce b5'], ['6.7.2', 'c2 80'], ['6.7.3', 'e0 a0 80'], ['6.7.4', 'f0 90 80 80'],
  ['6.9.1', '7f'], ['6.9.2', 'df bf'], ['6.9.3', 'ef bf bf'], ['6.9.4', 'f4 8f bf bf'],
  ['6.11.1', 'ed 9f bf'], ['6.11.2', 'ee 80 80'], ['6.11.3', 'ef bf bd'], ['6.11.4', 'f4 8f bf bf'],
  ['6.22.1', 'ef bf be'], ['6.22.3', 'f0 9f bf be'], ['6.22.34', 'f4 8f bf bf'],
  ['6.23.1', 'ef bf bd'], ['6.23.2', 'ef bb bf'], ['6.23.3', 'e2 80 ae']
]

/** Sequences that are not. */
const BAD_TEXT: ReadonlyArray<readonly [string, string, string]> = [
  ['6.3.1', 'a surrogate in the middle', 'ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64'],
  ['6.6.1', 'the first of two bytes', 'ce'], ['6.6.3', 'two of three bytes', 'ce ba e1 bd'], ['6.6.11', 'a prefix, then a letter', 'e1 bd 61'],
  ['6.8.1', 'six bytes', 'fc 84 80 80 80 80'], ['6.8.2', 'five bytes', 'f8 88 80 80 80'],
  ['6.10.1', 'beyond the last character', 'f7 bf bf bf'], ['6.10.2', 'five bytes, the last', 'fb bf bf bf bf'], ['6.10.3', 'six bytes, the last', 'fd bf bf bf bf bf'],
  ['6.11.5', 'one beyond the last character', 'f4 90 80 80'],
  ['6.12.1', 'the first continuation byte alone', '80'], ['6.12.2', 'the last continuation byte alone', 'bf'], ['6.12.8', 'each continuation byte', '80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f'],
  ['6.13.1', 'lone first bytes, each before a space', 'c0 20 c1 20 c2 20 df 20'], ['6.13.2', 'of three', 'e0 20 e1 20 ef 20'], ['6.13.3', 'of four', 'f0 20 f4 20 f7 20'], ['6.13.4', 'of five', 'f8 20 fb 20'], ['6.13.5', 'of six', 'fc 20 fd 20'],
  ['6.14.1', 'the last byte missing, of two', 'c0'], ['6.14.2', 'of three', 'e0 80'], ['6.14.3', 'of four', 'f0 80 80'], ['6.14.6', 'of two, the last', 'df'], ['6.14.7', 'of three, the last', 'ef bf'], ['6.14.8', 'of four, the last', 'f7 bf bf'],
  ['6.15.1', 'all of these together', 'c0 e0 80 f0 80 80 f8 80 80 80 fc 80 80 80 80 df ef bf f7 bf bf'],
  ['6.16.1', 'the byte fe', 'fe'], ['6.16.2', 'the byte ff', 'ff'], ['6.16.3', 'both, twice', 'fe fe ff ff'],
  ['6.17.1', 'a slash in two bytes', 'c0 af'], ['6.17.2', 'in three', 'e0 80 af'], ['6.17.3', 'in four', 'f0 80 80 af'], ['6.17.4', 'in five', 'f8 80 80 80 af'], ['6.17.5', 'in six', 'fc 80 80 80 80 af'],
  ['6.18.1', 'the largest too long, of two', 'c1 bf'], ['6.18.2', 'of three', 'e0 9f bf'], ['6.18.3', 'of four', 'f0 8f bf bf'],
  ['6.19.1', 'NUL in two bytes', 'c0 80'], ['6.19.2', 'in three', 'e0 80 80'], ['6.19.3', 'in four', 'f0 80 80 80'],
  ['6.20.1', 'the first surrogate', 'ed a0 80'], ['6.20.2', 'the last high one', 'ed ad bf'], ['6.20.5', 'the first low one', 'ed b0 80'], ['6.20.7', 'the last surrogate', 'ed bf bf'],
  ['6.21.1', 'a pair of surrogates', 'ed a0 80 ed b0 80'], ['6.21.8', 'the last pair', 'ed af bf ed bf bf']
]

const CASES: readonly Case[] = [
  // 1: framing
  { number: '1.1.1', what: 'a text message of no bytes, which is no JSON', send: [text('')], echoes: ['error'] },
  ...[125, 126, 127, 128, 65_535, 65_536, LIMIT].map((length, index) => ({ number: `1.1.${index + 2}`, what: `a text message of ${length} bytes`, send: [text(ping(length, length))], echoes: [length] })),
  ...[125, 126, 127, 128].map((length, index) => ({ number: `1.1.${index + 2} in octets`, what: `a text message of ${length} bytes, byte by byte`, send: [text(ping(length, length))], chop: 1, echoes: [length] })),
  { number: '1.1.8', what: 'a text message of 65,536 bytes in pieces of 997', send: [text(ping('long', 65_536))], chop: 997, echoes: ['long'] },
  { number: '1.2.1', what: 'a binary message', send: [frameOf({ opcode: BINARY, payload: HELLO })], close: 1003 },
  { number: '1.2.1 in fragments', what: 'a binary message', send: [frameOf({ opcode: BINARY, payload: HEL, fin: false }), more(LO)], close: 1003 },
  // 2: pings and pongs
  { number: '2.1', what: 'a ping without a payload', send: [control(PING)], pongs: [Buffer.alloc(0)] },
  { number: '2.2', what: 'a ping with text', send: [control(PING, 'Hello, world!')], pongs: [Buffer.from('Hello, world!')] },
  { number: '2.3', what: 'a ping with bytes that are no text', send: [control(PING, hex('00 ff fe fd fc fb 00 ff'))], pongs: [hex('00 ff fe fd fc fb 00 ff')] },
  { number: '2.4', what: 'a ping of 125 bytes', send: [control(PING, B125)], pongs: [B125] },
  { number: '2.5', what: 'a ping of 126 bytes', send: [control(PING, Buffer.alloc(126))], close: 1002 },
  { number: '2.6', what: 'a ping of 125 bytes, byte by byte', send: [control(PING, B125)], chop: 1, pongs: [B125] },
  { number: '2.7', what: 'a pong nobody asked for', send: [control(PONG), text(HELLO)], echoes: ['hello'] },
  { number: '2.8', what: 'a pong nobody asked for, with a payload', send: [control(PONG, 'unsolicited'), text(HELLO)], echoes: ['hello'] },
  { number: '2.9', what: 'such a pong, then a ping', send: [control(PONG, 'unsolicited'), control(PING, 'ping')], pongs: [Buffer.from('ping')] },
  { number: '2.10', what: 'ten pings', send: TEN.map(payload => control(PING, payload)), pongs: TEN },
  { number: '2.11', what: 'ten pings, byte by byte', send: TEN.map(payload => control(PING, payload)), chop: 1, pongs: TEN },
  // 3: reserved bits
  { number: '3.1', what: 'RSV = 1 in a text frame', send: [frameOf({ payload: HELLO, rsv: 1 })], close: 1002 },
  { number: '3.2', what: 'a message, then one with RSV = 2, then a ping', send: [text(HELLO), frameOf({ payload: HELLO, rsv: 2 }), control(PING)], echoes: ['hello'], close: 1002 },
  { number: '3.3', what: 'the same with RSV = 3, in one piece with what comes after', send: [Buffer.concat([text(HELLO), frameOf({ payload: HELLO, rsv: 3 }), control(PING)])], echoes: ['hello'], close: 1002 },
  { number: '3.4', what: 'RSV = 4 (a compressed message that nobody agreed on), byte by byte', send: [text(HELLO), frameOf({ payload: HELLO, rsv: 4 }), control(PING)], chop: 1, echoes: ['hello'], close: 1002 },
  { number: '3.5', what: 'RSV = 5 in a binary frame', send: [frameOf({ opcode: BINARY, payload: B125, rsv: 5 })], close: 1002 },
  { number: '3.6', what: 'RSV = 6 in a ping', send: [frameOf({ opcode: PING, rsv: 6 })], close: 1002 },
  { number: '3.7', what: 'RSV = 7 in a close', send: [frameOf({ opcode: CLOSE, rsv: 7 })], close: 1002 },
  // 4: opcodes
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap(opcode => [
    { number: `4.${opcode < 8 ? 1 : 2}.${opcode < 8 ? opcode - 2 : opcode - 10}`, what: `opcode ${opcode}`, send: [frameOf({ opcode })], close: 1002 },
    { number: `4.${opcode < 8 ? 1 : 2}.${opcode < 8 ? opcode - 2 : opcode - 10} after a message`, what: `opcode ${opcode} with a payload`, send: [text(HELLO), frameOf({ opcode, payload: 'x' }), control(PING)], echoes: ['hello'], close: 1002 }
  ]),
  // 5: fragmentation
  { number: '5.1', what: 'a ping in two fragments', send: [frameOf({ opcode: PING, payload: 'a', fin: false }), more('b')], close: 1002 },
  { number: '5.2', what: 'a pong in two fragments', send: [frameOf({ opcode: PONG, payload: 'a', fin: false }), more('b')], close: 1002 },
  { number: '5.3', what: 'a text in two fragments', send: [text(HEL, false), more(LO)], echoes: ['hello'] },
  { number: '5.4', what: 'the same in one piece', send: [Buffer.concat([text(HEL, false), more(LO)])], echoes: ['hello'] },
  { number: '5.5', what: 'the same byte by byte', send: [text(HEL, false), more(LO)], chop: 1, echoes: ['hello'] },
  { number: '5.6', what: 'a ping between two fragments', send: [text(HEL, false), control(PING, 'ping'), more(LO)], pongs: [Buffer.from('ping')], echoes: ['hello'] },
  { number: '5.7', what: 'the same in one piece', send: [Buffer.concat([text(HEL, false), control(PING, 'ping'), more(LO)])], pongs: [Buffer.from('ping')], echoes: ['hello'] },
  { number: '5.8', what: 'the same byte by byte', send: [text(HEL, false), control(PING, 'ping'), more(LO)], chop: 1, pongs: [Buffer.from('ping')], echoes: ['hello'] },
  { number: '5.9', what: 'a last fragment of nothing, then a message', send: [more('x'), text(HELLO)], close: 1002 },
  { number: '5.10', what: 'the same in one piece', send: [Buffer.concat([more('x'), text(HELLO)])], close: 1002 },
  { number: '5.11', what: 'the same byte by byte', send: [more('x'), text(HELLO)], chop: 1, close: 1002 },
  { number: '5.12', what: 'a further fragment of nothing, then a message', send: [more('x', false), text(HELLO)], close: 1002 },
  { number: '5.13', what: 'the same in one piece', send: [Buffer.concat([more('x', false), text(HELLO)])], close: 1002 },
  { number: '5.14', what: 'the same byte by byte', send: [more('x', false), text(HELLO)], chop: 1, close: 1002 },
  { number: '5.15', what: 'a message in fragments, a further fragment, a message', send: [text(HEL, false), more(LO), more('x', false), text(HELLO)], echoes: ['hello'], close: 1002 },
  { number: '5.16', what: 'a further fragment, a message, a last fragment', send: [more('a', false), text('b', false), more('c')], close: 1002 },
  { number: '5.17', what: 'a last fragment first, then a message in two', send: [more('a'), text('b', false), more('c')], close: 1002 },
  { number: '5.18', what: 'a second message within a message', send: [text(HEL, false), text(LO)], close: 1002 },
  { number: '5.19', what: 'five fragments with pings between them', send: PINGED, pongs: [Buffer.from('one'), Buffer.from('two')], echoes: ['hello'] },
  { number: '5.20', what: 'the same byte by byte', send: PINGED, chop: 1, pongs: [Buffer.from('one'), Buffer.from('two')], echoes: ['hello'] },
  { number: '5 with a close', what: 'a close between two fragments', send: [text(HEL, false), closeFrame(1000), more(LO)], close: 1000 },
  // 6: UTF-8
  { number: '6.1.1', what: 'an empty text', send: [text('')], echoes: ['error'] },
  { number: '6.1.2', what: 'three empty fragments', send: [text('', false), more('', false), more('')], echoes: ['error'] },
  { number: '6.1.3', what: 'three fragments, only that in the middle not empty', send: [text('', false), more(HELLO, false), more('')], echoes: ['hello'] },
  ...GOOD_TEXT.flatMap(([number, digits]) => {
    const message = around(hex(digits))
    const echoes = [hex(digits).toString()]
    return [
      { number, what: `${digits}, in one frame`, send: [text(message)], echoes },
      { number: `${number} in fragments`, what: `${digits}, a fragment each byte`, send: fragments(message, 1), echoes }
    ]
  }),
  ...BAD_TEXT.flatMap(([number, what, digits]) => {
    const message = around(hex(digits))
    const middle = message.length - 3
    return [
      { number, what: `${what} (${digits})`, send: [text(message)], close: 1007 },
      { number: `${number} in fragments`, what: `${what}, cut within it`, send: [text(message.subarray(0, middle), false), more(message.subarray(middle))], close: 1007 },
      { number: `${number} in octets`, what: `${what}, a fragment each byte`, send: fragments(message, 1), close: 1007 }
    ]
  }),
  // 7: closing
  { number: '7.1.1', what: 'a message, then a close', send: [text(HELLO), closeFrame(1000)], echoes: ['hello'], close: 1000 },
  { number: '7.1.2', what: 'two closes', send: [closeFrame(1000), closeFrame(1000)], close: 1000 },
  { number: '7.1.3', what: 'a ping after a close is not answered', send: [closeFrame(1000), control(PING)], close: 1000 },
  { number: '7.1.4', what: 'nor is a message', send: [closeFrame(1000), text(HELLO)], close: 1000 },
  { number: '7.1.5', what: 'nor the rest of one', send: [text(HEL, false), closeFrame(1000), more(LO)], close: 1000 },
  { number: '7.1.6', what: 'a large message, a close, a ping, in one piece', send: [Buffer.concat([text(ping('large', LIMIT)), closeFrame(1000), control(PING)])], echoes: ['large'], close: 1000 },
  { number: '7.3.1', what: 'a close without a payload', send: [closeFrame(null)], close: 1005 },
  { number: '7.3.2', what: 'a close with one byte', send: [control(CLOSE, 'a')], close: 1002 },
  { number: '7.3.3', what: 'a close with a code', send: [closeFrame(1000)], close: 1000 },
  { number: '7.3.4', what: 'a close with a reason', send: [closeFrame(1000, 'Hello, world!')], close: 1000 },
  { number: '7.3.5', what: 'a close with the longest reason', send: [closeFrame(1000, 'x'.repeat(123))], close: 1000 },
  { number: '7.3.6', what: 'a close with a reason one byte too long', send: [closeFrame(1000, 'x'.repeat(124))], close: 1002 },
  { number: '7.5.1', what: 'a close whose reason is not UTF-8', send: [closeFrame(1000, hex('ce ba e1 bd b9 ed a0 80'))], close: 1007 },
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map((code, index) => ({ number: `7.7.${index + 1}`, what: `a close with ${code}`, send: [closeFrame(code)], close: code })),
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code, index) => ({ number: `7.9.${index + 1}`, what: `a close with ${code}, which nobody may send`, send: [closeFrame(code)], close: 1002 })),
  // 10: fragmented by what is between
  { number: '10.1.1', what: '65,536 bytes in fragments of 1,300', send: fragments(ping('cut', 65_536), 1300), echoes: ['cut'] },
  // Beyond the suite: masks and limits
  { number: '5.1 of the RFC', what: 'a frame without a mask', send: [frameOf({ payload: HELLO, masked: false })], close: 1002 },
  { number: '5.1 of the RFC, control', what: 'a ping without a mask', send: [frameOf({ opcode: PING, masked: false })], close: 1002 },
  { number: '5.2 of the RFC', what: 'a length of 2^63', send: [frameOf({ claim: 2n ** 63n })], close: 1009 },
  { number: 'limit', what: 'one byte more than a message may have, in one frame', send: [text(ping('x', LIMIT + 1))], close: 1009 },
  { number: 'limit, claimed', what: 'one byte more, refused before it has come', send: [frameOf({ claim: BigInt(LIMIT + 1) })], close: 1009 },
  { number: 'limit, in fragments', what: 'one byte more, in fragments', send: fragments(ping('x', LIMIT + 1), 1000), close: 1009 },
  { number: 'limit, exactly', what: 'as many bytes as a message may have, in fragments', send: fragments(ping('whole', LIMIT), 1000), echoes: ['whole'] },
  { number: 'fragments', what: 'a message of 1,025 fragments', send: fragments(ping('x', 1025), 1), close: 1008 },
  { number: 'fragments, empty', what: 'empty fragments without an end', send: [text('', false), ...Array.from({ length: 1100 }, () => more('', false))], close: 1008 }
]

/** Compressed text (RFC 7692), whole or to be gone on with. */
const packed = (payload: Buffer, fin = true): Buffer => frameOf({ payload, rsv: 4, fin })

const BOMB = deflateMessage(Buffer.alloc(1000 * LIMIT, ' '))
/** One message of many blocks, each ended by a flush. */
const BLOCKS = Buffer.concat(Array.from({ length: 50 }, () => deflateRawSync(Buffer.alloc(100, ' '), { finishFlush: constants.Z_FULL_FLUSH })))

const COMPRESSED_CASES: readonly Case[] = [
  { number: '12.1', what: 'a compressed message', send: [packed(deflateMessage(HELLO))], echoes: ['hello'] },
  { number: '12.1 in octets', what: 'the same byte by byte', send: [packed(deflateMessage(HELLO))], chop: 1, echoes: ['hello'] },
  { number: '12.2', what: 'a compressed message as large as one may be', send: [packed(deflateMessage(ping('large', LIMIT)))], echoes: ['large'] },
  { number: '13.1', what: 'a compressed message in fragments, a ping between them', send: [packed(deflateMessage(HELLO).subarray(0, 5), false), control(PING, 'ping'), more(deflateMessage(HELLO).subarray(5))], pongs: [Buffer.from('ping')], echoes: ['hello'] },
  { number: '13.2', what: 'a message of many blocks', send: [packed(Buffer.concat([BLOCKS, deflateMessage(HELLO)]))], echoes: ['hello'] },
  { number: '7.2.3.4 of RFC 7692', what: 'a message whose last block says that it is the last', send: [packed(Buffer.concat([deflateRawSync(HELLO), Buffer.from([0])]))], echoes: ['hello'] },
  { number: 'empty', what: 'a compressed message of nothing', send: [packed(Buffer.from([0]))], echoes: ['error'] },
  { number: 'plain', what: 'plain messages before and behind a compressed one', send: [text(ping(1)), packed(deflateMessage(ping(2))), text(ping(3))], echoes: [1, 2, 3] },
  { number: 'RSV1 later', what: 'RSV1 in a further fragment', send: [text(HEL, false), frameOf({ opcode: CONTINUATION, payload: LO, rsv: 4 })], close: 1002 },
  { number: 'RSV1 in a ping', what: 'a compressed ping', send: [frameOf({ opcode: PING, payload: deflateMessage(HELLO), rsv: 4 })], close: 1002 },
  { number: 'garbage', what: 'what is no deflate', send: [packed(Buffer.alloc(100, 0xff))], close: 1007 },
  { number: 'noise', what: 'random bytes, a stored block of a wrong length first', send: [packed(Buffer.concat([Buffer.from([0, 1, 0, 1, 0]), randomBytes(1000)]))], close: 1007 },
  { number: 'far', what: 'a distance beyond what there is', send: [packed(deflateMessage(Buffer.concat([HELLO, HELLO])).subarray(8))], close: 1007 },
  { number: 'no UTF-8', what: 'bytes that are no text, compressed', send: [packed(deflateMessage(around(hex('ff fe'))))], close: 1007 },
  { number: 'binary', what: 'a compressed binary message', send: [frameOf({ opcode: BINARY, payload: deflateMessage(HELLO), rsv: 4 })], close: 1003 },
  { number: 'bomb', what: `${BOMB.length} bytes that become a thousand times as many as a message may have`, send: [packed(BOMB)], close: 1009 },
  { number: 'bomb in fragments', what: 'the same in a hundred fragments', send: Array.from({ length: 100 }, (_, n) => frameOf({ ...(n === 0 ? { rsv: 4 } : { opcode: CONTINUATION }), payload: BOMB.subarray(n * BOMB.length / 100, (n + 1) * BOMB.length / 100), fin: n === 99 })), close: 1009 },
  { number: 'one more', what: 'one byte more than a message may have', send: [packed(deflateMessage(ping('x', LIMIT + 1)))], close: 1009 }
]

for (const [name, cases, headers] of [['RFC 6455', CASES, {}], ['RFC 6455, on a socket that is compressed', CASES.filter(({ number }) => !number.startsWith('3.4') && !number.startsWith('6.')), COMPRESSED_HEADERS.WEBSOCKET], ['compression', COMPRESSED_CASES, COMPRESSED_HEADERS.WEBSOCKET]] as const) {
  t.test(`each case of ${name} is answered as the suite wants it, and a neighbour notices nothing`, async t => {
    const server = await startServer({ profile: 'WEBSOCKET', limits: { maxHttpBufferSize: LIMIT, maxEventsPerSecondPerClient: 0 } })
    t.teardown(async () => await server.close())
    const neighbour = await WireClient.open('WEBSOCKET', server.port, { rooms: ['home'] })
    t.teardown(() => neighbour.cut())
    await neighbour.untilKind('ready')

    for (const [index, { number, what, send, chop, echoes = [], pongs = [], close }] of cases.entries()) {
      const client = await RawSocket.open(server.port, { headers })
      for (const bytes of send) await client.send(bytes, chop)
      // A connection that goes on is asked something last; its answer comes behind all others.
      if (close === undefined) await client.send(text(ping('last')))
      await client.until(`${number}: ${what}`, () => client.closeCode !== null || client.closed || client.echoes.at(-1) === 'last')
      const got = {
        echoes: client.messages.filter(({ event }) => event === 'pong' || event === 'error').map(({ event, ref }) => event === 'error' ? 'error' : ref).filter(ref => ref !== 'last'),
        pongs: client.pongs.map(payload => payload.toString('hex')),
        close: client.closeCode ?? undefined,
        late: client.late
      }
      t.same(got, { echoes: [...echoes], pongs: pongs.map(payload => payload.toString('hex')), close, late: 0 }, `${number}: ${what}`)
      if (close !== undefined) await client.until(`${number}: the connection ends`, () => client.closed)
      client.cut()
      if (index % 10 === 0) await server.publish({ type: 'beat', room: 'home', data: index })
    }
    const beats = cases.flatMap((_, index) => index % 10 === 0 ? [index] : [])
    await neighbour.until(() => neighbour.events.length >= beats.length)
    t.same(neighbour.events.map(({ data }) => data), beats)
    await neighbour.until(() => server.gateway.view.sessions.count === 1)
  })
}

t.test('frames in one packet with the handshake are not lost', async t => {
  const server = await startServer({ profile: 'WEBSOCKET' })
  t.teardown(async () => await server.close())
  const client = await RawSocket.open(server.port, { first: Buffer.concat([text(ping(1)), text(ping(2)), control(PING, 'three')]) })
  await client.until('both answers', () => client.echoes.length === 2 && client.pongs.length === 1)
  t.same(client.echoes, [1, 2])
  client.cut()
})
