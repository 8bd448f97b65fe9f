// All rounds of a run: a deployment for some of them in a row, a proxy where the fault needs one, and what came of each.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, Stage } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { RedisServer } from '../tools/redis.ts'
import type { Test } from '../tools/daemon.ts'
import { Crews } from './crews.ts'
import { Deployment } from './deployment.ts'
import type { Fault, MakeFault } from './fault.ts'
import type { HeapGauge } from './heap.ts'
import { readHistory } from './history.ts'
import type { Profile, Run } from './history.ts'
import { Random } from './random.ts'
import { playRound } from './round.ts'
import type { RoundOptions } from './round.ts'
import { smallDisk } from './small-disk.ts'
import { Toxic } from './toxic.ts'
import { describe, judge, tableOf } from './verdict.ts'
import type { Verdict } from './verdict.ts'

export type RunProfile = Profile | 'both'

export interface RunOptions {
  readonly faults: readonly MakeFault[]
  readonly rounds: number
  /** Instead of so many rounds as many as begin within this time, all with one deployment, whose heap is read now and then. */
  readonly soak?: { readonly minutes: number, readonly heap: HeapGauge }
  readonly seed: number
  readonly profile: RunProfile
  readonly store?: 'embedded' | 'redis'
  readonly workers: number
  readonly clients: number
  readonly seconds: number
  readonly processes: number
  /** Seconds in which clients are back, and publishing goes on; 0 or absent: no limit. */
  readonly backWithin?: number
  readonly keep?: string
  /** Changes the gateway's environment: a planted bug. */
  readonly plant?: (env: Env) => Env
}

export interface RoundResult extends Pick<Verdict, 'counts'> {
  readonly fault: string
  readonly seed: number
  readonly profile: Profile
  readonly store: 'embedded' | 'redis'
  readonly evidence: string | null
  readonly failures: readonly string[]
  /** Names of the rules that were broken. */
  readonly broken: readonly string[]
  /** Of a soak: what the gateway held after the round, where that was read. */
  readonly heapBytes?: number
}

/** A deployment goes on for so many rounds: with what earlier ones have left. */
const ROUNDS_EACH = 5

const SMALL_DISK_MB = 64

/** So long `explain` knows sessions that have ended (src/core/departures.ts). */
const DEPARTED_MS = 300_000

/** Clients come back soon, and what is dead is noticed soon. */
const SETTINGS: Env = { MAX_ROOM_SIZE: 0, CONTROL_RATE_LIMIT: 0, RECONNECT_JITTER: 1, PING_INTERVAL: 2, PING_TIMEOUT: 2, SHUTDOWN_TIMEOUT: 10, LOG_LEVEL: 'info' }

export async function run (t: Test, options: RunOptions, report: (line: string) => void, onRound: (results: readonly RoundResult[]) => void = () => {}): Promise<RoundResult[]> {
  const crews = new Crews(options.processes)
  t.teardown(() => crews.close())
  const results: RoundResult[] = []
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim()
  report(`seed ${options.seed}, commit ${commit}`)
  const { soak } = options
  const endsAt = performance.now() + (soak?.minutes ?? Infinity) * 60_000
  for (const make of options.faults) {
    let rig: OpenRig | null = null
    for (let index = 0; soak === undefined ? index < options.rounds : performance.now() < endsAt; index++) {
      const seed = options.seed + index
      const fault = make()
      const profile = options.profile === 'both' ? (['SSE', 'WEBSOCKET'] as const)[(soak === undefined ? seed : options.seed) % 2] as Profile : options.profile
      if (rig !== null && soak === undefined && (rig.rounds >= ROUNDS_EACH || fault.needs.fresh === true || rig.deployment.profile !== profile)) {
        await rig.close()
        rig = null
      }
      rig ??= await OpenRig.open(fault, profile, options)
      const folder = options.keep === undefined ? mkdtempSync(join(tmpdir(), 'signalbox-chaos-')) : join(options.keep, `${fault.name}-${seed}`)
      mkdirSync(folder, { recursive: true })
      const judged = await playAndJudge(rig, fault, seed, folder, crews, options, commit)
      const { server, historyTtlMs } = rig.deployment
      const result = soak?.heap.isDue === true ? { ...judged, heapBytes: (await soak.heap.read(server.pid, Math.max(historyTtlMs, DEPARTED_MS))).bytes } : judged
      results.push(result)
      report(lineOf(result))
      onRound(results)
      for (const failure of result.failures) report(`  ${failure}`)
      if (result.failures.length > 0) {
        report(`  repeat it: ${commandOf(result, options)}; its history: ${folder}`)
        if (soak === undefined) {
          await rig.close()
          rig = null
        }
      } else if (options.keep === undefined) rmSync(folder, { recursive: true })
    }
    await rig?.close()
  }
  return results
}

