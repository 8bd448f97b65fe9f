// Which rooms are occupied, as watchers of @system, programs around the gateway and backends on Redis see it.

import t from 'tap'
import type { Test } from 'tap'
import { newWorker } from '../../src/core/group.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { until } from '../process/harness.ts'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

t.setTimeout(600_000)

const STORES = [
  { name: 'the embedded store', skip: false, start: async () => ({}) },
  { name: 'Redis', skip: skipWithout('redis'), start: async (t: Test) => ({ redis: (await RedisServer.start(t)).url }) }
]

async function serve (t: Pick<Test, 'teardown'>, options: ServerOptions): Promise<Server> {
  const server = await startServer(options)
  t.teardown(async () => await server.close())
  return server
}

/** What listeners are told, as `+room` and `-room`. */
function listen ({ gateway }: Server): string[] {
  const heard: string[] = []
  gateway.occupancy.on('occupied', room => heard.push(`+${room}`))
  gateway.occupancy.on('vacated', room => heard.push(`-${room}`))
  return heard
}

for (const { name, skip, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const place = await start(t)
    for (const profile of PROFILES) {
      t.test(`${profile}: watchers of @system and listeners hear when a room gets its first member, and that its last has left`, async t => {
        const server = await serve(t, { ...place, profile })
        const heard = listen(server)
        const watcher = await WireClient.open(profile, server.port, { rooms: ['@system'], types: ['occupied'] })
        await watcher.untilKind('ready')
        const began = Date.now()
        const clients = await Promise.all([1, 2, 3].map(async () => await WireClient.open(profile, server.port, { rooms: ['plant-1'] })))
        for (const client of clients) await client.untilKind('ready')
        await watcher.until(() => watcher.events.length > 0)
        const [event] = watcher.events
        t.match(event, { room: '@system', type: 'occupied', key: 'plant-1' })
        const { since } = event?.data as { since: number }
        t.ok(since >= began && since <= Date.now(), `since ${since - began} ms`)
        t.same((await server.gateway.view.presence()).rooms.filter(({ room }) => room === 'plant-1').map(({ members }) => members), [3])
        for (const client of clients) client.cut()
        await watcher.until(() => watcher.events.length > 1)
        t.match(watcher.events.slice(1), [{ room: '@system', type: 'occupied', key: 'plant-1', data: null }])
        t.same((await server.gateway.view.presence()).rooms.filter(({ room, members }) => room === 'plant-1' && members > 0), [])
        t.same(heard, ['+plant-1', '-plant-1'])
        watcher.cut()
      })

      t.test(`${profile}: rooms that come and go push nobody's facts out of history, and watchers of @system resume all the same`, async t => {
        const server = await serve(t, { ...place, profile, historySize: 5 })
        const wishes = [{ rooms: ['a'] }, { rooms: ['@system', 'a'], types: ['occupied', 'note'] }]
        const before = await Promise.all(wishes.map(async wish => await WireClient.open(profile, server.port, wish)))
        for (const client of before) await client.untilKind('ready')
        await server.gateway.publish([{ type: 'note', room: 'a', data: 0 }])
        for (const client of before) await client.until(() => client.events.some(({ data }) => data === 0))
        for (const client of before) client.cut()
        const heard = listen(server)
        await server.gateway.publish([1, 2, 3, 4].map(data => ({ type: 'note', room: 'a', data })))
        const visitor = await WireClient.open(profile, server.port, { rooms: Array.from({ length: 20 }, (_, n) => `visited-${n}`) })
        await until('the visitor has occupied its rooms', () => heard.filter(change => change.startsWith('+visited')).length === 20)
        visitor.cut()
        await until('all rooms are vacated', () => heard.filter(change => change.startsWith('-')).length === 21)
        const [resumed, watching] = await Promise.all(wishes.map(async (wish, n) => await WireClient.open(profile, server.port, { ...wish, cursor: before[n]?.cursor ?? null }))) as [WireClient, WireClient]
        await watching.until(() => watching.events.filter(({ data }) => data === null).length === 21)
        await resumed.until(() => resumed.events.length === 4)
        t.same(resumed.events.map(({ data }) => data), [1, 2, 3, 4])
        t.same(watching.events.filter(({ type }) => type === 'note').map(({ data }) => data), [1, 2, 3, 4])
        t.notOk([...resumed.messages, ...watching.messages].some(({ kind }) => kind === 'reset'))
        for (const client of [resumed, watching]) client.cut()
      })

      t.test(`${profile}: a page that reloads within a second says nothing`, async t => {
        const server = await serve(t, { ...place, profile })
        const heard = listen(server)
        for (let n = 0; n < 5; n++) {
          const client = await WireClient.open(profile, server.port, { rooms: ['plant-1'] })
          await client.untilKind('ready')
          await new Promise(resolve => setTimeout(resolve, 300))
          client.cut()
        }
        await until('it is vacated', () => heard.length > 1)
        t.same(heard, ['+plant-1', '-plant-1'])
      })
    }
  })
}

