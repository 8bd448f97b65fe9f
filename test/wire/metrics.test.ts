// /metrics as a Prometheus sees it: over both profiles and both stores the same series, there from the start.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { CODES } from '../../src/core/errors.ts'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function start (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer(options)
  t.teardown(async () => await server.close())
  return server
}

/** By series, as written, its value. */
async function scrape ({ url }: Server): Promise<Map<string, number>> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

const ofGateway = (series: Map<string, number>): string[] => [...series.keys()].filter(name => name.startsWith('signalbox_') && !name.startsWith('signalbox_info')).sort()

const refuse = async (url: string): Promise<unknown> => await (await fetch(`${url}/api/events`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })).json()

t.test('only signalbox_info names the profile: a rollback renames nothing', async t => {
  const [sse, socket] = await Promise.all(PROFILES.map(async profile => await scrape(await start(t, { profile })))) as [Map<string, number>, Map<string, number>]
  t.same(ofGateway(sse), ofGateway(socket))
  for (const [profile, series] of [['SSE', sse], ['WEBSOCKET', socket]] as const) {
    t.match([...series.keys()].filter(name => name.includes('profile=')), [new RegExp(`^signalbox_info\\{version="\\d+\\.\\d+\\.\\d+",profile="${profile}",store="memory"\\}$`)])
  }
})

t.test('refusals, resets and bounds are there before the first of them: rate() misses none', async t => {
  const server = await start(t, { profile: 'SSE' })
  const before = await scrape(server)
  for (const code of CODES) t.equal(before.get(`signalbox_refusals_total{code="${code}"}`), 0, code)
  t.equal(before.get('signalbox_resets_total{reason="trimmed"}'), 0)
  t.equal(before.get('signalbox_shed_total{reason="clients"}'), 0)
  t.match(await refuse(server.url), { code: 'BAD_EVENT' })
  t.equal((await scrape(server)).get('signalbox_refusals_total{code="BAD_EVENT"}'), 1)
})

t.test('limits stand beside what they limit, and how far back history reaches', async t => {
  const server = await start(t, { profile: 'SSE', limits: { maxClients: 20, maxRooms: 30, stateBytes: 5000 }, historyTtl: 300, historySize: 2 })
  const before = await scrape(server)
  t.match(Object.fromEntries(before), { signalbox_sessions_limit: 20, signalbox_rooms_limit: 30, signalbox_state_limit_bytes: 5000, signalbox_history_reach_seconds: 300, signalbox_workers_expected: 1, signalbox_warnings: 1 })
  const files = before.get('signalbox_open_files_ratio')
  t.ok(process.platform === 'linux' ? (files as number) > 0 && (files as number) < 1 : files === undefined, `open files: ${files}`)
  await server.publish(...[1, 2, 3].map(data => ({ type: 'log', data })))
  t.ok((await scrape(server)).get('signalbox_history_reach_seconds') as number < 300, 'the first of three facts was trimmed')
  t.ok(before.get('signalbox_event_loop_lag_seconds{worker="1"}') as number >= 0)
  const startedAt = before.get('signalbox_worker_start_time_seconds{worker="1"}') as number
  t.ok(Math.abs(startedAt - performance.timeOrigin / 1000) < 1)
})

for (const { name, skip, place } of [
  {
    name: 'embedded',
    skip: false,
    place: (t: Test) => {
      const dataDir = mkdtempSync(join(tmpdir(), 'signalbox-metrics-'))
      t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
      return { dataDir }
    }
  },
  { name: 'redis', skip: skipWithout('redis'), place: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]) {
  t.test(`${name}: publishes are timed once each, and writes by what they shared`, { skip }, async t => {
    const server = await start(t, { profile: 'WEBSOCKET', ...await place(t) })
    const before = await scrape(server)
    t.equal(before.get(`signalbox_info{version="0.1.0",profile="WEBSOCKET",store="${name}"}`), 1)
    await Promise.all(Array.from({ length: 20 }, async (_, data) => await server.publish({ type: 'log', data })))
    await refuse(server.url)
    const after = await scrape(server)
    const more = (series: string): number => (after.get(`signalbox_${series}`) as number) - (before.get(`signalbox_${series}`) as number)
    t.equal(more('publish_seconds_count'), 20, 'a refused one is not timed')
    t.equal(more('append_seconds_count'), 20)
    t.equal(more('publish_seconds_bucket{le="+Inf"}'), 20)
    t.ok(more('publish_seconds_sum') >= more('append_seconds_sum'))
    t.ok(more('store_write_seconds_count') >= 1 && more('store_write_seconds_count') < 20, `${more('store_write_seconds_count')} writes for 20 publishes`)
    t.ok(more('store_write_seconds_sum') > 0)
    t.equal(after.get('signalbox_store_up'), 1)
  })
}

t.test('signalbox_store_up is 0 while Redis is away, and 1 again in a drain, when signalbox_ready is not', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  const server = await start(t, { profile: 'SSE', redis: redis.url })
  const is = async (up: number, ready: number): Promise<boolean> => {
    const series = await scrape(server)
    return series.get('signalbox_store_up') === up && series.get('signalbox_ready') === ready
  }
  t.ok(await is(1, 1))
  redis.freeze()
  await until('Redis is missed', async () => await is(0, 0))
  redis.thaw()
  await until('it is back', async () => await is(1, 1))
  await server.gateway.drain()
  t.ok(await is(1, 0))
})
