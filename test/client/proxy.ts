// A TCP proxy between a client and the gateway, for faults: it can stop passing bytes without closing anything, cut an answer
// off, answer in place of the gateway, damage what the gateway sends, or be down.

import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { freePort } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'

/** A request that passed through. */
export interface RequestRecord {
  /** As `GET /api/profile`. */
  readonly line: string
  readonly headers: string
  /** Milliseconds since 1970. */
  readonly at: number
}

interface ProxyRule {
  readonly line: RegExp
  times: number
  /** Sent in place of the gateway's answer; null: the gateway gets the request, and its answer is cut off. */
  readonly answer: string | null
}

/** A port that is listened to, and may be closed and opened again. */
export class Door {
  readonly #port: number
  readonly #enter: (socket: Socket) => void
  #server: Server | null = null

  constructor (port: number, enter: (socket: Socket) => void) {
    this.#port = port
    this.#enter = enter
  }

  async open (): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server = createServer(this.#enter).once('error', reject).listen(this.#port, '127.0.0.1', resolve)
    })
  }

  /** @param cut ends what is connected */
  async close (cut: () => void): Promise<void> {
    const server = this.#server
    this.#server = null
    await new Promise<void>(resolve => {
      if (server === null) return resolve()
      server.close(() => resolve())
      cut()
    })
  }
}

export class Proxy {
  readonly port: number
  readonly url: string
  readonly passed: RequestRecord[] = []
  readonly #to: number
  readonly #sockets = new Set<Socket>()
  readonly #near = new Set<Socket>()
  readonly #rules: ProxyRule[] = []
  readonly #garblings: Array<{ readonly text: string, readonly other: string, times: number }> = []
  readonly #door: Door
  #hangs = false

  private constructor (port: number, to: number) {
    this.port = port
    this.#door = new Door(port, socket => this.#pass(socket))
    this.#to = to
    this.url = `http://127.0.0.1:${port}`
  }

  /** @param to the port it passes everything to */
  static async start (t: Test, to: number): Promise<Proxy> {
    const proxy = new Proxy(await freePort(), to)
    await proxy.up()
    t.teardown(async () => await proxy.down())
    return proxy
  }

  async up (): Promise<void> {
    await this.#door.open()
  }

  /** Stops listening and cuts open connections. */
  async down (): Promise<void> {
    await this.#door.close(() => this.cut())
  }

  /** Ends open connections. */
  cut (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Connections stay open and new ones are accepted, but no byte passes. */
  hang (): void {
    this.#hangs = true
    for (const socket of this.#sockets) socket.pause()
  }

  /** Passes the bytes held back, and those that follow. */
  flow (): void {
    this.#hangs = false
    for (const socket of this.#sockets) socket.resume()
  }

  /** The proxy itself answers the next request whose line matches. */
  answer (line: RegExp, status: string, headers: Record<string, string>, body: unknown): void {
    const text = JSON.stringify(body)
    const head = Object.entries({ 'Content-Type': 'application/json', 'Content-Length': String(text.length), Connection: 'close', ...headers })
    this.#rules.push({ line, times: 1, answer: `HTTP/1.1 ${status}\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}` })
  }

  /** The next requests whose line matches reach the gateway, but the connection ends before its answer passes. */
  cutAnswer (line: RegExp, times: number): void {
    this.#rules.push({ line, times, answer: null })
  }

  /** Replaces a text wherever the gateway sends it. `other` must be as long: lengths go before it. */
  garble (text: string, other: string, times = Infinity): void {
    if (text.length !== other.length) throw new Error('the texts differ in length')
    this.#garblings.push({ text, other, times })
  }

  /** Sends a text to every client, as if it came from the gateway. */
  send (text: string): void {
    for (const near of this.#near) near.write(text)
  }

  #garbled (data: Buffer): Buffer {
    let out = data
    for (const garbling of this.#garblings) {
      if (garbling.times === 0 || !out.includes(garbling.text)) continue
      garbling.times--
      out = Buffer.from(out.toString('latin1').replaceAll(garbling.text, garbling.other), 'latin1')
    }
    return out
  }

  /** Answers and cuts that have not happened yet do not happen. */
  forget (): void {
    this.#rules.length = 0
  }

  #pass (near: Socket): void {
    const far = connect(this.#to, '127.0.0.1')
    let cutting = false
    this.#near.add(near)
    near.on('close', () => this.#near.delete(near))
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      this.#sockets.add(socket)
      if (this.#hangs) socket.pause()
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroySoon()
      })
    }
    near.on('data', data => {
      const rule = this.#note(data)
      if (rule !== undefined && rule.answer !== null) return near.end(rule.answer)
      cutting = rule !== undefined
      far.write(data)
    })
    far.on('data', data => {
      if (cutting) near.destroy()
      else near.write(this.#garbled(data))
    })
  }

  #note (data: Buffer): ProxyRule | undefined {
    // A request starts a packet: no client here sends one before the last was answered.
    const line = /^(?:GET|POST) \S+/.exec(data.subarray(0, 2000).toString('latin1'))?.[0]
    if (line === undefined) return
    this.passed.push({ line, headers: data.toString('latin1').split('\r\n\r\n')[0] as string, at: Date.now() })
    const rule = this.#rules.find(rule => rule.times > 0 && rule.line.test(line))
    if (rule !== undefined) rule.times--
    return rule
  }
}
