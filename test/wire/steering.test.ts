// POST /api/events/stream/:session: joining and leaving rooms on an open stream, at whichever worker the request arrives.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { ask, bearer, guarded, now, SECRET, STORES, token } from '../auth/harness.ts'
import type { Answer } from '../auth/harness.ts'
import { Page } from '../page.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from './client.ts'
import type { Wish } from './client.ts'
import { startServer, windowsSince } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

const fact = (data: unknown, room = 'a'): object => ({ type: 'log', room, data })
const gauge = (data: unknown, room = 'a'): object => ({ type: 'gauge', room, key: 'k', data })

interface Stream {
  readonly client: WireClient
  readonly session: string
}

async function open (port: number, wish: Wish = { rooms: ['a'] }): Promise<Stream> {
  const client = await WireClient.open('SSE', port, wish)
  await client.untilKind('ready')
  return { client, session: (client.messages[0] as unknown as { data: { session: string } }).data.session }
}

const steer = async (port: number, session: string, body: unknown, headers = {}): Promise<Answer> => await ask(port, `/api/events/stream/${session}`, { method: 'POST', body, headers })
const join = async (port: number, session: string, ...rooms: unknown[]): Promise<Answer> => await steer(port, session, { action: 'join', rooms })
const leave = async (port: number, session: string, ...rooms: string[]): Promise<Answer> => await steer(port, session, { action: 'leave', rooms })

/** The rooms with members, over all workers. */
async function occupied ([server]: readonly Server[]): Promise<string[]> {
  const { rooms } = await (server as Server).gateway.view.presence()
  return rooms.filter(({ members }) => members > 0).map(({ room }) => room)
}

