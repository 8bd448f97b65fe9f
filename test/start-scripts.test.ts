// The start scripts as an operator runs them: from anywhere, again and again, until a signal. Each test has a folder of
// its own with what the scripts look at, so that nothing here can install or build anything under the other tests.

import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { freePort, request, Stage, until } from './process/harness.ts'
import type { Ended, Env } from './process/harness.ts'

t.setTimeout(600_000)

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCES = (JSON.parse(readFileSync(join(ROOT, 'tsconfig.json'), 'utf8')) as { include: string[] }).include
const BUILT = 'dist/tsconfig.tsbuildinfo'
const LOCK = 'package-lock.json'
const PLAIN = 'start_production.sh'
const ADVANCED = 'start_production_advanced.sh'
const WINDOWS = 'start_production.bat'

const skip = process.platform === 'win32' ? 'Windows has no sh, and no signals' : false
const redis = spawnSync(process.execPath, [join(ROOT, 'dist', 'launcher.js'), 'check'], { cwd: join(ROOT, 'test'), env: { REDIS_URL: 'redis://127.0.0.1:1' } })
const skipRedis = skip !== false ? skip : redis.status === 78 ? 'REDIS_URL is not supported yet' : false

type Tap = ConstructorParameters<typeof Stage>[0]

interface Running {
  /** The process of the script, and the leader of a group of its own, as a shell starts it. */
  readonly pid: number
  readonly ended: Promise<Ended>
}

/** A deployment in a folder, and a folder to call it from. */
class Site {
  readonly folder: string
  readonly elsewhere: string
  /** First in the PATH. */
  readonly bin: string
  readonly #t: Tap
  readonly #stage: Stage

  /** Installed and built, unless it is to be fresh. node_modules is a link to the one there is: npm must not install here, and does not. */
  constructor (t: Tap, { fresh = false } = {}) {
    this.#t = t
    this.#stage = new Stage(t)
    this.folder = this.#stage.folder()
    this.elsewhere = this.#stage.folder()
    this.bin = this.#stage.folder()
    for (const name of [...SOURCES, 'tsconfig.json', 'package.json', 'build-types.js', 'build-validate.js', 'compress.js', LOCK, PLAIN, ADVANCED, WINDOWS]) {
      cpSync(join(ROOT, name), join(this.folder, name), { recursive: true, preserveTimestamps: true })
    }
    this.date(LOCK, new Date(0))
    // What `npm ci` comes to, without the network; a first build begins with what the tests' own build left.
    this.command('npm', `
      echo "$*" >> '${this.bin}/npm.notes'
      if [ "$1" = ci ]; then
        [ -e node_modules ] || ln -s '${join(ROOT, 'node_modules')}' node_modules
      else
        [ -e dist ] || cp -R '${join(ROOT, 'dist')}' .
        PATH=\${PATH#*:} exec npm "$@"
      fi`)
    if (fresh) return
    symlinkSync(join(ROOT, 'node_modules'), join(this.folder, 'node_modules'))
    cpSync(join(ROOT, 'dist'), join(this.folder, 'dist'), { recursive: true })
    this.date(BUILT, new Date())
  }

  /** A command that goes before the system's. */
  command (name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(this.bin, name), 0o755)
  }

  date (name: string, date: Date): void {
    utimesSync(join(this.folder, name), date, date)
  }

  /** What npm was told since the last call, in order. */
  npmRan (): string[] {
    const notes = join(this.bin, 'npm.notes')
    const lines = existsSync(notes) ? readFileSync(notes, 'utf8').split('\n').slice(0, -1) : []
    writeFileSync(notes, '')
    return lines
  }

  /** Runs the script in the other folder. */
  start (script: string, env: Env = {}, path = [this.bin, dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter)): Running {
    const child = spawn(join(this.folder, script), [], {
      cwd: this.elsewhere,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: path, HOME: this.elsewhere, NO_UPDATE_NOTIFIER: '1', LOG_LEVEL: 'info', ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)])) }
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', text => { stdout += text })
    child.stderr.setEncoding('utf8').on('data', text => { stderr += text })
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => resolve({ code, stdout, stderr }))
    })
    const pid = child.pid as number
    const kill = (): void => { try { process.kill(-pid, 'SIGKILL') } catch {} }
    process.once('exit', kill)
    this.#t.teardown(async () => {
      kill()
      process.off('exit', kill)
      await ended
    })
    return { pid, ended }
  }

  async run (...start: Parameters<Site['start']>): Promise<Ended> {
    return await this.start(...start).ended
  }

  /** Starts it and waits for its /healthz. */
  async serve (env: Env = {}): Promise<Running & { port: number }> {
    const port = await freePort()
    const running = this.start(PLAIN, { PORT: port, ...env })
    let over: Ended | undefined
    running.ended.then(ended => { over = ended }, () => {})
    await until('/healthz answers', async () => {
      if (over !== undefined) throw new Error(`it has ended: ${JSON.stringify(over)}`)
      return await request(`http://127.0.0.1:${port}/healthz`).then(({ status }) => status === 200, () => false)
    })
    return { ...running, port }
  }
}

