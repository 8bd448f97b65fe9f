// How a process ends, or does not, when the world around it misbehaves: npm goes and says nothing, the terminal closes, nobody
// reads the log, balancers are late, the system gives it too little.

import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { mortal } from '../tools/daemon.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { freePort, request, Stage, until } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 3

const LAUNCHER = fileURLToPath(new URL('../../dist/launcher.js', import.meta.url))
const skip = process.platform === 'win32' ? 'Windows has no SIGTERM' : false

/** A command in a folder, killed with the test. */
function start (t: { teardown (end: () => unknown): void }, command: readonly string[], cwd: string, env: Record<string, string | number>): { child: ChildProcess, ended: Promise<{ code: number | null, stderr: string }> } {
  const { file, args } = mortal(command)
  const child = spawn(file, args, {
    cwd,
    env: { PATH: process.env.PATH, ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)])) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', text => { stderr += text })
  return { child, ended: new Promise(resolve => child.once('exit', code => resolve({ code, stderr }))) }
}

const answers = async (port: number, path = '/healthz'): Promise<number> => await request(`http://127.0.0.1:${port}${path}`).then(({ status }) => status, () => 0)

t.test('SIGTERM to `npm start` drains the gateway, although npm itself passes it on to nobody', { skip }, async t => {
  const stage = new Stage(t)
  const cwd = stage.folder()
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ name: 'x', version: '1.0.0', scripts: { start: `node ${JSON.stringify(LAUNCHER)}` } }))
  const port = await freePort()
  const { child } = start(t, ['npm', 'start'], cwd, { PORT: port, DATA_DIR: join(cwd, 'data'), HOME: cwd, npm_config_update_notifier: 'false' })
  child.stdout?.resume()
  await until('it listens', async () => await answers(port) === 200)
  const client = await stage.client('SSE', port)
  await client.untilKind('ready')
  child.kill('SIGTERM')
  await client.until(() => client.closed)
  t.ok(client.messages.some(message => message.kind === 'bye' && message.data.reason === 'DRAINING'), 'clients were told')
  await until('port and data are free', async () => await answers(port) === 0)
  const again = await stage.launch({ PORT: port, DATA_DIR: join(cwd, 'data') })
  t.equal(await again.stop(), 0)
})

t.test('SIGHUP without a terminal, as under nohup, ends nothing', { skip }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ PORT: 0, DATA_DIR: ':memory:' })
  server.signal('SIGHUP')
  await until('it says so', () => server.log().some(({ msg }) => msg.startsWith('SIGHUP ignored')))
  t.equal((await request(`${server.url}/readyz`)).status, 200)
  t.equal(await server.stop('SIGTERM'), 0)
})

/** A module with a command that fails, and leaves 16 KB in the log. */
function talkative (folder: string): string {
  const path = join(folder, 'commands.mjs')
  writeFileSync(path, "export default { talk: { handler () { throw new Error('y'.repeat(8000)) } } }")
  return path
}

const talk = async (port: number): Promise<number> => (await request(`http://127.0.0.1:${port}/api/control`, { json: { command: 'talk' } })).status

t.test('a log that nobody reads holds up neither the gateway nor its drain, and says later how much of it is missing', { skip }, async t => {
  const stage = new Stage(t)
  const cwd = stage.folder()
  const port = await freePort()
  const { child, ended } = start(t, [process.execPath, LAUNCHER], cwd, { PORT: port, DATA_DIR: ':memory:', CONTROL_RATE_LIMIT: 0, COMMANDS_MODULE: talkative(cwd) })
  await until('it listens', async () => await answers(port) === 200)
  const fail = async (): Promise<number> => await talk(port)
  const fill = async (): Promise<void> => {
    for (let n = 0; n < 30; n++) t.same(new Set(await Promise.all(Array.from({ length: 10 }, fail))), new Set([500]))
  }
  await fill()
  t.equal(await answers(port, '/readyz'), 200, 'it goes on')
  t.match((await request(`http://127.0.0.1:${port}/metrics`)).text, /^signalbox_log_lines_dropped_total [1-9]/m)
  let log = ''
  child.stdout?.setEncoding('utf8').on('data', text => { log += text })
  await until('what waited has come', async () => {
    await fail()
    return /\d+ lines of this log were dropped/.test(log)
  })
  child.stdout?.removeAllListeners('data').pause()
  await fill()
  const begun = performance.now()
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
  t.ok(performance.now() - begun < 60_000, `drained after ${Math.round(performance.now() - begun)} ms`)
})

t.test('nor does it with workers, of whom each that starts or ends makes the pipe that all share a blocking one', { skip: skip || skipWithout('redis') }, async t => {
  const stage = new Stage(t)
  const port = await freePort()
  const { url } = await RedisServer.start(t)
  const cwd = stage.folder()
  const { child, ended } = start(t, [process.execPath, LAUNCHER], cwd, { PORT: port, WORKERS: 2, REDIS_URL: url, CONTROL_RATE_LIMIT: 0, COMMANDS_MODULE: talkative(cwd), SHUTDOWN_TIMEOUT: 30 })
  let log = ''
  child.stdout?.setEncoding('utf8').on('data', text => { log += text })
  await until('both workers listen', () => /worker 1 \(pid \d+\) listens/.test(log) && /worker 2 \(pid \d+\) listens/.test(log))
  child.stdout?.removeAllListeners('data').pause()
  for (let n = 0; n < 60; n++) await Promise.all(Array.from({ length: 10 }, async () => await talk(port)))
  process.kill(Number(/worker 1 \(pid (\d+)\) listens/.exec(log)?.[1]), 'SIGTERM')
  await delay(2000)
  t.equal(await answers(port), 200, 'the primary still deals out connections')
  child.kill('SIGTERM')
  t.equal((await ended).code, 0, 'and drains')
})

