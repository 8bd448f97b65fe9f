// A server beside a test: a child process, its output, and its end.

import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { childEnv } from './find.ts'
import type { Tool } from './find.ts'

const STOP_MS = 30_000

export interface Test {
  teardown (close: () => unknown): void
}

const daemons = new Set<Daemon>()
const folders = new Set<string>()
process.on('exit', () => {
  for (const daemon of daemons) daemon.signal('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

let prefix: readonly string[] | undefined

/**
 * The command, extended so that it does not outlive this process, however this ends. Where the system cannot do that (it needs
 * Linux's setpriv), the command as it is.
 * @param signal sent to it when this process dies
 */
export function mortal (command: readonly string[], signal = 'KILL'): { file: string, args: string[] } {
  prefix ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0 ? ['setpriv', '--pdeathsig'] : []
  const [file, ...args] = prefix.length === 0 ? command : [...prefix, signal, ...command]
  return { file: file as string, args }
}

/** An empty folder, gone after the test. */
export function folderFor (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-tools-'))
  folders.add(folder)
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    folders.delete(folder)
  })
  return folder
}

export class Daemon {
  readonly pid: number
  /** Its standard output and error so far. */
  log = ''
  readonly ended: Promise<void>
  readonly #child: ChildProcess

  /** @param dying the signal it gets when this process dies */
  constructor (tool: Tool, args: readonly string[], cwd: string, dying?: string) {
    const command = mortal([tool.bin, ...args], dying)
    this.#child = spawn(command.file, command.args, { cwd, env: childEnv(tool), stdio: ['ignore', 'pipe', 'pipe'] })
    this.pid = this.#child.pid ?? -1
    daemons.add(this)
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.setEncoding('utf8').on('data', text => { this.log += text })
    this.ended = new Promise(resolve => {
      const end = (): void => {
        daemons.delete(this)
        resolve()
      }
      this.#child.once('error', error => {
        this.log += error.message
        end()
      }).once('close', end)
    })
  }

  get running (): boolean {
    return daemons.has(this)
  }

  signal (name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name)
  }

  /** Waits until `done`. @throws Error with its log if it ends before, or takes too long */
  async until (what: string, done: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
    const deadline = Date.now() + ms
    while (!await done()) {
      if (!this.running || Date.now() > deadline) throw new Error(`${this.running ? `not within ${ms} ms` : 'it ended before'}: ${what}\n${this.log}`)
      await delay(20)
    }
  }

  /** Ends it, by force if it does not end in time. */
  async stop (name: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    // A stopped process handles no signal but SIGKILL until it continues.
    this.signal('SIGCONT')
    this.signal(name)
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_MS)
    await this.ended
    clearTimeout(timer)
  }
}
