// A real nginx for a test: on loopback, in a new folder, stopped and removed with the test.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { freePort } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { need } from './find.ts'

const ATTEMPTS = 5

export interface NginxOptions {
  /** Default: a free one. */
  readonly port?: number
  /** The content of the block `http`. Paths of files are relative to nginx's folder. */
  readonly http: (port: number) => string
  /** Files of its folder, by relative path. */
  readonly files?: Readonly<Record<string, string>>
}

export class Nginx {
  readonly port: number
  readonly url: string
  readonly folder: string
  #daemon: Daemon | null = null

  private constructor (folder: string, port: number) {
    this.folder = folder
    this.port = port
    this.url = `http://127.0.0.1:${port}`
  }

  /** Starts one and waits until it listens. */
  static async start (t: Test, { port, http, files = {} }: NginxOptions): Promise<Nginx> {
    const folder = folderFor(t)
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    for (let attempt = 1; ; attempt++) {
      const nginx = new Nginx(folder, port ?? await freePort())
      nginx.#configure(http(nginx.port))
      t.teardown(async () => await nginx.stop())
      try {
        await nginx.#launch()
        return nginx
      } catch (error) {
        // Another process may take the port before it does.
        if (port !== undefined || attempt === ATTEMPTS || !/in use/i.test(nginx.log)) throw error
      }
    }
  }

  get pid (): number {
    return this.#daemon?.pid ?? -1
  }

  /** Its error log, from notices up. */
  get log (): string {
    return this.#daemon?.log ?? ''
  }

  get accessLog (): string {
    return readFileSync(join(this.folder, 'access.log'), 'utf8')
  }

  /**
   * Makes it read its configuration again; its old workers keep the connections they have.
   * @throws Error with its log if the configuration is not valid
   */
  async reload (http?: string): Promise<void> {
    if (http !== undefined) this.#configure(http)
    const before = this.log.length
    this.#daemon?.signal('SIGHUP')
    const said = (pattern: RegExp): boolean => pattern.test(this.log.slice(before))
    await this.#daemon?.until('nginx has new workers and the old ones take no more', () => said(/\[emerg\]/) || (said(/start worker process \d/) && said(/gracefully shutting down/)))
    if (said(/\[emerg\]/)) throw new Error(this.log.slice(before))
  }

  /** At once: open connections are cut. */
  async stop (): Promise<void> {
    await this.#daemon?.stop()
  }

  async #launch (): Promise<void> {
    // Its workers would outlive it if it were killed.
    const daemon = new Daemon(need('nginx'), ['-p', this.folder, '-c', 'nginx.conf', '-e', 'stderr'], this.folder, 'TERM')
    this.#daemon = daemon
    await daemon.until(`nginx listens on port ${this.port}`, async () => await new Promise<boolean>(resolve => {
      const socket = connect(this.port, '127.0.0.1').on('connect', () => { resolve(true) }).on('error', () => { resolve(false) })
      socket.on('connect', () => socket.destroy())
    }))
  }

  #configure (http: string): void {
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${name}_temp;`).join('\n  ')
    writeFileSync(join(this.folder, 'nginx.conf'), `
daemon off;
pid nginx.pid;
error_log stderr notice;
worker_processes 1;
${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 1024; }
http {
  access_log access.log;
  ${paths}
  ${http}
}
`)
  }
}
