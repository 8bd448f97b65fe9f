// One measurement: viewers in one room, one workload, for a given time.

import { setTimeout as delay } from 'node:timers/promises'
import type { ProfileName } from '../profiles/index.ts'
import { coreShare, coreTimes, pinned, SERVER_CORE } from './cores.ts'
import { Histogram } from './histogram.ts'
import type { Summary } from './histogram.ts'
import { Ledger } from './ledger.ts'
import type { Wrongs } from './ledger.ts'
import { quantile } from './metrics.ts'
import { localDoor, publish } from './publisher.ts'
import type { Door, Source } from './publisher.ts'
import type { ServerProcess } from './process.ts'
import { startServer } from './server.ts'
import { Viewer } from './viewer.ts'
import { Watch } from './watch.ts'
import type { Inside, Observed } from './watch.ts'

/** Longer than any tick: the last bundle of the warm-up is sent before the measurement begins. */
const QUIET_MS = 300
/** Time for published events to arrive after publishing has ended. */
const ARRIVAL_MS = 15_000
/** Readings of the server's figures in a window, and the shortest time between two. */
const READINGS = 8
const READING_MS = 700
/** Viewers that connect at once. */
const CROWD = 100
/** Points of a distribution that are drawn. */
const CURVE = [0, 0.01, 0.02, ...Array.from({ length: 18 }, (_, step) => 0.05 * (step + 1)), 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999, 1]

export interface Workload {
  readonly name: string
  /** Intended events per second. */
  readonly rate: number
  readonly sources: readonly Source[]
}

export interface Duration {
  readonly warmUpMs: number
  readonly windowMs: number
}

export interface Setting extends Duration {
  readonly profile: ProfileName
  readonly workload: Workload
  /** Published until the measurement begins. */
  readonly warmUp: readonly Source[]
  readonly viewers: number
  readonly settings: Record<string, string | number>
  readonly coalesced: boolean
  /** One that runs already and goes on; default: a new one, which ends with the measurement. */
  readonly server?: ServerProcess
}

export interface Measurement {
  readonly profile: ProfileName
  readonly workload: string
  readonly coalesced: boolean
  readonly viewers: number
  readonly seconds: number
  /** Per second: events intended; published; events, messages and bytes received by all viewers together. */
  readonly offered: number
  readonly published: number
  readonly events: number
  readonly messages: number
  /** Of the whole stream including framing; for a deployed server its own count. */
  readonly bytes: number | null
  /** ms; see `Ledger`. */
  readonly latency: Summary | null
  readonly delivered: Summary | null
  /** The distribution of `latency`: [ms, share up to it]. */
  readonly curve: ReadonlyArray<readonly [number, number]>
  /** p95 of `delivered`, reckoned from the buckets that `inside` counts in, ms. */
  readonly bucketedP95Ms: number | null
  /** How late requests were started, ms. */
  readonly late: Summary | null
  /** Null if the server's figures are not available. */
  readonly serverCpu: number | null
  readonly lagP99Ms: number | null
  readonly backlogSeconds: number | null
  readonly inside: Inside | null
  /** Share of its core that the load used. */
  readonly loadCpu: number
  /** Shares of the server's core used by other processes, and taken by the host; null if the system does not report it. */
  readonly others: number | null
  readonly stolen: number | null
  /** Share of all cores of this machine in use by anybody, where the server's is not known; null if it is, or the system does not report it. */
  readonly crowd: number | null
  readonly wrongs: Wrongs
  /** Connections lost, resets and complaints. */
  readonly troubles: readonly string[]
}

/** Irregular times, which do not fall into step with ticks. */
export const around = (ms: number, spread: number) => (): number => ms * (1 - spread + 2 * spread * Math.random())
export const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index))

/** The built product as it is measured. */
export const serverFor = async ({ profile, settings }: Pick<Setting, 'profile' | 'settings'>): Promise<ServerProcess> =>
  await startServer({ APP_PROFILE: profile, MAX_ROOM_SIZE: 0, ...settings })

let measured = 0

