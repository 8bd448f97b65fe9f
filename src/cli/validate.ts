// `signalbox validate`: the bench, in a process of its own.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from './failure.ts'
import { exit } from './terminal.ts'

export async function validate (root: string, options: readonly string[]): Promise<never> {
  const bench = join(root, 'dist', 'validate.js')
  if (!existsSync(bench)) throw new Failure(`${bench} is missing: npm run build makes it, in a checkout that has the folder bench`)
  // Ctrl-C reaches both; the bench tidies up, and its exit code counts.
  process.on('SIGINT', () => {})
  const child = spawn(process.execPath, [bench, ...options], { stdio: 'inherit' })
  return await exit(await new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', code => resolve(code ?? 1))
  }))
}
