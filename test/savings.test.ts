// What bundling saves, and the figures of several workers as those of one.

import t from 'tap'
import { GroupMetrics } from '../src/app/group-metrics.ts'
import type { ProcessMetrics } from '../src/app/group-metrics.ts'
import { Savings } from '../src/app/savings.ts'

t.test('messages saved are a share of those there would have been; CPU is what they would have cost', t => {
  const savings = new Savings()
  t.same(savings.recent, { messages: null, cpu: null })
  savings.sample({ owed: 0, bundles: 0, served: 0, servingMs: 0, cpuMs: 100 })
  t.same(savings.recent, { messages: null, cpu: null }, 'nothing was owed')
  savings.sample({ owed: 1000, bundles: 200, served: 250, servingMs: 25, cpuMs: 220 })
  // 800 saved at 0.1 ms each, beside the 120 ms that were used.
  t.same(savings.recent, { messages: 0.8, cpu: 0.4 })
  t.equal(savings.cpuSeconds, 0.08)
  t.end()
})

t.test('only the last ten samples count, and snapshots make no saving negative', t => {
  const savings = new Savings()
  savings.sample({ owed: 0, bundles: 0, served: 0, servingMs: 0, cpuMs: 0 })
  savings.sample({ owed: 1000, bundles: 100, served: 100, servingMs: 10, cpuMs: 10 })
  const { cpuSeconds } = savings
  for (let n = 0; n < 11; n++) savings.sample({ owed: 1010, bundles: 600, served: 600, servingMs: 60, cpuMs: 60 })
  t.same(savings.recent, { messages: null, cpu: null })
  savings.sample({ owed: 1020, bundles: 700, served: 700, servingMs: 70, cpuMs: 70 })
  t.same(savings.recent, { messages: 0, cpu: 0 })
  t.equal(savings.cpuSeconds, cpuSeconds, 'a counter never falls')
  t.end()
})

t.test('pending events are not counted as saved again and again', t => {
  const savings = new Savings()
  let owed = 0
  savings.sample({ owed, bundles: 0, served: 0, servingMs: 0, cpuMs: 0 })
  for (let n = 0; n < 100; n++) {
    savings.sample({ owed: owed += 10, bundles: owed - 10, served: owed - 10, servingMs: owed, cpuMs: owed })
    savings.sample({ owed, bundles: owed, served: owed, servingMs: owed, cpuMs: owed })
  }
  t.ok(savings.cpuSeconds < 0.02, `${savings.cpuSeconds} s for nothing saved`)
  t.end()
})

t.test('histograms of several workers are summed by bucket, and stay when a worker is gone', async t => {
  const name = 'signalbox_delivery_seconds'
  const figures = (fast: number, all: number, sum: number): ProcessMetrics => [{
    name,
    help: 'x',
    type: 'histogram',
    aggregator: 'sum',
    values: [
      { metricName: `${name}_bucket`, labels: { le: 0.15 }, value: fast },
      { metricName: `${name}_bucket`, labels: { le: '+Inf' }, value: all },
      { metricName: `${name}_sum`, labels: {}, value: sum },
      { metricName: `${name}_count`, labels: {}, value: all }
    ]
  }] as unknown as ProcessMetrics
  const group = new GroupMetrics<string>()
  const text = await group.describe(new Map([['a', figures(3, 4, 0.5)], ['b', figures(10, 20, 4)]]))
  t.match(text, new RegExp(`^# TYPE ${name} histogram$`, 'm'))
  const lines = (text: string): string[] => text.split('\n').filter(line => line.startsWith(name))
  const summed = [`${name}_bucket{le="0.15"} 13`, `${name}_bucket{le="+Inf"} 24`, `${name}_sum 4.5`, `${name}_count 24`]
  t.same(lines(text), summed)
  group.delete('b')
  t.same(lines(await group.describe(new Map([['a', figures(3, 4, 0.5)]]))).sort(), [...summed].sort())
})
