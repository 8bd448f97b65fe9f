// A process from its start to its end, as an operator sees it: what it says when it cannot start, how it ends, and
// that neither clients who do not read nor commands that do not end do harm.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { compareIds } from '../../src/core/id.ts'
import { PROFILES } from '../wire/harness.ts'
import type { WireClient } from '../wire/client.ts'
import { freePort, request, residentMiB, sentence, Stage, tally, until } from './harness.ts'
import type { Answer, Follower, Launched } from './harness.ts'

// Also where no runner says so: everything here waits for processes.
t.setTimeout(600_000)
t.jobs = 2

const noSignals = process.platform === 'win32' ? 'Windows has no SIGTERM' : false

/** Commands that end when they are let, or never, and note each time they are run. */
function commandsModule (stage: Stage): { path: string, runs: () => number, finish: () => void } {
  const folder = stage.folder()
  const path = join(folder, 'commands.mjs')
  const notes = join(folder, 'runs')
  const end = join(folder, 'end')
  writeFileSync(path, `
    import { appendFileSync, existsSync } from 'node:fs'
    import { setTimeout as delay } from 'node:timers/promises'
    const note = () => appendFileSync(${JSON.stringify(notes)}, 'run\\n')
    export default {
      endless: { handler: async () => { note(); await new Promise(() => {}) } },
      slow: { handler: async () => { note(); while (!existsSync(${JSON.stringify(end)})) await delay(20); return 'it was waited for' } }
    }`)
  return { path, runs: () => existsSync(notes) ? readFileSync(notes, 'utf8').split('\n').length - 1 : 0, finish: () => writeFileSync(end, '') }
}

const order = async (server: Launched, command: string, key?: string): Promise<Answer> =>
  await request(`${server.url}/api/control`, { json: { command }, ...(key === undefined ? {} : { headers: { 'idempotency-key': key } }) })

const publish = async (url: string, ...events: object[]): Promise<string[]> => (await request(`${url}/api/events`, { json: events })).body.ids

/** The end of a stream as its client saw it. */
function farewell (client: WireClient): { closed: boolean, reason: unknown, closeCode: number | null } {
  const bye = client.messages.find(({ kind }) => kind === 'bye')
  return { closed: client.closed, reason: bye !== undefined && 'data' in bye ? bye.data.reason : null, closeCode: client.closeCode }
}

for (const profile of PROFILES) {
  const CLIENTS = 1000
  const SHUTDOWN_S = 60

  t.test(`a drain of ${CLIENTS} connections over ${profile} sends each its pending events and a bye, and the process exits with 0`, { skip: noSignals }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), SHUTDOWN_TIMEOUT: SHUTDOWN_S })
    const clients: WireClient[] = []
    while (clients.length < CLIENTS) clients.push(...await Promise.all(Array.from({ length: 100 }, async () => await stage.client(profile, server.port))))
    await Promise.all(clients.map(async client => await client.untilKind('ready')))
    t.equal((await request(`${server.url}/readyz`)).status, 200)

    const statuses: Array<number | string> = []
    const watching = new AbortController()
    const watch = (async () => {
      while (!watching.signal.aborted) statuses.push(await fetch(`${server.url}/readyz`).then(async response => { await response.text(); return response.status }, () => 'refused'))
    })()
    await publish(server.url, { type: 'last', data: 'words' })
    const begun = performance.now()
    t.equal(await server.stop('SIGTERM'), 0)
    const ms = Math.round(performance.now() - begun)
    watching.abort()
    await watch
    await Promise.all(clients.map(async client => await client.until(() => client.closed)))
    const drained = statuses.filter(status => status === 503).length
    t.comment(`${profile}: ${CLIENTS} connections drained in ${ms} ms; while draining /readyz said ${drained > 0 ? `503 ${drained} times` : 'nothing, it was over too soon'}`)
    t.ok(ms < SHUTDOWN_S * 1000, 'within SHUTDOWN_TIMEOUT')
    t.notOk(statuses.slice(statuses.indexOf(503) + 1).includes(200) && drained > 0, 'once draining it is never ready again')
    const farewells = clients.map(farewell)
    t.same(farewells.filter(({ closed }) => !closed).length, 0, 'all are closed')
    t.same(farewells.filter(({ reason }) => reason !== 'DRAINING').length, 0, 'all were told')
    t.same(farewells.filter(({ closeCode }) => closeCode !== (profile === 'SSE' ? null : 1012)).length, 0, 'a WebSocket closes with 1012')
    t.same(clients.filter(({ events }) => events.length !== 1).length, 0, 'what was acknowledged before had reached all')
    t.same(server.log().filter(({ level }) => level >= 40), [], 'nothing to warn of')
  })
}

