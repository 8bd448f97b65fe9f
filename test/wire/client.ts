// A client of either profile that keeps the raw bytes: where a connection is cut is up to the test.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { ProfileName } from '../../profiles/index.ts'
import type { Event } from '../../src/core/event.ts'
import type { Received } from '../page.ts'
import { checkSocketMessage, checkStreamMessage } from '../tools/answers.ts'
import { afterHead, CLOSE, COMPRESSED_HEADERS, getRequest, GrowingBuffer, inflateChunk, maskedFrame, PING, PONG, readBlock, readText, splitBlocks, TEXT, unchunk, unframe, upgradeHeaders } from './codec.ts'
import type { Feed } from './codec.ts'

const COMPRESSED_HEAD = { SSE: /\r\nContent-Encoding: gzip/i, WEBSOCKET: /\r\nSec-WebSocket-Extensions: permessage-deflate/i } as const

/** A message as it arrived, and where in the stream of bytes it ended. */
export type Arrived = (Received | { readonly kind: 'hello' | 'bye' | 'left' | 'paced' | 'result' | 'error' | 'pong', readonly data: Record<string, unknown>, readonly cursor: string | null, readonly ref?: unknown }) & { readonly end: number }

export interface Wish {
  readonly rooms?: readonly string[]
  readonly types?: readonly string[]
  readonly cursor?: string | null
  /** False: over WebSocket, connects and joins nothing. */
  readonly join?: boolean
  /** More headers of the request. */
  readonly headers?: Readonly<Record<string, string>>
  readonly ticket?: string
  /** True: asks for compressed bytes. Default: plain ones. */
  readonly compressed?: boolean
  /** Over SSE as it stands in the address. */
  readonly paceMs?: unknown
  /** Asks for values as patches. */
  readonly patch?: 'merge' | undefined
  /** Takes each message in place of `messages`; the client then keeps neither messages nor bytes. */
  readonly onMessage?: ((message: Arrived) => void) | undefined
}

export class WireClient {
  readonly profile: ProfileName
  readonly socket: Socket
  readonly messages: Arrived[] = []
  head = ''
  closed = false
  closeCode: number | null = null
  /** False: pings are not answered. */
  pongs = true
  readonly #bytes = new GrowingBuffer()
  #waiting: Array<() => void> = []

  private constructor (profile: ProfileName, port: number, rooms: readonly string[], compressed: boolean, onMessage: Wish['onMessage']) {
    this.profile = profile
    const reading: Reading = {
      message: onMessage ?? (message => this.messages.push(message)),
      ping: payload => { if (this.pongs) this.sendFrame(PONG, payload) },
      close: code => this.#answerClose(code)
    }
    let read: Feed = () => {}
    const feed = afterHead(head => {
      this.head = head
      // What was asked for need not be given: a refusal is plain.
      if (/^HTTP\/1.1 (101|200) /.test(head)) read = messageReader(profile, rooms, compressed && COMPRESSED_HEAD[profile].test(head), reading)
    }, bytes => {
      if (onMessage === undefined) this.#bytes.append(bytes)
      read(bytes)
    })
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', data => {
      feed(data)
      this.#wake()
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  /** Connects, and with `rooms` joins them: by the query over SSE, by a message over WebSocket. */
  static async open (profile: ProfileName, port: number, wish: Wish = {}): Promise<WireClient> {
    const rooms = wish.rooms ?? []
    const client = new WireClient(profile, port, rooms.length === 0 ? ['@public'] : rooms, wish.compressed === true, wish.onMessage)
    await new Promise((resolve, reject) => client.socket.once('connect', resolve).once('error', reject))
    const compression = wish.compressed === true ? COMPRESSED_HEADERS[profile] : {}
    if (profile === 'SSE') {
      const query = new URLSearchParams({ ...(rooms.length > 0 ? { rooms: rooms.join() } : {}), ...(wish.types ? { types: wish.types.join() } : {}), ...(wish.ticket === undefined ? {} : { ticket: wish.ticket }), ...(wish.paceMs === undefined ? {} : { paceMs: String(wish.paceMs) }), ...(wish.patch === undefined ? {} : { patch: wish.patch }) })
      const cursor: Record<string, string> = wish.cursor == null ? {} : { 'Last-Event-ID': wish.cursor }
      client.socket.write(getRequest(`/api/events/stream?${query}`, { Host: '127.0.0.1', Accept: 'text/event-stream', ...cursor, ...compression, ...wish.headers }))
    } else {
      client.socket.write(getRequest(`/api/events/ws${wish.ticket === undefined ? '' : `?ticket=${wish.ticket}`}`, { Host: '127.0.0.1', ...upgradeHeaders(), ...compression, ...wish.headers }))
      await client.until(() => client.head !== '' || client.closed)
      if (wish.join !== false && !client.closed) client.say({ action: 'join', ...(rooms.length > 0 ? { rooms } : {}), ...(wish.types ? { types: wish.types } : {}), ...(wish.cursor == null ? {} : { lastEventId: wish.cursor }), paceMs: wish.paceMs, patch: wish.patch })
    }
    return client
  }

  /** Sends a WebSocket message. */
  say (message: unknown): void {
    this.sendFrame(TEXT, Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)))
  }

  /** Sends a frame, masked as clients must. */
  sendFrame (opcode: number, payload: Buffer): void {
    this.socket.write(maskedFrame(opcode, payload, randomBytes(4)))
  }

  /** Resolves once `done` holds; looks whenever something has arrived, and now and then. */
  async until (done: () => boolean, ms = 120_000): Promise<void> {
    const deadline = Date.now() + ms
    while (!done()) {
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`not within ${ms} ms; ${this.messages.length} messages so far, the last: ${JSON.stringify(this.messages.at(-1) ?? null).slice(0, 300)}; ${this.head.slice(0, 100)}`)
      await new Promise<void>(resolve => {
        // Some conditions are the server's: they change without anything arriving here.
        const timer = setTimeout(resolve, Math.min(left, 50))
        this.#waiting.push(() => { clearTimeout(timer); resolve() })
      })
    }
  }

  async untilKind (kind: Arrived['kind'], count = 1): Promise<Arrived> {
    await this.until(() => this.messages.filter(message => message.kind === kind).length >= count)
    return this.messages.filter(message => message.kind === kind)[count - 1] as Arrived
  }

  /** Everything received behind the response's head. */
  get bytes (): Buffer {
    return this.#bytes.bytes
  }

  get events (): Event[] {
    return this.messages.flatMap(message => message.kind === 'bundle' ? message.events : [])
  }

  get bundles (): Array<Extract<Arrived, { kind: 'bundle' }>> {
    return this.messages.filter(message => message.kind === 'bundle')
  }

  get cursor (): string | null {
    return this.messages.findLast(message => message.cursor !== null)?.cursor ?? null
  }

  /** The messages a page acts on: events, values and positions. */
  get pageMessages (): Received[] {
    return pageMessages(this.messages)
  }

  cut (): void {
    this.socket.destroy()
    this.closed = true
  }

  #answerClose (code: number): void {
    if (this.closeCode !== null) return
    this.closeCode = code
    this.sendFrame(CLOSE, Buffer.from([code >> 8, code & 255]))
  }

  #wake (): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

