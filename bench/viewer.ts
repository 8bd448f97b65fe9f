// A client of either profile on a bare socket. It reads what it needs and no more, so that a hundred of them leave
// their core to the measurement: viewers that get the same bytes share one parse, and each still counts its events.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { ProfileName } from '../profiles/index.ts'
import type { Delivered } from './ledger.ts'

interface Message {
  /** `bundle`, or the event's name. */
  readonly kind: string
  readonly events: readonly Delivered[]
}

export interface ViewerOptions {
  readonly profile: ProfileName
  readonly port: number
  readonly room: string
  readonly onBytes: (bytes: number) => void
  /** A bundle; `at` is when its last bytes were received. */
  readonly onBundle: (events: readonly Delivered[], at: number) => void
  /** The connection ended, or the server said something that means a loss. */
  readonly onTrouble: (what: string) => void
}

export class Viewer {
  readonly #socket: Socket
  readonly #options: ViewerOptions
  readonly #feed: (bytes: Buffer) => void
  #ready = (): void => {}
  #closing = false

  private constructor (options: ViewerOptions) {
    this.#options = options
    this.#socket = connect(options.port, '127.0.0.1').setNoDelay(true)
    const take = options.profile === 'SSE' ? this.#startSse() : this.#startWebSocket()
    this.#feed = afterHead(options.profile === 'SSE' ? 200 : 101, take, () => this.#joinWebSocket())
    this.#socket.on('data', bytes => {
      options.onBytes(bytes.length)
      this.#feed(bytes)
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => { if (!this.#closing) options.onTrouble('connection closed') })
  }

  /** Resolves when the viewer has joined the room. */
  static async open (options: ViewerOptions): Promise<Viewer> {
    const viewer = new Viewer(options)
    await new Promise<void>(resolve => { viewer.#ready = resolve })
    return viewer
  }

  close (): void {
    this.#closing = true
    this.#socket.destroy()
  }

  #startSse (): Feed {
    const { port, room } = this.#options
    this.#socket.write(`GET /api/events/stream?rooms=${room} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\n\r\n`)
    return dechunk(splitAtBlankLines(message => this.#take(message, decodeSse)))
  }

  #startWebSocket (): Feed {
    const { port } = this.#options
    const key = randomBytes(16).toString('base64')
    this.#socket.write(`GET /api/events/ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`)
    return unframe((opcode, payload) => {
      if (opcode === TEXT) this.#take(payload, decodeWebSocket)
      else if (opcode === PING) this.#socket.write(maskedFrame(PONG, payload))
    })
  }

  #joinWebSocket (): void {
    const { profile, room } = this.#options
    if (profile === 'WEBSOCKET') this.#socket.write(maskedFrame(TEXT, Buffer.from(JSON.stringify({ action: 'join', room }))))
  }

  #take (bytes: Buffer, decode: (text: string) => Message): void {
    const at = performance.now()
    const { kind, events } = parseOnce(bytes, decode)
    if (kind === 'bundle') this.#options.onBundle(events, at)
    else if (kind === 'ready') this.#ready()
    else if (kind === 'reset' || kind === 'bye' || kind === 'error') this.#options.onTrouble(`${kind}: ${bytes.toString()}`)
  }
}

/** Takes bytes as they come. */
type Feed = (bytes: Buffer) => void

/** Keeps what is not yet whole. @param take returns how many bytes of those given it has used */
function pieces (take: (bytes: Buffer) => number): Feed {
  let rest: Buffer = Buffer.alloc(0)
  return bytes => {
    const all = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    rest = all.subarray(take(all))
  }
}

/** Reads the head of the response, then hands everything on. @throws Error where it has another status */
function afterHead (status: number, next: Feed, onOpen: () => void): Feed {
  let open = false
  return pieces(bytes => {
    let start = 0
    if (!open) {
      const end = bytes.indexOf('\r\n\r\n')
      if (end === -1) return 0
      const head = bytes.toString('latin1', 0, end)
      if (!head.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`a viewer was refused: ${bytes.toString('latin1')}`)
      open = true
      start = end + 4
      onOpen()
    }
    if (start < bytes.length) next(bytes.subarray(start))
    return bytes.length
  })
}

/** HTTP/1.1 chunks (RFC 9112, 7.1). */
function dechunk (next: Feed): Feed {
  return pieces(bytes => {
    for (let start = 0; ;) {
      const line = bytes.indexOf('\r\n', start)
      if (line === -1) return start
      const end = line + 2 + Number.parseInt(bytes.toString('latin1', start, line), 16)
      if (end + 2 > bytes.length) return start
      next(bytes.subarray(line + 2, end))
      start = end + 2
    }
  })
}

function splitAtBlankLines (next: (message: Buffer) => void): Feed {
  return pieces(bytes => {
    for (let start = 0; ;) {
      const end = bytes.indexOf('\n\n', start)
      if (end === -1) return start
      next(bytes.subarray(start, end))
      start = end + 2
    }
  })
}

const TEXT = 1
const PING = 9
const PONG = 10

/** Unmasked frames of a server that never cuts a message in pieces (RFC 6455, 5.2). */
function unframe (next: (opcode: number, payload: Buffer) => void): Feed {
  return pieces(bytes => {
    for (let start = 0; ;) {
      if (start + 2 > bytes.length) return start
      const short = bytes[start + 1] as number
      const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
      const payload = start + 2 + lengthBytes
      if (payload > bytes.length) return start
      const length = lengthBytes === 0 ? short : bytes.readUIntBE(payload - Math.min(6, lengthBytes), Math.min(6, lengthBytes))
      if (payload + length > bytes.length) return start
      next((bytes[start] as number) & 15, bytes.subarray(payload, payload + length))
      start = payload + length
    }
  })
}

/** A short frame as clients send them: masked, here with zeros. */
function maskedFrame (opcode: number, payload: Buffer): Buffer {
  if (payload.length > 125) throw new Error('too long for a short frame')
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload])
}

function decodeSse (message: string): Message {
  const data = message.indexOf('data: ')
  // A comment, or `retry:`.
  if (message.startsWith(':') || data === -1) return { kind: 'none', events: [] }
  const name = /^event: (.*)$/m.exec(message.slice(0, data))?.[1]
  if (name !== undefined) return { kind: name, events: [] }
  return { kind: 'bundle', events: JSON.parse(message.slice(data + 'data: '.length)) as Delivered[] }
}

function decodeWebSocket (message: string): Message {
  const { event, data } = JSON.parse(message) as { event: string, data: Delivered[] }
  return event === 'events' ? { kind: 'bundle', events: data } : { kind: event, events: [] }
}

/** The last few messages and what they say. */
const recent: Array<{ readonly bytes: Buffer, readonly message: Message }> = []
const RECENT = 8

function parseOnce (bytes: Buffer, decode: (text: string) => Message): Message {
  for (const known of recent) if (known.bytes.equals(bytes)) return known.message
  const message = decode(bytes.toString())
  // A copy: the bytes are a piece of a larger buffer that would be kept alive.
  recent.unshift({ bytes: Buffer.from(bytes), message })
  if (recent.length > RECENT) recent.pop()
  return message
}
