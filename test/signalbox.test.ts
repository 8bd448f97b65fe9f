// A gateway in somebody's process: built from settings, with no process of its own around it.

import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { configFrom } from '../config/index.ts'
import type { Config } from '../config/index.ts'
import type { ProfileName } from '../profiles/index.ts'
import type { FigureSample, RecentFigures } from '../src/core/figures/system.ts'
import { composeGateway } from '../src/signalbox.ts'
import type { Composition } from '../src/signalbox.ts'
import { tempDir } from './store/harness.ts'
import { RedisServer, skipWithout } from './tools/redis.ts'
import { trusted } from '../src/core/identity.ts'
import { WireClient } from './wire/client.ts'

interface Running { box: Composition, port: number, close: () => Promise<void> }

async function run (t: Test, config: Partial<Config>): Promise<Running> {
  const box = await composeGateway({ config: configFrom(config), log: pino({ level: 'silent' }) })
  const app = await box.createServer()
  await box.start()
  await app.listen({ port: 0, host: '127.0.0.1' })
  const close = async (): Promise<void> => await app.close()
  t.teardown(close)
  return { box, port: (app.server.address() as AddressInfo).port, close }
}

t.test('two gateways with different profiles and stores run in one process and know nothing of each other', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  const dataDir = await tempDir(t)
  const sse = await run(t, { appProfile: 'SSE', dataDir, maxRoomSize: 1 })
  const websocket = await run(t, { appProfile: 'WEBSOCKET', redisUrl: redis.url, redisPrefix: 'other:' })
  const listen = async (profile: ProfileName, { port }: Running): Promise<WireClient> => {
    const client = await WireClient.open(profile, port, { rooms: ['plant-1'] })
    t.teardown(() => client.cut())
    await client.untilKind('ready')
    return client
  }
  const clients = { sse: await listen('SSE', sse), websocket: await listen('WEBSOCKET', websocket) }
  const [id] = await sse.box.publish([{ type: 'cpu', room: 'plant-1', key: 'host-7', data: 1 }])
  await websocket.box.publish([{ type: 'cpu', room: 'plant-1', key: 'host-7', data: 2 }])
  await clients.sse.until(() => clients.sse.events.length > 0)
  await clients.websocket.until(() => clients.websocket.events.length > 0)
  t.match(clients.sse.events, [{ id, data: 1 }])
  t.match(clients.websocket.events, [{ data: 2 }])
  t.equal((await fetch(`http://127.0.0.1:${websocket.port}/api/events/stream`)).status, 404, 'each mounts its own profile')

  t.test('settings are those of one gateway', async t => {
    t.equal((await fetch(`http://127.0.0.1:${sse.port}/api/events/stream?rooms=plant-1`)).status, 409, 'its one place is taken')
    await sse.box.control({ command: 'tune', args: { MAX_ROOM_SIZE: 7 }, identity: trusted('test') })
    t.equal(sse.box.gateway.limits.maxRoomSize, 7)
    t.equal(websocket.box.gateway.limits.maxRoomSize, 50)
    const second = await WireClient.open('SSE', sse.port, { rooms: ['plant-1'] })
    await second.untilKind('joined')
    second.cut()
  })

  t.test('one ends and the other goes on', async t => {
    await sse.close()
    t.match(await clients.sse.untilKind('bye'), { data: { reason: 'DRAINING' } })
    await t.rejects(sse.box.publish([{ type: 'x', data: 1 }]), { code: 'DRAINING' })
    const [later] = await websocket.box.publish([{ type: 'cpu', room: 'plant-1', key: 'host-7', data: 3 }])
    await clients.websocket.until(() => clients.websocket.events.length > 1)
    t.match(clients.websocket.events.at(-1), { id: later, data: 3 })
  })

  t.test('a gateway over the same directory goes on where the first one ended', async t => {
    const again = await run(t, { appProfile: 'SSE', dataDir })
    const client = await WireClient.open('SSE', again.port, { rooms: ['plant-1'], cursor: clients.sse.cursor })
    t.match(await client.untilKind('joined'), { position: 'resumed' })
    client.cut()
  })
})

