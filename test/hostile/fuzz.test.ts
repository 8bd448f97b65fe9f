// 10,000 inputs that nobody would send: see test/fuzz. `npm run fuzz` sends 100,000 of a new seed.

import t from 'tap'
import { fuzz } from '../fuzz/fuzz.ts'
import { readStored } from '../fuzz/stored.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'

t.setTimeout(600_000)

t.test('whatever comes in, the gateway lives, refuses in one shape, serves those beside, and keeps nothing of it', { skip: process.platform === 'win32' ? 'a process is asked how it is by SIGWINCH' : false }, async t => {
  const redis = skipWithout('redis') === false ? await RedisServer.start(t) : null
  t.same(await fuzz(t, { seed: 1, count: 10_000, redisUrl: redis?.url, stored: readStored() }), [])
})
