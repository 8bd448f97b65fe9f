// A real Redis for a test: on loopback, in a new folder, stopped and removed with the test.

import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { freePort } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

export { skipWithout } from './find.ts'

const ATTEMPTS = 5

export interface RedisOptions {
  /** Default: a free one. */
  readonly port?: number
  /** More of the command line, as `--maxmemory 10mb`; wins over the defaults. */
  readonly args?: readonly string[]
  /** Password of the default user. */
  readonly password?: string
  /** Lines of an ACL file. */
  readonly acl?: readonly string[]
  /** Paths of PEM files; then it speaks nothing but TLS. */
  readonly tls?: { readonly ca: string, readonly cert: string, readonly key: string }
  readonly replicaOf?: RedisServer
  /** Makes it a sentinel, with these lines of configuration. */
  readonly sentinel?: readonly string[]
}

export class RedisServer {
  readonly port: number
  readonly url: string
  /** Its data; kept over `restart`. */
  readonly folder: string
  readonly #options: RedisOptions
  #daemon: Daemon | null = null

  private constructor (folder: string, port: number, options: RedisOptions) {
    this.folder = folder
    this.port = port
    this.#options = options
    const { password, tls } = options
    this.url = `${tls === undefined ? 'redis' : 'rediss'}://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`
    if (options.acl !== undefined) writeFileSync(join(folder, 'users.acl'), options.acl.join('\n'))
    if (options.sentinel !== undefined) writeFileSync(join(folder, 'sentinel.conf'), options.sentinel.join('\n'))
  }

  /** Starts one and waits until it answers. */
  static async start (t: Test, options: RedisOptions = {}): Promise<RedisServer> {
    const folder = folderFor(t)
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(folder, options.port ?? await freePort(), options)
      t.teardown(async () => await server.kill9())
      try {
        await server.#launch()
        return server
      } catch (error) {
        // Another process may take the port before it does.
        if (options.port !== undefined || attempt === ATTEMPTS || !/in use/i.test(server.log)) throw error
      }
    }
  }

  get pid (): number {
    return this.#daemon?.pid ?? -1
  }

  get running (): boolean {
    return this.#daemon?.running ?? false
  }

  /** Its output since its last start. */
  get log (): string {
    return this.#daemon?.log ?? ''
  }

  /** As an operator stops it: it closes connections and syncs its log. */
  async stop (): Promise<void> {
    await this.#daemon?.stop()
  }

  async kill9 (): Promise<void> {
    await this.#daemon?.stop('SIGKILL')
  }

  /** Starts it again on the same port and data, after stopping it if it runs. */
  async restart (): Promise<void> {
    await this.stop()
    await this.#launch()
  }

  /** Connections stay open and the system accepts bytes, but nothing is answered. */
  freeze (): void {
    this.#daemon?.signal('SIGSTOP')
  }

  thaw (): void {
    this.#daemon?.signal('SIGCONT')
  }

  /** The first line of its answer to PING, over a new connection. @throws Error if there is none in time */
  async ping (ms = 1000): Promise<string> {
    const { tls } = this.#options
    const to = { host: '127.0.0.1', port: this.port }
    const socket = tls === undefined ? connect(to) : connectTls({ ...to, ca: readFileSync(tls.ca), servername: 'localhost' })
    try {
      return await new Promise<string>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no answer to PING within ${ms} ms`)), ms)
        let answer = ''
        socket.setEncoding('utf8').on('data', text => {
          answer += text
          if (answer.includes('\r\n')) resolve(answer.slice(0, answer.indexOf('\r\n')))
        }).on('error', reject).on('close', () => {
          clearTimeout(timer)
          reject(new Error('closed before an answer to PING'))
        })
        socket.write('PING\r\n')
      })
    } finally {
      socket.destroy()
    }
  }

  /** `redis-cli` as the default user: what it prints, errors of the server included. */
  async cli (...args: string[]): Promise<string> {
    const { cli } = need('redis')
    const { password, tls } = this.#options
    const { stdout } = await promisify(execFile)(cli.bin, ['-h', '127.0.0.1', '-p', String(this.port), ...(tls === undefined ? [] : ['--tls', '--cacert', tls.ca]), ...args], {
      env: childEnv(cli, password === undefined ? {} : { REDISCLI_AUTH: password }),
      timeout: 10_000
    })
    return stdout.trimEnd()
  }

  async #launch (): Promise<void> {
    const daemon = new Daemon(need('redis'), this.#args(), this.folder)
    this.#daemon = daemon
    // An answer that asks for a password also shows that it is up.
    await daemon.until(`redis-server answers on port ${this.port}`, async () => /^(\+PONG|-NOAUTH)/.test(await this.ping().catch(() => '')))
  }

  #args (): string[] {
    const { args = [], password, acl, tls, replicaOf, sentinel } = this.#options
    const own = ['--port', tls === undefined ? this.port : 0, '--bind', '127.0.0.1', '--dir', this.folder]
    const secure = tls === undefined ? [] : ['--tls-port', this.port, '--tls-ca-cert-file', tls.ca, '--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-auth-clients', 'no']
    if (sentinel !== undefined) return ['sentinel.conf', '--sentinel', ...own, ...secure, ...args].map(String)
    return [
      ...own, '--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec',
      // The default makes a replica wait five seconds for others to join.
      '--repl-diskless-sync-delay', 0,
      ...(password === undefined ? [] : ['--requirepass', password]),
      ...(acl === undefined ? [] : ['--aclfile', join(this.folder, 'users.acl')]),
      ...secure,
      ...(replicaOf === undefined ? [] : ['--replicaof', '127.0.0.1', replicaOf.port]),
      ...args
    ].map(String)
  }
}
