// A real Prometheus for a test, with the rules of deploy/: on loopback, in a new folder, stopped and removed with the test.

import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, request } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

export const RULES = fileURLToPath(new URL('../../deploy/prometheus/alerts.yml', import.meta.url))

export interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: number
}

export class Prometheus {
  readonly url: string

  private constructor (url: string) {
    this.url = url
  }

  /** @param targets `host:port` of gateways, scraped as the job signalbox each second */
  static async start (t: Test, targets: readonly string[]): Promise<Prometheus> {
    const folder = folderFor(t)
    const port = await freePort()
    writeFileSync(join(folder, 'prometheus.yml'), `
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [${JSON.stringify(RULES)}]
scrape_configs:
  - job_name: signalbox
    static_configs: [{ targets: ${JSON.stringify(targets)} }]
`)
    const args = ['--config.file=prometheus.yml', '--storage.tsdb.path=data', '--storage.tsdb.retention.time=1h', `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn']
    const daemon = new Daemon(need('prometheus'), args, folder)
    t.teardown(async () => await daemon.stop())
    const url = `http://127.0.0.1:${port}`
    await daemon.until('Prometheus is ready', async () => await request(`${url}/-/ready`).then(({ status }) => status === 200, () => false))
    return new Prometheus(url)
  }

  /** @throws Error with what Prometheus says of an expression that is wrong */
  async query (expression: string): Promise<Sample[]> {
    const { status, data, error } = JSON.parse((await request(`${this.url}/api/v1/query?query=${encodeURIComponent(expression)}`)).text)
    if (status !== 'success') throw new Error(`${expression}: ${error}`)
    return data.result.map(({ metric, value }: { metric: Record<string, string>, value: [number, string] }) => ({ metric, value: Number(value[1]) }))
  }
}

/** @returns what promtool says, and its exit code */
export async function promtool (args: readonly string[], input = ''): Promise<{ code: number, said: string }> {
  const { promtool } = need('prometheus')
  return await new Promise(resolve => {
    const child = execFile(promtool.bin, args, { env: childEnv(promtool), timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), said: stdout + stderr }))
    child.stdin?.end(input)
  })
}