/** The value of a setting, and where it comes from, in the listing. */
const listed = ({ stderr }: Ended, name: string): string | undefined =>
  new RegExp(`^ *${name} +(.*\\S)$`, 'm').exec(stderr)?.[1]?.replace(/ +/, ' ')

t.test('start_production.sh, called from another folder, starts the gateway of its own folder: SIGTERM to the script drains it, and the script ends with 0', { skip }, async t => {
  const site = new Site(t)
  const { pid, ended } = await site.serve()
  t.ok(existsSync(join(site.folder, 'data')), 'DATA_DIR is relative to the folder of the script')
  t.notOk(existsSync(join(site.elsewhere, 'data')))
  process.kill(pid, 'SIGTERM')
  const end = await ended
  t.equal(end.code, 0)
  t.match(listed(end, 'DATA_DIR'), './data default', 'the settings were shown')
  const log = end.stdout.trim().split('\n').map(line => JSON.parse(line).msg as string)
  t.match(log.at(-1), /^drained/, 'stdout is the log and nothing else')
  t.notMatch(end.stdout, 'demo feed')
  t.same(site.npmRan(), [], 'what was up to date was neither installed nor built')
})

t.test('Ctrl-C, which reaches the whole process group, ends it just as cleanly', { skip }, async t => {
  const { pid, ended } = await new Site(t).serve({ DATA_DIR: ':memory:' })
  process.kill(-pid, 'SIGINT')
  const end = await ended
  t.equal(end.code, 0)
  t.notMatch(end.stdout, 'second SIGINT')
})

t.test('the exit code of the gateway is that of the script: 78 for wrong settings, 1 for a port in use', { skip }, async t => {
  const site = new Site(t)
  const wrong = await site.run(PLAIN, { PORT: 'eighty' })
  t.equal(wrong.code, 78)
  t.match(wrong.stderr, 'PORT is "eighty"')
  t.equal(wrong.stdout, '')
  const { port } = await site.serve({ DATA_DIR: ':memory:' })
  const second = await site.run(PLAIN, { PORT: port, DATA_DIR: ':memory:' })
  t.equal(second.code, 1)
  t.match(second.stdout, `port ${port} on 127.0.0.1 is in use`)
})

t.test('an argument is wrong use: the scripts say where settings come from, and end with 2, as the gateway does', { skip }, async t => {
  for (const script of [PLAIN, ADVANCED]) {
    const { status, stdout, stderr } = spawnSync(join(ROOT, script), ['--port', '8080'], { encoding: 'utf8' })
    t.same({ status, stdout, stderr }, { status: 2, stdout: '', stderr: `${script} takes no arguments; settings come from the environment and from .env (see .env.example).\n` })
  }
  t.match(readFileSync(join(ROOT, WINDOWS), 'utf8'), /takes no arguments; settings come from the environment and from \.env, see \.env\.example\.\r\n {2}exit \/b 2\r\n/)
})

for (const script of [PLAIN, ADVANCED]) {
  t.test(`${script} refuses an old Node.js, or none, with one sentence and 1`, { skip }, async t => {
    const site = new Site(t)
    for (const version of ['v18.20.8', 'v20.18.3']) {
      site.command('node', `echo ${version}`)
      const { code, stdout, stderr } = await site.run(script)
      t.same({ code, stdout, stderr }, { code: 1, stdout: '', stderr: `Signalbox needs Node.js 20.19 or newer; this is ${version.slice(1)}.\n` })
    }
    // Only what a script needs to find out that there is none.
    const bare = join(site.elsewhere, 'bin')
    mkdirSync(bare)
    for (const name of ['sh', 'dirname']) {
      const found = spawnSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim()
      symlinkSync(found, join(bare, name))
    }
    const { code, stdout, stderr } = await site.run(script, {}, bare)
    t.same({ code, stdout, stderr }, { code: 1, stdout: '', stderr: 'Signalbox needs Node.js 20.19 or newer; there is no node in the PATH.\n' })
  })
}

t.test('the first start installs, and builds; the second does neither, until package-lock.json or a source is newer', { skip }, async t => {
  const site = new Site(t, { fresh: true })
  // Ends as soon as all is ready: the settings are judged last.
  const start = async (): Promise<string[]> => {
    const { code, stderr } = await site.run(PLAIN, { PORT: 'eighty', NODE_ENV: 'production' })
    t.equal(code, 78, stderr)
    return site.npmRan()
  }
  t.same(await start(), ['ci --include=dev', 'run build'], 'with what the build needs, also where NODE_ENV says production')
  t.same(await start(), [])
  site.date('src/core/gateway.ts', new Date())
  t.same(await start(), ['run build'])
  t.same(await start(), [])
  site.date(LOCK, new Date(Date.now() + 60_000))
  t.same(await start(), ['ci --include=dev'])
})