t.test('the command shutdown closes a gateway and leaves the process alone', async t => {
  const { box } = await run(t, { appProfile: 'SSE', dataDir: ':memory:' })
  t.match(await box.control({ command: 'shutdown', identity: trusted('test') }), { status: 'done', result: { draining: true } })
  await box.close()
  await t.rejects(box.publish([{ type: 'x', data: 1 }]), { code: 'DRAINING' })
})

t.test('wrong settings are all named, and nothing is opened', async t => {
  const wrong = { appProfile: 'SOAP', maxRoomSize: -1, maxRoomSise: 3, pingTimeout: 60 } as unknown as Partial<Config>
  t.throws(() => configFrom(wrong), { name: 'ConfigError', problems: [/maxRoomSise is not an option; did you mean maxRoomSize\?/, /appProfile is "SOAP"; allowed: SSE or WEBSOCKET/, /maxRoomSize is -1; allowed/, /pingTimeout is 60 seconds; allowed: at most pingInterval/] })
})

t.test('a gateway whose commands cannot be loaded closes the store it had opened', async t => {
  const dataDir = await tempDir(t)
  const settings = { appProfile: 'SSE', dataDir, commandsModule: '/no/such/module.mjs' } as const
  await t.rejects(composeGateway({ config: configFrom(settings), log: pino({ level: 'silent' }) }), { name: 'ConfigError', message: /COMMANDS_MODULE .* cannot be loaded/ })
  t.ok(existsSync(dataDir))
  const { box } = await run(t, { appProfile: 'SSE', dataDir })
  t.equal(box.gateway.notReady, null, 'another one can open it')
})

t.test('the level of the log is one for all routes, and changes with tune', async t => {
  const lines: string[] = []
  const log = pino({ level: 'error' }, { write: line => lines.push(line) })
  const box = await composeGateway({ config: configFrom({ appProfile: 'SSE', dataDir: ':memory:' }), log, onTuned: ({ logLevel }) => { log.level = logLevel } })
  const app = await box.createServer()
  t.teardown(async () => await app.close())
  await box.start()
  const refusedStream = async (): Promise<boolean> => {
    lines.length = 0
    await app.inject('/api/events/stream?rums=a')
    return lines.some(line => line.includes('BAD_SUBSCRIPTION'))
  }
  t.equal(await refusedStream(), false)
  await box.control({ command: 'tune', args: { LOG_LEVEL: 'debug' }, identity: trusted('test') })
  t.ok(lines.some(line => line.includes('settings tuned')), 'said at the new level')
  t.equal(await refusedStream(), true)
  await box.control({ command: 'tune', args: { LOG_LEVEL: 'error' }, identity: trusted('test') })
  t.equal(await refusedStream(), false)
})

t.test('who ran a command that changes something, on what, and who was refused, is in the log', async t => {
  const lines: Array<Record<string, unknown>> = []
  const log = pino({}, { write: line => lines.push(JSON.parse(line)) })
  const box = await composeGateway({ config: configFrom({ appProfile: 'SSE', dataDir: ':memory:' }), log })
  const app = await box.createServer()
  t.teardown(async () => await app.close())
  await box.start()
  await box.publish([{ type: 'cpu', room: 'a', key: 'h', data: 1 }])
  const control = async (command: string, args = {}): Promise<void> => { await app.inject({ method: 'POST', url: '/api/control', payload: { command, args } }) }
  lines.length = 0
  for (const [command, args] of [['ping', {}], ['publish', { event: { type: 'cpu', room: 'a', key: 'h', data: 2 } }], ['clear', { room: 'a' }], ['clear', { rooms: 'a' }]] as const) await control(command, args)
  await box.control({ command: 'pause', args: { room: 'a' }, identity: { ...trusted('10.1.2.3'), subject: 'anna' } })
  t.match(lines, [
    { command: 'clear', args: { room: 'a' }, result: { removed: 1 }, subject: null, address: '127.0.0.1', msg: '127.0.0.1 ran clear: done' },
    { code: 'BAD_COMMAND', address: '127.0.0.1' },
    { command: 'pause', args: { room: 'a' }, subject: 'anna', address: '10.1.2.3', msg: 'anna ran pause: done' }
  ])
  t.equal(lines.length, 3)
})

