// A program that opens and closes gateways, as tests and hot reloading do, keeps none of them.

import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { createSignalbox } from '../../src/plugin/server.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

async function heapMegabytes (): Promise<number> {
  for (let n = 0; n < 3; n++) {
    // What closes itself does so in turns of its own.
    await delay(50)
    gc()
  }
  return process.memoryUsage().heapUsed / 1e6
}

async function openAndClose (): Promise<void> {
  const box = await createSignalbox({ dataDir: ':memory:', profile: 'SSE', logLevel: 'silent' })
  for (let batch = 0; batch < 10; batch++) await box.publish(Array.from({ length: 200 }, (_, n) => ({ type: 'cpu', room: 'a', key: `k${batch}-${n}`, data: 'x'.repeat(10_000) })))
  await box.close()
}

t.test('the memory of a gateway goes with it: 20 MB of values, three times', async t => {
  await openAndClose()
  const before = await heapMegabytes()
  for (let n = 0; n < 3; n++) await openAndClose()
  const grown = await heapMegabytes() - before
  t.ok(grown < 20, `${grown.toFixed(1)} MB more`)
})