t.test('while a drain waits for a command, nothing new is taken in, and the command is not lost', { skip: noSignals }, async t => {
  const stage = new Stage(t)
  const commands = commandsModule(stage)
  const folder = stage.folder()
  const env = { APP_PROFILE: 'SSE', DATA_DIR: folder, COMMANDS_MODULE: commands.path, COMMAND_TIMEOUT: 60, SHUTDOWN_TIMEOUT: 60, PORT: await freePort() }
  const server = await stage.launch(env)
  const client = await stage.client('SSE', server.port)
  await client.untilKind('ready')
  const running = order(server, 'slow', 'mine')
  await until('the command runs', () => commands.runs() === 1)
  server.signal('SIGTERM')
  await until('it drains', async () => (await request(`${server.url}/readyz`)).status === 503)
  const [ready, health, event, first, returning] = await Promise.all([
    request(`${server.url}/readyz`),
    request(`${server.url}/healthz`),
    request(`${server.url}/api/events`, { json: { type: 'x', data: 1 } }),
    request(`${server.url}/api/events/stream`),
    request(`${server.url}/api/events/stream`, { headers: { 'last-event-id': '1763770000000-0' } })
  ])
  t.match(ready.body, { statusCode: 503, code: 'DRAINING' })
  t.equal(health.status, 200, 'it is alive')
  t.match(event.body, { statusCode: 503, code: 'DRAINING' })
  t.ok(Number(event.headers.get('retry-after')) >= 1)
  t.match(first.body, { statusCode: 503, code: 'DRAINING' })
  t.equal(returning.status, 200)
  t.match(returning.text, /event: bye\ndata: \{"reason":"DRAINING"/)
  commands.finish()
  const { status, body } = await running
  t.equal(status, 200, 'whoever gave the command is answered')
  t.equal((await server.ended).code, 0)
  t.equal(farewell(client).reason, 'DRAINING')

  const again = await stage.launch(env)
  t.match((await request(`${again.url}/api/control/${body.id}`)).body, { status: 'done', result: 'it was waited for' })
})

t.test('a second signal ends at once; a command that never ends delays no bye', { skip: noSignals }, async t => {
  const stage = new Stage(t)
  const commands = commandsModule(stage)
  const launch = async (shutdown: number): Promise<Launched> => {
    const server = await stage.launch({ PORT: 0, DATA_DIR: stage.folder(), COMMANDS_MODULE: commands.path, COMMAND_TIMEOUT: 1, SHUTDOWN_TIMEOUT: shutdown })
    order(server, 'endless').catch(() => {})
    return server
  }
  const [patient, hasty] = await Promise.all([launch(30), launch(2)])
  await until('the commands run', () => commands.runs() === 2)
  const client = await stage.client('SSE', hasty.port)
  await client.untilKind('ready')

  hasty.signal('SIGTERM')
  const asked = performance.now()
  patient.signal('SIGTERM')
  await until('it drains', async () => (await request(`${patient.url}/readyz`)).status === 503)
  await delay(300)
  t.equal(patient.child.exitCode, null, 'the first signal waits')
  const begun = performance.now()
  const code = await patient.stop('SIGTERM')
  t.comment(`the second signal took ${Math.round(performance.now() - begun)} ms`)
  t.equal(code, 1)
  t.ok(performance.now() - begun < 15_000, 'the second does not')

  t.equal((await hasty.ended).code, 0)
  const ms = performance.now() - asked
  t.ok(ms > 900 && ms < 15_000, `SHUTDOWN_TIMEOUT=2 waited ${Math.round(ms)} ms`)
  t.equal(farewell(client).reason, 'DRAINING')
  t.match(hasty.log().find(({ level }) => level === 40), { commands: ['endless'] }, 'the log says what was left')
})

t.test('SIGINT, the command shutdown and the message shutdown of a supervisor drain as SIGTERM does', async t => {
  const ways: Array<[name: string, end: (server: Launched) => unknown]> = [
    ['the command', async server => {
      const { status, body } = await order(server, 'shutdown')
      t.equal(status, 200)
      t.match(body, { ok: true, command: 'shutdown' })
    }],
    ['the message', server => server.child.send('shutdown')],
    ...(noSignals ? [] : [['SIGINT', (server: Launched) => server.signal('SIGINT')] as [string, (server: Launched) => unknown]])
  ]
  const stage = new Stage(t)
  await Promise.all(ways.map(async ([name, end], index) => {
    const profile = PROFILES[index % 2] ?? 'SSE'
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() }, { ipc: name === 'the message' })
    const client = await stage.client(profile, server.port)
    await client.untilKind('ready')
    await end(server)
    t.equal((await server.ended).code, 0, `${name} ends with 0`)
    await client.until(() => client.closed)
    t.equal(farewell(client).reason, 'DRAINING', `${name} says goodbye`)
  }))
})

