// Bytes as no library would send them, and what comes back: HTTP whose answers are read as they are framed, and a WebSocket
// whose frames may break every rule.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { CLOSE, frameHead, getRequest, GrowingBuffer, PING, PONG, TEXT, upgradeHeaders } from '../wire/codec.ts'

export type Bytes = string | Buffer

export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** Of a stream: what has arrived so far. */
  readonly text: string
  /** Null where it is not JSON. */
  readonly body: any
}

/** A busy machine may take its time; what comes in time costs nothing. */
const QUIET_MS = 60_000

/** Resolves once `done`; looks whenever something has arrived, and now and then. */
class Waiting {
  #resolve: (() => void) | null = null

  wake (): void {
    this.#resolve?.()
  }

  async until (what: () => string, done: () => boolean, ms = QUIET_MS): Promise<void> {
    const deadline = Date.now() + ms
    while (!done()) {
      if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what()}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 50)
        this.#resolve = () => { clearTimeout(timer); resolve() }
      })
    }
  }
}

/** One connection over which raw bytes are sent. */
export class RawHttp {
  readonly socket: Socket
  closed = false
  readonly #bytes = new GrowingBuffer()
  readonly #waiting = new Waiting()
  readonly #isHead: boolean
  /** What was read up to `at`: a thousand answers are not read again with each that arrives. */
  readonly #answers: Answer[] = []
  #at = 0

  /** @param isHead the first request is HEAD, whose answer has a length and no body */
  constructor (port: number, isHead = false) {
    this.#isHead = isHead
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    this.socket.setNoDelay(true)
    this.socket.on('error', () => {})
    this.socket.on('data', data => {
      this.#bytes.append(data)
      this.#waiting.wake()
    })
    for (const event of ['end', 'close']) {
      this.socket.on(event, () => {
        this.closed = true
        this.#waiting.wake()
      })
    }
  }

  /** @param chop bytes in a piece; each goes out in a turn of its own */
  async send (bytes: Bytes, chop = Infinity): Promise<void> {
    await sendIn(this.socket, bytes, chop)
  }

