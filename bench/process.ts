// A server under measurement: a process pinned to one core, and its CPU and memory by the kernel's accounts.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { mortal } from '../test/tools/daemon.ts'
import { pinned, SERVER_CORE } from './cores.ts'

const START_MS = 20_000
/** SHUTDOWN_TIMEOUT and a margin. */
const STOP_MS = 12_000
const COLLECTIONS = 3
const SETTLE_MS = 500
/** For an answer of its event loop. */
const LAG_MS = 30_000
/** Of the kernel's accounts (USER_HZ): everywhere on Linux. */
const TICK_MS = 10

export interface Command {
  readonly command: readonly string[]
  readonly env?: Record<string, string>
  /** Its port if fixed; otherwise the port is read from its output. */
  readonly port?: number
  /** It has bench/peers/collect.js loaded. */
  readonly collects?: boolean
  /** Several processes: they may use all cores, including the load's. */
  readonly spreads?: boolean
  /** Made in its folder before it starts. */
  readonly prepare?: (folder: string) => void
}

/** Of an event loop: how much later than it was due a timer ran. */
export interface Lag {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export class ServerProcess {
  readonly port: number
  readonly #child: ChildProcess
  readonly #folder: string
  readonly #ended: Promise<void>

  readonly #collects: boolean

  private constructor (child: ChildProcess, folder: string, port: number, ended: Promise<void>, collects: boolean) {
    this.#collects = collects
    this.#child = child
    this.#folder = folder
    this.port = port
    this.#ended = ended
  }

  static async start ({ command, env = {}, port, prepare, collects = false, spreads = false }: Command): Promise<ServerProcess> {
    // An empty folder: no `.env` applies.
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-bench-'))
    prepare?.(folder)
    const { PATH, SystemRoot } = process.env
    // A run that is killed takes its servers along; nginx ends its workers only where it is asked to end.
    const { file, args } = mortal(pinned ? ['taskset', '-c', spreads ? `0-${availableParallelism() - 1}` : String(SERVER_CORE), ...command] : command, 'TERM')
    const child = spawn(file, args, { cwd: folder, env: { PATH, SystemRoot, DATA_DIR: join(folder, 'data'), ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { output += text })
    const die = (): void => {
      child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    }
    process.once('exit', die)
    const ended = new Promise<void>(resolve => child.once('close', () => {
      process.off('exit', die)
      resolve()
    }).once('error', error => { output += error.message }))
    const deadline = Date.now() + START_MS
    for (;;) {
      const told = / on http:\/\/[^:]+:(\d+)/.exec(output)?.[1]
      if (told !== undefined || (port !== undefined && await answers(port))) {
        // Later output is discarded.
        for (const stream of [child.stdout, child.stderr]) stream.removeAllListeners('data').resume()
        return new ServerProcess(child, folder, port ?? Number(told), ended, collects)
      }
      if (child.exitCode !== null || Date.now() > deadline) {
        die()
        throw new Error(`the server does not listen: ${output.trim().split('\n').slice(-5).join('\n')}`)
      }
      await delay(10)
    }
  }

  get pid (): number {
    return this.#child.pid as number
  }

  /** CPU used so far by it and its children, all threads, ms. */
  get cpuMs (): number {
    return this.#family.reduce((sum, pid) => {
      const fields = statOf(pid)
      return sum + (Number(fields[11]) + Number(fields[12])) * TICK_MS
    }, 0)
  }

  /** Resident memory of it and its children, bytes. */
  get rss (): number {
    return this.#family.reduce((sum, pid) => sum + Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024, 0)
  }

  /**
   * How late its event loop was since this was asked last, by the histogram of `node:perf_hooks`; begins to measure.
   * @returns null the first time, and for servers that do not run on Node
   */
  async lag (): Promise<Lag | null> {
    if (!this.#collects) return null
    const file = join(this.#folder, 'lag.json')
    rmSync(file, { force: true })
    this.#child.kill('SIGURG')
    const deadline = Date.now() + LAG_MS
    while (!existsSync(file)) {
      if (Date.now() > deadline) throw new Error('the server does not say how late its event loop was')
      await delay(10)
    }
    return JSON.parse(readFileSync(file, 'utf8')) as Lag | null
  }

  /** Makes a server in Node collect garbage; does nothing for others. */
  collect (): void {
    if (this.#collects) this.#child.kill('SIGWINCH')
  }

  /** Memory that is freed late, such as promises in closures, goes with the second and third collection. @returns resident memory after these, bytes */
  async settled (): Promise<number> {
    for (let round = 0; round < COLLECTIONS; round++) {
      this.collect()
      await delay(SETTLE_MS)
    }
    return this.rss
  }

  async stop (): Promise<void> {
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS)
    await this.#ended
    clearTimeout(timer)
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }

  get #family (): number[] {
    const children = read(`/proc/${this.pid}/task/${this.pid}/children`).split(' ').filter(text => text !== '').map(Number)
    return [this.pid, ...children]
  }
}

/** The fields of /proc/<pid>/stat from the third on: the second may hold anything. */
function statOf (pid: number): string[] {
  const text = read(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function read (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

async function answers (port: number): Promise<boolean> {
  try {
    await fetch(`http://127.0.0.1:${port}/`, { method: 'HEAD', headers: { connection: 'close' } })
    return true
  } catch {
    return false
  }
}

export const onLinux = process.platform === 'linux'
