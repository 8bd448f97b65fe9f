// The central promise from outside: whatever profile a restart brings, and however the process ended, clients follow
// by themselves, and what was acknowledged reaches everybody once. Where the log is not the one they knew, they are told.

import { cpSync, rmSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES } from '../wire/harness.ts'
import type { Arrived } from '../wire/client.ts'
import { finalTally, freePort, request, sentence, Stage, until } from './harness.ts'
import type { Env, Wish } from './harness.ts'

// Also where no runner says so: everything here waits for processes.
t.setTimeout(600_000)

/** Subscriptions of every shape: rooms, types over room and feed, the feed, several rooms, rooms with the feed. */
const WISHES: readonly Wish[] = [
  { rooms: ['a'] },
  { rooms: ['a'], types: ['fact-0', 'value-1'] },
  {},
  { types: ['fact-2', 'value-2'] },
  { rooms: ['a', 'b', 'c'] },
  { rooms: ['@public', 'b'] },
  { rooms: ['b', 'c'], types: ['fact-0', 'fact-1', 'value-0'] },
  { rooms: ['c'] }
]
const RESTARTS = 4

for (const [store, signal] of [['a DATA_DIR', 'SIGTERM'], ['a DATA_DIR', 'SIGKILL'], ['Redis', 'SIGTERM'], ['Redis', 'SIGKILL']] as const) {
  const skip = process.platform === 'win32' && signal === 'SIGTERM' ? 'Windows has no SIGTERM' : store === 'Redis' && skipWithout('redis')
  t.test(`restarts on ${store} by ${signal} from one profile to the other under load lose, repeat and reorder nothing`, { skip }, async t => {
    const stage = new Stage(t)
    const port = await freePort()
    const env: Env = store === 'Redis' ? { REDIS_URL: (await RedisServer.start(t)).url } : { DATA_DIR: stage.folder() }
    const launch = async (restart: number): ReturnType<Stage['launch']> =>
      await stage.launch({ ...env, APP_PROFILE: PROFILES[restart % 2] as ProfileName, PORT: port })
    let server = await launch(0)
    const followers = await Promise.all(WISHES.map(async wish => await stage.follower(port, wish).start()))
    const publishers = ['p', 'q', 'r'].map(name =>
      stage.publisher({ name, url: server.url, rooms: ['a', 'b', null, 'c', 'a', null], batch: 6, strays: true }).start())

    const codes: Array<number | null> = []
    const troubles: string[] = []
    for (let restart = 1; restart <= RESTARTS; restart++) {
      await delay(500 + Math.random() * 700)
      // On a busy machine some need longer than that.
      await until('everybody came back', () => followers.every(({ connections }) => connections >= restart))
      codes.push(await server.stop(signal))
      troubles.push(...server.log().filter(({ level }) => level >= 50).map(({ msg }) => msg))
      server = await launch(restart)
    }
    await delay(500)
    await Promise.all(publishers.map(async publisher => await publisher.finish()))

    const counts = await finalTally(publishers, followers, 120_000)
    t.comment(`${store}, ${signal}, ${RESTARTS} restarts: ${sentence(counts)}`)
    t.same(counts.complaints, [], 'no page got anything it should not')
    t.ok(counts.acknowledged > 200, 'there was load')
    t.equal(counts.lost, 0, 'every acknowledged fact reached everybody who hears it')
    t.equal(counts.twice, 0, 'none twice')
    t.equal(counts.disorder, 0, 'none out of order')
    t.equal(counts.torn, 0, 'what was never acknowledged reached all who hear it, or nobody')
    t.equal(counts.foreign, 0, 'none that nobody sent')
    t.equal(counts.stale, 0, 'of every key everybody has the newest value')
    t.equal(counts.resets, 0, 'nobody was told to begin anew')
    t.ok(followers.every(({ profiles }) => profiles.size === 2), 'over both profiles')
    t.same(codes, codes.map(() => signal === 'SIGTERM' ? 0 : null), 'the processes ended as asked')
    t.same(troubles, [], 'the log has no errors')
  })
}

/** What may become of a DATA_DIR between two connections. */
const FATES = ['wiped', 'replaced by another server\'s', 'set back to an older copy'] as const

