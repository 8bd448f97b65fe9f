import { mock } from 'node:test'
import Fastify from 'fastify'
import t from 'tap'
import demoFeed, { stepOf, Threshold, Notices } from '../src/app/demo-feed.ts'
import { parseDiskStats, parseNetDev, CounterRates, shareBusy } from '../src/app/machine.ts'
import type { Measurement } from '../src/app/machine.ts'
import type { Gateway } from '../src/core/gateway.ts'

t.test('bytes by interface are read from /proc/net/dev', async t => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0: 443637451   14224    0    0    0     0          0         0  1516089    9693    0    0    0     0       0          0
wlan0:12 1 0 0 0 0 0 0 34 1 0 0 0 0 0 0
eth0:1: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
`
  t.strictSame(parseNetDev(text), {
    lo: { receivedBytes: 3193, sentBytes: 3193 },
    eth0: { receivedBytes: 443637451, sentBytes: 1516089 },
    wlan0: { receivedBytes: 12, sentBytes: 34 },
    'eth0:1': { receivedBytes: 5, sentBytes: 6 }
  })
  t.strictSame(parseNetDev(''), {}, 'where there is no such file there are no rates')
})

t.test('bytes by whole disk are read from /proc/diskstats, neither parts nor what lies on other disks', async t => {
  const row = (name: string): string => ` 8 0 ${name} 37091 13680 100 22627 14035 78975 7 9295 0 8608 32410 5015 41 137328 375 2562 112`
  const text = ['sda', 'sda1', 'sda12', 'nvme0n1', 'nvme0n1p2', 'mmcblk0', 'mmcblk0p1', 'vda', 'loop0', 'zram0', 'dm-0', 'md0', 'xvda1'].map(row).join('\n') + '\n'
  const disks = parseDiskStats(text)
  t.strictSame(Object.keys(disks), ['sda', 'nvme0n1', 'mmcblk0', 'vda', 'xvda1'])
  t.strictSame(disks.sda, { readBytes: 51200, writtenBytes: 3584 })
  t.strictSame(parseDiskStats(''), {})
})

t.test('the share a core was busy lies between 0 and 1', async t => {
  const times = (user: number, idle: number) => ({ user, nice: 0, sys: 0, idle, irq: 0 })
  t.equal(shareBusy(times(100, 100), times(125, 175)), 0.25)
  t.equal(shareBusy(times(100, 100), times(150, 99)), 1, 'idle time that steps back makes no more than 1')
  t.equal(shareBusy(times(100, 100), times(100, 100)), null, 'no time has passed')
  t.equal(shareBusy(undefined, times(100, 100)), null, 'nothing to compare with')
})

t.test('counters become rates per second', async t => {
  const rates = new CounterRates()
  t.equal(rates.next('eth0', [100, 5], 0), null, 'one reading is no rate')
  t.strictSame(rates.next('eth0', [1100, 5], 500), [2000, 0])
  t.equal(rates.next('eth0', [3, 5], 1000), null, 'the counter began anew')
  t.strictSame(rates.next('eth0', [4, 6], 2000), [1, 1])
  rates.forget('eth0')
  t.equal(rates.next('eth0', [5, 6], 3000), null)
})

t.test('a threshold is reported after its time, and again when the value is well below', async t => {
  const threshold = new Threshold({ above: 90, below: 70, forMs: 3000 })
  t.equal(threshold.next(95, 0), null)
  t.equal(threshold.next(80, 1000), null, 'a dip begins the time anew')
  t.equal(threshold.next(95, 2000), null)
  t.equal(threshold.next(95, 4999), null)
  t.equal(threshold.next(95, 5000), 'above')
  t.equal(threshold.next(99, 6000), null, 'once is enough')
  t.equal(threshold.next(75, 7000), null, 'not yet well below')
  t.equal(threshold.next(60, 8000), 'below')
  t.equal(threshold.next(60, 9000), null)
})

t.test('a value that trembles around a step stays on it', async t => {
  t.equal(stepOf(44.9, null, 5, 1), 40)
  t.equal(stepOf(45, 40, 5, 1), 45)
  t.equal(stepOf(44.1, 45, 5, 1), 45)
  t.equal(stepOf(43.9, 45, 5, 1), 40)
  t.equal(stepOf(22, 45, 5, 1), 20)
})

t.test('notices report changes, not the state at the start', async t => {
  const notices = new Notices()
  const eth0 = { receivedPerSecond: 1, sentPerSecond: 1 }
  const figures = (memory: number, one: number, more: Measurement[] = []): Measurement[] => [
    { type: 'memory', key: 'total', data: { percent: memory } },
    { type: 'load', key: 'average', data: { one, cores: 2 } },
    ...more
  ]
  t.strictSame(notices.from(figures(41, 0.5, [{ type: 'network', key: 'eth0', data: eth0 }]), 0), [])
  t.strictSame(notices.from(figures(46, 2.5, [{ type: 'network', key: 'eth0', data: eth0 }, { type: 'network', key: 'wg0', data: {} }]), 500), [
    'memory in use rose over 45 %',
    'load rose to 2.5: more work than the 2 cores can do at once',
    'network wg0 is up'
  ])
  t.strictSame(notices.from(figures(43, 1.2, [{ type: 'network', key: 'eth0', data: null }]), 1000), [
    'memory in use fell below 45 %',
    'load is down to 1.2',
    'network eth0 is down'
  ])
  const busy = new Notices()
  t.strictSame(busy.from(figures(41, 2.5), 0), [], 'a load that was high already has not risen')
  t.strictSame(busy.from(figures(41, 1.2), 500), ['load is down to 1.2'])
})

t.test('figures are published as state of the public feed, with one warning while that fails', async t => {
  const published: Array<Record<string, unknown>> = []
  const warnings: unknown[] = []
  let refusing = true
  let attempts = 0
  const gateway = {
    notReady: null,
    publish: async (events: Array<Record<string, unknown>>) => {
      attempts++
      if (refusing) throw new Error('the store cannot be reached')
      published.push(...events)
      return []
    }
  } as unknown as Gateway
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const app = Fastify()
  app.log.warn = (details: unknown) => { warnings.push(details) }
  await app.register(demoFeed, { gateway })
  await app.ready()
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) {
      mock.timers.tick(500)
      await new Promise(resolve => setImmediate(resolve))
    }
  }
  await until(() => attempts >= 3)
  t.equal(warnings.length, 1)
  refusing = false
  await until(() => published.some(({ type }) => type === 'process') && published.some(({ key }) => key === 'core-0'))
  t.ok(published.every(({ room }) => room === undefined))
  t.ok(published.every(({ type, key }) => (key === undefined) === (type === 'notice')), 'notices are the facts')
  await app.close()
  const before = attempts
  mock.timers.tick(5000)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(attempts, before, 'a closed app publishes nothing')
})
