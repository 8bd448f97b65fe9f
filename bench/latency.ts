// How long an event takes from its publisher to a hundred viewers in one room, and what that costs the server; with
// the product's defaults, and without bundling for comparison. `--quick` measures for shorter.
//
// The server is the built product, a process on one core; this process is publishers and viewers on another.

import { setTimeout as delay } from 'node:timers/promises'
import type { ProfileName } from '../src/app/status.ts'
import { coreShare, coreTimes } from './cores.ts'
import { Histogram } from './histogram.ts'
import { Ledger } from './ledger.ts'
import { publish, ROOM } from './publisher.ts'
import type { Source } from './publisher.ts'
import { report } from './latency-report.ts'
import type { Measurement } from './latency-report.ts'
import { LOAD_CORE, pinned, SERVER_CORE, startServer } from './server.ts'
import { Viewer } from './viewer.ts'

const VIEWERS = 100
const QUICK = process.argv.includes('--quick')
const WARM_UP_MS = QUICK ? 500 : 2000
const WINDOW_MS = QUICK ? 1200 : 8000
/** Longer than any tick: what is measured does not begin behind the last bundle of the warm-up. */
const QUIET_MS = 300
/** Time everything published has to arrive once publishing has ended. */
const ARRIVAL_MS = 15_000
/** The whole run, whatever happens. */
const LIMIT_MS = 240_000
/** What the metric of the event loop's lag counts as none: its timer's own period. */
const LAG_RESOLUTION_MS = 10

const PROFILES: readonly ProfileName[] = ['SSE', 'WEBSOCKET']
const TICK = { SSE: 'MONITOR_TICK_MS', WEBSOCKET: 'FLUSH_INTERVAL_MS' } as const

interface Workload {
  readonly name: string
  /** Events a second it means to publish. */
  readonly rate: number
  readonly sources: readonly Source[]
  /** Whether it is measured without bundling too. */
  readonly compared: boolean
}

/** At irregular times, so that they do not fall into step with ticks. */
const around = (ms: number, spread: number) => (): number => ms * (1 - spread + 2 * spread * Math.random())
const times = (count: number, source: (index: number) => Source): Source[] => Array.from({ length: count }, (_, index) => source(index))

const steady = times(10, () => ({ key: () => null, gapMs: around(100, 0.5) }))
let turn = 0
const WORKLOADS: readonly Workload[] = [
  // By turns a fact and a value, never closer than a tick at its floor.
  { name: 'sparse', rate: 5, compared: false, sources: [{ key: () => turn++ % 2 === 0 ? null : 'only', gapMs: around(200, 0.4) }] },
  { name: 'steady', rate: 100, compared: true, sources: steady },
  { name: 'hot keys', rate: 1000, compared: true, sources: times(50, index => ({ key: () => `key-${index}`, gapMs: around(50, 0.5) })) }
]

async function measure (profile: ProfileName, workload: Workload, bundled: boolean): Promise<Measurement> {
  const server = await startServer({ APP_PROFILE: profile, MAX_ROOM_SIZE: 0, ...(bundled ? {} : { [TICK[profile]]: 0 }) })
  try {
    const ledger = new Ledger(VIEWERS)
    const troubles: string[] = []
    const viewers = await Promise.all(Array.from({ length: VIEWERS }, async (_, index) => await Viewer.open({
      profile,
      port: server.port,
      room: ROOM,
      onBundle: (events, at) => ledger.arrived(index, events, at),
      onTrouble: what => troubles.push(what)
    })))
    const { port } = server
    // The sparse one would take a minute to warm anything up.
    await publish({ sources: workload.rate < 100 ? steady : workload.sources, port, ms: WARM_UP_MS, ledger, late: new Histogram() })

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
    await publish({ sources: workload.sources, port, ms: WINDOW_MS, ledger, late })
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

setTimeout(() => {
  console.error(`not done after ${LIMIT_MS / 1000} s`)
  process.exit(1)
}, LIMIT_MS).unref()
const startedAt = performance.now()
const measurements: Measurement[] = []
console.error(pinned ? `server on core ${SERVER_CORE}, load on core ${LOAD_CORE}` : 'no two cores, or no taskset: server and load are not kept apart')
for (const profile of PROFILES) {
  for (const workload of WORKLOADS) {
    for (const bundled of workload.compared ? [true, false] : [true]) {
      console.error(`${profile}, ${workload.name}${bundled ? '' : ', not bundled'} ...`)
      measurements.push(await measure(profile, workload, bundled))
    }
  }
}
const faults = report(measurements, { quick: QUICK, viewers: VIEWERS, warmUpMs: WARM_UP_MS, windowMs: WINDOW_MS, pinned, tookMs: performance.now() - startedAt })
for (const fault of faults) console.error(`WRONG: ${fault}`)
process.exit(faults.length === 0 ? 0 : 1)
