// Several workers as an operator sees them: one port, one log of lines, one exit code. What happens to a worker is no
// affair of its clients', who come back to another one and miss nothing; what happens to the primary is one of all.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { PROFILES } from '../wire/harness.ts'
import { WireClient } from '../wire/client.ts'
import { freePort, request, sentence, Stage, tally, until } from './harness.ts'
import type { Answer, Ended, Env, Follower, Launched, LogLine, Publisher } from './harness.ts'

// Also where no runner says so: everything here waits for processes.
t.setTimeout(600_000)
// Most of the time is spent waiting for what takes its time: a lease to run out, a pause to end.
t.jobs = 3

const skip = skipWithout('redis')
const noSignals = process.platform === 'win32' ? 'Windows has no SIGTERM' : skip

/** Within this a killed worker is known to be gone: its lease, and some. */
const GONE_MS = 60_000

async function settings (t: Parameters<typeof RedisServer.start>[0], env: Env = {}): Promise<Env> {
  const { url } = await RedisServer.start(t)
  return { WORKERS: 2, PORT: await freePort(), REDIS_URL: url, CONTROL_RATE_LIMIT: 0, RECONNECT_JITTER: 0, ...env }
}

/** Starts workers, and waits until the log has a line of each: they write it when they find the time. */
async function launch (stage: Stage, env: Env, how: Parameters<Stage['launch']>[1] = {}): Promise<Launched> {
  const server = await stage.launch(env, how)
  await until('all have said that they listen', () => workersOf(server).size === env.WORKERS)
  return server
}

/** The present worker of each number, as the log says. */
function workersOf (server: Launched): Map<number, number> {
  const pids = new Map<number, number>()
  for (const { msg } of server.log()) {
    const [, number, pid] = /^worker (\d+) \(pid (\d+)\) listens/.exec(msg) ?? []
    if (number !== undefined) pids.set(Number(number), Number(pid))
  }
  return pids
}

const pidOf = (server: Launched, number: number): number => workersOf(server).get(number) as number

/** Lines of the log that match, in order. */
const lines = (server: Launched, what: RegExp): string[] => server.log().map(({ msg }) => msg).filter(msg => what.test(msg))

const trouble = (server: Launched): LogLine[] => server.log().filter(({ level }) => level >= 40)

const order = async (server: Launched, command: string, args: object = {}): Promise<Answer> =>
  await request(`${server.url}/api/control`, { json: { command, args } })