for (const { name, skip, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const place = await start(t)
    /** The workers of a deployment: on Redis two. */
    const deploy = async (options: Partial<ServerOptions> = {}): Promise<Server[]> => {
      const dataDir = place.redis === undefined ? undefined : `steer-${Math.random()}-`
      return await Promise.all(Array.from({ length: place.redis === undefined ? 1 : 2 }, async () => {
        const server = await startServer({ profile: 'SSE', ...place, ...(dataDir === undefined ? {} : { dataDir }), ...options })
        t.teardown(async () => await server.close())
        return server
      }))
    }

    t.test('a stream joins and leaves rooms at any worker: the answer is that of a socket, the snapshot comes on the stream', async t => {
      const servers = await deploy()
      const [{ port, publish }] = servers as [Server]
      const { client, session } = await open(port)
      await publish(gauge('in b', 'b'), gauge('in c', 'c'), fact('before', 'b'))
      for (const [n, { port }] of servers.entries()) {
        const room = n === 0 ? 'b' : 'c'
        t.match(await join(port, session, room), { status: 200, body: { rooms: [room], members: { [room]: 1 }, position: 'new', cursor: String } })
        await client.until(() => client.messages.filter(({ kind }) => kind === 'ready').length === n + 2)
        t.equal(client.events.at(-1)?.data, `in ${room}`)
      }
      await publish(fact('after', 'b'))
      await client.until(() => client.events.at(-1)?.data === 'after')
      for (const { port } of servers) t.match(await leave(port, session, 'b'), { status: 200, body: { cursor: String } })
      await publish(fact('not heard', 'b'), fact('heard'))
      await client.until(() => client.events.at(-1)?.data === 'heard')
      t.notOk(client.events.some(({ data }) => data === 'not heard' || data === 'before'))
      t.match(await steer(port, session, { action: 'join', room: 'd', types: ['log'], lastEventId: '0-0', ref: 7 }), { status: 200, body: { rooms: ['d'], position: 'new' } })
      t.match(await steer(port, session, { action: 'leave' }), { status: 200, body: { rooms: [] } })
      client.cut()
    })

    t.test('the cursor on the stream is that of what it hears now, also where nothing else is sent', async t => {
      const servers = await deploy()
      const [{ port, publish }] = servers as [Server]
      const { client, session } = await open(port, { rooms: ['a'] })
      await publish(gauge(1), gauge(1, 'b'))
      await client.until(() => client.events.length === 1)
      const cut = async (rooms: string[]): Promise<string> => {
        const page = new Page()
        for (const message of client.pageMessages) page.apply(message)
        const back = await WireClient.open('SSE', port, { rooms, cursor: page.cursor })
        await back.until(() => back.messages.length > 0)
        back.cut()
        return (back.messages[0] as unknown as { position: string }).position
      }
      t.equal(await cut(['a']), 'resumed')
      await join(servers.at(-1)?.port as number, session, 'b')
      await client.until(() => client.events.length === 2)
      await client.untilKind('ready', 2)
      t.equal(await cut(['a', 'b']), 'resumed')
      t.equal(await cut(['a']), 'reset', 'at its old address a plain EventSource is reset')
      const before = client.messages.length
      await leave(servers.at(-1)?.port as number, session, 'b')
      await client.until(() => client.messages.length > before)
      t.equal(client.messages.at(-1)?.kind, 'position')
      t.equal(await cut(['a']), 'resumed')
      const heard = client.messages.length
      t.match(await steer(port, session, { action: 'join', room: 'c', lastEventId: 'of another connection' }), { body: { position: 'reset', cursor: null } })
      await client.untilKind('ready', 3)
      t.same(client.messages.slice(heard).map(({ kind }) => kind), ['reset', 'ready'], 'no cursor comes before the reset')
      client.cut()
    })

    t.test('a session that there is not, and one of somebody else, are not told apart', async t => {
      const servers = await deploy({ authJwtSecret: SECRET })
      const as = (sub: string, subscribe: string[]): object => bearer(token({ subscribe }, { sub }))
      const { client, session } = await open((servers[0] as Server).port, { rooms: ['a'], headers: as('ada', ['a', 'b', 'd']) as Record<string, string> })
      for (const { port } of servers) {
        const nobody = await steer(port, 'nobodys', { action: 'join', room: 'b' }, as('eve', ['*']))
        t.match(nobody, { status: 404, body: { code: 'SESSION_NOT_FOUND', message: /no such stream/ } })
        t.same((await steer(port, session, { action: 'join', room: 'b' }, as('eve', ['*']))).body, nobody.body)
        t.match(await steer(port, session, { action: 'join', room: 'b' }), { status: 401 })
        t.match(await steer(port, session, { action: 'join', rooms: ['b', 'c'] }, as('ada', ['b'])), { status: 403, body: { code: 'FORBIDDEN', message: /may not hear c/ } })
        t.match(await steer(port, session, { action: 'join', room: 'd' }, as('ada', ['a'])), { status: 403 }, 'the rights of the request count, not those of the stream')
        t.match(await steer(port, session, { action: 'join', room: 'e' }, as('ada', ['e'])), { status: 200 })
      }
      t.same(await occupied(servers), ['a', 'e'])
      client.cut()
    })

    t.test('a refusal is the socket\'s, and changes nothing', async t => {
      const servers = await deploy({ limits: { maxRoomsPerClient: 3, maxRoomSize: 1 } })
      const { port } = servers[0] as Server
      const full = await open(port, { rooms: ['full'] })
      const { client, session } = await open(port)
      const cases: Array<[unknown, number, string, RegExp]> = [
        [{ action: 'join', room: 'full' }, 409, 'ROOM_FULL', /full/],
        [{ action: 'join', rooms: ['b', 'c', 'd'] }, 400, 'BAD_SUBSCRIPTION', /MAX_ROOMS_PER_CLIENT/],
        [{ action: 'join', room: 'a b' }, 400, 'BAD_SUBSCRIPTION', /name/],
        [{ action: 'join', room: 'b', rooms: ['c'] }, 400, 'BAD_MESSAGE', /not both/],
        [{ action: 'leave', rooms: [1] }, 400, 'BAD_MESSAGE', /name of a room/],
        [{ action: 'control', command: 'ping' }, 400, 'BAD_MESSAGE', /action must be one of join, leave, pace/],
        [{ rooms: ['b'] }, 400, 'BAD_MESSAGE', /action/],
        ...[undefined, '1000', -1, 1.5, 60_001].map((paceMs): [unknown, number, string, RegExp] => [{ action: 'pace', paceMs }, 400, 'BAD_MESSAGE', /paceMs must be a whole number from 0 to 60000.*; or null/]),
        [{ action: 'join', room: 'b', paceMs: 'slow' }, 400, 'BAD_MESSAGE', /paceMs must be/],
        [{ action: 'join', room: 'b', colour: 1 }, 400, 'BAD_MESSAGE', /unknown field "colour"; join takes room, rooms, types, lastEventId, patch, paceMs, ref/],
        [['join'], 400, 'BAD_MESSAGE', /an object such as/]
      ]
      for (const { port } of servers) t.match((await steer(port, session, { action: 'join', rooms: ['b', 'full'] })).body, { code: 'ROOM_FULL', rooms: ['full'] })
      for (const { port } of servers) for (const [body, status, code, message] of cases) t.match(await steer(port, session, body), { status, body: { statusCode: status, code, message } }, JSON.stringify(body))
      t.same(await occupied(servers), ['a', 'full'])
      t.match(await ask(port, `/api/events/stream/${session}`), { status: 405, headers: { allow: 'OPTIONS, POST' } })
      client.cut()
      full.client.cut()
    })

    t.test('a change is read, judged and measured where it arrives: only what counts goes on to other workers', async t => {
      const servers = await deploy({ authJwtSecret: SECRET })
      const ada = bearer(token({ subscribe: ['a', 'b'] }))
      const { client, session } = await open((servers[0] as Server).port, { rooms: ['a'], headers: ada })
      for (const { port, gateway } of servers) {
        const asked: unknown[] = []
        const { operator } = gateway
        const askAll = operator.askAll.bind(operator)
        operator.askAll = async (name, args) => {
          asked.push(args)
          return await askAll(name, args)
        }
        t.match(await steer(port, session, { action: 'join', room: 'b', ref: 'r'.repeat(201) }, ada), { status: 400, body: { code: 'BAD_MESSAGE', message: /ref must be/ } })
        t.match(await steer(port, session, { action: 'join', room: 'b', lastEventId: 'x'.repeat(70_000) }, ada), { status: 413, body: { code: 'TOO_LARGE', message: /65536 bytes/ } })
        t.match(await steer(port, session, { action: 'join', room: 'c' }, ada), { status: 403, body: { message: /may not hear c/ } })
        t.match(await steer(port, 'nobodys', { action: 'join', room: 'c' }, ada), { status: 403 }, 'whether there is such a stream or not')
        t.same(asked, [])
        t.match(await steer(port, session, { action: 'join', rooms: ['b'], types: ['x', 'y'], ref: 'mine' }, ada), { status: 200, body: { rooms: ['b'] } })
        t.match(await steer(port, session, { action: 'leave', rooms: ['b', 'z'.repeat(100_000)] }, ada), { status: 200, body: { rooms: ['b'] } })
        t.match(asked, port === servers[0]?.port ? [] : [{ change: { joins: [['b', 0]], lists: [['x', 'y']], cursor: null } }, { change: { rooms: ['b'] } }])
        t.notMatch(JSON.stringify(asked), /mine|zzz/)
      }
      client.cut()
    })

    t.test('of two tokens that name nobody, from one address, only the same one steers', async t => {
      const servers = await deploy({ authJwtSecret: SECRET, anonymousSubscribe: ['a'] })
      const nobody = (subscribe: string[], claims = {}): { Authorization: string } => bearer(token({ subscribe }, { sub: undefined, exp: now() + 600, ...claims }))
      const own = nobody(['a'])
      const { client, session } = await open((servers[0] as Server).port, { rooms: ['a'], headers: own })
      const plain = await open((servers[0] as Server).port, { rooms: ['a'] })
      const change = { action: 'leave', room: 'b' }
      for (const { port } of servers) {
        t.match(await steer(port, session, change), { status: 404, body: { code: 'SESSION_NOT_FOUND' } }, 'nor does somebody without a token')
        for (const other of [nobody(['*']), nobody(['a'], { exp: now() + 900 }), nobody(['a'], { iss: 'else' }), bearer(token({ subscribe: ['a'] }))]) {
          t.match(await steer(port, session, change, other), { status: 404, body: { code: 'SESSION_NOT_FOUND' } })
        }
        t.match(await steer(port, session, change, own), { status: 200 })
        t.match(await steer(port, plain.session, change, own), { status: 404 })
        t.match(await steer(port, plain.session, change), { status: 200 })
      }
      client.cut()
      plain.client.cut()
    })

    t.test('each join hears public events by its own rights', async t => {
      const servers = await deploy({ authJwtSecret: SECRET })
      const [{ port: home, publish: say }] = servers as [Server]
      const publish = async (...events: object[]): Promise<unknown> => await say(...events)
      const strong = bearer(token({ subscribe: ['a', 'b', 'c', '@public'] }))
      const weak = bearer(token({ subscribe: ['a', 'b', 'c'] }))
      for (const { port } of servers) {
        for (const [opened, joined] of [[strong, weak], [weak, strong]] as const) {
          const { client, session } = await open(home, { rooms: ['a'], types: ['opening'], headers: opened })
          t.match(await steer(port, session, { action: 'join', room: 'b', types: ['later'] }, joined), { status: 200 })
          const heard = async (data: string): Promise<unknown[]> => {
            const from = client.events.length
            await publish({ type: 'opening', data: 'opening' }, { type: 'later', data: 'later' }, { type: 'opening', room: 'a', data })
            await client.until(() => client.events.at(-1)?.data === data)
            return client.events.slice(from, -1).map(({ data }) => data)
          }
          t.same(await heard('1'), [opened === strong ? 'opening' : 'later'])
          if (opened === strong) {
            t.match(await steer(port, session, { action: 'join', room: 'b', types: ['later'] }, strong), { status: 200 })
            t.same(await heard('2'), ['opening', 'later'], 'the same once more, with the right')
          }
          t.match(await steer(port, session, { action: 'leave', room: 'b' }, joined), { status: 200 })
          t.same(await heard('3'), opened === strong ? ['opening'] : [])
          client.cut()
        }
      }
    })

    t.test('a stream takes as many changes a second as a socket takes messages', async t => {
      const servers = await deploy({ limits: { maxEventsPerSecondPerClient: 5 } })
      const { client, session } = await open((servers[0] as Server).port)
      const begun = Date.now()
      const answers = await Promise.all(Array.from({ length: 14 }, async (_, n) => await join((servers[n % servers.length] as Server).port, session, `room-${n}`)))
      const refused = answers.filter(({ status }) => status !== 200)
      t.ok(14 - refused.length >= 5 && 14 - refused.length <= 5 * windowsSince(begun), `${refused.length} of 14 refused`)
      for (const answer of refused) t.match(answer, { status: 429, headers: { 'retry-after': '1' }, body: { code: 'RATE_LIMITED', message: /MAX_EVENTS_PER_SECOND_PER_CLIENT/ } })
      client.cut()
    })
  })
}

