// Faults in native code end the process at once, and its supervisor starts it again. Damage on the disk is declared, wherever an
// operator or a client looks.

import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { PROFILES } from '../wire/harness.ts'
import { request, Stage, until } from './harness.ts'
import type { Launched } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 3

const skip = process.platform === 'win32' ? 'Windows has no such signals' : false

const publish = async (server: Launched, n: number, key?: string): Promise<number> =>
  (await request(`${server.url}/api/events`, {
    json: { type: 'gauge', key: 'a', data: { n, text: 'x'.repeat(1000) } },
    ...(key === undefined ? {} : { headers: { 'idempotency-key': key } })
  })).status

/** By what it is gone, at once; a loaded machine may take a while to see it. */
async function fate (server: Launched): Promise<string> {
  const gone = new Promise<string>(resolve => server.child.once('exit', (code, signal) => resolve(String(signal ?? code))))
  return await Promise.race([gone, delay(60_000, 'it lives', { ref: false })])
}

t.test('a fault in native code ends the process at once, and a restart serves', { skip }, async t => {
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

t.test('a table cut short under the running process ends it at once, and a restart repairs and serves', { skip: process.platform === 'linux' ? false : 'only Linux maps tables so' }, async t => {
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

const metric = async (server: Launched, name: string): Promise<number> =>
  Number(new RegExp(`^${name} (\\S+)$`, 'm').exec((await request(`${server.url}/metrics`)).text)?.[1])

for (const profile of PROFILES) {
  t.test(`over ${profile}, after damage to the log a returning client is reset, and log, /readyz and /metrics say why`, { skip }, async t => {
    const stage = new Stage(t)
    const env = { APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() }
    let server = await stage.launch(env)
    t.equal(await publish(server, 0), 202)
    const client = await stage.client(profile, server.port)
    await client.untilKind('ready')
    for (let n = 1; n < 40; n++) t.equal(await publish(server, n), 202)
    await client.until(() => client.events.some(({ data }) => (data as { n: number }).n === 39))
    t.equal(await metric(server, 'signalbox_store_damaged_total'), 0)
    t.ok(await metric(server, 'signalbox_store_free_bytes') > 0)
    t.same((await request(`${server.url}/readyz`)).body, { status: 'ready' })
    await server.kill9()

    // The newest value is in the last block of 32 KiB; an older one is before it.
    const log = join(env.DATA_DIR, readdirSync(env.DATA_DIR).filter(name => name.endsWith('.log')).sort().at(-1) as string)
    const bytes = readFileSync(log)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 300) ^ 1, bytes.length - 300)
    writeFileSync(log, bytes)
    server = await stage.launch(env)
    const again = await stage.client(profile, server.port, { cursor: client.cursor })
    await again.untilKind('ready')
    t.equal(again.messages.some(({ kind }) => kind === 'reset'), true)
    t.same(again.events, [], 'no older value takes the place of the newest')
    t.equal(await publish(server, 40), 202)
    await again.until(() => again.events.some(({ data }) => (data as { n: number }).n === 40))
    t.ok(await metric(server, 'signalbox_store_damaged_total') > 0)
    const { warnings } = (await request(`${server.url}/readyz`)).body
    t.match(warnings, [/the store is damaged: .*all clients are reset/, /damaged-/])
    t.ok(server.log().some(({ level, msg }) => level === 40 && /the store is damaged: /.test(msg)))
    await server.stop()
    t.ok(existsSync(join(env.DATA_DIR, readdirSync(env.DATA_DIR).find(name => name.startsWith('damaged-')) as string, basename(log))))
  })
}

t.test('a DATA_DIR that is deleted under the running process is noticed within a second, and nothing more is acknowledged into it', { skip }, async t => {
  const stage = new Stage(t)
  const env = { PORT: 0, DATA_DIR: stage.folder() }
  const server = await stage.launch(env)
  t.equal(await publish(server, 1), 202)
  rmSync(env.DATA_DIR, { recursive: true })
  t.equal(await publish(server, 2), 503)
  await until('it is ready again', async () => (await request(`${server.url}/readyz`)).status === 200)
  t.equal(await publish(server, 3), 202)
  t.match((await request(`${server.url}/readyz`)).body.warnings, [/came back without events/])
  t.ok(existsSync(join(env.DATA_DIR, 'CURRENT')))
})
