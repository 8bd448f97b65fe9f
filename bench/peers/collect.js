// Preloaded into servers in Node. A signal makes them collect their garbage, so that what is left is what they need. Another
// one writes how late their event loop was since that signal came last; nothing is measured before its first time.

import { renameSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGWINCH', () => collect())

/** A hundred wake-ups a second cost nothing to speak of. */
const RESOLUTION_MS = 10
const NS_PER_MS = 1e6
let delays = null
process.on('SIGURG', () => {
  delays ??= monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  // It counts the whole time from one timer to the next.
  const late = ns => Math.max(0, ns / NS_PER_MS - RESOLUTION_MS)
  const lag = delays.count === 0 ? null : { p50Ms: late(delays.percentile(50)), p99Ms: late(delays.percentile(99)), maxMs: late(delays.max) }
  delays.reset()
  delays.enable()
  // Whoever waits for it finds it whole.
  writeFileSync('lag.json.new', JSON.stringify(lag))
  renameSync('lag.json.new', 'lag.json')
})