export const pageMessages = (messages: readonly Arrived[]): Received[] =>
  messages.filter((message): message is Extract<Arrived, Received> => ['joined', 'bundle', 'reset', 'ready', 'position'].includes(message.kind))

/** The whole messages in `bytes`, which follow a response's head, and how many bytes those take. */
export function parse (profile: ProfileName, bytes: Buffer, rooms: readonly string[], compressed = false): { messages: Arrived[], parsed: number } {
  const messages: Arrived[] = []
  messageReader(profile, rooms, compressed, { message: message => messages.push(message), ping: () => {}, close: () => {} })(bytes)
  return { messages, parsed: messages.at(-1)?.end ?? 0 }
}

/** @param block an SSE event without the blank line behind it. @returns null where it is no message */
export function sseMessage (block: string, rooms: readonly string[], end = 0): Arrived | null {
  const message = readBlock(block)
  if (message === null) return null
  const { name, data, id: cursor } = message
  checkStreamMessage(name, data)
  const fields = data as Record<string, unknown>
  if (name === 'events') return { kind: 'bundle', events: data, cursor, end } as Arrived
  if (name === 'hello') return { kind: 'joined', rooms, position: fields.position, cursor, data, end } as Arrived
  if (name === 'bye') return { kind: name, data: fields, cursor, end }
  // SSE names the rooms too, but a plain page takes a reset for all it has.
  return { kind: name, ...fields, cursor, data, end } as Arrived
}

function socketMessage (text: string, end: number): Arrived {
  checkSocketMessage(JSON.parse(text))
  const { name, data, id, ref } = readText(text)
  if (name === 'events') return ((data as unknown[]).length === 0 ? { kind: 'position', cursor: id, end } : { kind: 'bundle', events: data, cursor: id, end }) as Arrived
  const fields = data as Record<string, unknown>
  return { kind: name, ...fields, data, cursor: fields.cursor ?? null, ref, end } as Arrived
}

interface Reading {
  message (message: Arrived): void
  ping (payload: Buffer): void
  close (code: number): void
}

function messageReader (profile: ProfileName, rooms: readonly string[], compressed: boolean, reading: Reading): Feed {
  if (profile === 'WEBSOCKET') {
    return unframe((opcode, payload, end) => {
      if (opcode === TEXT) reading.message(socketMessage(payload.toString(), end))
      else if (opcode === CLOSE) reading.close(payload.length >= 2 ? payload.readUInt16BE(0) : 1005)
      else if (opcode === PING) reading.ping(payload)
    }, compressed)
  }
  let chunkEnd = 0
  const read = splitBlocks(block => {
    const message = sseMessage(block.toString(), rooms, chunkEnd)
    if (message !== null) reading.message(message)
  })
  return unchunk((data, end) => {
    chunkEnd = end
    read(compressed ? inflateChunk(data) : data)
  })
}
