// Certificates for loopback, of an authority created for one test.

import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { folderFor } from './daemon.ts'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** A certificate, by default for 127.0.0.1 and localhost, and the authority that signed it. Needs `openssl`. */
export async function certificatesFor (t: Test, names = 'IP:127.0.0.1, DNS:localhost'): Promise<Certificates> {
  const tool = need('openssl')
  const folder = folderFor(t)
  const openssl = async (...args: string[]): Promise<unknown> => await promisify(execFile)(tool.bin, args, { cwd: folder, env: childEnv(tool), timeout: 10_000 })
  // An extracted openssl has no configuration where it looks for one.
  writeFileSync(join(folder, 'openssl.cnf'), `[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
[server]
basicConstraints = critical, CA:false
subjectAltName = ${names}
`)
  const pem = (name: string): string => join(folder, `${name}.pem`)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-config', 'openssl.cnf']
  await openssl('req', '-x509', ...key, '-extensions', 'authority', '-days', '2', '-subj', '/CN=signalbox test authority', '-keyout', pem('ca-key'), '-out', pem('ca'))
  await openssl('req', ...key, '-subj', '/CN=127.0.0.1', '-keyout', pem('key'), '-out', pem('request'))
  await openssl('x509', '-req', '-in', pem('request'), '-CA', pem('ca'), '-CAkey', pem('ca-key'), '-CAcreateserial', '-extfile', 'openssl.cnf', '-extensions', 'server', '-days', '2', '-out', pem('cert'))
  return { ca: pem('ca'), cert: pem('cert'), key: pem('key') }
}
