// What an open connection no longer needs is not kept: thousands of them are held for hours.

import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { WireClient } from './client.ts'
import { PROFILES, startServer } from './harness.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const COUNT = 20
const LIMIT_MS = 60_000

for (const profile of PROFILES) {
  t.test(`${profile}: an open connection does not keep its request`, async t => {
    const s = await startServer({ profile })
    t.teardown(async () => await s.close())
    let [came, freed] = [0, 0]
    const registry = new FinalizationRegistry(() => { freed++ })
    s.app.server.prependListener(profile === 'SSE' ? 'request' : 'upgrade', (request: IncomingMessage) => { registry.register(request, ++came) })
    const clients = await Promise.all(Array.from({ length: COUNT }, async () => await WireClient.open(profile, s.port, { rooms: ['a'] })))
    t.teardown(() => { for (const client of clients) client.cut() })
    for (const client of clients) await client.until(() => client.messages.some(({ kind }) => kind === 'ready'))
    t.equal(came, COUNT)
    const isOver = (): boolean => freed === COUNT
    for (const end = Date.now() + LIMIT_MS; !isOver() && Date.now() < end; await delay(10)) gc()
    t.equal(freed, COUNT)
    t.ok(clients.every(({ closed }) => !closed), 'all are still open')
    await s.publish({ type: 'x', room: 'a', data: 1 })
    for (const client of clients) await client.until(() => client.messages.some(({ kind }) => kind === 'bundle'))
  })
}
