// Redis as a cluster, with TLS, and with Sentinel.

import { freePort, until } from '../process/harness.ts'
import { certificatesFor } from './certificates.ts'
import type { Certificates } from './certificates.ts'
import type { Test } from './daemon.ts'
import { RedisServer } from './redis.ts'
import type { RedisOptions } from './redis.ts'

const START_MS = 60_000

export interface RedisSentinel {
  readonly name: 'mymaster'
  readonly primary: RedisServer
  readonly replica: RedisServer
  readonly sentinel: RedisServer
}

/** Three masters without replicas, each with a third of the slots. Needs Redis 7. */
export async function redisCluster (t: Test, options: Omit<RedisOptions, 'port'> = {}): Promise<RedisServer[]> {
  const nodes = await Promise.all([1, 2, 3].map(async () => {
    const args = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-node-timeout', '2000']
    return await RedisServer.start(t, { ...options, args: [...args, ...options.args ?? []] })
  }))
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
  await (nodes[0] as RedisServer).cli('--cluster', 'create', ...addresses, '--cluster-yes')
  for (const node of nodes) await until(`the cluster is up at ${node.url}`, async () => /cluster_state:ok/.test(await node.cli('cluster', 'info')), START_MS)
  return nodes
}

/** One that accepts only TLS, for clients that trust `certificates.ca`. Needs `openssl`. */
export async function redisTls (t: Test, options: Omit<RedisOptions, 'tls'> = {}): Promise<{ server: RedisServer, certificates: Certificates }> {
  const certificates = await certificatesFor(t)
  return { server: await RedisServer.start(t, { ...options, tls: certificates }), certificates }
}

/** A primary, its replica, and one sentinel that considers a server down after a second of silence. */
export async function redisSentinel (t: Test): Promise<RedisSentinel> {
  const name = 'mymaster'
  const primary = await RedisServer.start(t)
  const replica = await RedisServer.start(t, { replicaOf: primary })
  await until('the replica follows', async () => /master_link_status:up/.test(await replica.cli('info', 'replication')), START_MS)
  const sentinel = await RedisServer.start(t, {
    sentinel: [
      `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
      `sentinel down-after-milliseconds ${name} 1000`,
      `sentinel failover-timeout ${name} 5000`
    ]
  })
  await until('the sentinel knows both', async () => {
    const state = await sentinel.cli('sentinel', 'master', name)
    return /^flags\nmaster$/m.test(state) && /^num-slaves\n1$/m.test(state)
  }, START_MS)
  return { name, primary, replica, sentinel }
}
