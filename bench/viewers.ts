// How many viewers one worker or several can serve: a page of gauges (20 keys, 100 updates a second), one room, the
// product's defaults. The number of viewers grows until the targets are missed: p95 150 ms, where every update counts until
// it or a newer one arrives, and event-loop lag 30 ms. With REDIS_URL in the environment the store is that Redis, otherwise
// embedded. With WORKERS as well that many workers share all cores with the load.
//
// With `--held 50000` that many viewers are held instead, to whom hardly anything is sent: held.ts. `--profiles SSE` measures one alone.
//
// Otherwise server and load have a core each. The load's CPU is printed, because beyond some point the load is measured.

import { parseArgs } from 'node:util'
import type { ProfileName } from '../profiles/index.ts'
import { held } from './held.ts'
import { around, measure, times } from './measure.ts'
import { pinned } from './cores.ts'
import { percent } from './format.ts'

const STEPS = [250, 500, 1000, 2000, 3000, 4000]
const TARGET_P95_MS = 150
const TARGET_LAG_MS = 30
const LIMIT_MS = 300_000

const PROFILES: readonly ProfileName[] = ['SSE', 'WEBSOCKET']
const gauges = times(20, index => ({ key: () => `gauge-${index}`, gapMs: around(200, 0.5) }))
const { REDIS_URL, WORKERS = '1' } = process.env
const store = REDIS_URL === undefined ? 'embedded, fsync' : 'Redis'

const { values: options } = parseArgs({ options: { held: { type: 'string' }, profiles: { type: 'string' } } })
const profiles = PROFILES.filter(profile => options.profiles?.split(',').includes(profile) ?? true)
if (options.held !== undefined) {
  if (!(Number(options.held) >= 1)) throw new Error('--held takes a number of viewers')
  await held(Number(options.held), profiles)
  process.exit(0)
}

setTimeout(() => {
  console.error(`not done after ${LIMIT_MS / 1000} s`)
  process.exit(1)
}, LIMIT_MS).unref()
if (!pinned) console.error('fewer than two cores, or no taskset: server and load share cores')
console.log(`store: ${store}; workers: ${WORKERS}\n`)
console.log('| profile | viewers | p50 ms | p95 ms | lag p99 ms | server CPU | load CPU | wrong |\n|---|--:|--:|--:|--:|--:|--:|--:|')
for (const profile of profiles) {
  for (const viewers of STEPS) {
    const { latency, lagP99Ms, serverCpu, loadCpu, wrongs, troubles } = await measure({
      profile,
      workload: { name: 'gauges', rate: 100, sources: gauges },
      warmUp: gauges,
      viewers,
      warmUpMs: 2000,
      windowMs: 5000,
      settings: REDIS_URL === undefined ? {} : { REDIS_URL, WORKERS, REDIS_PREFIX: `bench-${process.pid}-${profile}-${viewers}:` },
      coalesced: true
    })
    if (latency === null || lagP99Ms === null || serverCpu === null) throw new Error('nothing arrived')
    const wrong = Object.values(wrongs).reduce((sum, count) => sum + Number(count), 0) + troubles.length
    console.log(`| ${[profile, viewers, latency.p50.toFixed(0), latency.p95.toFixed(0), lagP99Ms.toFixed(1), percent(serverCpu), percent(loadCpu), wrong].join(' | ')} |`)
    if (latency.p95 > TARGET_P95_MS || lagP99Ms > TARGET_LAG_MS) break
  }
}
process.exit(0)
