// A real HAProxy for a test: on loopback, in a new folder, stopped and removed with the test.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, request } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { need } from './find.ts'

export class HAProxy {
  readonly url: string

  private constructor (url: string) {
    this.url = url
  }

  /** @param backends sections of its configuration, beside a frontend that only shows figures */
  static async start (t: Test, backends: string): Promise<HAProxy> {
    const port = await freePort()
    return new HAProxy(await HAProxy.forward(t, port, `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 10s
frontend figures
  bind 127.0.0.1:${port}
  stats enable
  stats uri /
${backends}
`))
  }

  /** @param configuration with a frontend on the port. @returns its address */
  static async forward (t: Test, port: number, configuration: string): Promise<string> {
    const folder = folderFor(t)
    writeFileSync(join(folder, 'haproxy.cfg'), configuration)
    const daemon = new Daemon(need('haproxy'), ['-db', '-f', 'haproxy.cfg'], folder)
    t.teardown(async () => await daemon.stop())
    const url = `http://127.0.0.1:${port}`
    await daemon.until('HAProxy listens', async () => await request(url).then(() => true, () => false))
    return url
  }

  /** By backend, the last check of its server: `status` (UP, DOWN), `check_status` (L7OK, L7STS), `check_code`. */
  async checks (): Promise<Record<string, Record<string, string>>> {
    const [names = '', ...lines] = (await request(`${this.url}/;csv`)).text.replace(/^# /, '').trim().split('\n')
    const rows = lines.map(line => Object.fromEntries(line.split(',').map((value, at) => [names.split(',')[at], value])))
    // A star says that the next check is on its way.
    return Object.fromEntries(rows.filter(({ check_status: status = '' }) => status !== '').map(row => [row.pxname as string, { ...row, check_status: (row.check_status as string).replace('* ', '') }]))
  }
}
