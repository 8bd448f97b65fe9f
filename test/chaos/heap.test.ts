// A soak's judgement of the heap: by readings made by hand, and by a gateway that runs.

import t from 'tap'
import { Stage } from '../process/harness.ts'
import { growthOf, HeapGauge } from './heap.ts'
import type { HeapReading } from './heap.ts'

const HOUR_MS = 3_600_000

/** Two hours of readings, one every ten minutes. */
const readings = (mbPerHour: number): HeapReading[] => Array.from({ length: 13 }, (_, index) => {
  const hours = index / 6
  // It finds its size in the first half hour.
  return { at: 1000 + hours * HOUR_MS, bytes: (50 + 10 * Math.min(1, hours * 2) + mbPerHour * hours) * 1e6 }
})

t.test('a heap that finds its size is within the limit, and one that grows steadily is not', async t => {
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
  t.ok(gauge.isDue)
  const { bytes } = await gauge.read(server.pid, 0)
  t.ok(bytes > 10e6 && bytes < 200e6, `${bytes} bytes`)
  t.equal(gauge.readings.length, 1)
  t.notOk(gauge.isDue, 'not before a quarter of an hour has gone by')
})
