// Clients of any server here, thousands in one process that must use little CPU: they search the bytes for the marks that
// published events carry and ignore the rest. The clients of all servers cost the same this way.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { frameHead, getRequest, maskedFrame, PING, PONG, TEXT, upgradeHeaders } from '../../test/wire/codec.ts'
import { marksIn } from './mark.ts'
import type { Mark } from './mark.ts'

/** How a client gets its stream from a server. */
export interface Opening {
  readonly path: string
  readonly webSocket: boolean
  /** The text message by which a WebSocket client asks for events; none where it gets them anyway. */
  readonly ask?: string
  readonly headers?: Record<string, string>
  /** Part of the server's message after which the client gets everything published. */
  readonly ready: string
}

export interface AudienceOptions {
  readonly port: number
  readonly opening: Opening
  readonly count: number
  readonly onMarks?: (viewer: number, marks: readonly Mark[], at: number) => void
  /** They connect spread over this time, ms, whether or not the server keeps up; default: in groups, as the server accepts them. */
  readonly withinMs?: number
  /** The address that each comes from; default: the system's choice. */
  readonly localAddress?: (viewer: number) => string
  /** Of `begin`: one that is not accepted tries again after this time, ms; default: it is lost. */
  readonly retryMs?: number
  /** They read nothing once they are connected. */
  readonly deaf?: boolean
  /** Opening fails after this time, ms. */
  readonly patienceMs?: number
}

/** Clients that connect at once. */
const CROWD = 200
const READ_BYTES = 262_144

export class Audience {
  readonly #viewers: Viewer[] = []
  /** Events received by all together, and bytes. */
  delivered = 0
  bytes = 0
  /** Connections that the server ended. */
  lost = 0
  /** Connections that were not accepted, and tried again. */
  retried = 0
  readonly options: AudienceOptions
  #closed = false
  /** All sockets read into it: each read is examined before the next one. */
  readonly buffer = Buffer.allocUnsafeSlow(READ_BYTES)

  private constructor (options: AudienceOptions) {
    this.options = options
  }

  /** Resolves when all of them will get what is published. */
  static async open (options: AudienceOptions): Promise<Audience> {
    const audience = new Audience(options)
    await audience.more(options.count)
    return audience
  }

  /** Begins to connect them. */
  static begin (options: AudienceOptions & { readonly withinMs: number }): Audience {
    const audience = new Audience(options)
    const { count, withinMs } = options
    const startedAt = performance.now()
    const timer = setInterval(() => {
      const due = Math.min(count, Math.ceil((performance.now() - startedAt) / withinMs * count))
      while (audience.size < due) audience.#begin(audience.size)
      if (due === count) clearInterval(timer)
    }, 5)
    return audience
  }