t.test('on an app of somebody else the gateway leaves validation and errors of other routes alone', async t => {
  const { default: Fastify } = await import('fastify')
  const { box } = await run(t, { appProfile: 'SSE', dataDir: ':memory:' })
  const app = Fastify()
  t.teardown(async () => await app.close())
  const schema = { body: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } }
  app.post('/before', { schema }, async () => ({ ok: true }))
  await app.register(box.plugin)
  app.post('/after', { schema }, async () => ({ ok: true }))
  app.get('/broken', async () => { throw new Error('theirs') })
  for (const url of ['/before', '/after']) t.match(await app.inject({ method: 'POST', url, payload: {} }), { statusCode: 400, body: /must have required property 'name'/ }, url)
  t.match((await app.inject('/broken')).json(), { statusCode: 500, message: 'theirs' })
  t.match((await app.inject({ method: 'POST', url: '/api/events', payload: { type: 'x', data: 1 } })), { statusCode: 202 })
  t.match((await app.inject({ method: 'POST', url: '/api/events', payload: {} })).json(), { code: 'BAD_EVENT' })
})

t.test('a gateway that is closed while it starts stays closed', async t => {
  const box = await composeGateway({ config: configFrom({ appProfile: 'SSE', dataDir: ':memory:' }), log: pino({ level: 'silent' }) })
  const starting = box.start()
  await box.close()
  await starting
  t.match(box.gateway.notReady, { code: 'DRAINING' })
})

t.test('what the gateway remembers of its last seconds keeps the counts of each moment, resets too', async t => {
  const { box, port } = await run(t, { dataDir: ':memory:' })
  const client = await WireClient.open('SSE', port, { rooms: ['a'], cursor: 'garbage' })
  t.teardown(() => client.cut())
  t.match(await client.untilKind('joined'), { position: 'reset' })
  const samples = async (): Promise<FigureSample[]> => {
    const { result } = await box.control({ command: 'recent', identity: trusted('test') }) as { readonly result: { readonly processes: readonly RecentFigures[] } }
    return [...result.processes[0]?.samples ?? []]
  }
  const counts = async (): Promise<number[]> => (await samples()).map(({ counters: { resets } }) => resets.unknown)
  while ((await counts()).at(-1) !== 1) await delay(20)
  t.equal((await counts())[0], 0)
})

t.test('a server may listen once the log is read, and also where Redis is away: then it is not ready', async t => {
  const log = pino({ level: 'silent' })
  const here = await composeGateway({ config: configFrom({ dataDir: ':memory:' }), log })
  const away = await composeGateway({ config: configFrom({ redisUrl: 'redis://127.0.0.1:1' }), log })
  t.teardown(async () => await Promise.all([here.close(), away.close()]))
  await here.readyToListen()
  t.equal(here.gateway.notReady, null)
  await away.readyToListen()
  t.match(away.gateway.notReady, { code: 'STORE_UNAVAILABLE' })
  t.same([here.kind, away.kind], ['memory', 'redis'])
})

t.test('the operator\'s own commands come from COMMANDS_MODULE, in this process too', async t => {
  const folder = await tempDir(t)
  await mkdir(folder)
  const commandsModule = join(folder, 'commands.mjs')
  await writeFile(commandsModule, 'export default { double: { description: "Doubles a number.", schema: { type: "object", properties: { n: { type: "number" } } }, handler: ({ n }) => 2 * n } }')
  const { box } = await run(t, { appProfile: 'SSE', dataDir: ':memory:', commandsModule })
  t.match(await box.control({ command: 'double', args: { n: 21 }, identity: trusted('test') }), { status: 'done', result: 42 })
})