for (const profile of PROFILES) {
  for (const fate of FATES) {
    t.test(`over ${profile}, a client that returns to a DATA_DIR ${fate} gets a reset and the current values`, async t => {
      const stage = new Stage(t)
      const port = await freePort()
      const folder = stage.folder()
      const other = stage.folder()
      const server = await stage.launch({ APP_PROFILE: profile, PORT: port, DATA_DIR: folder })
      const publish = async (url: string, ...events: object[]): Promise<string[]> => (await request(`${url}/api/events`, { json: events })).body.ids
      const client = await stage.client(profile, port, { rooms: ['a'] })
      await client.untilKind('ready')
      await publish(server.url, { type: 'fact', room: 'a', data: 1 }, { type: 'cpu', room: 'a', key: 'mine', data: 1 })
      await client.until(() => client.events.length === 2)
      // Nothing is being written: a copy of the files is the log as it is now.
      if (fate === 'set back to an older copy') cpSync(folder, other, { recursive: true })
      await publish(server.url, { type: 'fact', room: 'a', data: 2 }, { type: 'cpu', room: 'a', key: 'late', data: 2 })
      await client.until(() => client.events.length === 4)
      const { cursor } = client
      t.ok(cursor)
      await server.kill9()

      if (fate === 'wiped') rmSync(folder, { recursive: true })
      if (fate === 'replaced by another server\'s') {
        const theirs = await stage.launch({ PORT: 0, DATA_DIR: other })
        await publish(theirs.url, { type: 'fact', room: 'a', data: 'theirs' }, { type: 'cpu', room: 'a', key: 'theirs', data: 3 })
        t.equal(await theirs.stop(), 0)
      }
      const again = await stage.launch({ APP_PROFILE: profile, PORT: port, DATA_DIR: fate === 'wiped' ? folder : other })
      if (fate === 'wiped') await publish(again.url, { type: 'cpu', room: 'a', key: 'new', data: 4 })
      const returned = await stage.client(profile, port, { rooms: ['a'], cursor })
      const reset = await returned.untilKind('reset') as Extract<Arrived, { kind: 'reset' }>
      await returned.untilKind('ready')
      t.match(returned.messages.find(({ kind }) => kind === 'joined'), { position: 'reset', cursor: null }, 'the position given up is no cursor')
      t.equal(reset.reason, fate === 'set back to an older copy' ? 'ahead' : 'unknown')
      t.ok(reset.cursor)
      const keys = { wiped: ['new'], 'replaced by another server\'s': ['theirs'], 'set back to an older copy': ['mine'] }[fate]
      t.same(returned.events.map(({ key }) => key), keys, 'the present values, and no facts of another time')
      const [id] = await publish(again.url, { type: 'fact', room: 'a', data: 'next' })
      await returned.until(() => returned.events.at(-1)?.id === id)
      t.same(returned.messages.filter(({ kind }) => kind === 'reset').length, 1, 'told once')

      // Where it stands now is a place to come back to.
      const { cursor: place } = returned
      returned.cut()
      const third = await stage.client(profile, port, { rooms: ['a'], cursor: place })
      const [last] = await publish(again.url, { type: 'fact', room: 'a', data: 'last' })
      await third.until(() => third.events.length > 0)
      t.same(third.events.map(({ id }) => id), [last])
      t.match(third.messages.find(({ kind }) => kind === 'joined'), { position: 'resumed' })
    })
  }
}

t.test('the path of the other profile says where to go, and keeps a plain EventSource trying', async t => {
  const stage = new Stage(t)
  const [sse, websocket] = await Promise.all(PROFILES.map(async profile => await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() }))) as [Awaited<ReturnType<Stage['launch']>>, Awaited<ReturnType<Stage['launch']>>]

  const first = await request(`${websocket.url}/api/events/stream?rooms=a`, { headers: { accept: 'text/event-stream' } })
  t.equal(first.status, 404)
  t.match(first.body, { statusCode: 404, code: 'PROFILE_NOT_MOUNTED', message: /WEBSOCKET.*\/api\/events\/ws/ })

  // Read to its end, or this would not return.
  const returning = await request(`${websocket.url}/api/events/stream?rooms=a`, { headers: { accept: 'text/event-stream', 'last-event-id': '1763770000000-0' } })
  t.equal(returning.status, 200)
  t.match(returning.headers.get('content-type'), /^text\/event-stream; charset=utf-8/)
  t.match(returning.text, /^retry: \d+\n/)
  t.match(returning.text, /\nevent: bye\ndata: \{"reason":"PROFILE_NOT_MOUNTED","retryMs":\d+\}\n\n$/)

  const socket = await stage.client('WEBSOCKET', sse.port)
  t.match(socket.head, /^HTTP\/1.1 404 /)
  const plain = await request(`${sse.url}/api/events/ws`)
  t.equal(plain.status, 404)
  t.match(plain.body, { code: 'PROFILE_NOT_MOUNTED', message: /SSE.*\/api\/events\/stream/ })
})
