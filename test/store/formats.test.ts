// Upgrades: what earlier versions wrote is served by this one, with the same ids, to clients that come with their old cursors. See formats/README.md.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { isAfter } from '../../src/core/id.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server, ServerOptions } from '../wire/harness.ts'

const FORMATS = join(import.meta.dirname, 'formats')
const folders = readdirSync(FORMATS).filter(name => name !== 'README.md')
/** As they were published. Each is one event of one publish, but for the three before the last. */
const EVENTS = [
  { type: 'log', room: 'a', data: { n: 1 } },
  { type: 'cpu', room: 'a', key: 'host-1', data: 10 },
  { type: 'log', data: 'public' },
  { type: 'log', room: 'a', data: { n: 2, text: 'line\nbreak "quoted" Größe 漢字 \u2028' } },
  { type: 'cpu', room: 'a', key: 'host-1', data: 11 },
  { type: 'cpu', room: 'a', key: 'host-2', data: { load: [0.5, 1e21, -0.25], none: null } },
  { type: 'cpu', room: 'a', key: 'k ey "ü" \u{1f600}', data: 'odd key' },
  { type: 'mem', key: 'host-1', data: 'public value' },
  { type: 'cpu', room: 'a', key: 'host-2', data: null },
  { type: 'log', room: 'b', data: [] },
  { type: 'log', room: 'a', data: 'batch 1' },
  { type: 'log', room: 'a', data: 'batch 2' },
  { type: 'cpu', room: 'b', key: 'k', data: 'last' },
  { type: 'log', room: 'b', data: 'once' }
]

interface Written {
  readonly ids: readonly string[]
  readonly once: readonly string[]
  readonly command: object
  readonly cursor: string
  readonly late: readonly [string]
}

interface Read {
  readonly position: string
  readonly cursor: string
  readonly reset: { readonly reason: string } | null
  readonly events: ReadonlyArray<{ readonly id: string, readonly type: string, readonly room?: string, readonly key?: string, readonly data: unknown, readonly timestamp: number }>
}

const writtenIn = (folder: string): Written => JSON.parse(readFileSync(join(FORMATS, folder, 'written.json'), 'utf8'))

async function read (server: Server, rooms: string, cursor?: string): Promise<Read> {
  const query = new URLSearchParams({ ...(rooms === '' ? {} : { rooms }), ...(cursor === undefined ? {} : { lastEventId: cursor }) })
  return await (await fetch(`${server.url}/api/events?${query}`)).json() as Read
}

async function post (server: Server, path: string, key: string, json: object): Promise<{ status: number, body: Record<string, any> }> {
  const response = await fetch(server.url + path, { method: 'POST', headers: { 'content-type': 'application/json', 'idempotency-key': key }, body: JSON.stringify(json) })
  return { status: response.status, body: await response.json() as Record<string, any> }
}

/** A copy that this version opens as often as it likes. */
async function copyOf (t: Test, folder: string): Promise<Partial<ServerOptions>> {
  if (folder.startsWith('redis')) {
    const redis = await RedisServer.start(t, { args: ['--appendonly', 'yes'] })
    const client = new Redis(redis.url)
    const commands = JSON.parse(readFileSync(join(FORMATS, folder, 'commands.json'), 'utf8')) as Array<[string, ...string[]]>
    for (const [name, ...args] of commands) await client.call(name, args)
    client.disconnect()
    return { redis: redis.url, dataDir: 'signalbox' }
  }
  const dataDir = mkdtempSync(join(tmpdir(), 'signalbox-format-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  cpSync(join(FORMATS, folder, 'data'), dataDir, { recursive: true })
  return { dataDir }
}

for (const [at, folder] of folders.entries()) {
  const { ids, once, command, cursor, late: [late] } = writtenIn(folder)
  /** By room, what a client that comes with 0-0 gets: facts, deletions, and the newest value of each key. The command cleared the one of room b. */
  const all = (room?: string): object[] => EVENTS.map((event, index) => ({ id: ids[index] as string, ...event })).filter((event, index) =>
    event.room === room && event.key !== 'k' && ![1, 5].includes(index))

  t.test(`what version ${folder} wrote is there: facts, newest values, ids, and the cursors of its clients`, { skip: folder.startsWith('redis') && skipWithout('redis') }, async t => {
    const place = await copyOf(t, folder)
    // The second start reads what the first one converted.
    for (const [start, profile] of [...PROFILES, PROFILES[at % 2] ?? 'SSE'].entries()) {
      const server = await startServer({ profile, ...place, historyTtl: 0, idempotencyTtl: 3_153_600_000 })
      try {
        t.same(server.gateway.warnings.filter(warning => !/ahead of this machine's clock/.test(warning)), [], 'nothing is damaged')
        const behind = start === 0 ? [] : [{ type: 'log', room: 'a', data: 'new 0' }, { type: 'log', room: 'a', data: 'new 1' }].slice(0, start)
        const plain = ({ id, type, room, key, data }: Read['events'][number]): object => ({ id, type, ...(room === undefined ? {} : { room }), ...(key === undefined ? {} : { key }), data })
        const a = await read(server, 'a', '0-0')
        t.same(a.reset, null)
        const expected = [...all('a'), { id: late, type: 'log', room: 'a', data: 'behind the cursor' }]
        t.same(a.events.slice(0, expected.length).map(plain), expected)
        t.match(a.events.slice(expected.length).map(plain), behind)
        t.same((await read(server, 'b', '0-0')).events.filter(({ data }) => data !== null).map(plain), all('b'))
        t.same((await read(server, '', '0-0')).events.map(plain), all())
        t.match((await read(server, 'a')).events.map(({ data }) => data).sort(), [11, 'odd key'])

        const back = await read(server, 'a,b', cursor)
        t.same([back.position, back.reset, back.events[0]?.id], ['resumed', null, late], 'a cursor of then resumes')

        t.match(await post(server, '/api/events', 'key-1', { type: 'log', room: 'b', data: 'once' }), { status: 202, body: { ids: once } }, 'a publish of then is repeated')
        t.match(await post(server, '/api/events', 'key-1', { type: 'log', room: 'b', data: 'other' }), { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
        t.match(await post(server, '/api/control', 'command-1', { command: 'clear', args: { room: 'b' } }), { status: 200, body: command }, 'and so is a command')

        const [id] = await server.publish({ type: 'log', room: 'a', data: `new ${start}` })
        t.ok(isAfter(id as string, late), 'ids go on')
        t.same((await read(server, 'a', a.cursor)).events.map(({ id }) => id), [id])
      } finally {
        await server.close()
      }
    }
  })
}
