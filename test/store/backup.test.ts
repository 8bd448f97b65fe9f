// A backup of a data directory that is being written to, and what a gateway makes of it.

import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { compareIds, isAfter } from '../../src/core/id.ts'
import { Backups } from '../../src/store/embedded/backup.ts'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server, ServerOptions } from '../wire/harness.ts'

interface Read {
  readonly cursor: string
  readonly position: string
  readonly reset: { readonly reason: string } | null
  readonly more: boolean
  readonly events: ReadonlyArray<{ readonly id: string, readonly type: string, readonly key?: string, readonly data: string }>
}

const PUBLISHERS = 8
const TEXT = 'x'.repeat(2000)

function folderFor (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-backup-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function start (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer({ historyTtl: 0, historyBytes: 0, ...options })
  t.teardown(async () => await server.close())
  return server
}

const read = async ({ url }: Server, cursor?: string): Promise<Read> =>
  await (await fetch(`${url}/api/events?rooms=a${cursor === undefined ? '' : `&lastEventId=${cursor}`}`)).json() as Read

/** Everything from a cursor on. */
async function readAll (server: Server, cursor: string): Promise<Array<Read['events'][number]>> {
  const events = []
  for (let more = true; more;) {
    const answer = await read(server, cursor)
    events.push(...answer.events)
    ;({ more, cursor } = answer)
  }
  return events
}

async function control ({ url }: Server, args: object = {}): Promise<{ status: number, body: any }> {
  const response = await fetch(`${url}/api/control`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ command: 'backup', args }) })
  return { status: response.status, body: await response.json() }
}

async function publishOnce ({ url }: Server): Promise<unknown> {
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'once' }
  return await (await fetch(`${url}/api/events`, { method: 'POST', headers, body: JSON.stringify({ type: 'once', room: 'b', data: 1 }) })).json()
}

for (const profile of PROFILES) {
  t.test(`${profile}: a backup made under load serves all that was acknowledged before it began, and cursors resume`, async t => {
    const dataDir = join(folderFor(t), 'data')
    const server = await start(t, { profile, dataDir })
    const once = await publishOnce(server)
    /** Ids of acknowledged facts, and by key its acknowledged values, in their order. */
    const facts: string[] = []
    const values = new Map<string, Array<[id: string, data: string]>>()
    const stopping = new AbortController()
    const load = Array.from({ length: PUBLISHERS }, async (_, publisher) => {
      const key = `k${publisher}`
      values.set(key, [])
      for (let n = 0; !stopping.signal.aborted; n++) {
        const data = `${n} ${TEXT}`
        const [fact, value] = await server.publish({ type: 'log', room: 'a', data }, { type: 'gauge', room: 'a', key, data }) as [string, string]
        facts.push(fact)
        values.get(key)?.push([value, data])
      }
    })
    // More than LevelDB keeps in its log: there are tables, and it tidies up all the time.
    const more = async (count: number): Promise<void> => {
      const { length } = facts
      await until('more was published', () => facts.length > length + count)
    }
    await more(2500)
    const { cursor } = await read(server)
    await more(100)
    const before = [...facts]
    const valuesBefore = new Map([...values].map(([key, all]) => [key, all.at(-1) as [string, string]]))
    const { status, body } = await control(server)
    const during = facts.length - before.length
    t.equal(status, 200)
    t.match(body, { command: 'backup', result: { backup: /^\d{4}-\d\d-\d\dT[\d-]+Z$/, records: Number } })
    t.ok(during > 0, `${during} publishes were acknowledged meanwhile`)
    await more(100)
    const late = await read(server)
    stopping.abort()
    await Promise.all(load)
    facts.sort(compareIds)

    const restored = join(folderFor(t), 'data')
    cpSync(join(dataDir, 'backups', body.result.backup), restored, { recursive: true })
    const copy = await start(t, { profile, dataDir: restored })
    t.same(copy.gateway.warnings.filter(warning => !/ahead of/.test(warning)), [], 'nothing is missing in it')
    const all = await readAll(copy, '0-0')
    const found = all.filter(({ type }) => type === 'log').map(({ id }) => id)
    t.same(found, facts.slice(0, found.length), 'facts are there in order, without a gap')
    t.ok(found.length >= before.length, `${found.length} of at least ${before.length}`)
    for (const [key, [id]] of valuesBefore) {
      const value = all.filter(event => event.key === key).at(-1)
      t.ok(value !== undefined && !isAfter(id, value.id), `${key} is not older than the backup`)
      t.equal(values.get(key)?.find(([id]) => id === value?.id)?.[1], value?.data)
    }
    t.same(await publishOnce(copy), once, 'Idempotency-Keys are in it')
    const back = await read(copy, cursor)
    t.same([back.position, back.reset], ['resumed', null])
    const [next] = before.slice(before.findIndex(id => isAfter(id, cursor.slice(cursor.lastIndexOf('~') + 1))))
    t.ok(back.events.some(({ id }) => id === next), 'a cursor from before it resumes where it was')
    t.ok((await read(copy, late.cursor)).reset !== null, 'whoever saw more than it holds is told so')
    const [id] = await copy.publish({ type: 'log', room: 'a', data: 'new' })
    t.ok(isAfter(id as string, found.at(-1) as string))
  })
}