function isRunning (pid: number): boolean {
  try {
    process.kill(pid, 0)
    // Of an orphan that has ended nothing is left but its number, until it is collected.
    return process.platform !== 'linux' || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Whether it is ready, over a connection that nobody has used before, as `fetch` would where one is left open. */
async function knock (url: string): Promise<number | string> {
  return await new Promise(resolve => {
    get(`${url}/readyz`, { agent: false }, response => {
      response.resume()
      resolve(response.statusCode ?? 0)
    }).on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}

/** It stays where it is and does nothing, until the test ends it. */
function freeze (t: { teardown (end: () => unknown): void }, pid: number): void {
  process.kill(pid, 'SIGSTOP')
  t.teardown(() => { if (isRunning(pid)) process.kill(pid, 'SIGKILL') })
}

const saidGoodbye = (client: WireClient): boolean => client.messages.some(message => message.kind === 'bye' && message.data.reason === 'DRAINING')

/** The metrics; whichever worker is asked first, one that is frozen answers nothing. */
async function metrics (server: Launched): Promise<{ text: string, of: (name: string) => number }> {
  const asked = Array.from({ length: 3 }, async () => await request(`${server.url}/metrics`))
  for (const request of asked) request.catch(() => {})
  const { text } = await Promise.any(asked)
  return { text, of: name => Number(new RegExp(`^signalbox_${name} (\\S+)$`, 'm').exec(text)?.[1]) }
}

interface Traffic {
  readonly followers: readonly Follower[]
  readonly publisher: Publisher
  /** Waits for some more of it. */
  readonly flow: () => Promise<void>
  /** Ends it, and waits for what is on its way. */
  readonly settle: () => Promise<void>
}

/** Followers in rooms, and a publisher to them. */
async function traffic (stage: Stage, server: Launched, count: number): Promise<Traffic> {
  const followers = await Promise.all(Array.from({ length: count }, async (_, index) =>
    await stage.follower(server.port, { rooms: ['a', `own-${index}`] }).start()))
  const publisher = stage.publisher({ name: 'p', url: server.url, rooms: ['a'], keys: 4, pauseMs: 5 }).start()
  const flow = async (): Promise<void> => {
    const { size } = publisher.acknowledged
    await until('more was published', () => publisher.acknowledged.size > size + 40)
  }
  const settle = async (): Promise<void> => {
    await flow()
    await publisher.finish()
    const complete = (): boolean => {
      const { lost, stale } = tally([publisher], followers)
      return lost + stale === 0
    }
    await until('all have everything', complete).catch(() => {})
  }
  await flow()
  return { followers, publisher, flow, settle }
}

const WHOLE = { lost: 0, twice: 0, disorder: 0, foreign: 0, stale: 0, resets: 0, complaints: [] }

t.test('several workers listen on one port, share the connections, and answer /metrics for all of them', { skip, buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await launch(stage, await settings(t, { WORKERS: 3, MAX_ROOM_SIZE: 0 }))
  t.same([...workersOf(server).keys()].sort(), [1, 2, 3])
  t.same(lines(server, / on http/).length, 1, 'that the gateway listens is said once')
  t.same(lines(server, /: profile SSE, open, 3 workers on http/).length, 1, 'and that everybody may do everything')
  t.notOk([...workersOf(server).values()].includes(server.pid), 'the primary is none of them')

  const CLIENTS = 12
  const clients = await Promise.all(Array.from({ length: CLIENTS }, async () => await stage.client('SSE', server.port, { rooms: ['a'] })))
  await Promise.all(clients.map(async client => await client.untilKind('ready')))
  const sessions = new Map<number, number>()
  await until('each worker has told its figures', async () => {
    const { result } = (await order(server, 'stats')).body
    t.equal(pidOf(server, result.worker), result.pid, 'and says which it is')
    sessions.set(result.worker, result.sessions.count)
    return sessions.size === 3
  })
  t.comment(`sessions by worker: ${[...sessions.values()].join(', ')}`)
  t.notOk([...sessions.values()].includes(0), 'each has some')
  t.equal([...sessions.values()].reduce((sum, count) => sum + count), CLIENTS)

  const EVENTS = 10
  await request(`${server.url}/api/events`, { json: Array.from({ length: EVENTS }, (_, n) => ({ type: 'x', room: 'a', key: String(n), data: n })) })
  await Promise.all(clients.map(async client => await client.until(() => client.events.length === EVENTS)))
  // A worker that has no time to answer is missing in them, for once.
  let all = await metrics(server)
  await until('all of them answer', async () => (all = await metrics(server)).of('workers') === 3)
  t.same(['workers', 'ready', 'sessions', 'rooms', 'keys', 'events_total', 'delivered_events_total'].map(all.of),
    [3, 1, CLIENTS, 1, EVENTS, EVENTS, CLIENTS * EVENTS], 'what all hold alike counts once, the rest is summed')
  t.equal(all.of('workers_expected'), 3)
  const workersWith = (series: string): string[] => [...all.text.matchAll(new RegExp(`^signalbox_${series}\\{worker="(\\d)"\\} [\\d.]+$`, 'gm'))].map(([, number]) => number as string).sort()
  t.same(workersWith('event_loop_lag_seconds'), ['1', '2', '3'], 'the worst of them does not hide in an average')
  t.same(workersWith('worker_start_time_seconds'), ['1', '2', '3'])

  if (noSignals) return
  freeze(t, pidOf(server, 3))
  const asked = performance.now()
  let some = await metrics(server)
  t.ok(performance.now() - asked < 10_000, `one that is frozen holds nothing up: ${Math.round(performance.now() - asked)} ms`)
  await until('the others answer', async () => (some = await metrics(server)).of('workers') === 2)
  t.match(some.text, /^# 1 of 3 workers did not answer in time/)
  t.same(['workers', 'ready', 'delivered_events_total'].map(some.of), [2, 0, CLIENTS * EVENTS], 'it is missing, and what it had counted is not')
  process.kill(pidOf(server, 3), 'SIGKILL')
  // A worker says that it listens a moment before the primary knows.
  let again = await metrics(server)
  await until('another one has its place', async () => (again = await metrics(server)).of('workers') === 3)
  t.equal(lines(server, /^worker 3 .* listens/).length, 2)
  t.same(['ready', 'events_total', 'delivered_events_total'].map(again.of), [1, EVENTS, CLIENTS * EVENTS], 'no count has fallen')
})

t.test('a worker that is killed is replaced, its clients miss nothing, and its key in @system is removed', { skip, buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await launch(stage, await settings(t, { APP_PROFILE: 'WEBSOCKET' }))
  const watcher = await stage.follower(server.port, { rooms: ['@system'] }).start()
  const reports = (): Array<{ key: string, worker: number, pid: number, host: string }> => [...watcher.page.values.values()]
    .filter(({ type }) => type === 'gateway').map(({ key, data }) => ({ key: key as string, ...data as { worker: number, pid: number, host: string } }))
  await until('both report', () => reports().length === 2)
  t.same(reports().map(({ worker, pid }) => [worker, pid]).sort(), [...workersOf(server)].sort(), 'each under a key of its own, and says which it is')
  t.ok(reports().every(({ host }) => host.length > 0))

  const { followers, publisher, settle } = await traffic(stage, server, 6)
  const killed = pidOf(server, 2)
  const { key } = reports().find(({ pid }) => pid === killed) ?? {}
  process.kill(killed, 'SIGKILL')
  await until('another one listens', () => pidOf(server, 2) !== killed)
  t.match(lines(server, /a replacement starts/), [new RegExp(`^worker 2 \\(pid ${killed}\\) was killed by SIGKILL; a replacement starts in 100 ms$`)])
  await settle()
  const counts = tally([publisher], followers)
  t.comment(sentence(counts))
  t.match(counts, WHOLE)
  t.ok(counts.connections > followers.length, 'some had to come back')

  await until('the new one reports', () => reports().some(({ pid }) => pid === pidOf(server, 2)))
  await until('the key of the killed one is gone', () => !reports().some(report => report.key === key), GONE_MS)
  t.same(reports().map(({ worker }) => worker).sort(), [1, 2], 'the others stay')
  const drained = pidOf(server, 1)
  process.kill(drained, 'SIGTERM')
  await until('another one listens', () => pidOf(server, 1) !== drained)
  await until('who drains takes its key along', () => !reports().some(({ pid }) => pid === drained), 8000)
})

t.test('rooms of a killed worker stay occupied for who comes back before its lease ends; the others are vacated then', { skip, buffered: true }, async t => {
  const stage = new Stage(t)
  const redis = await RedisServer.start(t)
  const server = await launch(stage, { WORKERS: 2, PORT: await freePort(), REDIS_URL: redis.url, APP_PROFILE: 'SSE', RECONNECT_JITTER: 0 })
  const changes = async (): Promise<string[]> =>
    [...(await redis.cli('XRANGE', 'signalbox:occupancy', '-', '+')).matchAll(/^room\n(\S+)\noccupied\n([01])$/gm)].map(([, room, occupied]) => `${occupied === '1' ? '+' : '-'}${room}`)
  const join = async (room: string): Promise<WireClient> => await WireClient.open('SSE', server.port, { rooms: [room] })
  const clients = new Map<string, WireClient>()
  const ofWorker = (): number => [...clients.values()].filter(({ closed }) => closed).length
  for (let n = 0; n < 16; n++) clients.set(`room-${n}`, await join(`room-${n}`))
  const rooms = [...clients.keys()]
  await until('all are occupied', async () => (await changes()).length === rooms.length)
  process.kill(pidOf(server, 2), 'SIGKILL')
  await until('its clients are cut off', async () => {
    const before = ofWorker()
    await delay(300)
    return before > 0 && ofWorker() === before && lines(server, /^worker 2 .* a replacement starts/).length === 1
  })
  // At once, to the other worker: where the machine is busy the lease ends before another one listens.
  const [back, ...gone] = rooms.filter(room => clients.get(room)?.closed === true) as [string, ...string[]]
  t.comment(`${gone.length + 1} of ${rooms.length} were its clients`)
  clients.set(back, await join(back))
  await until('the others are vacated', async () => (await changes()).length >= rooms.length + gone.length, 2 * GONE_MS)
  t.same((await changes()).slice(rooms.length).sort(), gone.map(room => `-${room}`).sort())
  for (const client of clients.values()) client.cut()
  await until('all are vacated', async () => (await changes()).length >= 2 * rooms.length, GONE_MS)
  const all = await changes()
  t.same(all.sort(), [...rooms.map(room => `+${room}`), ...rooms.map(room => `-${room}`)].sort(), 'each change is one entry')
})

t.test('however a shutdown is requested, each worker sends bye to its clients, nothing is started again, and the exit code is 0', { skip: noSignals, buffered: true }, async t => {
  const ways: Array<[name: string, how: { ipc?: boolean, group?: boolean }, end: (server: Launched) => unknown]> = [
    ['SIGTERM', {}, server => server.signal('SIGTERM')],
    ['Ctrl-C, which the whole group hears', { group: true }, server => process.kill(-server.pid, 'SIGINT')],
    ['the message', { ipc: true }, server => server.child.send('shutdown')],
    ['the command', {}, async server => t.match(await order(server, 'shutdown'), { status: 200, body: { ok: true } })]
  ]
  const stage = new Stage(t)
  for (const [index, [name, how, end]] of ways.entries()) {
    const server = await launch(stage, await settings(t, { APP_PROFILE: PROFILES[index % 2] as string }), how)
    const clients = await Promise.all(Array.from({ length: 4 }, async () => await stage.client(PROFILES[index % 2] ?? 'SSE', server.port)))
    await Promise.all(clients.map(async client => await client.untilKind('ready')))
    const pids = [...workersOf(server).values()]
    await end(server)
    t.equal((await server.ended).code, 0, `${name} ends with 0`)
    await Promise.all(clients.map(async client => await client.until(() => client.closed)))
    t.ok(clients.every(saidGoodbye), `${name}: all were told`)
    t.same(lines(server, /^draining$/).length, 2, `${name}: each drained, and once`)
    t.same(lines(server, /listens/).length, 2, `${name}: none was started again`)
    t.same(trouble(server), [], `${name}: nothing to warn of`)
    t.notOk(pids.some(isRunning), `${name}: all are gone`)
  }
})

t.test('a cause that prevents workers from starting is reported once and ends the process with its exit code', { skip, buffered: true }, async t => {
  const stage = new Stage(t)
  const env = await settings(t)
  const taken = await stage.launch({ PORT: 0, DATA_DIR: ':memory:' })
  const timed = async (env: Env): Promise<Ended & { ms: number }> => {
    const begun = performance.now()
    return { ...await stage.run(env), ms: Math.round(performance.now() - begun) }
  }
  const grave = ({ stdout }: Ended): string[] => stdout.trim().split('\n').map(line => JSON.parse(line) as LogLine).filter(({ level }) => level >= 40).map(({ msg }) => msg)
  const [port, commands, wrong] = await Promise.all([
    timed({ ...env, PORT: taken.port }),
    timed({ ...env, COMMANDS_MODULE: join(stage.folder(), 'none.mjs') }),
    timed({ ...env, PORT: 'eighty' })
  ])
  t.equal(port.code, 1)
  t.match(grave(port), [new RegExp(`^port ${taken.port} on 127.0.0.1 is in use`)], 'one line says what')
  t.equal(commands.code, 78)
  t.match(grave(commands), [/COMMANDS_MODULE/])
  t.match(wrong, { code: 78, stdout: '' })
  t.equal(wrong.stderr.split('\n').filter(line => /^PORT /.test(line)).length, 1)
  t.same([port.stderr, commands.stderr], ['', ''])
  for (const { ms } of [port, commands, wrong]) t.ok(ms < 60_000, `after ${ms} ms`)
})

t.test('a worker that cannot start again is tried with growing pauses while the others serve', { skip: noSignals, buffered: true }, async t => {
  const stage = new Stage(t)
  const folder = stage.folder()
  const broken = join(folder, 'broken')
  writeFileSync(join(folder, 'commands.mjs'), `
    import { existsSync } from 'node:fs'
    if (existsSync(${JSON.stringify(broken)})) process.exit(3)
    export default {}`)
  const server = await launch(stage, await settings(t, { COMMANDS_MODULE: join(folder, 'commands.mjs') }))
  writeFileSync(broken, '')
  process.kill(pidOf(server, 1), 'SIGKILL')
  await until('it was tried several times', () => lines(server, /a replacement starts/).length >= 3)
  t.match(lines(server, /a replacement starts/), [/SIGKILL; .* in 100 ms$/, /exited with 3; .* in 200 ms$/, /exited with 3; .* in 400 ms$/])
  t.equal((await request(`${server.url}/readyz`)).status, 200)
  rmSync(broken)
  await until('it is back', () => lines(server, /^worker 1 .* listens/).length === 2)
  t.equal(lines(server, /^worker 2 .* listens/).length, 1, 'the other one was left alone')
  t.equal(await server.stop(), 0)
})

t.test('a worker whose event loop hangs is killed and replaced within some 15 s, with a line; the others and their clients stay', { skip: noSignals, buffered: true }, async t => {
  const stage = new Stage(t)
  const module = join(stage.folder(), 'commands.mjs')
  writeFileSync(module, 'export default { hang: { handler: () => { for (;;); } } }')
  const server = await launch(stage, await settings(t, { COMMANDS_MODULE: module }))
  const before = workersOf(server)
  const clients = await Promise.all(Array.from({ length: 4 }, async () => await stage.client('SSE', server.port, { rooms: ['a'] })))
  await Promise.all(clients.map(async client => await client.untilKind('ready')))
  const begun = performance.now()
  order(server, 'hang').catch(() => {})
  await until('one was killed', () => lines(server, /has not answered for 15 s: killing it$/).length === 1)
  t.ok(performance.now() - begun > 10_000, `after ${Math.round(performance.now() - begun)} ms`)
  await until('another one has its place', () => [1, 2].filter(number => pidOf(server, number) !== before.get(number)).length === 1)
  await until('its clients know', () => clients.some(({ closed }) => closed))
  t.notOk(clients.every(({ closed }) => closed), 'those of the other worker stay')
  t.equal((await request(`${server.url}/readyz`)).status, 200)
  t.equal(await server.stop(), 0)
})

t.test('SIGTERM to a worker and SIGHUP to the primary replace workers one at a time, under traffic and without loss', { skip: noSignals, buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await launch(stage, await settings(t))
  t.match((await order(server, 'tune', { MAX_ROOMS_PER_CLIENT: 3 })).body, { ok: true })
  const { followers, publisher, flow, settle } = await traffic(stage, server, 6)

  const first = pidOf(server, 1)
  process.kill(first, 'SIGTERM')
  await until('another one listens', () => pidOf(server, 1) !== first)
  await flow()
  t.match(lines(server, /a replacement starts/), [new RegExp(`^worker 1 \\(pid ${first}\\) exited with 0; a replacement`)])

  // Clients that do not hear the goodbye make a drain take its time.
  for (let count = 0; count < 6; count++) (await stage.client('SSE', server.port)).socket.pause()
  const before = [...workersOf(server).values()]
  const replaced = (): boolean => lines(server, /^all workers were replaced$/).length === 1
  const statuses: Array<number | string> = []
  server.signal('SIGHUP')
  await until('all were replaced', async () => {
    statuses.push(await knock(server.url))
    return replaced()
  })
  t.same([...new Set(statuses)], [200], `whoever comes meanwhile meets one that takes work, ${statuses.length} times`)
  await until('all are new', () => ![...workersOf(server).values()].some(pid => before.includes(pid)))
  t.match(lines(server, /a replacement starts|listens/).slice(-4), [/^worker 1 .* a replacement starts$/, /^worker 1 .* listens/, /^worker 2 .* a replacement starts$/, /^worker 2 .* listens/], 'the second when the first was back')

  await settle()
  const counts = tally([publisher], followers)
  t.comment(sentence(counts))
  t.match(counts, WHOLE)
  t.ok(counts.connections > followers.length)
  for (let asked = 0; asked < 4; asked++) t.match((await request(`${server.url}/api/events/stream?rooms=1,2,3,4`)).body, { code: 'BAD_SUBSCRIPTION' }, 'what was tuned holds for the new ones too')
  t.same(trouble(server), [], 'nothing to warn of')
  t.equal(await server.stop(), 0)
})

t.test('workers that lose their primary drain and end', { skip: noSignals, buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await launch(stage, await settings(t, { DEMO_FEED: 'true' }))
  const clients = await Promise.all(Array.from({ length: 4 }, async () => await stage.client('SSE', server.port)))
  await Promise.all(clients.map(async client => await client.untilKind('ready')))
  const pids = [...workersOf(server).values()]
  await server.kill9()
  t.notOk(pids.some(isRunning), 'all are gone')
  await Promise.all(clients.map(async client => await client.until(() => client.closed)))
  t.ok(clients.every(saidGoodbye), 'and have said goodbye')
  t.same(server.log().filter(({ msg }) => /^demo feed on/.test(msg)).map(({ worker }) => worker), [1], 'one of them had published the figures of the machine')
})

t.test('a worker that does not drain is killed after SHUTDOWN_TIMEOUT, or at once by a second signal', { skip: noSignals, buffered: true }, async t => {
  const stage = new Stage(t)
  const patient = await launch(stage, await settings(t, { SHUTDOWN_TIMEOUT: 600 }))
  const hasty = await launch(stage, await settings(t, { SHUTDOWN_TIMEOUT: 1 }))
  const frozen = [patient, hasty].map(server => pidOf(server, 2))
  for (const pid of frozen) freeze(t, pid)
  const begun = performance.now()
  hasty.signal('SIGTERM')
  patient.signal('SIGTERM')
  t.equal((await hasty.ended).code, 1)
  t.ok(performance.now() - begun > 1000, 'SHUTDOWN_TIMEOUT=1 was waited for')
  t.equal(patient.child.exitCode, null, 'the first signal waits')
  t.equal(await patient.stop('SIGTERM'), 1)
  await until('neither is left', () => !frozen.some(isRunning))
  // The primary's own watch would have ended them too, later.
  for (const server of [hasty, patient]) t.same(lines(server, /has not answered for/), [], 'killed by what was asked for')
  t.same(lines(patient, /^second SIGTERM: exiting at once$/).length, 1)
})
