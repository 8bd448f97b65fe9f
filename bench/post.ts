// A publisher's keep-alive connection on a bare socket, because `fetch` would use more CPU here than the server does.
// One request at a time.

import { connect } from 'node:net'
import type { Socket } from 'node:net'

export class Post {
  readonly #socket: Socket
  readonly #head: string
  readonly #accepted: string
  #text = ''
  #closed = false
  #answered = (_body: string): void => {}
  #failed = (_error: Error): void => {}

  private constructor (port: number, path: string, headers: Record<string, string>, accepted: string) {
    this.#accepted = `HTTP/1.1 ${accepted}`
    const lines = Object.entries({ Host: `127.0.0.1:${port}`, 'Content-Type': 'application/json', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    this.#head = `POST ${path} HTTP/1.1\r\n${lines.join('')}Content-Length: `
    this.#socket = connect(port, '127.0.0.1').setNoDelay(true).setEncoding('latin1')
    this.#socket.on('data', text => this.#take(String(text)))
    this.#socket.on('error', error => this.#failed(error))
    this.#socket.on('close', () => {
      this.#closed = true
      this.#failed(closed())
    })
  }

  /** @param accepted how the status of a successful answer begins */
  static async open (port: number, path: string, headers: Record<string, string> = {}, accepted = '2'): Promise<Post> {
    const connection = new Post(port, path, headers, accepted)
    await new Promise((resolve, reject) => connection.#socket.once('connect', resolve).once('error', reject))
    return connection
  }

  /** @returns the answer's body. @throws Error if it is not accepted */
  async send (body: string): Promise<string> {
    if (this.#closed) throw closed()
    this.#socket.write(`${this.#head}${body.length}\r\n\r\n${body}`)
    return await new Promise<string>((resolve, reject) => {
      this.#answered = resolve
      this.#failed = reject
    })
  }

  close (): void {
    this.#socket.destroy()
  }

  #take (text: string): void {
    this.#text += text
    const head = this.#text.indexOf('\r\n\r\n')
    if (head === -1) return
    const length = Number(/^content-length: (\d+)/im.exec(this.#text)?.[1] ?? 0)
    if (this.#text.length < head + 4 + length) return
    const answer = this.#text
    this.#text = ''
    if (answer.startsWith(this.#accepted)) this.#answered(answer.slice(head + 4))
    else this.#failed(new Error(`a publish was refused: ${answer.slice(0, 300)}`))
  }
}

const closed = (): Error => new Error('the server closed a publisher\'s connection')
