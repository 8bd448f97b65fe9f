// Faults in native code: they end the process at once, and its supervisor starts it again.

import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { request, Stage } from './harness.ts'
import type { Launched } from './harness.ts'

t.setTimeout(60_000)

const skip = process.platform === 'win32' ? 'Windows has no such signals' : false

const publish = async (server: Launched, n: number, key?: string): Promise<number> =>
  (await request(`${server.url}/api/events`, {
    json: { type: 'gauge', key: 'a', data: { n, text: 'x'.repeat(1000) } },
    ...(key === undefined ? {} : { headers: { 'idempotency-key': key } })
  })).status

/** Whether it is gone within a second, and by what. */
async function fate (server: Launched): Promise<string> {
  const gone = new Promise<string>(resolve => server.child.once('exit', (code, signal) => resolve(String(signal ?? code))))
  return await Promise.race([gone, delay(1000, 'it lives', { ref: false })])
}

t.test('a fault in native code ends the process within a second, and a restart serves', { skip }, async t => {
  const stage = new Stage(t)
  const env = { PORT: 0, DATA_DIR: stage.folder() }
  for (const signal of ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT'] as const) {
    const server = await stage.launch(env)
    t.equal(await publish(server, 1), 202)
    const end = fate(server)
    server.signal(signal)
    t.equal(await end, signal)
  }
  const again = await stage.launch(env)
  t.equal((await request(`${again.url}/readyz`)).status, 200)
  t.equal(await publish(again, 2), 202)
})

t.test('a table cut short under the running process ends it within a second, and a restart repairs and serves', { skip: process.platform === 'linux' ? false : 'only Linux maps tables so' }, async t => {
  const stage = new Stage(t)
  const env = { PORT: 0, DATA_DIR: stage.folder() }
  let server = await stage.launch(env)
  for (let n = 0; n < 20; n++) t.equal(await publish(server, n, `k${n}`), 202)
  await server.stop()
  // Now the log is a table, and the lookup of an Idempotency-Key reads it.
  server = await stage.launch(env)
  const end = fate(server)
  for (const name of readdirSync(env.DATA_DIR)) if (name.endsWith('.ldb')) truncateSync(join(env.DATA_DIR, name), 0)
  const answer = publish(server, 20, 'k1').catch(() => 'none')
  t.equal(await end, 'SIGBUS')
  t.equal(await answer, 'none')
  server = await stage.launch(env)
  t.equal(await publish(server, 21), 202)
  t.ok(server.log().some(({ msg }) => /damaged/.test(msg)))
})
