// The client in Node.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test as Tap } from 'tap'
import { connect } from '../../src/client/node.ts'
import type { Event, Status } from '../../src/client/node.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'
import { Proxy } from './proxy.ts'
import { record } from './record.ts'
import { clientSuite } from './suite.ts'

clientSuite(t, {
  name: 'Node',
  async open (t, url, options) {
    const box = connect(url, options)
    t.teardown(() => box.close())
    return record(box)
  }
})

/** Runs a module until Node exits by itself. @returns ms */
async function runToItsEnd (lines: string): Promise<number> {
  const begun = Date.now()
  const client = fileURLToPath(new URL('../../dist/src/client/node.js', import.meta.url))
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', `import { connect } from ${JSON.stringify(`file://${client}`)}\n${lines}`], { timeout: 20_000 })
  return Date.now() - begun
}

t.test('a closed client leaves nothing behind that keeps Node running', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder(), ENABLE_CONTROL_HTTP: 'false' })
  const proxy = await Proxy.start(t, server.port)
  proxy.answer(/^GET \/api\/profile/, '503 Service Unavailable', { 'Retry-After': '60' }, { statusCode: 503, code: 'OVERLOADED', message: 'no place just now' })
  const ms = [
    await runToItsEnd(`
      const box = connect('${proxy.url}')
      box.on('status', ({ reason }) => { if (reason === 'no place just now') box.close() })`),
    await runToItsEnd(`
      const box = connect('${server.url}')
      const { result } = await box.control('ping')
      if (result.pong) box.close()`)
  ]
  for (const each of ms) t.ok(each < 8000, `it ran for ${each} ms`)
})

t.test('an address without a host is refused where there is no page to take it from', async t => {
  const { RobustEventSource } = await import('../../src/client/node.ts')
  const absolute = { name: 'TypeError', message: /url must be absolute, such as http:.* "\// }
  t.throws(() => connect('/'), absolute)
  t.throws(() => new RobustEventSource('/api/events/stream?rooms=a'), absolute)
})

t.test('onWait reports when a command waits for its turn, and for how long', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder(), CONTROL_RATE_LIMIT: 2 })
  const proxy = await Proxy.start(t, server.port)
  const box = connect(proxy.url)
  t.teardown(() => box.close())
  await until('it is connected', async () => box.status.state === 'connected')
  const waits: Array<readonly [number, string]> = []
  const onWait = (retryMs: number, code: string): void => { waits.push([retryMs, code]) }
  await box.control('ping', {}, { onWait })
  t.same(waits, [], 'not if it is accepted at once')
  await Promise.all([1, 2, 3].map(async () => await box.control('ping', {}, { onWait })))
  t.ok(waits.length > 0 && waits.every(([retryMs, code]) => code === 'RATE_LIMITED' && retryMs > 0 && retryMs < 2500), JSON.stringify(waits))
  waits.length = 0
  proxy.answer(/^POST/, '502 Bad Gateway', {}, '<html>')
  await box.control('ping', {}, { onWait })
  t.match(waits, [[Number, '502']])
  waits.length = 0
  await proxy.down()
  const order = box.control('ping', {}, { onWait })
  await until('it is reported', async () => waits.length > 0)
  await proxy.up()
  t.match(await order, { result: { pong: true } })
  t.equal(waits[0]?.[1], 'UNREACHABLE')
})

/** @returns the waits that clients announce within `ms` */
async function waitsOf (test: Tap, count: number, url: string, ms: number): Promise<Array<{ at: number, retryMs: number }>> {
  const waits: Array<{ at: number, retryMs: number }> = []
  const begun = Date.now()
  const boxes = Array.from({ length: count }, () => connect(url, { rooms: ['a'] }))
  test.teardown(() => boxes.forEach(box => box.close()))
  for (const box of boxes) {
    box.on('status', (status: Status) => {
      if ('retryMs' in status && typeof status.retryMs === 'number') waits.push({ at: Date.now() - begun, retryMs: status.retryMs })
    })
  }
  await delay(ms)
  return waits
}

for (const profile of PROFILES) {
  t.test(`clients at the door of a full room over ${profile} come ever more seldom, and never before the gateway's time`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 1 })
    const member = connect(server.url, { rooms: ['a'] })
    t.teardown(() => member.close())
    await until('the room is full', async () => member.status.state === 'connected')
    const waits = await waitsOf(t, 60, server.url, 10_000)
    t.ok(waits.every(({ retryMs }) => retryMs >= 1000 && retryMs <= 1000 + 1000 + 29_000), `the shortest was ${Math.min(...waits.map(({ retryMs }) => retryMs))} ms`)
    const early = waits.filter(({ at }) => at < 3000).length
    const late = waits.filter(({ at }) => at >= 7000).length
    t.ok(late < early / 2, `${early} refusals in the first 3 s, ${late} in the last`)
  })
}

t.test('while nobody answers, clients spread their attempts, and no wait is longer than 5 s', { buffered: true }, async t => {
  const waits = await waitsOf(t, 40, `http://127.0.0.1:${await freePort()}`, 9000)
  const longest = Math.max(...waits.map(({ retryMs }) => retryMs))
  t.ok(longest <= 5000 && longest > 2500, `the longest wait was ${longest} ms`)
  t.ok(waits.length < 40 * 10, `${waits.length} attempts`)
})

t.test('after close() nothing is delivered, not even the rest of a bundle', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  await request(`${server.url}/api/events`, { json: [1, 2, 3].map(data => ({ type: 'cpu', key: String(data), data })) })
  const box = connect(server.url)
  let events = 0
  box.on('event', () => {
    events++
    box.close()
  })
  await until('it is closed', async () => box.status.state === 'closed')
  t.equal(events, 1)
})

for (const profile of PROFILES) {
  t.test(`the earlier client's names work over ${profile}`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), CONTROL_RATE_LIMIT: 2 })
    const { RobustEventSource, ControlAPI } = await import('../../src/client/node.ts')
    const handled: Event[] = []
    class Mine extends RobustEventSource {
      override handleEvent (event: Event): void { handled.push(event) }
    }
    const source = new Mine(`${server.url}/api/events/stream?rooms=a,b&types=cpu`)
    t.teardown(() => source.close())
    await until('it is connected', async () => source.box.status.state === 'connected')
    const json = [['cpu', 'a'], ['log', 'a'], ['cpu', 'b'], ['cpu', 'c']].map(([type, room], data) => ({ type, room, data }))
    await request(`${server.url}/api/events`, { json })
    await until('they are there', async () => handled.length === 2)
    t.same(handled.map(({ data }) => data), [0, 2])

    const proxy = await Proxy.start(t, server.port)
    const api = new ControlAPI(`${proxy.url}/api/control`)
    proxy.cutAnswer(/^POST/, 1)
    t.match(await api.execute({ command: 'ping', args: {} }), { ok: true, command: 'ping', result: { pong: true } }, 'after a lost answer')
    t.match(await Promise.all([1, 2, 3].map(async () => await api.execute({ command: 'ping', args: {} }))), [{ ok: true }, { ok: true }, { ok: true }], 'after one too many')
    t.match(await api.execute({ command: 'nonsense', args: {} }), { code: 'UNKNOWN_COMMAND' }, 'refusals are answers')
    await proxy.down()
    await t.rejects(api.execute({ command: 'ping', args: {} }, 1))
  })
}