t.test('a cause that prevents the start is reported in one sentence', async t => {
  const stage = new Stage(t)
  const folder = stage.folder()
  const server = await stage.launch({ PORT: 0, DATA_DIR: folder })

  const [port, data, settings, commands] = await Promise.all([
    stage.run({ PORT: server.port, DATA_DIR: stage.folder() }),
    stage.run({ PORT: 0, DATA_DIR: folder }),
    stage.run({ PORT: 'eighty', APP_PROFILE: 'FAX', MAX_ROOM_SIZE: -1, TICK_FLOOR_MS: 'soon', AUTH_JWT_SECRET: 'do-not-show-me' }),
    stage.run({ PORT: 0, DATA_DIR: stage.folder(), COMMANDS_MODULE: join(folder, 'none.mjs') })
  ])
  const saying = ({ stdout, stderr }: { stdout: string, stderr: string }): string => stdout + stderr
  const noTrace = /\n\s+at .*:\d+:\d+/

  t.equal(port.code, 1)
  t.match(saying(port), `port ${server.port} on 127.0.0.1 is in use`)
  t.equal(data.code, 1)
  t.match(saying(data), folder, 'it names the folder')
  t.match(saying(data), /in use|another process|already|locked/i)
  t.comment(`DATA_DIR in use: ${saying(data).trim()}`)
  t.equal(commands.code, 78)
  t.match(saying(commands), 'COMMANDS_MODULE')
  for (const ended of [port, data, settings, commands]) t.notMatch(saying(ended), noTrace, 'no stack trace')

  t.equal(settings.code, 78)
  t.equal(settings.stdout, '')
  for (const name of ['PORT', 'APP_PROFILE', 'MAX_ROOM_SIZE', 'TICK_FLOOR_MS']) t.match(settings.stderr, new RegExp(`^${name} `, 'm'))
  for (const value of ['eighty', 'FAX', '-1', 'soon']) t.match(settings.stderr, value)
  t.notMatch(settings.stderr, 'do-not-show-me', 'a secret stays one')

  t.equal((await request(`${server.url}/readyz`)).status, 200, 'who was there first is not disturbed')
})

