// A real Firefox for a test, driven by WebDriver BiDi over its own socket: headless, with a new profile, closed with the test.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { need } from './find.ts'

/** A first start on a busy machine. */
const START_MS = 60_000
const ANSWER_MS = 30_000

// It asks nobody outside for anything, and does not ask its user either.
const PREFERENCES = {
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.security.https_first': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'remote.active-protocols': 1,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.reportingpolicy.firstRun': false
}

export class Firefox {
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>()
  #asked = 0

  private constructor (socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: Buffer) => {
      const { id, type, result, error, message } = JSON.parse(data.toString())
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (type === 'error') waiting?.reject(new Error(`${error}: ${message}`))
      else waiting?.resolve(result)
    })
  }

  static async start (t: Test): Promise<Firefox> {
    const folder = folderFor(t)
    const profile = join(folder, 'profile')
    mkdirSync(profile)
    writeFileSync(join(profile, 'user.js'), Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''))
    const tool = need('firefox')
    // It writes below its home, too.
    const daemon = new Daemon({ ...tool, env: { ...tool.env, HOME: folder, MOZ_CRASHREPORTER_DISABLE: '1' } }, ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0', 'about:blank'], folder, 'TERM')
    t.teardown(async () => await daemon.stop())
    const address = (): string | undefined => /WebDriver BiDi listening on (ws:\S+)/.exec(daemon.log)?.[1]
    await daemon.until('Firefox listens', () => address() !== undefined, START_MS)
    const socket = new WebSocket(`${address()}/session`, { perMessageDeflate: false })
    t.teardown(() => socket.terminate())
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const firefox = new Firefox(socket)
    await firefox.#ask('session.new', { capabilities: {} })
    return firefox
  }

  /** Loads a page in a new tab, closed with the test. @returns evaluates an expression there; its value goes through JSON */
  async open (t: Test, url: string): Promise<(expression: string) => Promise<any>> {
    const { context } = await this.#ask('browsingContext.create', { type: 'tab' })
    t.teardown(async () => await this.#ask('browsingContext.close', { context }))
    await this.#ask('browsingContext.navigate', { context, url, wait: 'complete' })
    return async expression => {
      const { type, result, exceptionDetails } = await this.#ask('script.evaluate', {
        expression: `Promise.resolve(${expression}).then(value => JSON.stringify(value ?? null))`,
        target: { context },
        awaitPromise: true
      })
      if (type === 'exception') throw new Error(exceptionDetails.text)
      return JSON.parse(result.value)
    }
  }

  async #ask (method: string, params: object): Promise<any> {
    const id = ++this.#asked
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`Firefox does not answer ${method}`)), ANSWER_MS)
      timer.unref()
      this.#waiting.set(id, { resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }
}
