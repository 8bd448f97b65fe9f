// How long an event takes from its publisher to a hundred viewers in one room, and what that costs the server; with
// the product's defaults, and without bundling for comparison. `--quick` measures for shorter.
//
// The server is the built product, a process on one core; this process is publishers and viewers on another.

import type { ProfileName } from '../src/app/status.ts'
import { report } from './latency-report.ts'
import type { Measurement } from './latency-report.ts'
import { around, measure, times } from './measure.ts'
import type { Workload } from './measure.ts'
import { LOAD_CORE, pinned, SERVER_CORE } from './server.ts'

const VIEWERS = 100
const QUICK = process.argv.includes('--quick')
const WARM_UP_MS = QUICK ? 500 : 2000
const WINDOW_MS = QUICK ? 1200 : 8000
/** The whole run, whatever happens. */
const LIMIT_MS = 240_000

const PROFILES: readonly ProfileName[] = ['SSE', 'WEBSOCKET']
const TICK = { SSE: 'MONITOR_TICK_MS', WEBSOCKET: 'FLUSH_INTERVAL_MS' } as const

interface Compared extends Workload {
  /** Whether it is measured without bundling too. */
  readonly compared: boolean
}

const steady = times(10, () => ({ key: () => null, gapMs: around(100, 0.5) }))
let turn = 0
const WORKLOADS: readonly Compared[] = [
  // By turns a fact and a value, never closer than a tick at its floor.
  { name: 'sparse', rate: 5, compared: false, sources: [{ key: () => turn++ % 2 === 0 ? null : 'only', gapMs: around(200, 0.4) }] },
  { name: 'steady', rate: 100, compared: true, sources: steady },
  { name: 'hot keys', rate: 1000, compared: true, sources: times(50, index => ({ key: () => `key-${index}`, gapMs: around(50, 0.5) })) }
]

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
      measurements.push(await measure({
        profile,
        workload,
        // The sparse one would take a minute to warm anything up.
        warmUp: workload.rate < 100 ? steady : workload.sources,
        viewers: VIEWERS,
        warmUpMs: WARM_UP_MS,
        windowMs: WINDOW_MS,
        settings: bundled ? {} : { [TICK[profile]]: 0 },
        bundled
      }))
    }
  }
}
const faults = report(measurements, { quick: QUICK, viewers: VIEWERS, warmUpMs: WARM_UP_MS, windowMs: WINDOW_MS, pinned, tookMs: performance.now() - startedAt })
for (const fault of faults) console.error(`WRONG: ${fault}`)
process.exit(faults.length === 0 ? 0 : 1)
