// A real Apache for a test: on loopback, in a new folder, stopped and removed with the test.

import { existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { freePort, request } from '../process/harness.ts'
import { Daemon, folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { need } from './find.ts'

const MODULES = ['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'proxy_wstunnel', 'rewrite', 'headers']

/** @param lines of its configuration. @returns its address */
export async function startApache (t: Test, lines: string, port?: number): Promise<string> {
  const folder = folderFor(t)
  port ??= await freePort()
  const tool = need('apache')
  // Debian's, extracted or not; elsewhere beside the server.
  const modules = [join(dirname(tool.bin), '../lib/apache2/modules'), '/usr/lib/apache2/modules', '/usr/libexec/apache2', join(dirname(tool.bin), '../lib/httpd/modules')].find(place => existsSync(place)) ?? ''
  writeFileSync(join(folder, 'httpd.conf'), `
ServerName 127.0.0.1
ServerRoot "${folder}"
Listen 127.0.0.1:${port}
PidFile httpd.pid
DefaultRuntimeDir "${folder}"
ErrorLog error.log
${process.getuid?.() === 0 ? 'User nobody\nGroup nogroup' : ''}
${MODULES.map(name => join(modules, `mod_${name}.so`)).filter(file => existsSync(file)).map(file => `LoadModule ${/mod_(\w+)\.so/.exec(file)?.[1]}_module "${file}"`).join('\n')}
${lines}
`)
  const daemon = new Daemon(tool, ['-d', folder, '-f', join(folder, 'httpd.conf'), '-D', 'FOREGROUND'], folder, 'TERM')
  t.teardown(async () => await daemon.stop())
  const url = `http://127.0.0.1:${port}`
  await daemon.until('Apache listens', async () => await request(url).then(() => true, () => false))
  return url
}