t.test('who asks while a backup is made gets the next one, which begins after that, together with all who ask meanwhile', async t => {
  const copies: Array<{ finish: (records: number) => void, fail: (error: Error) => void }> = []
  const backups = new Backups({
    dir: 'data',
    wall: () => Date.UTC(2026, 10, 28, 12, 0, 0, copies.length),
    log: { info () {} },
    copy: async () => await new Promise((resolve, reject) => { copies.push({ finish: resolve, fail: reject }) })
  })
  const first = backups.make()
  const later = Promise.allSettled([backups.make(), backups.make()])
  t.equal(copies.length, 1, 'one at a time')
  copies[0]?.finish(9)
  t.same(await first, { backup: '2026-11-28T12-00-00-000Z', records: 9 })
  await until('the next has begun', () => copies.length === 2)
  const last = backups.make()
  copies[1]?.fail(new Error('no space'))
  t.match(await later, Array(2).fill({ status: 'rejected', reason: /no space/ }))
  await until('a failure holds up nobody', () => copies.length === 3)
  copies[2]?.finish(10)
  t.same(await last, { backup: '2026-11-28T12-00-00-002Z', records: 10 })
})

t.test('the newest three backups are kept, for their owner only; leftovers of one that was killed go', async t => {
  const dataDir = join(folderFor(t), 'data')
  const server = await start(t, { profile: 'SSE', dataDir })
  const backups = join(dataDir, 'backups')
  mkdirSync(join(backups, '2020-01-01T00-00-00-000Z.part'), { recursive: true })
  chmodSync(backups, 0o755)
  const made: string[] = []
  for (let n = 0; n < 5; n++) {
    await server.publish({ type: 'log', data: n })
    made.push((await control(server)).body.result.backup)
  }
  t.same(readdirSync(backups).sort(), made.slice(-3))
  if (process.platform !== 'win32') {
    for (const folder of [dataDir, backups, ...readdirSync(backups).map(name => join(backups, name))]) t.equal(statSync(folder).mode & 0o777, 0o700, folder)
  }
  t.match(await control(server, { dir: '/tmp' }), { status: 400, body: { code: 'BAD_COMMAND' } }, 'nobody names another place')
  // It is no part of the database beside it.
  await server.close()
  t.same((await start(t, { profile: 'SSE', dataDir })).gateway.warnings, [])
})

t.test('only backups make room for a new one, never itself nor what somebody else keeps beside them', async t => {
  const dataDir = join(folderFor(t), 'data')
  const server = await start(t, { profile: 'SSE', dataDir })
  const backups = join(dataDir, 'backups')
  const kept = ['before-upgrade', 'keep-monday', 'keep-tuesday', 'mine.part', '2020-01-01T00-00-00-000Z.tar']
  // The clock was ahead once.
  const ahead = ['2998-01-01T00-00-00-000Z', '2999-01-01T00-00-00-000Z', '2999-01-01T00-00-00-001Z']
  for (const name of [...kept, ...ahead]) mkdirSync(join(backups, name), { recursive: true })
  const { backup } = (await control(server)).body.result
  t.same(readdirSync(backups).sort(), [...kept, ...ahead.slice(1), backup].sort())
})

t.test('a file that goes while the directory is measured is no failure', { skip: process.platform === 'win32' && 'links need rights there' }, async t => {
  const dataDir = join(folderFor(t), 'data')
  const server = await start(t, { profile: 'SSE', dataDir })
  // As LevelDB leaves it between the listing and the look: a name, and no file.
  symlinkSync('nowhere', join(dataDir, '000099.ldb'))
  t.match(await control(server), { status: 200 })
})

t.test('without a data directory there is no such command', async t => {
  t.match(await control(await start(t, { profile: 'SSE' })), { status: 400, body: { code: 'BAD_COMMAND', message: /has none/ } })
})

t.test('a Redis that is put back to a copy goes on from there: cursors from before it resume, later ones are reset', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t, { args: ['--appendonly', 'no'] })
  const options: ServerOptions = { profile: 'SSE', redis: redis.url, dataDir: 'signalbox' }
  const before = await startServer({ historyTtl: 0, ...options })
  const [first] = await before.publish({ type: 'log', room: 'a', data: 'first' }, { type: 'gauge', room: 'a', key: 'k', data: 'first' }) as [string]
  const { cursor } = await read(before)
  const [second] = await before.publish({ type: 'log', room: 'a', data: 'second' }) as [string]
  await redis.cli('save')
  cpSync(join(redis.folder, 'dump.rdb'), join(redis.folder, 'copy.rdb'))
  await before.publish({ type: 'log', room: 'a', data: 'lost' }, { type: 'gauge', room: 'a', key: 'k', data: 'lost' })
  const late = await read(before)
  await before.close()
  await redis.kill9()
  cpSync(join(redis.folder, 'copy.rdb'), join(redis.folder, 'dump.rdb'))
  await redis.restart()
  const after = await start(t, options)
  const [third] = await after.publish({ type: 'log', room: 'a', data: 'third' }) as [string]
  t.same((await readAll(after, '0-0')).filter(({ type }) => type === 'log').map(({ id }) => id), [first, second, third])
  t.match(await read(after, cursor), { position: 'resumed', reset: null, events: [{ id: second }, { id: third }] })
  const told = await read(after, late.cursor)
  t.ok(told.reset !== null, 'it has a value that is gone')
  t.same(told.events.filter(({ key }) => key === 'k').map(({ data }) => data), ['first'])
})