async function playAndJudge (rig: OpenRig, fault: Fault, seed: number, folder: string, crews: Crews, options: RunOptions, commit: string): Promise<RoundResult> {
  const { deployment } = rig
  const { profile } = deployment
  const store = deployment.redis === null ? 'embedded' : 'redis'
  const round: RoundOptions = {
    number: rig.rounds++,
    random: new Random(seed),
    fault,
    deployment,
    proxy: rig.proxy,
    redisProxy: rig.redisProxy,
    crews,
    clients: options.clients,
    seconds: options.seconds,
    folder,
    run: { seed, profile, store, workers: deployment.workers, commit, expect: { reconnects: fault.needs.reconnects ?? 'some' }, history: { size: Number(deployment.env.HISTORY_SIZE ?? 100_000), ttlMs: deployment.historyTtlMs }, limits: limitsOf(options) }
  }
  const { files, evidence, troubles } = await playRound(round)
  const verdict = judge(readHistory(...files))
  return {
    fault: fault.name,
    seed,
    profile,
    store,
    evidence,
    counts: verdict.counts,
    broken: verdict.findings.map(({ rule }) => rule.name),
    failures: [...troubles, ...(verdict.verdict === 'pass' ? [] : describe(verdict, files).split('\n'))]
  }
}

const limitsOf = ({ backWithin = 0 }: RunOptions): NonNullable<Run['limits']> => backWithin === 0 ? {} : { backMs: backWithin * 1000, publishAgainMs: backWithin * 1000 }

/** A deployment and what stands around it. */
class OpenRig {
  readonly deployment: Deployment
  readonly proxy: Toxic | null
  readonly redisProxy: Toxic | null
  rounds = 0
  readonly #closers: Array<() => unknown>

  private constructor (deployment: Deployment, proxy: Toxic | null, redisProxy: Toxic | null, closers: Array<() => unknown>) {
    this.deployment = deployment
    this.proxy = proxy
    this.redisProxy = redisProxy
    this.#closers = closers
  }

  static async open ({ needs }: Fault, profile: Profile, options: RunOptions): Promise<OpenRig> {
    const closers: Array<() => unknown> = []
    const t = { teardown: (close: () => unknown) => { closers.push(close) } }
    const stage = new Stage(t)
    const store = needs.store ?? options.store ?? 'embedded'
    const redis = store === 'redis' ? await RedisServer.start(t) : null
    const port = await freePort()
    const proxy = needs.proxy === true ? await Toxic.start(t, port) : null
    const redisProxy = needs.redisProxy === true && redis !== null ? await Toxic.start(t, redis.port) : null
    const data: Env = redis === null
      ? { DATA_DIR: needs.smallDisk === true ? smallDisk(t, SMALL_DISK_MB) : stage.folder() }
      : { REDIS_URL: `redis://127.0.0.1:${redisProxy?.port ?? redis.port}`, WORKERS: Math.max(options.workers, needs.workers ?? 1) }
    const env = { ...SETTINGS, PORT: port, ...data, ...needs.env }
    return new OpenRig(await Deployment.start(stage, options.plant?.(env) ?? env, profile, redis), proxy, redisProxy, closers)
  }

  async close (): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close()
  }
}

const lineOf = ({ fault, seed, profile, store, evidence, counts, failures, heapBytes }: RoundResult): string =>
  `${failures.length === 0 ? 'ok    ' : 'FAILED'} ${fault} seed ${seed} ${profile} ${store}: ${tableOf({ counts })}; ${evidence ?? 'no evidence'}${heapBytes === undefined ? '' : `; heap ${(heapBytes / 1e6).toFixed(1)} MB`}`

const commandOf = ({ fault, seed, profile, store }: RoundResult, { clients, seconds, workers, processes }: RunOptions): string =>
  `npm run chaos -- --fault ${fault} --rounds 1 --seed ${seed} --profile ${profile} --store ${store} --workers ${workers} --clients ${clients} --seconds ${seconds} --processes ${processes}`
