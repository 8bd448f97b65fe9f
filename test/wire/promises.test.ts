// The promises as a client on a real socket sees them, over both profiles and both stores.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { Page } from '../page.ts'
import type { Received } from '../page.ts'
import { pageMessages, parse, WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

const facts = (count: number, room = 'a'): object[] => Array.from({ length: count }, (_, n) => ({ type: 'log', room, data: n }))
const apply = (page: Page, messages: readonly Received[]): void => { for (const message of messages) page.apply(message) }

const STORES = [
  { name: 'the embedded store', skip: false, start: async () => ({}) },
  { name: 'Redis', skip: skipWithout('redis'), start: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]

for (const { name, skip, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const place = await start(t)
    const server = async (t: Test, options: ServerOptions): Promise<Server> => {
      const started = await startServer({ ...place, ...options })
      t.teardown(async () => await started.close())
      return started
    }

    for (const profile of PROFILES) {
      const other = PROFILES.find(name => name !== profile) as ProfileName

      t.test(`${profile}: 1,000 updates of one key in a second are at most a bundle a tick, and end in the last value`, async t => {
        const { port, publish } = await server(t, { profile, limits: { tickMs: 100, tickFloorMs: 100 } })
        const clients = await Promise.all([false, true, false].map(async compressed => await WireClient.open(profile, port, { rooms: ['a'], compressed })))
        await Promise.all(clients.map(async client => await client.untilKind('ready')))
        const began = performance.now()
        for (let n = 1; n <= 1000; n++) {
          await publish({ type: 'gauge', room: 'a', key: 'k', data: n })
          const ahead = began + n - performance.now()
          if (ahead > 1) await new Promise(resolve => setTimeout(resolve, ahead))
        }
        for (const client of clients) {
          await client.until(() => client.events.at(-1)?.data === 1000)
          const ticks = Math.floor((performance.now() - began) / 100) + 2
          t.ok(client.bundles.length <= ticks, `${client.bundles.length} bundles in at most ${ticks} ticks`)
          client.cut()
        }
      })

      t.test(`${profile}: a client that comes with 0-0 gets every fact that history holds and every value, and then what follows`, async t => {
        const { port, publish } = await server(t, { profile })
        await publish(...facts(300), { type: 'gauge', room: 'a', key: 'k', data: 'present' })
        const client = await WireClient.open(profile, port, { rooms: ['a'], cursor: '0-0' })
        await client.untilKind('ready')
        await publish(...facts(10))
        await client.until(() => client.events.length >= 311)
        t.same(client.events.filter(({ key }) => key === undefined).map(({ data }) => data), [...Array(300).keys(), ...Array(10).keys()])
        t.same(client.events.filter(({ key }) => key !== undefined).map(({ data }) => data), ['present'])
        t.notOk(client.messages.some(({ kind }) => kind === 'reset'))
        client.cut()
      })

      t.test(`${profile}: 1,000 facts arrive once, in order, at every client`, async t => {
        const { port, publish } = await server(t, { profile })
        const clients = await Promise.all([false, true, false].map(async compressed => await WireClient.open(profile, port, { rooms: ['a'], compressed })))
        await Promise.all(clients.map(async client => await client.untilKind('ready')))
        for (let batch = 0; batch < 10; batch++) await publish(...facts(100))
        for (const client of clients) {
          await client.until(() => client.events.length >= 1000)
          t.same(client.events.map(({ data }) => data), Array.from({ length: 1000 }, (_, n) => n % 100))
          client.cut()
        }
      })

      t.test(`${profile}: cut at every byte it is sent, a client comes back to everything, once`, async t => {
        const { port, publish } = await server(t, { profile, limits: { maxQueuePerClient: 4 } })
        await publish({ type: 'gauge', room: 'a', key: 'k0', data: 'first' })
        const client = await WireClient.open(profile, port, { rooms: ['a'] })
        await client.untilKind('ready')
        await publish(...facts(6), { type: 'gauge', room: 'a', key: 'k1', data: 'ü'.repeat(10) }, { type: 'gauge', room: 'a', key: 'k0', data: null })
        await client.until(() => client.events.length >= 9)
        const whole = client.bytes
        client.cut()
        t.ok(whole.length > 900, `${whole.length} bytes to cut at`)

        const offsets = Array.from({ length: whole.length + 1 }, (_, offset) => offset)
        const failures: string[] = []
        const cursors = new Set<string | null>()
        const check = async (offset: number): Promise<void> => {
          const page = new Page()
          const { messages } = parse(profile, whole.subarray(0, offset), ['a'])
          apply(page, pageMessages(messages))
          cursors.add(page.cursor)
          const back = await WireClient.open(profile, port, { rooms: ['a'], cursor: page.cursor })
          // Without a cursor it is a new client, which history owes no facts.
          const missing = page.cursor === null ? 0 : 6
          const complete = (): boolean => {
            const seen = new Page()
            apply(seen, pageMessages(parse(profile, whole.subarray(0, offset), ['a']).messages))
            apply(seen, back.pageMessages)
            return seen.facts.length === missing && seen.values.size === 1 && seen.unready.size === 0 && back.messages.length > 0
          }
          try {
            await back.until(complete)
            apply(page, back.pageMessages)
            if (page.resets.length > 0) failures.push(`${offset}: reset ${page.resets.join()}`)
          } catch (error) {
            failures.push(`${offset}: ${(error as Error).message}`)
          }
          back.cut()
        }
        for (let start = 0; start < offsets.length; start += 40) await Promise.all(offsets.slice(start, start + 40).map(check))
        t.same(failures, [])
        t.ok(cursors.size >= 5, `${cursors.size} different cursors`)
      })

      t.test(`${profile}: a cursor goes on in the other profile`, async t => {
        const dataDir = mkdtempSync(join(tmpdir(), 'signalbox-'))
        t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
        const before = await startServer({ ...place, profile, dataDir })
        const client = await WireClient.open(profile, before.port, { rooms: ['a', 'b'], types: ['log', 'gauge'] })
        await client.untilKind('ready')
        await before.publish(...facts(3), { type: 'gauge', room: 'b', key: 'k', data: 1 })
        await client.until(() => client.events.length === 4)
        await before.close()
        const page = new Page()
        apply(page, client.pageMessages)
        const after = await startServer({ ...place, profile: other, dataDir })
        await after.publish(...facts(2, 'b'), { type: 'gauge', room: 'b', key: 'k', data: 2 })
        const back = await WireClient.open(other, after.port, { rooms: ['b', 'a'], types: ['gauge', 'log'], cursor: page.cursor })
        await back.until(() => back.events.length >= 3)
        apply(page, back.pageMessages)
        t.same(page.resets, [])
        t.equal(page.facts.length, 5)
        t.equal([...page.values.values()][0]?.data, 2)
        back.cut()
        await after.close()
      })

      // SSE has one list of types for all its rooms.
      if (profile === 'WEBSOCKET') {
        t.test(`${profile}: several joins with types of their own come back together`, async t => {
          const { port, publish } = await server(t, { profile })
          const client = await WireClient.open(profile, port, { rooms: ['a'], types: ['x'] })
          client.say({ action: 'join', room: 'b', types: ['y'], ref: 7 })
          await client.until(() => client.messages.filter(({ kind }) => kind === 'ready').length === 2)
          t.match(client.messages.filter(({ kind }) => kind === 'joined')[1], { ref: 7, rooms: ['b'], members: { b: 1 }, position: 'new' })
          await publish({ type: 'x', room: 'a', data: 1 }, { type: 'y', room: 'a', data: 'no' }, { type: 'y', room: 'b', data: 2 })
          await client.until(() => client.events.length === 2)
          client.cut()
          await publish({ type: 'y', room: 'b', data: 3 }, { type: 'x', room: 'b', data: 'no' })
          const back = await WireClient.open(profile, port, { join: false })
          back.say({ action: 'join', rooms: [{ room: 'b', types: ['y'] }, { room: 'a', types: ['x'] }], lastEventId: client.cursor })
          await back.until(() => back.events.length === 1)
          t.equal(back.events[0]?.data, 3)
          back.cut()
        })
      }

      t.test(`${profile}: a client that stops reading costs the others nothing, and reads on to the present`, async t => {
        const { port, publish, gateway } = await server(t, { profile, historySize: 400 })
        const stuck = await WireClient.open(profile, port, { rooms: ['a'] })
        const healthy = await WireClient.open(profile, port, { rooms: ['a'], compressed: true })
        await Promise.all([stuck.untilKind('ready'), healthy.untilKind('ready')])
        stuck.socket.pause()
        const block = 'x'.repeat(1000)
        const rounds = 300
        for (let n = 0; n < rounds; n++) {
          await publish(...Array.from({ length: 20 }, (_, index) => ({ type: 'log', room: 'a', data: `${n * 20 + index} ${block}` })), { type: 'gauge', room: 'a', key: 'k', data: n })
          // At the pace of the healthy one: history must leave only the stuck one behind.
          if (n % 10 === 9) await healthy.until(() => healthy.events.findLast(({ key }) => key === undefined)?.data === `${n * 20 + 19} ${block}`)
        }
        t.equal(healthy.events.filter(({ key }) => key === undefined).length, rounds * 20, 'the other got every fact')
        t.equal(gateway.view.sessions.stalled, 1, 'it is known to hold bytes back')
        stuck.socket.resume()
        await stuck.until(() => stuck.events.findLast(({ key }) => key === 'k')?.data === rounds - 1)
        await stuck.until(() => (stuck.events.findLast(({ key }) => key === undefined)?.data as string).startsWith(`${rounds * 20 - 1} `))
        const at = (is: (event: { key?: string, data: unknown }) => boolean): number => stuck.events.findIndex(is)
        t.ok(at(({ key, data }) => key === 'k' && data === rounds - 1) < at(({ data }) => String(data).startsWith(`${rounds * 20 - 1} `)), 'the current value came before the end of the backlog')
        const page = new Page()
        apply(page, stuck.pageMessages)
        t.same(page.resets, ['trimmed'], 'what history no longer held was reported as missed')
        t.ok(page.facts.length < rounds * 20)
        stuck.cut()
        healthy.cut()
      })

      t.test(`${profile}: a heartbeat brings the position to a client that misses nothing`, async t => {
        const { port, publish } = await server(t, { profile, pingInterval: 0.1, pingTimeout: 0.1 })
        const client = await WireClient.open(profile, port, { rooms: ['quiet'] })
        await client.untilKind('ready')
        await publish(...facts(2, 'busy'))
        await client.until(() => client.messages.some(({ kind, cursor }) => kind === 'position' && cursor !== null))
        t.equal(client.events.length, 0)
        client.cut()
      })

      t.test(`${profile}: the command disconnect ends a session by id or a room, with a word`, async t => {
        const { port, url } = await server(t, { profile })
        const client = await WireClient.open(profile, port, { rooms: ['a'] })
        await client.untilKind('ready')
        const session = client.messages[0] as unknown as { data: { session: string } }
        const run = async (args: object): Promise<unknown> => await (await fetch(`${url}/api/control`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ command: 'disconnect', args }) })).json()
        t.match(await run({ room: 'elsewhere' }), { result: { ended: 0 } })
        t.match(await run({ session: session.data.session }), { ok: true, result: { ended: 1 } })
        await client.until(() => client.closed || client.closeCode !== null)
        t.match(client.messages.at(-1), { kind: 'bye', data: { reason: 'DISCONNECTED' } })
      })

      t.test(`${profile}: a drain sends pending events, says bye with a time to return, and ends every connection`, async t => {
        const { port, publish, close } = await server(t, { profile, limits: { tickMs: 5000, tickFloorMs: 5000 }, reconnectJitter: 2 })
        const clients = await Promise.all(Array.from({ length: 30 }, async (_, n) => await WireClient.open(profile, port, { rooms: ['a'], compressed: n % 2 === 0 })))
        await Promise.all(clients.map(async client => await client.untilKind('ready')))
        await publish(...facts(1))
        await Promise.all(clients.map(async client => await client.until(() => client.events.length === 1)))
        await publish(...facts(3))
        await close()
        const retries = new Set<unknown>()
        for (const client of clients) {
          await client.until(() => client.closed)
          t.equal(client.events.length, 4, 'the tick was not waited for')
          const bye = client.messages.findLast(({ kind }) => kind === 'bye') as unknown as { data: { reason: string, retryMs: number } }
          t.equal(bye.data.reason, 'DRAINING')
          t.ok(bye.data.retryMs >= 1000 && bye.data.retryMs <= 3000)
          retries.add(bye.data.retryMs)
          if (profile === 'WEBSOCKET') t.equal(client.closeCode, 1012)
        }
        t.ok(retries.size > 10, 'not all at once')
      })

      t.test(`${profile}: the gateway's own figures can be listened to in @system, and tell how long events wait`, async t => {
        const { port, publish, url } = await server(t, { profile })
        await publish({ type: 'x', room: 'a', key: 'k', data: 1 })
        const reader = await WireClient.open(profile, port, { rooms: ['a'] })
        await reader.untilKind('ready')
        await publish(...facts(10))
        await reader.until(() => reader.events.length === 11)
        const watcher = await WireClient.open(profile, port, { rooms: ['@system'] })
        const figures = (type: string): any => watcher.events.findLast(event => event.type === type)?.data
        await watcher.until(() => figures('settings') !== undefined && typeof figures('gateway').saved.messages === 'number')
        t.match(watcher.events.find(({ type }) => type === 'gateway'), { room: '@system', type: 'gateway', key: String, data: { profile } })
        const { latencyMs, saved, cpuPercent, counters } = figures('gateway')
        t.ok(latencyMs.p50 <= latencyMs.p95 && latencyMs.p95 <= latencyMs.p99 && latencyMs.p99 < 2000, JSON.stringify(latencyMs))
        t.ok(saved.messages > 0.5 && saved.messages < 1 && saved.cpu >= 0 && saved.cpu < 1, `${JSON.stringify(saved)}: ten events were sent in a few bundles`)
        t.ok(cpuPercent >= 0)
        t.match(counters, { events: 11, owed: 10, delivered: 11 }, 'the figures themselves are not counted')
        t.match(figures('rooms'), { total: 1, rooms: [{ room: 'a', members: 1, keys: 1, eventsPerSecond: Number, paused: false }] })
        t.match(figures('sessions'), { total: 2, sessions: [{ roomCount: 1, behindMs: Number, stalled: false, pendingBytes: 0 }, {}] })
        const metrics = await (await fetch(`${url}/metrics`)).text()
        for (const line of ['delivery_seconds_count 10', 'delivery_seconds_bucket{le="+Inf"} 10', 'saved_cpu_seconds_total 0']) {
          t.ok(metrics.includes(`\nsignalbox_${line}`), line)
        }
        reader.cut()
        watcher.cut()
      })
    }
  })
}