t.test('a stream whose rooms were joined by a token that ends earlier ends with it', async t => {
  const { port } = await guarded(t, { profile: 'SSE' })
  const { client, session } = await open(port, { rooms: ['a'], headers: bearer(token({ subscribe: ['a'] })) })
  t.match(await steer(port, session, { action: 'join', room: 'b' }, bearer(token({ subscribe: ['b'] }, { exp: now() + 1000 }))), { status: 200 })
  await delay(1200)
  t.notOk(client.closed, 'one that ends later changes nothing')
  t.match(await steer(port, session, { action: 'join', room: 'c' }, bearer(token({ subscribe: ['c'] }, { exp: now() + 5 }))), { status: 200 })
  await client.until(() => client.closed)
  t.match(client.messages.at(-1), { kind: 'bye', data: { reason: 'TOKEN_EXPIRED' } })
})

t.test('join= in the address of a stream names rooms with types of their own', async t => {
  const server = await startServer({ profile: 'SSE' })
  t.teardown(async () => await server.close())
  const query = encodeURIComponent(JSON.stringify(['a', { room: 'b', types: ['log'] }]))
  const answer = await ask(server.port, `/api/events/stream?join=${query}`)
  t.match(answer, { status: 200, body: /position":"new"/ })
  t.match(await ask(server.port, `/api/events/stream?join=${query}&rooms=a`), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message: /give join, or rooms and types/ } })
  // What was steered comes back at one address.
  const { client, session } = await open(server.port)
  t.match(await join(server.port, session, { room: 'b', types: ['log'] }), { status: 200 })
  await client.untilKind('ready', 2)
  client.cut()
  await server.publish(fact('missed', 'b'), gauge('not heard', 'b'), fact('missed too'))
  const back = await ask(server.port, `/api/events?join=${query}&lastEventId=${client.cursor as string}`)
  t.match(back.body, { position: 'resumed', events: [{ data: 'missed' }, { data: 'missed too' }] })
})

t.test('while the profile changes, a worker with the other one takes it too', { skip: skipWithout('redis') }, async t => {
  const place = { redis: (await RedisServer.start(t)).url, dataDir: 'steer-mixed-' }
  const [streams, sockets] = await Promise.all((['SSE', 'WEBSOCKET'] as const).map(async profile => {
    const server = await startServer({ profile, ...place })
    t.teardown(async () => await server.close())
    return server
  })) as [Server, Server]
  const { client, session } = await open(streams.port)
  t.match(await join(sockets.port, session, 'b'), { status: 200, body: { rooms: ['b'] } })
  await sockets.publish(fact('heard', 'b'))
  await client.until(() => client.events.length === 1)
  t.match(await join(sockets.port, 'nobodys', 'b'), { status: 404, body: { code: 'SESSION_NOT_FOUND' } })
  client.cut()
})

t.test('without streams there is nothing to steer', async t => {
  const server = await startServer({ profile: 'WEBSOCKET' })
  t.teardown(async () => await server.close())
  t.match(await steer(server.port, 'any', { action: 'join', room: 'a' }), { status: 404, body: { code: 'SESSION_NOT_FOUND' } })
})
