// Preloaded into the gateway: at SIGURG it collects its garbage, and writes to CHAOS_HEAP's file how many bytes are left.

import { renameSync, writeFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
const { CHAOS_HEAP: file } = process.env

process.on('SIGURG', () => {
  // What waited for the first to be collected goes with the second.
  collect()
  setImmediate(() => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    // Whoever waits for it finds it whole.
    writeFileSync(`${file}.new`, String(heapUsed + external))
    renameSync(`${file}.new`, file)
  })
})