/** Measures the built product in a separate process. */
export async function measure ({ profile, workload, warmUp, viewers: count, settings, coalesced, server: running, ...duration }: Setting): Promise<Measurement> {
  const server = running ?? await serverFor({ profile, settings })
  const { port } = server
  // Nothing of a measurement before.
  const room = `bench-${++measured}`
  const viewers: Viewer[] = []
  try {
    const ledger = new Ledger(count)
    const troubles: string[] = []
    while (viewers.length < count) {
      viewers.push(...await Promise.all(times(Math.min(CROWD, count - viewers.length), async at => {
        const index = viewers.length + at
        return await Viewer.open({
          profile,
          port,
          room,
          onBytes: bytes => { ledger.bytes += bytes },
          onBundle (events, at) {
            ledger.messages++
            ledger.arrived(index, events, at)
          },
          onTrouble: what => troubles.push(what)
        })
      })))
    }
    const open = async (): Promise<Door> => await localDoor(port)
    await publish({ sources: warmUp, room, open, ms: duration.warmUpMs, ledger, late: new Histogram() })
    return await measureWindow({ profile, workload, viewers: count, coalesced, ...duration, ledger, troubles, room, open, metrics: `http://127.0.0.1:${port}/metrics`, core: pinned ? SERVER_CORE : null })
  } finally {
    for (const viewer of viewers) viewer.close()
    if (running === undefined) await server.stop()
  }
}

export interface Scene extends Duration {
  readonly profile: ProfileName
  readonly workload: Workload
  readonly viewers: number
  readonly coalesced: boolean
  /** Of viewers that are connected. */
  readonly ledger: Ledger
  readonly troubles: readonly string[]
  readonly room: string
  readonly open: () => Promise<Door>
  /** URL of the server's metrics; null: there are none. */
  readonly metrics: string | null
  /** The core reserved for the server; null if it shares one. */
  readonly core: number | null
}

/** Publishes through a window, and waits until everything has arrived. */
export async function measureWindow ({ profile, workload, viewers, coalesced, windowMs, ledger, troubles, room, open, metrics, core }: Scene): Promise<Measurement> {
  const look = (): Look => ({
    at: performance.now(),
    load: process.cpuUsage(),
    core: coreTimes(core),
    published: ledger.published,
    events: ledger.events,
    messages: ledger.messages,
    bytes: ledger.bytes
  })
  await delay(QUIET_MS)
  const late = new Histogram()
  const watch = metrics === null ? null : await Watch.start(metrics, Math.max(READING_MS, windowMs / READINGS))
  const before = look()
  ledger.openWindow()
  let observed: Observed | null
  try {
    await publish({ sources: workload.sources, room, open, ms: windowMs, ledger, late })
    ledger.closeWindow()
    observed = await watch?.stop() ?? null
  } finally {
    watch?.cancel()
  }
  const after = look()
  await arrival(ledger)

  const seconds = (after.at - before.at) / 1000
  const load = (after.load.user + after.load.system - before.load.user - before.load.system) / 1e6
  const share = coreShare(before.core, after.core)
  const rate = (what: 'published' | 'events' | 'messages' | 'bytes'): number => (after[what] - before[what]) / seconds
  const { latency, delivered } = ledger
  const { inside = null } = observed ?? {}
  return {
    profile,
    workload: workload.name,
    coalesced,
    viewers,
    seconds,
    offered: workload.rate,
    published: rate('published'),
    events: rate('events'),
    messages: rate('messages'),
    bytes: ledger.bytes > 0 ? rate('bytes') : inside === null ? null : inside.bytes / seconds,
    latency: latency.summary,
    delivered: delivered.summary,
    curve: CURVE.map(share => [latency.percentile(share) ?? 0, share] as const),
    bucketedP95Ms: inside === null ? null : quantile(0.95, [...inside.boundsMs.map(bound => [bound, delivered.upTo(bound)] as const), [Infinity, delivered.count]]),
    late: late.summary,
    serverCpu: observed?.serverCpu ?? null,
    lagP99Ms: observed?.lagP99Ms ?? null,
    backlogSeconds: observed?.backlogSeconds ?? null,
    inside,
    loadCpu: load / seconds,
    others: core === null || share === null || observed === null ? null : Math.max(0, share.busy - observed.serverCpu),
    stolen: share?.stolen ?? null,
    crowd: core === null ? share?.busy ?? null : null,
    wrongs: ledger.wrongs,
    troubles
  }
}

interface Look {
  readonly at: number
  readonly load: NodeJS.CpuUsage
  readonly core: ReturnType<typeof coreTimes>
  readonly published: number
  readonly events: number
  readonly messages: number
  readonly bytes: number
}

async function arrival (ledger: Ledger): Promise<void> {
  const deadline = performance.now() + ARRIVAL_MS
  while (!ledger.complete && performance.now() < deadline) await delay(100)
  // Repeated events would arrive now.
  await delay(400)
}
