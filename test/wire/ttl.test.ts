// `ttl` over the wire: every way in, both profiles, both stores, and over restarts.

import { Redis } from 'ioredis'
import t from 'tap'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'

const ends = (client: WireClient): string[] => client.events.filter(({ data }) => data === null).map(({ key }) => key as string).sort()
const host = (key: string, data: unknown, ttl?: number): object => ({ type: 'host', room: 'a', key, data, ...(ttl === undefined ? {} : { ttl }) })

for (const profile of PROFILES) {
  t.test(`${profile}, embedded: a value ends at its time, also where the gateway was down then, and a paused room does not keep it`, async t => {
    const dataDir = t.testdir()
    const before = await startServer({ profile, dataDir })
    const client = await WireClient.open(profile, before.port, { rooms: ['a'] })
    await client.untilKind('ready')
    await before.publish(host('brief', 1, 1), host('later', 1, 2), host('stays', 1), host('paused', 1, 2))
    if (profile === 'WEBSOCKET') client.say({ action: 'control', command: 'publish', args: { event: host('sent', 1, 1) } })
    await client.until(() => ends(client).includes('brief') && (profile === 'SSE' || ends(client).includes('sent')))
    t.match(client.events.find(({ key }) => key === 'later'), { ttl: 2 })
    client.cut()
    await before.gateway.operator.pause('a', true)
    await before.close()
    // Past the time of those that are left.
    await new Promise(resolve => setTimeout(resolve, 1500))
    const after = await startServer({ profile, dataDir })
    t.teardown(after.close)
    const again = await WireClient.open(profile, after.port, { rooms: ['a'] })
    t.match(await again.untilKind('ready'), { keys: 1 })
    t.same(again.events.map(({ key }) => key), ['stays'])
    again.cut()
  })

  t.test(`${profile}, Redis: a value ends once over several processes, whichever way it came in`, { skip: skipWithout('redis') }, async t => {
    const { url } = await RedisServer.start(t)
    const names = { dataDir: 'ttl', redisChannel: 'ttl-events', redis: url }
    const [one, two] = [await startServer({ profile, ...names }), await startServer({ profile, ...names })]
    t.teardown(async () => { await Promise.all([one.close(), two.close()]) })
    const clients = [await WireClient.open(profile, one.port, { rooms: ['a'] }), await WireClient.open(profile, two.port, { rooms: ['a'] })]
    for (const client of clients) await client.untilKind('ready')
    const redis = new Redis(url)
    t.teardown(() => redis.disconnect())
    await one.publish(host('http', 1, 1), host('stays', 1, 100))
    await redis.xadd('ttl:ingest', '*', 'event', JSON.stringify(host('ingest', 1, 1)))
    await redis.publish('ttl-events', JSON.stringify(host('channel', 1, 1)))
    for (const client of clients) await client.until(() => ends(client).length >= 3)
    await one.publish({ type: 'mark', room: 'a', data: 1 })
    for (const client of clients) {
      await client.until(() => client.events.some(({ type }) => type === 'mark'))
      t.same(ends(client), ['channel', 'http', 'ingest'])
      client.cut()
    }
  })
}
