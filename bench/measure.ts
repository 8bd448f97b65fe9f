// One measurement: the built product as a process, so many viewers in one room, one workload.

import { setTimeout as delay } from 'node:timers/promises'
import type { ProfileName } from '../src/app/status.ts'
import { coreShare, coreTimes } from './cores.ts'
import { Histogram } from './histogram.ts'
import { Ledger } from './ledger.ts'
import type { Measurement } from './latency-report.ts'
import { publish, ROOM } from './publisher.ts'
import type { Source } from './publisher.ts'
import { pinned, SERVER_CORE, startServer } from './server.ts'
import { Viewer } from './viewer.ts'

/** Longer than any tick: what is measured does not begin behind the last bundle of the warm-up. */
const QUIET_MS = 300
/** Time everything published has to arrive once publishing has ended. */
const ARRIVAL_MS = 15_000
/** What the metric of the event loop's lag counts as none: its timer's own period. */
const LAG_RESOLUTION_MS = 10
/** Viewers that connect at once. */
const CROWD = 100

export interface Workload {
  readonly name: string
  /** Events a second it means to publish. */
  readonly rate: number
  readonly sources: readonly Source[]
}

export interface Setting {
  readonly profile: ProfileName
  readonly workload: Workload
  /** What is published until the measurement begins. */
  readonly warmUp: readonly Source[]
  readonly viewers: number
  readonly warmUpMs: number
  readonly windowMs: number
  readonly settings: Record<string, string | number>
  readonly bundled: boolean
}

/** At irregular times, so that they do not fall into step with ticks. */
export const around = (ms: number, spread: number) => (): number => ms * (1 - spread + 2 * spread * Math.random())
export const times = (count: number, source: (index: number) => Source): Source[] => Array.from({ length: count }, (_, index) => source(index))

export async function measure ({ profile, workload, warmUp, viewers: count, warmUpMs, windowMs, settings, bundled }: Setting): Promise<Measurement> {
  const server = await startServer({ APP_PROFILE: profile, MAX_ROOM_SIZE: 0, ...settings })
  try {
    const ledger = new Ledger(count)
    const troubles: string[] = []
    const { port } = server
    const viewers: Viewer[] = []
    while (viewers.length < count) {
      viewers.push(...await Promise.all(Array.from({ length: Math.min(CROWD, count - viewers.length) }, async (_, at) => {
        const index = viewers.length + at
        return await Viewer.open({
          profile,
          port,
          room: ROOM,
          onBundle: (events, at) => ledger.arrived(index, events, at),
          onTrouble: what => troubles.push(what)
        })
      })))
    }
    await publish({ sources: warmUp, port, ms: warmUpMs, ledger, late: new Histogram() })

    const look = async () => ({
      metrics: await server.metrics(),
      at: performance.now(),
      load: process.cpuUsage(),
      core: pinned ? coreTimes(SERVER_CORE) : null,
      published: ledger.published,
      messages: ledger.messages,
      events: ledger.events
    })
    await delay(QUIET_MS)
    const late = new Histogram()
    const before = await look()
    ledger.openWindow()
    await publish({ sources: workload.sources, port, ms: windowMs, ledger, late })
    ledger.closeWindow()
    const after = await look()
    await arrival(ledger)
    for (const viewer of viewers) viewer.close()

    const seconds = (after.at - before.at) / 1000
    const load = process.cpuUsage(before.load)
    const core = coreShare(before.core, after.core)
    const serverCpu = (figure(after.metrics, 'process_cpu_seconds_total') - figure(before.metrics, 'process_cpu_seconds_total')) / seconds
    return {
      profile,
      workload: workload.name,
      bundled,
      seconds,
      offered: workload.rate,
      published: (after.published - before.published) / seconds,
      messages: (after.messages - before.messages) / seconds,
      events: (after.events - before.events) / seconds,
      facts: ledger.facts.summary,
      values: ledger.values.summary,
      updates: ledger.updates.summary,
      answers: ledger.answers.summary,
      late: late.summary,
      lagP99: Math.max(0, figure(after.metrics, 'nodejs_eventloop_lag_p99_seconds') * 1000 - LAG_RESOLUTION_MS),
      serverCpu,
      loadCpu: (load.user + load.system) / 1e6 / seconds,
      others: core === null ? null : Math.max(0, core.busy - serverCpu),
      stolen: core?.stolen ?? null,
      wrongs: ledger.wrongs,
      troubles
    }
  } finally {
    await server.stop()
  }
}

async function arrival (ledger: Ledger): Promise<void> {
  const deadline = performance.now() + ARRIVAL_MS
  while (!ledger.complete && performance.now() < deadline) await delay(100)
  // Whatever comes twice comes now.
  await delay(400)
}

function figure (metrics: ReadonlyMap<string, number>, name: string): number {
  const value = metrics.get(name)
  if (value === undefined || Number.isNaN(value)) throw new Error(`/metrics has no ${name}`)
  return value
}
