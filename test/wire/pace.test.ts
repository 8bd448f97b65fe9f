// The pace of a client on the wire: in the address of a stream and in a socket's join, changed on the open connection, brought to the
// other profile. The paces here are a minute: what comes within a test has not waited for them.

import t from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { ask, STORES } from '../auth/harness.ts'
import { Page } from '../page.ts'
import { WireClient } from './client.ts'
import type { Wish } from './client.ts'
import { PROFILES, startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

const MINUTE = 60_000
const fact = (data: unknown): object => ({ type: 'log', room: 'a', data })
const gauge = (data: unknown, key = 'k'): object => ({ type: 'gauge', room: 'a', key, data })

const data = (client: WireClient): unknown[] => client.events.map(({ data }) => data)

/** Sets the pace of an open connection, of a stream through `port`. @returns the answer's data */
async function pace (client: WireClient, port: number, paceMs: unknown): Promise<unknown> {
  if (client.profile === 'SSE') {
    const { session } = (client.messages[0] as unknown as { data: { session: string } }).data
    return (await ask(port, `/api/events/stream/${session}`, { method: 'POST', body: { action: 'pace', paceMs } })).body
  }
  const ref = `${Math.random()}`
  client.say({ action: 'pace', paceMs, ref })
  const answer = (): { data: unknown } | undefined => client.messages.find(message => 'ref' in message && message.ref === ref) as { data: unknown } | undefined
  await client.until(() => answer() !== undefined)
  return answer()?.data
}

for (const { name, skip, start } of STORES) {
  t.test(`on ${name}`, { skip }, async t => {
    const place = await start(t)
    const serve = async (options: ServerOptions): Promise<Server> => {
      const server = await startServer({ ...place, ...options })
      t.teardown(async () => await server.close())
      return server
    }

    for (const profile of PROFILES) {
      t.test(`over ${profile}`, async t => {
        const dataDir = place.redis === undefined ? t.testdir() : `pace-${Math.random()}-`
        let server = await serve({ profile, dataDir })
        const elsewhere = place.redis === undefined ? server : await serve({ profile, dataDir })
        const { publish } = server
        const open = async (wish: Wish): Promise<WireClient> => await WireClient.open(current, server.port, { rooms: ['a'], ...wish })
        let current: ProfileName = profile

        await publish(gauge(1), gauge(1, 'gone'))
        const client = await open({ paceMs: MINUTE })
        await client.untilKind('ready')
        t.same(data(client), [1, 1], 'the snapshot is there at once')

        await publish(gauge(2), gauge(null, 'gone'), fact('one'))
        await client.until(() => data(client).includes('one'))
        await publish(gauge(3), fact('two'))
        await client.until(() => data(client).includes('two'))
        t.same(data(client).slice(2), ['one', 'two'], 'facts at once; values wait')

        t.match(await pace(client, elsewhere.port, null), { paceMs: null, cursor: String }, 'at any worker')
        await publish(gauge(4), fact('three'))
        await client.until(() => data(client).includes('three'))
        t.match(await pace(client, server.port, MINUTE), { paceMs: MINUTE })
        await client.until(() => data(client).length === 7)
        t.same(data(client).slice(4), ['three', null, 4], 'one catch-up, of the newest')
        await publish(gauge(5), fact('four'))
        await client.until(() => data(client).includes('four'))
        t.match(await pace(client, server.port, 0), { paceMs: 0 })
        await client.until(() => data(client).at(-1) === 5)
        await publish(gauge(6))
        await client.until(() => data(client).at(-1) === 6)

        for (const wrong of [-1, 1.5, MINUTE + 1, '1000', undefined]) {
          t.match(await pace(client, server.port, wrong), { code: 'BAD_MESSAGE', message: /paceMs must be a whole number from 0 to 60000/ }, String(wrong))
        }
        if (profile === 'SSE') {
          for (const wrong of ['-1', '1.5', '60001', 'x', '', '1e3']) {
            t.match(await ask(server.port, `/api/events/stream?rooms=a&paceMs=${wrong}`), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message: /paceMs must be a whole number from 0 to 60000/ } }, wrong)
          }
        }
        t.match(await ask(server.port, '/api/events?rooms=a&paceMs=1000'), { status: 400, body: { code: 'BAD_SUBSCRIPTION', message: /unknown parameter "paceMs"/ } }, 'a read has no pace')
        t.match(await ask(server.port, '/api/profile'), { body: { features: ['compression', 'patch', 'pace'] } })

        t.match(await pace(client, server.port, null), { paceMs: null })
        await publish(gauge(7), gauge(7, 'new'), fact('five'))
        await client.until(() => data(client).includes('five'))
        const page = new Page()
        for (const message of client.pageMessages) page.apply(message)
        client.cut()
        // The whole deployment goes back to the other profile.
        if (elsewhere !== server) await elsewhere.close()
        await server.close()
        current = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
        server = await serve({ profile: current, dataDir })
        const hidden = await open({ paceMs: null, cursor: page.cursor })
        await server.publish(gauge(8), fact('six'))
        await hidden.until(() => data(hidden).includes('six'))
        t.same(data(hidden), ['six'], 'back with null: facts only')
        const back = await open({ paceMs: MINUTE, cursor: page.cursor })
        await back.until(() => data(back).length === 3)
        for (const message of back.pageMessages) page.apply(message)
        t.same([...page.values].map(([name, { data }]) => [name, data]).sort(), [['a gauge k', 8], ['a gauge new', 7]], 'the values that were owed, at once')
        t.same(page.facts.map(({ data }) => data), ['one', 'two', 'three', 'four', 'five', 'six'])
        t.same(page.resets, [])
        for (const each of [hidden, back]) each.cut()
      })
    }
  })
}
