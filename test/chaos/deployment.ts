// The product as it is run, with a supervisor's patience: processes that a fault ends are started again.

import { readFileSync, readdirSync } from 'node:fs'
import { request, Stage, until } from '../process/harness.ts'
import type { Env, Launched, LogLine } from '../process/harness.ts'
import type { RedisServer } from '../tools/redis.ts'
import { authHeaders } from './auth.ts'
import type { Auth } from './auth.ts'
import type { Profile } from './history.ts'

export class Deployment {
  readonly port: number
  readonly workers: number
  readonly redis: RedisServer | null
  readonly env: Env
  profile: Profile
  /** What the runner asks with. */
  auth: Auth | undefined
  server: Launched
  /** What was logged by processes that have ended. */
  readonly #past: LogLine[] = []
  readonly #stage: Stage

  private constructor (stage: Stage, env: Env, profile: Profile, redis: RedisServer | null, server: Launched) {
    this.#stage = stage
    this.env = env
    this.profile = profile
    this.redis = redis
    this.server = server
    this.port = server.port
    this.workers = Number(env.WORKERS ?? 1)
  }

  static async start (stage: Stage, env: Env, profile: Profile, redis: RedisServer | null): Promise<Deployment> {
    const server = await stage.launch({ ...env, APP_PROFILE: profile })
    const deployment = new Deployment(stage, env, profile, redis, server)
    await deployment.#allListen()
    return deployment
  }

  get url (): string {
    return this.server.url
  }

  get historyTtlMs (): number {
    return Number(this.env.HISTORY_TTL ?? 300) * 1000
  }

  get folder (): string {
    return String(this.env.DATA_DIR)
  }

  /** Ends it and does not wait for clients to be told. */
  async kill9 (): Promise<void> {
    await this.stop('SIGKILL')
  }

  /** @returns its exit code, null if the signal itself ended it */
  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const { server } = this
    const code = await server.stop(signal)
    this.#past.push(...server.log())
    return code
  }

  /** Starts it after it has ended. */
  async start (more: Env = {}): Promise<void> {
    this.server = await this.#stage.launch({ ...this.env, APP_PROFILE: this.profile, ...more })
    await this.#allListen()
  }

  /** The present worker of each number; with one process only, that. */
  get pids (): number[] {
    if (this.workers === 1) return [this.server.pid]
    const pids = new Map<number, number>()
    for (const { msg } of this.server.log()) {
      const [, number, pid] = /^worker (\d+) \(pid (\d+)\) listens/.exec(msg) ?? []
      if (number !== undefined) pids.set(Number(number), Number(pid))
    }
    return [...pids.values()].filter(isRunning)
  }

  async ready (ms?: number): Promise<void> {
    await until('the gateway is ready', async () => (await request(`${this.url}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(() => ({ status: 0 }))).status === 200, ms)
  }

  /** Everything it has logged that is an error, in all of its lives. */
  get errors (): LogLine[] {
    return [...this.#past, ...this.server.log()].filter(({ level }) => level >= 50)
  }

  /** The counters of all processes together; null if they do not come. */
  async metrics (): Promise<Record<string, number> | null> {
    try {
      const { text } = await request(`${this.url}/metrics`, { headers: await authHeaders(this.auth), signal: AbortSignal.timeout(10_000) })
      const values: Record<string, number> = {}
      for (const [, name, value] of text.matchAll(/^(signalbox_\w+)(?:\{[^}]*\})? (\S+)$/gm)) {
        if (!/_bucket$/.test(name as string)) values[name as string] = (values[name as string] ?? 0) + Number(value)
      }
      return values
    } catch {
      return null
    }
  }

  async #allListen (): Promise<void> {
    await until('all workers listen', () => this.pids.length === this.workers)
  }
}

export function isRunning (pid: number): boolean {
  try {
    process.kill(pid, 0)
    // Of an orphan that has ended nothing is left but its number, until it is collected.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Resident memory and open files of a process; null where it is gone. */
export function usageOf (pid: number): { rssBytes: number, fds: number } | null {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? null : { rssBytes: Number(kib) * 1024, fds: readdirSync(`/proc/${pid}/fd`).length }
  } catch {
    return null
  }
}