t.test('--check, --version and --help print their text and exit with 0', async t => {
  const stage = new Stage(t)
  const folder = join(stage.folder(), 'not-made')
  const [check, version, help, wrong] = await Promise.all([
    stage.run({ PORT: 4321, DATA_DIR: folder }, ['--check']),
    stage.run({}, ['--version']),
    stage.run({ PORT: 'eighty' }, ['--help']),
    stage.run({}, ['--chek'])
  ])
  t.match(check, { code: 0, stderr: '' })
  t.match(check.stdout, /^ *PORT +4321 +environment$/m)
  t.match(check.stdout, /^ *APP_PROFILE +SSE +default$/m)
  t.notOk(existsSync(folder), 'a check makes nothing')
  const { version: expected } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  t.match(version, { code: 0, stdout: `${expected}\n`, stderr: '' })
  t.match(help, { code: 0, stderr: '' })
  for (const word of ['check', '--version', '--help']) t.match(help.stdout, word)
  t.equal(wrong.code, 2)
  t.match(wrong.stderr, /--chek/)
  t.match(wrong.stderr, /start --help shows what there is/)
})

for (const profile of PROFILES) {
  // Twenty clients that do not read, each with a subscription of its own so that none shares another's bytes. Measured
  // from when the system's socket buffers take no more of any: of 3,000 events of 4 KiB queues would then hold 20 times
  // 12 MiB (of the facts alone, which are half of them, 6), at least 120 MiB. What may wait by design is one bundle each.
  const SLOW = 20
  const EVENTS = 3000
  const BYTES = 4096
  const BOUND_MIB = 64

  t.test(`clients that stop reading over ${profile} cost no memory, delay nobody, and get the current values at once when they read again`, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), HISTORY_SIZE: 600, PING_INTERVAL: 60, SLOW_CLIENT_TIMEOUT: 120 })
    const follow = async (count: number, rooms: (index: number) => string[]): Promise<Follower[]> =>
      await Promise.all(Array.from({ length: count }, async (_, index) => await stage.follower(server.port, { rooms: rooms(index) }).start()))
    const publisher = stage.publisher({ name: 'p', url: server.url, rooms: ['a'], batch: 20, keys: 4, bytes: BYTES, pauseMs: 15 })
    const filler = stage.publisher({ name: 'f', url: server.url, rooms: ['filled'], batch: 20, keys: 4, bytes: 4 * BYTES, pauseMs: 15 })
    const healthy = await follow(2, index => ['a', `healthy-${index}`])
    const slow = await follow(SLOW, index => ['a', 'filled', `slow-${index}`])
    for (const follower of slow) follower.pause()
    const stalled = async (): Promise<number> => Number(/^signalbox_stalled_sessions (\d+)$/m.exec((await request(`${server.url}/metrics`)).text)?.[1])
    filler.start()
    // On a busy machine it takes a while to fill the system's buffers of twenty.
    await until('none takes any more', async () => await stalled() === SLOW, 400_000)
    await filler.finish()

    const before = residentMiB(server.pid)
    let most = before ?? 0
    const watch = setInterval(() => { most = Math.max(most, residentMiB(server.pid) ?? 0) }, 50)
    t.teardown(() => clearInterval(watch))
    const begun = performance.now()
    await publisher.start(EVENTS).done()
    const publishedMs = performance.now() - begun
    await until('all arrived at those who read', () => tally([publisher], healthy).lost === 0)
    const counts = tally([publisher], healthy)
    t.comment(`${profile}: ${Math.round(EVENTS / publishedMs * 1000)} events/s; those who read: ${sentence(counts)}`)
    t.match(counts, { lost: 0, twice: 0, disorder: 0, resets: 0, stale: 0, complaints: [] }, 'those who read got everything once')
    if (before === null) t.comment('memory is not looked at: this system has no /proc')
    else {
      t.comment(`${profile}: resident memory ${before.toFixed(0)} MiB before, at most ${most.toFixed(0)} MiB while ${SLOW} clients did not read`)
      t.ok(most - before < BOUND_MIB, `it grew by less than ${BOUND_MIB} MiB`)
    }
    await until('none takes any more', async () => await stalled() === SLOW)

    // A few of them, the first alone: twenty readers in this process would wait for each other.
    const readers = slow.slice(0, 3)
    const [one, ...others] = readers as [Follower, ...Follower[]]
    const publishers = [publisher, filler]
    const resumed = performance.now()
    one.resume()
    await until('the present values are there', () => tally(publishers, [one]).stale === 0)
    const presentMs = performance.now() - resumed
    t.comment(`${profile}: the present values were there ${Math.round(presentMs)} ms after it read again`)
    // On a quiet machine a tenth of a second; the machine may be busy.
    t.ok(presentMs < 30_000, 'at once')
    for (const follower of others) follower.resume()
    const last = [...publisher.acknowledged].at(-1)?.[0] as string
    await until('they have caught up', () => readers.every(({ facts }) => facts.has(last)) && tally(publishers, readers).stale === 0)
    t.match(tally(publishers, readers), { twice: 0, disorder: 0, foreign: 0, complaints: [] })
    const all = publishers.flatMap(({ acknowledged }) => [...acknowledged.values()]).map(({ id }) => id).sort(compareIds)
    for (const { page, facts, connections } of readers) {
      if (connections !== 1) t.fail('it was not cut off')
      // Between two declared gaps nothing is missing.
      const ids = [...facts.values()].map(({ id }) => id)
      const gaps = ids.slice(1).filter((id, index) => all.indexOf(id) !== all.indexOf(ids[index] as string) + 1).length
      if (gaps !== page.resets.length || page.resets.some(reason => reason !== 'trimmed')) t.fail(`${gaps} gaps, told of ${page.resets.join() || 'none'}`)
    }
    t.ok(readers.every(({ page }) => page.resets.length > 0), 'all were really left behind')
  })
}