  /** The whole answers so far; a stream counts as one that never ends. */
  get answers (): Answer[] {
    const { whole, open, at } = readAnswers(this.#bytes.bytes, this.#at, this.#isHead && this.#answers.length === 0)
    this.#at = at
    this.#answers.push(...whole)
    return [...this.#answers, ...open]
  }

  get text (): string {
    return this.#bytes.bytes.toString()
  }

  /** Waits for a number of answers, or for the end of the connection. */
  async until (count: number, ms?: number): Promise<Answer[]> {
    await this.#waiting.until(() => `${count} answers; there is ${JSON.stringify(this.text.slice(0, 300))}`, () => this.closed || this.answers.length >= count, ms)
    return this.answers
  }

  async untilText (pattern: RegExp, ms?: number): Promise<void> {
    await this.#waiting.until(() => `${String(pattern)} in ${JSON.stringify(this.text.slice(-300))}`, () => this.closed || pattern.test(this.text), ms)
  }

  async untilClosed (ms?: number): Promise<void> {
    await this.#waiting.until(() => 'the connection is closed', () => this.closed, ms)
  }

  /** Whether the connection still answers, after what was sent was answered. */
  async isOpen (): Promise<boolean> {
    const before = this.answers.length
    this.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    return (await this.until(before + 1)).at(-1)?.status === 200 && this.answers.length > before
  }

  cut (): void {
    this.socket.destroy()
  }
}

async function sendIn (socket: Socket, bytes: Bytes, chop: number): Promise<void> {
  const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
  if (data.length <= chop) {
    socket.write(data)
    return
  }
  for (let at = 0; at < data.length && !socket.destroyed; at += chop) {
    socket.write(data.subarray(at, at + chop))
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** The whole answers in what came over a connection. @param isHead the first has a length and no body */
export function answersOf (bytes: Buffer, isHead: boolean): Answer[] {
  const { whole, open } = readAnswers(bytes, 0, isHead)
  return [...whole, ...open]
}

/** The whole answers from `from` on, a stream that has begun, and where the next begins. */
function readAnswers (bytes: Buffer, from: number, isHead: boolean): { whole: Answer[], open: Answer[], at: number } {
  const whole: Answer[] = []
  for (let at = from; ;) {
    const end = bytes.indexOf('\r\n\r\n', at)
    if (end === -1) return { whole, open: [], at }
    const [line = '', ...lines] = bytes.toString('latin1', at, end).split('\r\n')
    const status = Number(line.split(' ')[1])
    const headers = Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]))
    const start = end + 4
    // An interim answer, or one without a body.
    if (status === 100) {
      at = start
      continue
    }
    const length = headers['content-length'] === undefined ? null : Number(headers['content-length'])
    if (length === null && status === 200 && headers['content-type']?.startsWith('text/event-stream') === true) {
      return { whole, open: [{ status, headers, text: bytes.toString('utf8', start), body: null }], at }
    }
    const body = length === null || (isHead && whole.length === 0) ? 0 : length
    if (start + body > bytes.length) return { whole, open: [], at }
    const text = bytes.toString('utf8', start, start + body)
    let json: unknown = null
    try { json = JSON.parse(text) } catch {}
    whole.push({ status, headers, text, body: json })
    at = start + body
  }
}

/** A request as text. The length is that of the body where none is given. */
export function requestOf (method: string, path: string, { headers = {}, body = '', host = 'localhost' }: { headers?: Readonly<Record<string, string | string[]>>, body?: Bytes, host?: string | null } = {}): Buffer {
  const payload = typeof body === 'string' ? Buffer.from(body) : body
  const named = Object.keys(headers).map(name => name.toLowerCase())
  const framed = named.includes('content-length') || named.includes('transfer-encoding')
  const lines = [
    ...(host === null ? [] : [`Host: ${host}`]),
    ...(framed || payload.length === 0 ? [] : [`Content-Length: ${payload.length}`]),
    ...Object.entries(headers).flatMap(([name, value]) => [value].flat().map(text => `${name}: ${text}`))
  ]
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.map(line => `${line}\r\n`).join('')}\r\n`, 'latin1'), payload])
}

export interface FrameParts {
  readonly opcode?: number
  readonly payload?: Bytes
  /** False: more fragments follow. */
  readonly fin?: boolean
  /** The three reserved bits as a number, RSV1 the highest. */
  readonly rsv?: number
  readonly masked?: boolean
  /** The length that the head claims. */
  readonly claim?: bigint
}

/** A frame of a client (RFC 6455, 5.2), right or wrong. */
export function frameOf ({ opcode = TEXT, payload = '', fin = true, rsv = 0, masked = true, claim }: FrameParts): Buffer {
  const data = Buffer.from(payload as Buffer)
  const length = claim ?? BigInt(data.length)
  const wide = length < 126n ? 0 : length < 65_536n ? 2 : 8
  const head = Buffer.alloc(2 + wide)
  head[0] = (fin ? 0x80 : 0) | rsv << 4 | opcode
  head[1] = (masked ? 0x80 : 0) | (wide === 0 ? Number(length) : wide === 2 ? 126 : 127)
  if (wide === 2) head.writeUInt16BE(Number(length), 2)
  else if (wide === 8) head.writeBigUInt64BE(length, 2)
  if (!masked) return Buffer.concat([head, data])
  const mask = randomBytes(4)
  for (let at = 0; at < data.length; at++) data[at] = (data[at] as number) ^ (mask[at & 3] as number)
  return Buffer.concat([head, mask, data])
}

/** A close frame. @param code null: without one */
export const closeFrame = (code: number | null, reason: Bytes = ''): Buffer =>
  frameOf({ opcode: CLOSE, payload: code === null ? Buffer.alloc(0) : Buffer.concat([Buffer.from([code >> 8 & 255, code & 255]), Buffer.from(reason as Buffer)]) })

export interface Frame {
  readonly opcode: number
  readonly payload: Buffer
}

/** A WebSocket whose client writes bytes and answers nothing by itself but the close. */
export class RawSocket {
  readonly socket: Socket
  head = ''
  closed = false
  /** Null until a close frame has come; 1005 for one without a code. */
  closeCode: number | null = null
  reason = ''
  /** What came behind the close frame: nothing may. */
  late = 0
  readonly frames: Frame[] = []
  readonly #bytes = new GrowingBuffer()
  readonly #waiting = new Waiting()

  /** @param first bytes in the same packet as the handshake */
  constructor (port: number, { path = '/api/events/ws', headers = {}, first = Buffer.alloc(0) }: { path?: string, headers?: Readonly<Record<string, string>>, first?: Buffer } = {}) {
    this.socket = connect({ port, host: '127.0.0.1' })
    this.socket.setNoDelay(true)
    this.socket.on('error', () => {})
    this.socket.on('data', data => {
      this.#bytes.append(data)
      this.#read()
      this.#waiting.wake()
    })
    this.socket.on('close', () => {
      this.closed = true
      this.#waiting.wake()
    })
    this.socket.write(Buffer.concat([Buffer.from(getRequest(path, { Host: 'localhost', ...upgradeHeaders(), ...headers })), first]))
  }

  static async open (...given: ConstructorParameters<typeof RawSocket>): Promise<RawSocket> {
    const client = new RawSocket(...given)
    await client.until('hello', () => client.messages.length > 0 || client.closed)
    return client
  }

  async send (bytes: Bytes, chop = Infinity): Promise<void> {
    await sendIn(this.socket, bytes, chop)
  }

  get messages (): Array<{ event: string, data: any, ref?: unknown }> {
    return this.frames.filter(({ opcode }) => opcode === TEXT).map(({ payload }) => JSON.parse(payload.toString()))
  }

  /** Payloads of the pongs. */
  get pongs (): Buffer[] {
    return this.frames.filter(({ opcode }) => opcode === PONG).map(({ payload }) => payload)
  }

  /** References of the answers to `ping` messages. */
  get echoes (): unknown[] {
    return this.messages.filter(({ event }) => event === 'pong').map(({ ref }) => ref)
  }

  async until (what: string, done: () => boolean, ms?: number): Promise<void> {
    await this.#waiting.until(() => `${what}; there are ${JSON.stringify(this.messages.slice(-3))}, close code ${String(this.closeCode)}, ${this.head.slice(0, 60)}`, done, ms)
  }

  cut (): void {
    this.socket.destroy()
  }

  #read (): void {
    if (this.head === '') {
      const end = this.#bytes.bytes.indexOf('\r\n\r\n')
      if (end === -1) return
      this.head = this.#bytes.bytes.toString('latin1', 0, end)
      this.#bytes.drop(end + 4)
    }
    if (!this.head.startsWith('HTTP/1.1 101 ')) return
    for (;;) {
      const { bytes } = this.#bytes
      const head = frameHead(bytes, 0)
      if (head === null || head.end > bytes.length) return
      const frame = { opcode: head.opcode, payload: Buffer.from(bytes.subarray(head.start, head.end)) }
      this.#bytes.drop(head.end)
      if (this.closeCode !== null) {
        this.late++
      } else if (frame.opcode === CLOSE) {
        this.closeCode = frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : 1005
        this.reason = frame.payload.toString('utf8', 2)
        this.socket.write(closeFrame(this.closeCode === 1005 ? null : this.closeCode))
      } else {
        // The gateway's own pings are part of no case.
        if (frame.opcode !== PING) this.frames.push(frame)
      }
    }
  }
}
