// Every form of REDIS_URL against a real Redis of that form: the gateway is ready, or /readyz says what is wrong with it.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { certificatesFor } from '../tools/certificates.ts'
import { redisCluster } from '../tools/redis-topologies.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { request, Stage, until } from './harness.ts'
import type { Env } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 2

const skip = skipWithout('redis') || skipWithout('openssl')

type Tap = Pick<typeof t, 'teardown' | 'match'>

/** Starts the gateway on a URL, and waits until /readyz says this: by default, that it is ready. */
async function readyAt (t: Tap, url: string, says: RegExp = /"ready"/, env: Env = {}): Promise<void> {
  const stage = new Stage(t)
  const server = await stage.launch({ PORT: 0, REDIS_URL: url, ...env })
  let text = ''
  await until(`/readyz says ${says} for ${url}`, async () => {
    text = (await request(`${server.url}/readyz`)).text
    return says.test(text)
  }, 15_000).catch(() => {})
  t.match(text, says, url)
  await server.stop()
}

t.test('Sentinels with a password of their own, and what is said without it', { skip, buffered: true }, async t => {
  const server = await RedisServer.start(t, { password: 'server' })
  const sentinel = await RedisServer.start(t, { sentinel: [`sentinel monitor mymaster 127.0.0.1 ${server.port} 1`, 'sentinel auth-pass mymaster server', 'requirepass "sesa me"'] })
  const url = `redis+sentinel://:server@127.0.0.1:${sentinel.port}`
  await readyAt(t, `${url}/mymaster?sentinelPassword=sesa%20me`)
  await readyAt(t, `${url}/mymaster`, /no Sentinel names the primary: a Sentinel requires a password; set it in REDIS_URL: \?sentinelPassword/)
  await readyAt(t, `${url}/mymaster?sentinelPassword=wrong`, /no Sentinel names the primary: .*(WRONGPASS|requires a password)/)
  await readyAt(t, `${url}/other?sentinelPassword=sesa%20me`, /no Sentinel names the primary: .*No such master/)
})

t.test('Sentinels and a server that speak nothing but TLS', { skip, buffered: true }, async t => {
  const tls = await certificatesFor(t)
  const env = { NODE_EXTRA_CA_CERTS: tls.ca }
  const server = await RedisServer.start(t, { tls })
  const monitor = `sentinel monitor mymaster 127.0.0.1 ${server.port} 1`
  const sentinel = await RedisServer.start(t, { tls, sentinel: [monitor], args: ['--tls-replication', 'yes'] })
  await readyAt(t, `rediss+sentinel://127.0.0.1:${sentinel.port}/mymaster`, undefined, env)
  const plain = await RedisServer.start(t, { sentinel: [monitor] })
  await readyAt(t, `rediss+sentinel://127.0.0.1:${plain.port}/mymaster?sentinelTls=false`, undefined, env)
  await readyAt(t, `redis://127.0.0.1:${server.port}`, /the connection is closed before anything is answered: if Redis expects TLS on this port, the URL begins with rediss/)
})

t.test('a cluster whose certificates hold names and no addresses', { skip, buffered: true }, async t => {
  const tls = await certificatesFor(t, 'DNS:localhost')
  const nodes = await redisCluster(t, { tls, args: ['--tls-cluster', 'yes', '--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'] })
  await readyAt(t, `rediss+cluster://${nodes.map(({ port }) => `localhost:${port}`).join()}`, undefined, { REDIS_PREFIX: '{sb}:', NODE_EXTRA_CA_CERTS: tls.ca })
})

t.test('a cluster of one node that does not know its address is named as such, and can be used as a server', { skip, buffered: true }, async t => {
  const node = await RedisServer.start(t, { args: ['--cluster-enabled', 'yes'] })
  await node.cli('cluster', 'addslotsrange', '0', '16383')
  await delay(500)
  await readyAt(t, `redis+cluster://127.0.0.1:${node.port}`, /the cluster names none of its nodes: .*cluster-announce-ip/, { REDIS_PREFIX: '{sb}:' })
  await readyAt(t, `redis://127.0.0.1:${node.port}`, undefined, { REDIS_PREFIX: '{sb}:' })
  const server = await RedisServer.start(t)
  await readyAt(t, `redis+cluster://127.0.0.1:${server.port}`, /no node of the cluster answers: .*cluster support disabled/, { REDIS_PREFIX: '{sb}:' })
})