for (const profile of PROFILES) {
  t.test(`over ${profile}, a client that does not read is ended after SLOW_CLIENT_TIMEOUT, and resumes with its cursor`, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), SLOW_CLIENT_TIMEOUT: 4 })
    const ended = async (): Promise<number> => Number(/^signalbox_slow_sessions_ended_total (\d+)$/m.exec((await request(`${server.url}/metrics`)).text)?.[1])
    const publisher = stage.publisher({ name: 'p', url: server.url, rooms: ['a'], batch: 40, bytes: 8192, pauseMs: 20 })
    const follower = await stage.follower(server.port, { rooms: ['a'] }).start()
    const other = await stage.follower(server.port, { rooms: ['a'] }).start()
    follower.pause()
    publisher.start()
    await until('it is ended', async () => await ended() === 1, 400_000)
    await publisher.finish()
    follower.resume()
    const complete = (): boolean => {
      const { lost, stale } = tally([publisher], [follower, other])
      return lost + stale === 0
    }
    await until('it has everything', complete).catch(() => {})
    const counts = tally([publisher], [follower, other])
    t.comment(`${profile}: ${sentence(counts)}`)
    t.match(counts, { lost: 0, twice: 0, disorder: 0, stale: 0, resets: 0, complaints: [] })
    t.equal(follower.connections, 2, 'it came back')
    t.equal(other.connections, 1, 'the other one was left alone')
    t.equal(await ended(), 1)
  })
}

t.test('a command whose process was killed is not run again, and says that its outcome is unknown', async t => {
  const stage = new Stage(t)
  const commands = commandsModule(stage)
  const env = { PORT: await freePort(), DATA_DIR: stage.folder(), COMMANDS_MODULE: commands.path, COMMAND_TIMEOUT: 1 }
  const server = await stage.launch(env)
  const { status, body } = await order(server, 'endless', 'once')
  t.equal(status, 202)
  t.match(body, { command: 'endless', status: 'running' })
  const ask = async (): Promise<Answer> => await request(`${server.url}/api/control/${body.id}`)
  t.match((await ask()).body, { id: body.id, status: 'running' })
  await server.kill9()

  const again = await stage.launch(env)
  t.match(await ask(), { status: 200, body: { id: body.id, command: 'endless', status: 'unknown' } })
  const repeated = await order(again, 'endless', 'once')
  t.match(repeated, { status: 200, body: { ok: false, id: body.id, status: 'unknown' } })
  t.match((await ask()).body, { status: 'unknown' })
  t.equal(commands.runs(), 1, 'it ran once')
  t.match((await order(again, 'ping', 'once')).body, { statusCode: 409, code: 'IDEMPOTENCY_CONFLICT' })
  t.equal((await request(`${again.url}/api/control/never-seen`)).status, 404)
})
