// A disk that is soon full: a tmpfs, which needs root on Linux.

import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from '../tools/daemon.ts'
import { folderFor } from '../tools/daemon.ts'

const run = (command: string, ...args: string[]): boolean => spawnSync(command, args, { stdio: 'ignore' }).status === 0

let known: boolean | undefined

/** Tried in a namespace of its own, where it leaves nothing. */
export const canMount = (): boolean => (known ??= process.platform === 'linux' && process.getuid?.() === 0 && run('unshare', '--mount', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', '/tmp'))

/** @returns an empty folder on it, unmounted with the test */
export function smallDisk (t: Test, megabytes: number): string {
  const folder = folderFor(t)
  if (!run('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'none', folder)) throw new Error('a tmpfs cannot be mounted')
  t.teardown(() => run('umount', '--lazy', folder))
  const data = join(folder, 'data')
  mkdirSync(data)
  return data
}
