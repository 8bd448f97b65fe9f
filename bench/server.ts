// The built product in a process of its own, on a core of its own where there are two.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const LAUNCHER = fileURLToPath(new URL('../dist/launcher.js', import.meta.url))
const START_MS = 20_000

export const SERVER_CORE = 0
export const LOAD_CORE = 1
/** Server and load each have a core to themselves. */
export const pinned = pinLoad()

export interface Server {
  readonly port: number
  stop (): Promise<void>
}

export async function startServer (settings: Record<string, string | number>): Promise<Server> {
  if (!existsSync(LAUNCHER)) throw new Error(`${LAUNCHER} is missing: npm run build makes it`)
  // An empty folder, so that no `.env` has a say.
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-bench-'))
  const command = [process.execPath, LAUNCHER]
  if (pinned) command.unshift('taskset', '-c', String(SERVER_CORE))
  const { PATH, SystemRoot } = process.env
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: folder,
    env: { PATH, SystemRoot, PORT: '0', DATA_DIR: join(folder, 'data'), ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)])) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  child.stdout.on('data', text => { output += text })
  child.stderr.on('data', text => { output += text })
  const kill = (): void => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', kill)
  const ended = new Promise<void>((resolve, reject) => child.once('close', () => resolve()).once('error', reject))
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await ended
    process.off('exit', kill)
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }

  const deadline = Date.now() + START_MS
  for (;;) {
    const url = / on (http:[^"\s]+)/.exec(output)?.[1]
    if (url !== undefined) return { port: Number(new URL(url).port), stop }
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`the server does not listen: ${output}`)
    await delay(10)
  }
}

/** Moves all threads of this process to their core. @returns whether that was possible */
function pinLoad (): boolean {
  if (availableParallelism() < 2) return false
  try {
    execFileSync('taskset', ['-a', '-c', '-p', String(LOAD_CORE), String(process.pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
