// Publishers as a gateway meets them: each a keep-alive HTTP connection of its own with a value or a fact to tell
// every so often, one request at a time. When a request is due does not depend on how fast the last was answered,
// unless the server falls behind the whole load.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Histogram } from './histogram.ts'
import type { Ledger } from './ledger.ts'

export interface Source {
  /** The key of its next event; null for a fact. */
  readonly key: () => string | null
  /** Time to its next event, ms. */
  readonly gapMs: () => number
}

export const ROOM = 'bench'
/** Size of an event as it is published. */
const EVENT_BYTES = 150

/** Lets the sources publish for so long. @param late how much after its time each request started */
export async function publish (options: { sources: readonly Source[], port: number, ms: number, ledger: Ledger, late: Histogram }): Promise<void> {
  const until = performance.now() + options.ms
  await Promise.all(options.sources.map(async source => await publishFrom(source, until, options)))
}

async function publishFrom (source: Source, until: number, { port, ledger, late }: { port: number, ledger: Ledger, late: Histogram }): Promise<void> {
  const connection = await HttpConnection.open(port)
  for (let due = performance.now() + Math.random() * source.gapMs(); due < until; due += source.gapMs()) {
    const wait = due - performance.now()
    if (wait > 0) await delay(wait)
    const startedAt = performance.now()
    if (startedAt >= until) break
    late.record(startedAt - due)
    const key = source.key()
    const n = ledger.start(key)
    const [id] = await connection.publish(eventText(key, n))
    ledger.acknowledged(n, id as string)
  }
  connection.close()
}

function eventText (key: string | null, n: number): string {
  const event = { type: 'metric', room: ROOM, ...(key === null ? {} : { key }), data: { n, padding: '' } }
  event.data.padding = 'x'.repeat(Math.max(0, EVENT_BYTES - JSON.stringify(event).length))
  return JSON.stringify(event)
}

class HttpConnection {
  readonly #socket: Socket
  readonly #host: string
  #answer = ''
  #answered = (_body: string): void => {}
  #failed = (_error: Error): void => {}

  private constructor (port: number) {
    this.#host = `127.0.0.1:${port}`
    this.#socket = connect(port, '127.0.0.1').setNoDelay(true).setEncoding('latin1')
    this.#socket.on('data', text => this.#take(String(text)))
    this.#socket.on('error', error => this.#failed(error))
    this.#socket.on('close', () => this.#failed(new Error('the server closed a publisher\'s connection')))
  }

  static async open (port: number): Promise<HttpConnection> {
    const connection = new HttpConnection(port)
    await new Promise((resolve, reject) => connection.#socket.once('connect', resolve).once('error', reject))
    return connection
  }

  /** @returns the ids. @throws Error where it is not accepted */
  async publish (body: string): Promise<string[]> {
    this.#socket.write(`POST /api/events HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    const answer = await new Promise<string>((resolve, reject) => {
      this.#answered = resolve
      this.#failed = reject
    })
    return (JSON.parse(answer) as { ids: string[] }).ids
  }

  close (): void {
    this.#socket.destroy()
  }

  #take (text: string): void {
    this.#answer += text
    const head = this.#answer.indexOf('\r\n\r\n')
    if (head === -1) return
    const length = Number(/^content-length: (\d+)/im.exec(this.#answer)?.[1])
    if (this.#answer.length < head + 4 + length) return
    const answer = this.#answer
    this.#answer = ''
    if (answer.startsWith('HTTP/1.1 202 ')) this.#answered(answer.slice(head + 4))
    else this.#failed(new Error(`a publish was refused: ${answer}`))
  }
}
