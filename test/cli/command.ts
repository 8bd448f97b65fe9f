// The command line as its users run it: a process with arguments, an environment and pipes.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { until } from '../process/harness.ts'
import { mortal } from '../tools/daemon.ts'
import type { Test } from '../tools/daemon.ts'

export const LAUNCHER = fileURLToPath(new URL('../../dist/launcher.js', import.meta.url))

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly env?: Record<string, string>
  /** What it reads, to its end. Absent: it can be written to. */
  readonly input?: string
  readonly cwd?: string
}

export class Command {
  stdout = ''
  stderr = ''
  readonly ended: Promise<Ended>
  readonly child: ChildProcess

  constructor (t: Test, command: readonly string[], { env = {}, input, cwd }: CommandOptions = {}) {
    // Of this process's environment only what the system needs.
    const { PATH, SystemRoot, TMPDIR, HOME } = process.env
    const { file, args } = mortal(command)
    this.child = spawn(file, args, { cwd: cwd ?? import.meta.dirname, env: { PATH, SystemRoot, TMPDIR, HOME, ...env }, stdio: 'pipe' })
    this.child.stdout?.setEncoding('utf8').on('data', text => { this.stdout += text })
    this.child.stderr?.setEncoding('utf8').on('data', text => { this.stderr += text })
    // It may end before it has read everything.
    this.child.stdin?.on('error', () => {})
    if (input !== undefined) this.child.stdin?.end(input)
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject).once('close', code => resolve({ code, stdout: this.stdout, stderr: this.stderr }))
    })
    t.teardown(async () => {
      this.child.kill('SIGKILL')
      await this.ended
    })
  }

  write (text: string): void {
    this.child.stdin?.write(text)
  }

  /** As Ctrl-C does. */
  async interrupt (): Promise<Ended> {
    this.child.kill('SIGINT')
    return await this.ended
  }

  /** Waits for a text on stderr. */
  async says (text: RegExp): Promise<void> {
    await until(`it says ${text}; it says ${this.stderr}`, () => text.test(this.stderr))
  }

  /** Waits for so many lines of data. */
  async prints (count: number): Promise<string[]> {
    await until(`it prints ${count} lines; it has printed ${this.lines.length}; ${this.stderr}`, () => this.lines.length >= count)
    return this.lines
  }

  get lines (): string[] {
    return this.stdout.split('\n').slice(0, -1)
  }
}

/** Starts `signalbox` with these arguments. */
export const signalbox = (t: Test, args: readonly string[], options?: CommandOptions): Command => new Command(t, [process.execPath, LAUNCHER, ...args], options)

/** Runs `signalbox` to its end. */
export const run = async (t: Test, args: readonly string[], options: CommandOptions = {}): Promise<Ended> => await signalbox(t, args, { input: '', ...options }).ended
