// Bad input that comes through Redis or from Redis itself: ids at their end, floods, keys of wrong types, answers that no server
// means well with, and callers that spread over several workers. Rows as in bad-input.test.ts.

import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from '../wire/client.ts'
import { startServer } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'

t.setTimeout(600_000)
t.jobs = 4

const skip = skipWithout('redis')
const PREFIX = 'bad:'
const LAST_ID = '18446744073709551615-18446744073709551615'

interface Scene {
  readonly server: Server
  readonly redis: Redis
  readonly redisServer: RedisServer
  readonly log: string[]
}

async function scene (t: Test, options: { acl?: readonly string[], url?: (server: RedisServer) => string } = {}): Promise<Scene> {
  const redisServer = await RedisServer.start(t, options.acl === undefined ? {} : { acl: options.acl })
  const redis = new Redis(redisServer.url)
  t.teardown(() => redis.disconnect())
  const log: string[] = []
  const server = await startServer({ profile: 'SSE', redis: options.url?.(redisServer) ?? redisServer.url, dataDir: 'bad', limits: { maxEventsPerSecondPerClient: 0 }, log: pino({ level: 'debug' }, { write: (line: string) => { log.push(line) } }) })
  t.teardown(async () => await server.close())
  return { server, redis, redisServer, log }
}

async function post (server: Server, data: unknown = 1): Promise<{ status: number, code?: string, message?: string }> {
  const response = await fetch(`${server.url}/api/events`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ type: 'x', room: 'a', data }) })
  return { status: response.status, ...await response.json() as object }
}