t.test('SHUTDOWN_DELAY: /readyz says 503 while everything is still served, then it drains; a second signal ends at once', { skip }, async t => {
  const stage = new Stage(t)
  const env = { PORT: 0, DATA_DIR: ':memory:', SHUTDOWN_DELAY: 5, SHUTDOWN_TIMEOUT: 30 }
  const server = await stage.launch(env)
  const begun = performance.now()
  server.signal('SIGTERM')
  await until('it is not ready', async () => await answers(server.port, '/readyz') === 503)
  t.equal((await request(`${server.url}/api/events`, { json: { type: 'x', data: 1 } })).status, 202, 'publishing goes on')
  const client = await stage.client('SSE', server.port)
  await client.untilKind('ready')
  t.notOk(client.closed, 'new clients are served')
  t.equal((await server.ended).code, 0)
  t.ok(performance.now() - begun > 4900, `ended after ${Math.round(performance.now() - begun)} ms`)
  t.ok(client.messages.some(({ kind }) => kind === 'bye'))

  const other = await stage.launch({ ...env, SHUTDOWN_DELAY: 60 })
  other.signal('SIGTERM')
  await until('it is not ready', async () => await answers(other.port, '/readyz') === 503)
  const second = performance.now()
  t.equal(await other.stop('SIGTERM'), 1)
  t.ok(performance.now() - second < 30_000, 'it did not wait')
})

t.test('a start that the system refuses ends with 1 and one sentence that says what to do', { skip }, async t => {
  const stage = new Stage(t)
  const few = await start(t, ['sh', '-c', `ulimit -n 60; exec ${process.execPath} ${LAUNCHER}`], stage.folder(), { PORT: 0 }).ended
  t.equal(few.code, 1)
  t.match(few.stderr, process.platform === 'linux' ? /^signalbox needs \d+ open files .*; the limit is 60: raise it \(ulimit -n/ : /ulimit/)
  t.notMatch(few.stderr, /\n\s+at /)

  const refusals: Array<[env: Record<string, string | number>, sentence: RegExp]> = [
    [{ HOST: '192.0.2.1' }, /^192\.0\.2\.1 is not an address of this machine; set HOST/],
    [{ HOST: 'no-such-host.invalid' }, /^(the name no-such-host\.invalid has no address|the address of the name no-such-host\.invalid cannot be found out now); set HOST/]
  ]
  for (const [env, sentence] of refusals) {
    const { code, stdout } = await stage.run({ PORT: 0, DATA_DIR: ':memory:', ALLOW_ANONYMOUS: 'true', ...env })
    t.equal(code, 1)
    const lines = stdout.trimEnd().split('\n').map(line => JSON.parse(line) as { level: number, msg: string })
    t.match(lines.at(-1), { level: 60, msg: sentence })
  }
})

const hasSystemd = spawnSync('systemd-notify', ['--version']).status === 0 && spawnSync('python3', ['--version']).status === 0
t.test('under the watchdog of systemd a gateway whose event loop turns reports, and one that hangs does not', { skip: hasSystemd ? skip : 'needs systemd-notify and python3' }, async t => {
  const stage = new Stage(t)
  const folder = stage.folder()
  mkdirSync(folder, { recursive: true })
  const socket = join(folder, 'notify')
  // Node has no datagram sockets of this kind.
  const { child: listener } = start(t, ['python3', '-u', '-c', `
import socket, array
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(socket)})
print('bound')
while True:
  data, control, _, _ = s.recvmsg(4096, 4096)
  # The sender waits until its descriptor is closed.
  for level, kind, fds in control:
    import os
    for fd in array.array('i', fds): os.close(fd)
  print(data.decode().replace('\\n', ' '))
`], folder, {})
  let heard = ''
  listener.stdout?.setEncoding('utf8').on('data', text => { heard += text })
  await until('systemd listens', () => heard.includes('bound'))
  const count = (): number => heard.split('WATCHDOG=1').length - 1
  const module = join(folder, 'commands.mjs')
  writeFileSync(module, 'export default { hang: { handler: () => { for (;;); } } }')
  const server = await stage.launch({ PORT: 0, DATA_DIR: ':memory:', COMMANDS_MODULE: module, NOTIFY_SOCKET: socket, WATCHDOG_USEC: 1_500_000 })
  await until('it has reported some times', () => count() >= 3)
  request(`${server.url}/api/control`, { json: { command: 'hang' } }).catch(() => {})
  // While it turns it reports at least twice in this time.
  await until('nothing is heard of it any more', async () => {
    const before = count()
    await delay(3000)
    return count() === before
  })
  await server.kill9()
})
