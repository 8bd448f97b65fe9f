// A real Caddy for a test: on loopback, in a new folder, stopped and removed with the test.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { request } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { need } from './find.ts'

/** @param caddyfile with a site on the port. @returns its address */
export async function startCaddy (t: Test, port: number, caddyfile: string): Promise<string> {
  const folder = folderFor(t)
  // No certificates, and no port for its administration.
  writeFileSync(join(folder, 'Caddyfile'), `{\n\tadmin off\n\tauto_https off\n}\n${caddyfile}`)
  const tool = need('caddy')
  const daemon = new Daemon({ ...tool, env: { ...tool.env, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder } }, ['run', '--config', 'Caddyfile', '--adapter', 'caddyfile'], folder)
  t.teardown(async () => await daemon.stop())
  const url = `http://127.0.0.1:${port}`
  await daemon.until('Caddy listens', async () => await request(url).then(() => true, () => false))
  return url
}
