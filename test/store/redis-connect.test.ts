// The connection to Redis, to servers that are none.

import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { connection, withoutAddresses } from '../../src/store/redis/connect.ts'
import { until } from '../process/harness.ts'

t.test('what is said to everybody names no server', async t => {
  for (const [reason, words] of [
    ['connect ECONNREFUSED 10.0.0.5:6379', 'connect ECONNREFUSED'],
    ['connect ECONNREFUSED ::1:6379', 'connect ECONNREFUSED'],
    ['connect ENETUNREACH fd00:12::7:6379', 'connect ENETUNREACH'],
    ['getaddrinfo ENOTFOUND redis.internal', 'getaddrinfo ENOTFOUND'],
    ['no Sentinel names the primary: sentinel.internal:26379: connect ECONNREFUSED 10.0.0.5:26379', 'no Sentinel names the primary: a Sentinel: connect ECONNREFUSED'],
    ["Hostname/IP does not match certificate's altnames: Host: redis.internal. is not in the cert's altnames: DNS:other", "Hostname/IP does not match certificate's altnames"],
    ["OOM command not allowed when used memory > 'maxmemory'", "OOM command not allowed when used memory > 'maxmemory'"]
  ] as const) t.equal(withoutAddresses(reason), words)
})

t.test('a server that answers CLUSTER with nil, or names nil as a node, is refused with a sentence', async t => {
  for (const slots of ['*-1\r\n', '*1\r\n*3\r\n:0\r\n:16383\r\n*-1\r\n']) {
    const server = createServer(socket => socket.on('error', () => {}).on('data', data => {
      for (const command of data.toString().match(/\*\d+\r\n(?:\$\d+\r\n[^*]*)+/g) ?? []) socket.write(/slots/i.test(command) ? slots : '+OK\r\n')
    }))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const reasons: string[] = []
    const client = connection({ address: redisAddress(`redis+cluster://127.0.0.1:${(server.address() as AddressInfo).port}`), name: 'test', commandTimeoutMs: 1000, onError: reason => { reasons.push(reason) } })
    client.connect().catch(() => {})
    await until('it says why', () => reasons.some(reason => /answered with nil: .*no node of a Redis Cluster/.test(reason)))
    client.disconnect()
    server.close()
  }
})
