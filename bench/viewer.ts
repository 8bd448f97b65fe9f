// A client of either profile on a bare socket, which accepts compression as browsers do. A hundred of them must use little of
// their core: viewers that get the same bytes inflate and parse them once, and each still counts its events.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { ProfileName } from '../profiles/index.ts'
import { afterHead, COMPRESSED_HEADERS, getRequest, inflateChunk, inflateMessage, maskedFrame, PING, PONG, readBlock, readText, splitBlocks, TEXT, unchunk, unframe, upgradeHeaders } from '../test/wire/codec.ts'
import type { Feed, WireMessage } from '../test/wire/codec.ts'
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
  /** The connection ended, or the server reported a loss. */
  readonly onTrouble: (what: string) => void
}

export class Viewer {
  readonly #socket: Socket
  readonly #options: ViewerOptions
  readonly #feed: (bytes: Buffer) => void
  #ready = (): void => {}
  #closing = false
  /** The stream is a gzip body. */
  #compressed = false

  private constructor (options: ViewerOptions) {
    this.#options = options
    this.#socket = connect(options.port, '127.0.0.1').setNoDelay(true)
    this.#feed = afterHead(head => this.#opened(head), options.profile === 'SSE' ? this.#startSse() : this.#startWebSocket())
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
    this.#socket.write(getRequest(`/api/events/stream?rooms=${room}`, { Host: `127.0.0.1:${port}`, Accept: 'text/event-stream', ...COMPRESSED_HEADERS.SSE }))
    const feed = splitBlocks(message => this.#take(message, parseBlock))
    return unchunk(chunk => feed(this.#compressed ? inflateBlocks(chunk) : chunk))
  }

  #startWebSocket (): Feed {
    this.#socket.write(getRequest('/api/events/ws', { Host: `127.0.0.1:${this.#options.port}`, ...upgradeHeaders(), ...COMPRESSED_HEADERS.WEBSOCKET }))
    return unframe((opcode, payload, _end, compressed) => {
      if (opcode === TEXT) this.#take(compressed ? inflateText(payload) : payload, parseText)
      else if (opcode === PING) this.#socket.write(maskedFrame(PONG, payload))
    })
  }

  #opened (head: string): void {
    const { profile, room } = this.#options
    if (!head.startsWith(`HTTP/1.1 ${profile === 'SSE' ? 200 : 101} `)) throw new Error(`a viewer was refused: ${head}`)
    this.#compressed = /^content-encoding: gzip$/im.test(head)
    if (profile === 'WEBSOCKET') this.#socket.write(maskedFrame(TEXT, Buffer.from(JSON.stringify({ action: 'join', room }))))
  }

  #take (bytes: Buffer, parse: (bytes: Buffer) => Message): void {
    const at = performance.now()
    const { kind, events } = parse(bytes)
    if (kind === 'bundle') this.#options.onBundle(events, at)
    else if (kind === 'ready') this.#ready()
    else if (kind === 'reset' || kind === 'bye' || kind === 'error') this.#options.onTrouble(`${kind}: ${bytes.toString()}`)
  }
}

const messageOf = ({ name, data }: WireMessage): Message => name === 'events' ? { kind: 'bundle', events: data as Delivered[] } : { kind: name, events: [] }

/** The last few results are kept: viewers in step get the same bytes, one after another. */
const RECENT = 8

function memoized<Result> (make: (bytes: Buffer) => Result): (bytes: Buffer) => Result {
  const recent: Array<{ readonly bytes: Buffer, readonly result: Result }> = []
  return bytes => {
    for (const known of recent) if (known.bytes.equals(bytes)) return known.result
    const result = make(bytes)
    // A copy: the bytes are a piece of a larger buffer that would be kept alive.
    recent.unshift({ bytes: Buffer.from(bytes), result })
    if (recent.length > RECENT) recent.pop()
    return result
  }
}

const inflateBlocks = memoized(inflateChunk)
const inflateText = memoized(inflateMessage)
const parseText = memoized(bytes => messageOf(readText(bytes.toString())))
const parseBlock = memoized((bytes): Message => {
  const message = readBlock(bytes.toString())
  return message === null ? { kind: 'none', events: [] } : messageOf(message)
})