t.test('28: commands of one caller count over four workers', { skip }, async t => {
  const redisServer = await RedisServer.start(t)
  const redis = new Redis(redisServer.url)
  t.teardown(() => redis.disconnect())
  const workers = await Promise.all(Array.from({ length: 4 }, async () => {
    const server = await startServer({ profile: 'SSE', redis: redisServer.url, dataDir: 'four', limits: { controlRateLimit: 5 } })
    t.teardown(async () => await server.close())
    return server
  }))
  /** The second that Redis counts in. */
  const second = async (): Promise<number> => Number((await redis.time())[0])
  for (let measured = 0; measured < 2;) {
    const begun = await second()
    // A whole one between: a worker that was late with an answer goes on refusing for as long.
    while (await second() < begun + 2) await new Promise(resolve => setTimeout(resolve, 5))
    const during = await second()
    const answers = await Promise.all(Array.from({ length: 40 }, async (_, n) => await fetch(`${workers[n % 4]?.url}/api/control`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"command":"ping"}' })))
    // They spread over two windows: a busy machine.
    if (await second() !== during) continue
    measured++
    t.equal(answers.filter(({ status }) => status === 200).length, 5, 'five of forty')
    const refused = answers.filter(({ status }) => status === 429)
    t.equal(refused.length, 35)
    t.ok(refused.every(({ headers }) => headers.get('retry-after') === '1'))
  }
})

t.test('78: an entry with the last id there is, is taken in; Redis refuses every XADD behind it, and all else goes on', { skip }, async t => {
  const { server, redis, log } = await scene(t)
  const client = await WireClient.open('SSE', server.port, { rooms: ['a'] })
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  await redis.xadd(`${PREFIX}ingest`, LAST_ID, 'event', '{"type":"x","room":"a","data":"last"}')
  await client.until(() => client.events.some(({ data }) => data === 'last'))
  await t.rejects(redis.xadd(`${PREFIX}ingest`, '*', 'event', '{"type":"x","room":"a","data":"behind"}'), /last possible ID|equal or smaller/)
  await redis.publish('events', '{"type":"x","room":"a","data":"channel"}')
  t.match(await post(server, 'http'), { status: 202 })
  await client.until(() => client.events.length === 3)
  // What docs/operations.md says.
  await until('it is taken in', async () => await redis.xlen(`${PREFIX}ingest`) === 0)
  await redis.del(`${PREFIX}ingest`)
  await until('XADD works again', async () => await redis.xadd(`${PREFIX}ingest`, '*', 'event', '{"type":"x","room":"a","data":"repaired"}') !== null)
  await client.until(() => client.events.some(({ data }) => data === 'repaired'))
  t.equal(client.events.length, 4, 'each once')
  t.same(log.filter(line => (JSON.parse(line) as { level: number }).level >= 50), [])
})

t.test('80: a flood of the channel is bounded, each message of it is counted, and publishers over HTTP are served', { skip }, async t => {
  const { server, redis } = await scene(t)
  const COUNT = 60_000
  const KEYS = 10
  const client = await WireClient.open('SSE', server.port, { rooms: ['flood'] })
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  for (let sent = 0; sent < COUNT;) {
    const pipeline = redis.pipeline()
    for (let n = 0; n < 5000; n++, sent++) pipeline.publish('events', `{"type":"f","room":"flood","key":"k${sent % KEYS}","data":${sent}}`)
    await pipeline.exec()
    t.match(await post(server, sent), { status: 202 })
  }
  const figure = (text: string, name: string): number => Number(new RegExp(`^${name}[^ ]* (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
  let taken = 0
  let dropped = 0
  await until('all are counted', async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text()
    taken = figure(text, 'signalbox_intake_events_total\\{.*source="channel"')
    dropped = figure(text, 'signalbox_intake_dropped_total')
    return taken + dropped === COUNT
  })
  t.equal(taken + dropped, COUNT, `${taken} taken in, ${dropped} dropped`)
  const [last] = (await server.publish({ type: 'f', room: 'flood', key: 'end', data: 1 }))
  await client.until(() => client.events.at(-1)?.id === last)
  const values = new Map(client.events.map(({ key, data }) => [key, Number(data)]))
  t.equal(values.size, KEYS + 1)
  if (dropped === 0) t.same([...values.values()].filter(value => value > 1).sort((one, other) => one - other), Array.from({ length: KEYS }, (_, n) => COUNT - KEYS + n), 'the last of each key')
})

t.test('81: keys of a wrong type and commands that Redis does not allow are told by name, and pass', { skip }, async t => {
  const { server, redis, redisServer } = await scene(t, {
    acl: ['user default on nopass ~* &* +@all', 'user gateway on >word ~* &* +@all'],
    url: ({ port }) => `redis://gateway:word@127.0.0.1:${port}`
  })
  t.match(await post(server), { status: 202 })
  await redis.rename(`${PREFIX}log`, `${PREFIX}kept`)
  await redis.set(`${PREFIX}log`, 'a text')
  t.match(await post(server), { status: 503, code: 'STORE_UNAVAILABLE', message: /WRONGTYPE/ })
  await redis.rename(`${PREFIX}kept`, `${PREFIX}log`)
  await until('the log is itself again', async () => (await post(server)).status === 202)
  await redis.call('ACL', 'SETUSER', 'gateway', '-xadd')
  const refused = await post(server)
  t.match(refused, { status: 503, code: 'STORE_UNAVAILABLE', message: /NOPERM|permission|can't run/ })
  t.notMatch(JSON.stringify(refused), /word@|nopass/)
  await redis.call('ACL', 'SETUSER', 'gateway', '+xadd')
  await until('it may again', async () => (await post(server)).status === 202)
  t.ok(redisServer.running)
})

/** Answers every command alike. */
async function liar (t: Test, answer: string): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    // Each command is an array; its arguments may hold no such line.
    socket.on('data', data => socket.write(`${answer}\r\n`.repeat(data.toString('latin1').match(/^\*\d+\r$/gm)?.length ?? 0)))
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

for (const [answer, named] of [
  ['-MOVED __proto__ h:1', /MOVED/], ['-CROSSSLOT Keys in request don\'t hash to the same slot', /CROSSSLOT/], ['-ASK constructor __proto__:1', /ASK/], ['$-1', /./], ['*0', /./], ['+OK', /./], [':9007199254740993', /./], ['nonsense', /./]
] as const) {
  t.test(`81: a Redis that answers everything with ${answer} is told as unavailable, and nothing of it is taken for a name`, async t => {
    // What is no error where it asks for the slots of a cluster, ioredis does not survive.
    for (const scheme of answer.startsWith('-') ? ['redis', 'redis+cluster'] : ['redis']) {
      const log: string[] = []
      const server = await startServer({ profile: 'SSE', starts: false, redis: `${scheme}://127.0.0.1:${await liar(t, answer)}`, dataDir: '{bad}', log: pino({ level: 'info' }, { write: (line: string) => { log.push(line) } }) })
      t.teardown(async () => await server.close())
      server.box.start().catch(() => {})
      await until('it says so', () => log.length > 0)
      t.match(await post(server), { status: 503, code: 'STORE_UNAVAILABLE' }, scheme)
      t.match(JSON.stringify(await (await fetch(`${server.url}/readyz`)).json()), named)
      t.equal(({} as Record<string, unknown>).h, undefined)
      t.equal(({} as Record<string, unknown>).host, undefined)
    }
  })
}
