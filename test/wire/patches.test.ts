// Patches as they are asked for and come on the wire, and the lines of docs/protocol.md that follow them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import t from 'tap'
import { ask, STORES } from '../auth/harness.ts'
import { packageRoot } from '../../src/app/package.ts'
import { until } from '../process/harness.ts'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server } from './harness.ts'

const value = (n: number, room = 'a'): object => ({ type: 'x', room, key: 'k', data: { text: 'v'.repeat(60), n, in: { a: 1, b: n % 2 === 0 ? null : [n] } } })
const small = (n: number, room = 'a'): object => ({ type: 'x', room, key: 'k', data: { text: 'v'.repeat(60), n } })

for (const profile of PROFILES) {
  t.test(`over ${profile} what asks for patches says merge, or is refused`, async t => {
    const { port, close } = await startServer({ profile })
    t.teardown(close)
    t.ok((await ask(port, '/api/profile')).body.features.includes('patch'))
    t.match(await ask(port, '/api/events?patch=json'), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message: /merge/ } })
    t.match(await ask(port, '/api/events?patch=merge&patch=merge'), { status: 400, body: { code: 'BAD_SUBSCRIPTION' } })
    t.match(await ask(port, '/api/events?patch='), { status: 200 })
    if (profile === 'SSE') t.match(await ask(port, '/api/events/stream?patch=true'), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message: /merge/ } })
  })
}

for (const { name, skip, start } of STORES) {
  t.test(`on ${name} a join that is posted to a stream brings patches, at whichever worker`, { skip }, async t => {
    const place = await start(t)
    const dataDir = place.redis === undefined ? undefined : `patch-${Math.random()}-`
    const servers: Server[] = []
    for (let worker = 0; worker < (place.redis === undefined ? 1 : 2); worker++) {
      const server = await startServer({ profile: 'SSE', ...place, ...(dataDir === undefined ? {} : { dataDir }), limits: { tickMs: 0, tickFloorMs: 0 } })
      t.teardown(server.close)
      servers.push(server)
    }
    const [{ port, publish }, { port: another }] = [servers[0], servers.at(-1)] as [Server, Server]
    const client = await WireClient.open('SSE', port, { rooms: ['b'] })
    await client.untilKind('ready')
    const { session } = (client.messages[0] as unknown as { data: { session: string } }).data
    const post = async (body: object): Promise<unknown> => await ask(another, `/api/events/stream/${session}`, { method: 'POST', body })
    t.match(await post({ action: 'join', room: 'a', patch: 'all' }), { status: 400, body: { code: 'BAD_MESSAGE', message: /merge/ } })
    t.match(await post({ action: 'leave', room: 'b', patch: 'merge' }), { status: 400, body: { code: 'BAD_MESSAGE' } })
    t.match(await post({ action: 'join', room: 'a', patch: 'merge' }), { status: 200, body: { rooms: ['a'] } })
    await client.until(() => client.messages.filter(({ kind }) => kind === 'ready').length === 2)
    for (const n of [1, 2]) {
      await publish(small(n))
      await publish(small(n, 'b'))
      await client.until(() => client.events.length === 2 * n)
    }
    t.same(client.events.map(event => 'patch' in event ? event.patch : 'whole'), ['whole', 'whole', { n: 2 }, 'whole'])
    client.cut()
  })
}

t.test('the lines of docs/protocol.md have what was published', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(server.close)
  const page = readFileSync(join(packageRoot, 'docs', 'protocol.md'), 'utf8')
  const [, code] = /## Patches\n.*?```js\n(.*?)```/s.exec(page) as unknown as [string, string]
  let patches = 0
  let close = (): void => {}
  class Source extends EventSource {
    constructor (path: string) {
      super(`${server.url}${path}`)
      close = () => this.close()
      this.addEventListener('message', ({ data }) => { patches += data.includes('"patch":') ? 1 : 0 })
    }
  }
  // eslint-disable-next-line no-new-func
  const values = new Function('EventSource', `${code}; return values`)(Source) as Map<string, unknown>
  t.teardown(() => close())
  for (const event of [small(1), small(2), value(3), value(4), value(5), value(7), small(8), { type: 'log', data: 1 }, small(9)]) {
    const published = { ...event, room: 'plant-1' } as unknown as { key?: string, data: unknown }
    const [id] = await server.publish(published)
    t.ok(id)
    if (published.key === undefined) continue
    await until('it is there', async () => JSON.stringify(sorted([...values.values()][0])) === JSON.stringify(sorted(published.data)))
  }
  t.ok(patches >= 4, `${patches} patches`)
  await server.publish({ type: 'x', room: 'plant-1', key: 'k', data: null })
  await until('it is gone', async () => values.size === 0)
})

/** Members in one order. */
function sorted (value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([name, part]) => [name, sorted(part)]))
}