t.test('if npm fails nothing is started, and the next start tries again', { skip }, async t => {
  const site = new Site(t)
  site.command('npm', `echo "$*" >> '${site.bin}/npm.notes'; touch ${BUILT}; exit 7`)
  site.date('src/core/gateway.ts', new Date(Date.now() + 60_000))
  for (let times = 2; times > 0; times--) {
    const { code, stdout, stderr } = await site.run(PLAIN)
    t.equal(code, 1)
    t.equal(stdout, '')
    t.match(stderr, 'npm run build failed, see above; nothing was started.')
    t.same(site.npmRan(), ['run build'])
    site.date('src/core/gateway.ts', new Date(0))
  }
})

t.test('start_production_advanced.sh without a REDIS_URL says so in one sentence, and ends with 78', { skip }, async t => {
  const site = new Site(t)
  for (const dotenv of ['', 'WORKERS=4\n# REDIS_URL=redis://127.0.0.1:6379\nREDIS_URL=""\n']) {
    writeFileSync(join(site.folder, '.env'), dotenv)
    const { code, stdout, stderr } = await site.run(ADVANCED)
    t.equal(code, 78)
    t.equal(stdout, '')
    t.match(stderr, /^start_production_advanced\.sh .* set REDIS_URL .* for example REDIS_URL=redis:\/\/127\.0\.0\.1:6379 .*\n$/)
  }
})

t.test('start_production.sh runs one worker also where .env has several, for start_production_advanced.sh', { skip }, async t => {
  const site = new Site(t)
  writeFileSync(join(site.folder, '.env'), 'WORKERS=4\nDATA_DIR=:memory:\n')
  const { pid, ended } = await site.serve()
  process.kill(pid, 'SIGTERM')
  t.match(listed(await ended, 'WORKERS'), '1 environment')
})

t.test('start_production_advanced.sh starts as many workers as are set, else one for each core and at least 2', { skip: skipRedis }, async t => {
  const site = new Site(t)
  // The gateway itself would need the Redis: this is about what it is started with.
  site.command('node', `case "$*" in
    *launcher.js) echo "started: $* WORKERS=\${WORKERS-}" ;;
    *) PATH=\${PATH#*:} exec node "$@"
  esac`)
  const cases: Array<{ dotenv: string, env?: Env, workers: string }> = [
    { dotenv: '', workers: `${Math.max(2, availableParallelism())} environment` },
    { dotenv: 'export WORKERS="3" # a few', workers: '3 .env' },
    { dotenv: 'WORKERS=3', env: { WORKERS: 5 }, workers: '5 environment' },
    { dotenv: '', env: { WORKERS: '' }, workers: `${Math.max(2, availableParallelism())} environment` }
  ]
  for (const { dotenv, env = {}, workers } of cases) {
    writeFileSync(join(site.folder, '.env'), `REDIS_URL='redis://:geheim@127.0.0.1:1'\n${dotenv}\n`)
    const end = await site.run(ADVANCED, env)
    t.equal(end.code, 0, end.stderr)
    t.match(end.stdout, /^started: --enable-source-maps dist\/launcher\.js WORKERS=\d*\n$/)
    t.equal(listed(end, 'WORKERS'), workers)
    t.notMatch(end.stderr, 'geheim')
  }
  const wrong = await site.run(ADVANCED, { WORKERS: 'many' })
  t.equal(wrong.code, 78)
  t.match(wrong.stderr, 'WORKERS is "many"')
})

t.test('start_production.bat asks node the same questions, and is a text that cmd.exe can read', { skip }, async t => {
  const site = new Site(t)
  const text = readFileSync(join(ROOT, WINDOWS), 'utf8')
  t.ok(text.split('\n').slice(0, -1).every(line => line.endsWith('\r')), 'all of its lines end with a carriage return')
  t.match(text, /^[\t\r\n -~]*$/, 'it is ASCII')
  for (const [, label] of text.matchAll(/goto (\w+)/g)) t.match(text, `\r\n:${label}\r\n`)

  const [version = '', installed = '', built = '', ...more] = [...text.matchAll(/^node -e "([^"%]*)"\r$/gm)].map(([, script]) => script)
  t.same(more, [])
  const ask = (script: string, { folder } = site): number | null => spawnSync(process.execPath, ['-e', script], { cwd: folder }).status
  t.same([version, installed, built].map(script => ask(script)), [0, 0, 0])
  const fresh = new Site(t, { fresh: true })
  t.same([installed, built].map(script => ask(script, fresh)), [1, 1])
  t.equal(ask(`Object.defineProperty(process, 'versions', { value: { node: '20.18.3' } }); ${version}`), 1)
  site.date('src/core/gateway.ts', new Date(Date.now() + 60_000))
  site.date(LOCK, new Date(Date.now() + 60_000))
  t.same([installed, built].map(script => ask(script)), [1, 1])
})

t.test('the scripts look at every source that tsconfig.json includes', async t => {
  for (const script of [PLAIN, WINDOWS]) {
    const text = readFileSync(join(ROOT, script), 'utf8')
    const list = script === PLAIN ? /find (.*) \\\(/.exec(text)?.[1]?.split(' ') : /\['(launcher[^\]]*)'\]/.exec(text)?.[1]?.split("', '")
    t.same(list?.sort(), [...SOURCES, 'tsconfig.json'].sort(), script)
  }
})