  #begin (index: number): void {
    const viewer = this.#viewers[index] = new Viewer(this, index)
    const { retryMs } = this.options
    viewer.ready.catch(() => {
      if (this.#closed) return
      if (retryMs === undefined) {
        this.lost++
        return
      }
      this.retried++
      setTimeout(() => { if (!this.#closed) this.#begin(index) }, retryMs)
    })
  }

  async more (count: number): Promise<void> {
    const until = this.#viewers.length + count
    const one = async (): Promise<void> => {
      while (this.#viewers.length < until) {
        const viewer = new Viewer(this, this.#viewers.length)
        this.#viewers.push(viewer)
        await viewer.ready
      }
    }
    const patience = new AbortController()
    const { patienceMs = 60_000 } = this.options
    const late = delay(patienceMs, null, { signal: patience.signal }).then(() => { throw new Error(`not all of ${until} clients were accepted within ${patienceMs / 1000} s`) })
    late.catch(() => {})
    await Promise.race([Promise.all(Array.from({ length: Math.min(CROWD, count) }, one)), late])
    patience.abort()
  }

  get size (): number {
    return this.#viewers.length
  }

  /** The first so many read and say nothing any more, and their connections stay open. */
  silence (count: number): void {
    for (const viewer of this.#viewers.slice(0, count)) viewer.silence()
  }

  close (): void {
    this.#closed = true
    for (const viewer of this.#viewers) viewer.close()
  }

  took (viewer: number, marks: readonly Mark[], bytes: number): void {
    this.delivered += marks.length
    this.bytes += bytes
    if (marks.length > 0) this.options.onMarks?.(viewer, marks, performance.now())
  }
}

const NOTHING = Buffer.alloc(0)

class Viewer {
  readonly ready: Promise<void>
  readonly #audience: Audience
  readonly #index: number
  readonly #socket: Socket
  /** Received text until it was ready; null from then on. */
  #said: string | null = ''
  #open = false
  #asked = false
  #closing = false
  /** The end of what was read that may be the beginning of a mark, or of a frame's head. */
  #rest: Buffer = NOTHING
  #head: Buffer = NOTHING
  /** Bytes of the present frame still to come. */
  #inFrame = 0
  #becameReady = (): void => {}

  constructor (audience: Audience, index: number) {
    this.#audience = audience
    this.#index = index
    const { port, opening, localAddress } = audience.options
    this.ready = new Promise<void>((resolve, reject) => {
      this.#becameReady = resolve
      // Only the first call of resolve or reject counts.
      setImmediate(() => this.#socket.once('close', () => reject(new Error(`a client was not accepted: ${this.#said ?? ''}`))))
    })
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      ...(localAddress === undefined ? {} : { localAddress: localAddress(index) }),
      noDelay: true,
      onread: {
        buffer: audience.buffer,
        callback: (length, buffer) => {
          this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, length))
          return true
        }
      }
    })
    this.#socket.on('error', () => {}).on('close', () => { if (!this.#closing && this.#said === null) audience.lost++ })
    this.#socket.write(getRequest(opening.path, { Host: `127.0.0.1:${port}`, ...(opening.webSocket ? upgradeHeaders() : { Accept: 'text/event-stream' }), ...opening.headers }))
  }

  silence (): void {
    this.#socket.pause()
  }

  close (): void {
    this.#closing = true
    this.#socket.destroy()
  }

  #take (bytes: Buffer): void {
    let stream = bytes
    if (!this.#open) {
      const end = bytes.indexOf('\r\n\r\n')
      if (end === -1) return
      this.#open = true
      stream = bytes.subarray(end + 4)
      if (this.#said !== null) this.#said = `${bytes.toString('latin1', 0, end)}\n`
      const { opening } = this.#audience.options
      if (opening.webSocket && opening.ask !== undefined && !this.#asked) {
        this.#asked = true
        this.#socket.write(maskedFrame(TEXT, Buffer.from(opening.ask)))
      }
    }
    if (this.#audience.options.opening.webSocket) this.#answerPings(stream)
    if (this.#said !== null) {
      this.#said += stream.toString('latin1')
      if (this.#said.includes(this.#audience.options.opening.ready)) {
        this.#said = null
        this.#becameReady()
        if (this.#audience.options.deaf === true) this.#socket.pause()
      }
    }
    const all = this.#rest.length === 0 ? stream : Buffer.concat([this.#rest, stream])
    const { marks, used } = marksIn(all)
    this.#rest = used === all.length ? NOTHING : Buffer.from(all.subarray(used))
    this.#audience.took(this.#index, marks, bytes.length)
  }

  /** Skips frames by their heads (RFC 6455, 5.2). */
  #answerPings (stream: Buffer): void {
    const bytes = this.#head.length === 0 ? stream : Buffer.concat([this.#head, stream])
    this.#head = NOTHING
    for (let at = 0; ;) {
      const skipped = Math.min(this.#inFrame, bytes.length - at)
      this.#inFrame -= skipped
      at += skipped
      if (at === bytes.length) return
      const head = frameHead(bytes, at)
      if (head === null || (head.opcode === PING && head.end > bytes.length)) {
        this.#head = Buffer.from(bytes.subarray(at))
        return
      }
      if (head.opcode === PING) this.#socket.write(maskedFrame(PONG, bytes.subarray(head.start, head.end)))
      this.#inFrame = head.end - head.start
      at = head.start
    }
  }
}
