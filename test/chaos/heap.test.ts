// A soak's judgement of the heap: by readings made by hand, and by a gateway that runs.

import t from 'tap'
import { Stage } from '../process/harness.ts'
import { growthOf, HeapGauge } from './heap.ts'
import type { HeapReading } from './heap.ts'

const HOUR_MS = 3_600_000

/** Two hours of readings, five a minute; every third is higher by what a round has just published. */
const readings = (mbPerHour: number): HeapReading[] => Array.from({ length: 600 }, (_, index) => {
  const at = 1000 + index / 600 * 2 * HOUR_MS
  const hours = (at - 1000) / HOUR_MS
  // It finds its size in the first half hour.
  return { at, bytes: (50 + 10 * Math.min(1, hours * 2) + mbPerHour * hours + (index % 3 === 0 ? 30 * Math.abs(Math.sin(index)) : 0)) * 1e6 }
})

t.test('a heap that finds its size is within the limit, whatever rounds leave for a while; one that grows steadily is not', async t => {
  for (const [mbPerHour, isWithin] of [[0, true], [0.9, true], [1.1, false], [20, false]] as const) {
    const growth = growthOf(readings(mbPerHour))
    t.equal(growth.isWithin, isWithin, growth.text)
    t.match(growth.text, ` ${mbPerHour.toFixed(2)} MB an hour`)
  }
  t.throws(() => growthOf([]), /never read/)
  const [only] = readings(0)
  t.equal(growthOf([only as HeapReading]).isWithin, false, 'one reading shows nothing')
})

t.test('a gateway is asked what it holds after garbage collection', { skip: process.platform === 'win32' ? 'signals' : false }, async t => {
  const stage = new Stage(t)
  const gauge = new HeapGauge(t)
  const server = await stage.launch(gauge.plant({ DATA_DIR: ':memory:' }))
  for (let n = 0; n < 2; n++) {
    const { bytes } = await gauge.read(server.pid)
    t.ok(bytes > 10e6 && bytes < 200e6, `${bytes} bytes`)
  }
  t.equal(gauge.readings.length, 2)
})