t.test('workers over Redis', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  const entries = async (prefix: string): Promise<string[]> =>
    [...(await redis.cli('XRANGE', `${prefix}:occupancy`, '-', '+')).matchAll(/^room\n(\S+)\noccupied\n([01])$/gm)].map(([, room, occupied]) => `${occupied === '1' ? '+' : '-'}${room}`)
  const deploy = async (t: Pick<Test, 'teardown'>, count: number): Promise<{ prefix: string, servers: Server[] }> => {
    const prefix = newWorker()
    const servers: Server[] = []
    for (let n = 0; n < count; n++) servers.push(await serve(t, { profile: 'SSE', redis: redis.url, dataDir: prefix }))
    return { prefix, servers }
  }
  const join = async (server: Server, ...rooms: string[]): Promise<WireClient> => {
    const client = await WireClient.open('SSE', server.port, { rooms })
    await client.untilKind('ready')
    return client
  }

  t.test('a room is occupied while any worker has a member, and each change is one entry of the stream', async t => {
    const { prefix, servers } = await deploy(t, 2) as { prefix: string, servers: [Server, Server] }
    const heard = servers.map(listen)
    const [first, second] = await Promise.all(servers.map(async server => await join(server, 'plant-1'))) as [WireClient, WireClient]
    await until('both heard it', () => heard.every(changes => changes.length === 1))
    first.cut()
    await new Promise(resolve => setTimeout(resolve, 1500))
    t.same(await entries(prefix), ['+plant-1'], 'the other worker has one')
    second.cut()
    await until('it is vacated', async () => (await entries(prefix)).length === 2)
    await until('both heard it', () => heard.every(changes => changes.length === 2))
    t.same(heard, [['+plant-1', '-plant-1'], ['+plant-1', '-plant-1']])
    t.same(await entries(prefix), ['+plant-1', '-plant-1'])
    t.equal(await redis.cli('HLEN', `${prefix}:state`), '0')
  })

  t.test('a client that changes its worker within a second says nothing', async t => {
    const { prefix, servers } = await deploy(t, 2) as { prefix: string, servers: [Server, Server] }
    let client = await join(servers[0], 'plant-1')
    for (let n = 1; n < 6; n++) {
      await new Promise(resolve => setTimeout(resolve, 200))
      client.cut()
      await new Promise(resolve => setTimeout(resolve, 400))
      client = await join(servers[n % 2] as Server, 'plant-1')
    }
    t.same(await entries(prefix), ['+plant-1'])
    client.cut()
    await until('it is vacated', async () => (await entries(prefix)).length === 2)
    t.same(await entries(prefix), ['+plant-1', '-plant-1'])
  })

  t.test('whatever 40 clients on three workers do, changes of a room take turns, and all hear the same', async t => {
    const { prefix, servers } = await deploy(t, 3)
    const heard = servers.map(listen)
    const ROOMS = ['a', 'b', 'c', 'd']
    await Promise.all(Array.from({ length: 40 }, async (_, n) => {
      for (let turn = 0; turn < 3; turn++) {
        const client = await join(servers[(n + turn) % 3] as Server, ROOMS[(n * 7 + turn) % 4] as string)
        await new Promise(resolve => setTimeout(resolve, 10 * ((n * 13 + turn * 29) % 40)))
        client.cut()
        if (turn === 0 && n % 2 === 0) await new Promise(resolve => setTimeout(resolve, 1500))
      }
    }))
    const isOver = (changes: readonly string[]): boolean => ROOMS.every(room => changes.findLast(change => change.slice(1) === room) === `-${room}`)
    await until('all are vacated', async () => isOver(await entries(prefix)))
    const changes = await entries(prefix)
    for (const room of ROOMS) {
      const own = changes.filter(change => change.slice(1) === room)
      t.same(own, own.map((_, at) => `${at % 2 === 0 ? '+' : '-'}${room}`))
    }
    await until('all heard it', () => heard.every(isOver))
    for (const one of heard) t.same(one, changes)
  })

  t.test('after FLUSHALL occupied rooms are said to be occupied again, and listeners hear nothing', async t => {
    const { prefix, servers } = await deploy(t, 2) as { prefix: string, servers: [Server, Server] }
    const heard = servers.map(listen)
    const clients = [await join(servers[0], 'plant-1'), await join(servers[1], 'plant-2')]
    await until('both heard it', () => heard.every(changes => changes.length === 2))
    await redis.cli('FLUSHALL')
    await until('it is said again', async () => (await entries(prefix)).length === 2)
    await new Promise(resolve => setTimeout(resolve, 7000))
    t.same((await entries(prefix)).sort(), ['+plant-1', '+plant-2'])
    t.same(heard, [['+plant-1', '+plant-2'], ['+plant-1', '+plant-2']])
    for (const client of clients) client.cut()
    await until('both are vacated', async () => (await entries(prefix)).length === 4)
  })

  t.test('a key of another type in the place of the stream makes way for it', async t => {
    const { prefix, servers } = await deploy(t, 1) as { prefix: string, servers: [Server] }
    await redis.cli('SET', `${prefix}:occupancy`, 'mine')
    const client = await join(servers[0], 'plant-1')
    await until('it is there', async () => (await entries(prefix)).length === 1)
    t.equal(await redis.cli('GET', `${prefix}:occupancy:string`), 'mine')
    client.cut()
  })
})

t.test('members that leave while Redis is away are gone when it is back', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  const server = await serve(t, { profile: 'SSE', redis: redis.url })
  const heard = listen(server)
  const clients = await Promise.all(['stays', 'leaves'].map(async room => await WireClient.open('SSE', server.port, { rooms: [room] })))
  await until('both are occupied', () => heard.length === 2)
  await redis.stop()
  clients[1]?.cut()
  await new Promise(resolve => setTimeout(resolve, 2000))
  t.equal(heard.length, 2)
  await redis.restart()
  await until('one is vacated', () => heard.length === 3)
  t.same([...heard].sort(), ['+leaves', '+stays', '-leaves'])
  clients[0]?.cut()
  await until('the other too', () => heard.length === 4)
})
