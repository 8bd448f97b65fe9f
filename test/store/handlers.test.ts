// Commands that backends carry out: several workers over one Redis, and backends as their developers write them, each a
// process of its own. What must hold when one of them dies in the middle, is late, or answers twice.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Redis } from 'ioredis'
import t from 'tap'
import { redisAddress } from '../../config/redis-url.ts'
import { compile } from '../../src/app/commands.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { RemoteCommand } from '../../src/core/command.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { newWorker } from '../../src/core/group.ts'
import { trusted } from '../../src/core/identity.ts'
import type { Outcome } from '../../src/core/ledger.ts'
import { RedisGroup } from '../../src/store/redis/group.ts'
import { Handlers, MAX_WAITING } from '../../src/store/redis/commands/handlers.ts'
import { Overdue } from '../../src/store/redis/commands/overdue.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import { LIMITS } from '../core/rig.ts'
import { Stage } from '../process/harness.ts'
import { Daemon, folderFor } from '../tools/daemon.ts'
import { need, skipWithout } from '../tools/find.ts'
import type { Tool } from '../tools/find.ts'
import { RedisServer } from '../tools/redis.ts'

t.setTimeout(600_000)

type Tap = Pick<typeof t, 'teardown'>
type Fields = Record<string, string>

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const server = await RedisServer.start(t)
const EXAMPLES = join(import.meta.dirname, '..', '..', 'docs', 'examples')
let scenes = 0

interface Worker {
  readonly name: string
  readonly gateway: Gateway
  readonly store: RedisStore
  readonly logged: string[]
  /** What the ledger finds under a name. */
  find (name: string): Promise<RemoteCommand | null>
  run (command: string, args?: unknown, idempotencyKey?: string): Promise<Outcome>
  /** Ends without a word to anybody. */
  vanish (): Promise<void>
}

/** A deployment of its own on the server, empty. */
class Scene {
  readonly prefix = `scene${++scenes}:`
  readonly redis: RedisServer
  /** What a backend, or an operator, says to Redis. */
  readonly client: Redis
  readonly #t: Tap

  constructor (t: Tap, redis = server) {
    this.#t = t
    this.redis = redis
    this.client = new Redis(redis.url, { maxRetriesPerRequest: null })
    this.client.on('error', () => {})
    t.teardown(() => this.client.disconnect())
  }

  async worker ({ commandTimeoutMs = 30_000 } = {}): Promise<Worker> {
    const { prefix, redis } = this
    const logged: string[] = []
    const note = (_: object, message: string): void => { logged.push(message) }
    const log = { info: note, warn: note, error: note }
    const name = newWorker()
    const idempotencyTtlMs = 3_600_000
    const store = new RedisStore({ address: redisAddress(redis.url), prefix, worker: name, historySize: 1000, historyTtlMs: 0, historyBytes: 0, maxKeysPerRoom: 0, idempotencyTtlMs, clock: systemClock, log })
    const group = new RedisGroup({ store, worker: name, clock: systemClock, log })
    const handlers = new Handlers({ store, worker: name, clock: systemClock, idempotencyTtlMs, compile: schema => compile({ schema, handler () {} }).check, log })
    const gateway = new Gateway({
      store,
      group,
      clock: systemClock,
      limits: LIMITS,
      load: () => 0,
      pingIntervalMs: 10_000,
      reconnectJitterMs: 0,
      commandTimeoutMs,
      stateTtlMs: 0,
      stateTypes: new Set(),
      log
    })
    await gateway.start()
    const { commands } = gateway
    const useRemote = commands.useRemote.bind(commands)
    let find: Worker['find'] = async () => null
    commands.useRemote = given => {
      find = given.find
      useRemote(given)
    }
    handlers.start(gateway)
    const vanish = async (): Promise<void> => {
      await handlers.close()
      await store.close()
      await this.client.zrem(`${prefix}workers`, name)
    }
    this.#t.teardown(async () => {
      await handlers.close()
      await group.close()
      await store.close()
    })
    return { name, gateway, store, logged, find, vanish, run: async (command, args = {}, idempotencyKey) => await gateway.control({ command, args, idempotencyKey, identity: trusted('test') }) }
  }

  async workers (count: number): Promise<Worker[]> {
    return await Promise.all(Array.from({ length: count }, async () => await this.worker()))
  }

  /** One of the examples, as its users start it. */
  async backend (example = 'handler.mjs', { bin, env }: Tool = { bin: process.execPath, env: {} }): Promise<Daemon> {
    const daemon = new Daemon({ bin, env: { ...env, REDIS_URL: this.redis.url, REDIS_PREFIX: this.prefix } }, [join(EXAMPLES, example)], folderFor(this.#t))
    this.#t.teardown(async () => await daemon.stop('SIGKILL'))
    await daemon.until('a backend serves', () => daemon.log.includes('serving'))
    return daemon
  }

  async declare (command: string, declaration: object | string): Promise<void> {
    await this.client.hset(`${this.prefix}handlers`, command, typeof declaration === 'string' ? declaration : JSON.stringify(declaration))
    await this.client.xgroup('CREATE', this.stream(command), 'handlers', '0', 'MKSTREAM').catch(() => {})
  }

  /** Takes a command as a backend does. */
  async take (command: string, backend = 'by-hand'): Promise<{ entry: string, job: Fields }> {
    const client = this.client.duplicate()
    try {
      const reply = await client.xreadgroup('GROUP', 'handlers', backend, 'COUNT', 1, 'BLOCK', 10_000, 'STREAMS', this.stream(command), '>') as Array<[string, Array<[string, string[]]>]>
      const [entry, fields] = reply[0]?.[1][0] as [string, string[]]
      return { entry, job: Object.fromEntries(fields.flatMap((name, at) => at % 2 === 0 ? [[name, fields[at + 1] as string]] : [])) }
    } finally {
      client.disconnect()
    }
  }

  async answer (fields: Fields): Promise<void> {
    await this.client.xadd(`${this.prefix}results`, '*', ...Object.entries(fields).flat())
  }

  stream (command: string): string {
    return `${this.prefix}commands:${command}`
  }

  /** Entries of the streams that are not done with. */
  async left (command: string): Promise<number[]> {
    return [await this.client.xlen(this.stream(command)), await this.client.xlen(`${this.prefix}results`)]
  }
}

const runsOf = (daemons: readonly Daemon[]): string[] => daemons.flatMap(({ log }) => [...log.matchAll(/^run (\S+) attempt (\d+)/gm)].map(([, id, attempt]) => `${id} ${attempt}`))
const duplicates = (workers: readonly Worker[]): number => workers.reduce((sum, { gateway }) => sum + gateway.counters.duplicates, 0)

async function until (what: string, done: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!await done()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await delay(10)
  }
}

const examples: Array<{ language: string, example: string, command: string, args: object, result: object, wrong: object, error: string, skip: string | false, tool: () => Tool }> = [
  { language: 'Node', example: 'handler.mjs', command: 'move', args: { axis: 'x', to: 12 }, result: { axis: 'x', position: 12 }, wrong: { axis: 'x', to: 1001 }, error: 'axis x ends at 1000', skip: false, tool: () => ({ bin: process.execPath, env: {} }) },
  { language: 'Python', example: 'handler.py', command: 'move', args: { axis: 'x', to: 12 }, result: { axis: 'x', position: 12 }, wrong: { axis: 'x', to: 1001 }, error: 'axis x ends at 1000', skip: skipWithout('python'), tool: () => need('python') }
]
for (const { language, example, command, args, result, wrong, error, skip, tool } of examples) {
  t.test(`a command that a backend in ${language} declares is answered through every worker, without a restart`, { skip }, async t => {
    const scene = new Scene(t)
    const workers = await scene.workers(2) as [Worker, Worker]
    await t.rejects(workers[0].run(command, args), { code: 'UNKNOWN_COMMAND' })
    const backend = await scene.backend(example, tool())
    for (const { run } of workers) {
      t.match(await run(command, args), { command, status: 'done', result })
      t.match(await run(command, wrong), { status: 'failed', error: { code: 'COMMAND_FAILED', message: error } }, 'what it throws is told')
      await t.rejects(run(command, { ...args, bad: 1 }), { code: 'BAD_COMMAND', message: /must NOT have additional properties/ })
    }
    await t.rejects(workers[1].run('mover'), { code: 'UNKNOWN_COMMAND', message: new RegExp(command) }, 'it is among the commands there are')
    t.equal(runsOf([backend]).length, 4)
    t.match(backend.log, /for test/, 'it is told who asked')
    t.same(await scene.left(command), [0, 0], 'nothing is left behind')
    await backend.stop('SIGTERM')
    t.notMatch(backend.log, /Error/i)
  })
}

t.test('200 commands through 3 workers to 3 backends: each is carried out once, by one of them, and every caller is answered', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(3)
  const backends = await Promise.all([1, 2, 3].map(async () => await scene.backend()))
  const outcomes = await Promise.all(Array.from({ length: 200 }, async (_, n) => await (workers[n % 3] as Worker).run('move', { axis: 'y', to: n })))
  t.same(outcomes.map(({ status, result }) => ({ status, result })), Array.from({ length: 200 }, (_, n) => ({ status: 'done', result: { axis: 'y', position: n } })))
  t.same(runsOf(backends).sort(), outcomes.map(({ id }) => `${id} 1`).sort())
  for (const backend of backends) t.ok(runsOf([backend]).length > 0, `${runsOf([backend]).length} of them here`)
  t.equal(duplicates(workers), 0)
  t.same(await scene.left('move'), [0, 0])
})

t.test('the same key at the same moment on every worker: one execution, and everybody gets its answer', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(3)
  const backends = await Promise.all([1, 2].map(async () => await scene.backend()))
  for (let n = 0; n < 20; n++) {
    const outcomes = await Promise.all([...workers, ...workers].map(async ({ run }) => await run('move', { axis: 'z', to: n, seconds: n % 2 / 10 }, `key ${n}`)))
    t.equal(outcomes[0]?.status, 'done')
    for (const outcome of outcomes) t.same(outcome, outcomes[0])
    t.equal(runsOf(backends).length, n + 1)
    await t.rejects((workers[n % 3] as Worker).run('move', { axis: 'z', to: n + 1 }, `key ${n}`), { code: 'IDEMPOTENCY_CONFLICT' })
  }
})

t.test('a command that takes longer than its caller waits is running, and then done, wherever one asks', async t => {
  const scene = new Scene(t)
  const [one, other] = [await scene.worker({ commandTimeoutMs: 100 }), await scene.worker()]
  await scene.backend()
  const { id, status } = await one.run('move', { axis: 'x', to: 1, seconds: 0.5 })
  t.equal(status, 'running')
  t.match(await other.gateway.commands.outcome(id), { status: 'running', command: 'move' })
  for (const { gateway } of [other, one]) {
    await until('it is done', async () => (await gateway.commands.outcome(id))?.status === 'done')
    t.match(await gateway.commands.outcome(id), { result: { position: 1 } })
  }
})

t.test('retry false: a backend killed in the middle leaves its command unknown, which the caller is told; no repeat runs it again', async t => {
  const scene = new Scene(t)
  const [one, other] = await scene.workers(2) as [Worker, Worker]
  const backend = await scene.backend()
  await scene.declare('move', { retry: false, timeout: 1 })
  const asked = one.run('move', { axis: 'x', to: 1, seconds: 10 }, 'once')
  await backend.until('it runs', () => runsOf([backend]).length === 1)
  await backend.stop('SIGKILL')
  t.match(await asked, { status: 'unknown' })
  const next = await scene.backend()
  t.match(await other.run('move', { axis: 'x', to: 1, seconds: 10 }, 'once'), { status: 'unknown' })
  t.match(await one.run('move', { axis: 'x', to: 1, seconds: 10 }, 'once'), { status: 'unknown' })
  t.match(await other.run('move', { axis: 'x', to: 2 }), { status: 'done' }, 'the next command finds the next backend')
  t.equal(runsOf([next]).length, 1)
  t.same(await scene.left('move'), [0, 0])
  t.ok([...one.logged, ...other.logged].some(line => /did not answer within 1 s; it is unknown now/.test(line)))
})

t.test('retry true: what a killed backend had in hand is carried out by another', async t => {
  const scene = new Scene(t)
  const [worker] = await scene.workers(2) as [Worker, Worker]
  const backends = [await scene.backend(), await scene.backend()]
  await scene.declare('move', { retry: true, timeout: 2 })
  const asked = worker.run('move', { axis: 'x', to: 7, seconds: 1 }, 'again')
  await until('it runs', () => runsOf(backends).length === 1)
  const killed = backends.find(backend => runsOf([backend]).length === 1) as Daemon
  await killed.stop('SIGKILL')
  const outcome = await asked
  t.match(outcome, { status: 'done', result: { position: 7 } })
  t.same(runsOf(backends).sort(), [`${outcome.id} 1`, `${outcome.id} 2`])
})

t.test('an answer of a backend that was taken for dead is counted as a duplicate and told by its id; the first answer counts', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', { retry: true, timeout: 1 })
  const asked = workers[0].run('turn', {}, 'twice')
  const first = await scene.take('turn', 'frozen')
  const second = await scene.take('turn', 'lively')
  t.match([first.job.attempt, second.job.attempt], ['1', '2'])
  t.equal(first.job.id, second.job.id)
  await scene.answer({ id: second.job.id as string, entry: second.entry, result: '"second"' })
  const outcome = await asked
  t.match(outcome, { status: 'done', result: 'second' })
  await scene.answer({ id: first.job.id as string, entry: first.entry, result: '"first"' })
  await until('the duplicate is counted', () => duplicates(workers) > 0)
  t.match(await workers[1].run('turn', {}, 'twice'), { status: 'done', result: 'second' })
  t.equal(duplicates(workers), 1)
  t.equal(workers.flatMap(({ logged }) => logged).filter(line => line.includes(outcome.id) && /more than once/.test(line)).length, 1)
  await scene.answer({ id: second.job.id as string, entry: second.entry, result: '"second"' })
  await until('the answers are done with', async () => (await scene.left('turn')).join() === '0,0')
  t.equal(duplicates(workers), 1, 'the same answer again is no second execution')
})

t.test('a real backend that froze in the middle and goes on later is such a duplicate', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2) as [Worker, Worker]
  const backends = [await scene.backend(), await scene.backend()]
  await scene.declare('move', { retry: true, timeout: 1 })
  const asked = workers[0].run('move', { axis: 'x', to: 3, seconds: 0.5 })
  await until('it runs', () => runsOf(backends).length === 1)
  const frozen = backends.find(backend => runsOf([backend]).length === 1) as Daemon
  frozen.signal('SIGSTOP')
  t.match(await asked, { status: 'done' })
  t.equal(duplicates(workers), 0)
  frozen.signal('SIGCONT')
  await until('the duplicate is counted', () => duplicates(workers) === 1)
})

t.test('the answer of a backend that was only late keeps the next one from beginning', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', { retry: true, timeout: 1 })
  const asked = workers[0].run('turn')
  const { entry, job } = await scene.take('turn')
  await until('it is handed on', async () => (await scene.client.xrange(scene.stream('turn'), '-', '+')).some(([id]) => id !== entry))
  await scene.answer({ id: job.id as string, entry, result: 'true' })
  t.match(await asked, { status: 'done', result: true })
  t.same(await scene.left('turn'), [0, 0])
  t.equal(duplicates(workers), 0)
})

t.test('retry false: an outcome that was unknown becomes known where the backend answers after all', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', { timeout: 1 })
  const asked = workers[0].run('turn', {}, 'late')
  const { entry, job } = await scene.take('turn')
  t.match(await asked, { status: 'unknown' })
  await scene.answer({ id: job.id as string, entry, result: '{"turned":true}' })
  await until('it is known', async () => (await workers[1].run('turn', {}, 'late')).status === 'done')
  t.match(await workers[0].run('turn', {}, 'late'), { status: 'done', result: { turned: true } })
  t.equal(duplicates(workers), 0)
})

t.test('a command that ends one backend after the other is given up', async t => {
  const scene = new Scene(t)
  const [worker] = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', { retry: true, timeout: 0.2 })
  const asked = worker.run('turn')
  for (let attempt = 1; attempt <= 5; attempt++) t.equal((await scene.take('turn')).job.attempt, String(attempt))
  t.match(await asked, { status: 'failed', error: { message: '5 backends took turn in turn, and none answered within 0.2 s' } })
  t.same(await scene.left('turn'), [0, 0])
})

t.test('several workers find a command overdue at the same moment: it is handed on once, and settled once', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(3)
  const overdue = workers.map(({ store }) => new Overdue({ store, idempotencyTtlMs: 1000, log: { warn () {} } }))
  const look = async (retry: boolean): Promise<string[]> =>
    (await Promise.all([...overdue, ...overdue].map(async one => await one.look('turn', { retry, timeoutMs: 2000, check: () => null })))).flatMap(({ settled }) => settled)
  await scene.declare('turn', { timeout: 60 })
  const asked = workers[0]?.run('turn')
  const first = await scene.take('turn')
  t.same(await look(true), [], 'not yet')
  await delay(2100)
  t.same(await look(true), [])
  t.equal((await scene.client.xrange(scene.stream('turn'), '-', '+')).length, 1)
  const second = await scene.take('turn')
  t.equal(second.job.attempt, '2')
  await delay(2100)
  t.same(await look(false), [first.job.id])
  t.match(await asked, { status: 'unknown' })
  t.same(await scene.left('turn'), [0, 0])
})

t.test('readers that are gone are forgotten, but not with what they have in hand', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  const overdue = new Overdue({ store: worker.store, idempotencyTtlMs: 1000, log: { warn () {} } })
  await scene.declare('turn', {})
  for (const backend of ['gone', 'busy']) {
    worker.run('turn').catch(() => {})
    const { entry, job } = await scene.take('turn', backend)
    if (backend === 'gone') await scene.answer({ id: job.id as string, entry, result: '1' })
  }
  await until('the answer is done with', async () => (await scene.left('turn')).join() === '1,0')
  const readers = async (): Promise<unknown[]> => (await scene.client.xinfo('CONSUMERS', scene.stream('turn'), 'handlers') as unknown[][]).map(of => of[1])
  await overdue.tidy(['turn', 'nothing'])
  t.same(await readers(), ['busy', 'gone'])
  await delay(50)
  await overdue.tidy(['turn', 'nothing'], 20)
  t.same(await readers(), ['busy'])
})

t.test('two answers at the same moment, of two executions: one counts, the other is a duplicate', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', {})
  for (let n = 1; n <= 5; n++) {
    const asked = workers[n % 2]?.run('turn')
    const { entry, job: { id = '' } } = await scene.take('turn')
    await scene.client.multi().xadd(`${scene.prefix}results`, '*', 'id', id, 'entry', entry, 'result', '1').xadd(`${scene.prefix}results`, '*', 'id', id, 'entry', '1-1', 'result', '2').exec()
    t.match(await asked, { status: 'done' })
    await until('the other is counted', () => duplicates(workers) === n)
  }
})

t.test('a backend that needs longer says so by claiming its entry again', async t => {
  const scene = new Scene(t)
  const [worker] = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', { retry: true, timeout: 4 })
  const asked = worker.run('turn')
  const { entry, job } = await scene.take('turn', 'slow')
  for (let n = 0; n < 12; n++) {
    await delay(500)
    t.same(await scene.client.xclaim(scene.stream('turn'), 'handlers', 'slow', 0, entry, 'JUSTID'), [entry])
  }
  await scene.answer({ id: job.id as string, entry, result: '1' })
  t.match(await asked, { status: 'done', result: 1 })
})

t.test('a backend that acknowledges its entry and does not answer owes an answer all the same', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.declare('turn', { timeout: 1 })
  const asked = worker.run('turn')
  const { entry } = await scene.take('turn')
  await scene.client.xack(scene.stream('turn'), 'handlers', entry)
  t.match(await asked, { status: 'unknown' })
  t.same(await scene.left('turn'), [0, 0])
})

t.test('nobody serves it: the caller is told so within the timeout, and nobody runs it later', async t => {
  const scene = new Scene(t)
  const [worker, other] = await scene.workers(2) as [Worker, Worker]
  await scene.client.hset(`${scene.prefix}handlers`, 'turn', '{"timeout": 1, "retry": true}')
  const failed = { status: 'failed', error: { code: 'COMMAND_FAILED', message: 'no backend took turn within 1 s: it was not started and is withdrawn' } }
  t.match(await worker.run('turn', {}, 'nobody'), failed)
  t.same(await scene.left('turn'), [0, 0])
  t.match(await other.run('turn', {}, 'nobody'), failed)
  await scene.client.hdel(`${scene.prefix}handlers`, 'turn')
  await t.rejects(other.run('turn'), { code: 'UNKNOWN_COMMAND' }, 'a declaration taken back ends the command')
})

t.test('a declaration taken back while a command is on its way: it is settled all the same', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  // Longer than it takes until the worker has seen that it is gone.
  await scene.declare('turn', { timeout: 4 })
  const asked = worker.run('turn')
  await scene.take('turn')
  await scene.client.hdel(`${scene.prefix}handlers`, 'turn')
  t.match(await asked, { status: 'unknown' })
})

t.test('arguments that do not fit are refused before anything is handed over', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.client.hset(`${scene.prefix}handlers`, 'turn', JSON.stringify({ schema: { type: 'object', required: ['by'], properties: { by: { type: 'integer' } } } }))
  await t.rejects(worker.run('turn', { by: 'much' }, 'key'), { code: 'BAD_COMMAND', message: /turn: args\/by must be integer/ })
  t.equal(await scene.client.exists(scene.stream('turn')), 0)
  const asked = worker.run('turn', { by: 3 }, 'key')
  await until('it waits', async () => await scene.client.exists(scene.stream('turn')) === 1)
  const { entry, job } = await scene.take('turn')
  t.match(job, { args: '{"by":3}', caller: 'test', subject: '', attempt: '1' })
  await scene.answer({ id: job.id as string, entry, result: 'null' })
  t.match(await asked, { status: 'done', result: null })
})

t.test('a declaration that is not valid makes nothing worse: the caller is told what is wrong, the log once', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  const cases: Array<[declaration: object | string, problem: RegExp]> = [
    ['{"retry": tru', /not valid JSON/],
    ['[]', /it must be an object/],
    [{ retry: 'yes' }, /retry must be true or false/],
    [{ timeout: 0 }, /timeout must be a number of seconds/],
    [{ retries: 3 }, /unknown field "retries"; there are retry, timeout, schema/],
    [{ schema: { type: 'objekt' } }, /schema is not valid: .*type/],
    [{ schema: true }, /schema must be a JSON Schema/]
  ]
  for (const [at, [declaration, message]] of cases.entries()) {
    await scene.declare('turn', declaration)
    for (let n = 0; n < 3; n++) await t.rejects(worker.run('turn'), { code: 'UNKNOWN_COMMAND', message })
    t.equal(worker.logged.filter(line => /the command turn cannot be used/.test(line)).length, at + 1)
  }
  await scene.declare('turn', { schema: { $id: 'turn', type: 'object' } })
  await t.rejects(worker.run('turn', []), { code: 'BAD_COMMAND' })
  await scene.declare('turn', { schema: { $id: 'turn', type: 'array' } })
  await t.rejects(worker.run('turn', {}), { code: 'BAD_COMMAND', message: /must be array/ }, 'a schema may be declared anew under its name')
})

t.test('what backends declare is listed beside what is here, with its description and schema', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  const schema = { type: 'object', properties: { to: { type: 'string' } } }
  worker.gateway.commands.register('ping', compile({ description: 'Answers.', handler: () => 'ours' }), 'built-in')
  await scene.declare('move', { description: 'Moves it.', schema })
  await scene.declare('turn', {})
  await scene.declare('ping', {})
  await scene.declare('spoilt', { timeout: -1 })
  await until('they are known', () => worker.gateway.commands.list.length === 3)
  t.same(worker.gateway.commands.list, [
    { name: 'move', description: 'Moves it.', schema, source: 'backend' },
    { name: 'ping', description: 'Answers.', schema: { type: 'object', additionalProperties: false }, source: 'built-in' },
    { name: 'turn', description: undefined, schema: {}, source: 'backend' }
  ])
  await scene.declare('turn', { description: 1 })
  await t.rejects(worker.run('turn'), { code: 'UNKNOWN_COMMAND', message: /description must be a string/ })
})

t.test('what is built in, or of COMMANDS_MODULE, cannot be taken by a backend', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  worker.gateway.commands.register('ping', compile({ handler: () => 'ours' }))
  await scene.declare('ping', {})
  await scene.declare('no good', {})
  t.match(await worker.run('ping'), { result: 'ours' })
  await until('the operator is told', () => worker.logged.length >= 2 && worker.logged.some(line => /command ping that a backend declares is ignored/.test(line)))
  await delay(1500)
  t.equal(worker.logged.filter(line => /is ignored/.test(line)).length, 2)
})

t.test('an answer that cannot be used is a failure with a sentence', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.declare('turn', {})
  const cases: Array<[answer: Fields, error: RegExp]> = [
    [{ result: '{"turned": NaN}' }, /result could not be read \(not valid JSON/],
    [{ result: '9007199254740993' }, /cannot be kept exactly/],
    [{ result: '{"__proto__": 1}' }, /__proto__/],
    [{ result: JSON.stringify('x'.repeat(1024 * 1024)) }, /larger than the 1048576 bytes/],
    [{}, /neither result nor error/],
    [{ error: 'stuck', result: '1' }, /^stuck$/]
  ]
  for (const [answer, message] of cases) {
    const asked = worker.run('turn')
    const { entry, job } = await scene.take('turn')
    await scene.answer({ id: job.id as string, entry, ...answer })
    t.match(await asked, { status: 'failed', error: { code: 'COMMAND_FAILED', message } })
  }
  const asked = worker.run('turn')
  const { job } = await scene.take('turn')
  await scene.answer({ id: job.id as string, result: JSON.stringify({ text: 'x'.repeat(1_000_000), empty: [], none: {}, big: 9007199254740991 }) })
  t.match(await asked, { status: 'done', result: { empty: [], none: {}, big: 9007199254740991 } }, 'a large one comes as it was sent')
  t.same(await scene.left('turn'), [0, 0])
})

t.test('answers nobody asked for are dropped, with one line for many', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  worker.gateway.commands.register('local', compile({ handler: () => 'ours' }))
  const { id } = await worker.run('local', {}, 'mine')
  for (const fields of [{ id: 'nothing', result: '1' }, { id, result: '"forged"' }, { hello: 'world' }, { id: 'x'.repeat(10_000), entry: 'nonsense', result: '1' }]) await scene.answer(fields)
  await until('they are gone', async () => await scene.client.xlen(`${scene.prefix}results`) === 0)
  t.match(await worker.gateway.commands.outcome(id), { status: 'done', result: 'ours' })
  t.equal(worker.logged.filter(line => /answered a command that is not known/.test(line)).length, 1)
  t.equal(worker.gateway.counters.duplicates, 0)
  await scene.declare('turn', {})
  const asked = worker.run('turn')
  const { entry, job } = await scene.take('turn')
  await scene.answer({ id: job.id as string, entry, result: '1' })
  t.match(await asked, { status: 'done' }, 'and nothing else suffers')
})

t.test('where the workers may not make their group of answers the log says so once, and answers come as soon as they may', async t => {
  const scene = new Scene(t, await RedisServer.start(t))
  await scene.client.call('ACL', 'SETUSER', 'default', '-xgroup')
  const worker = await scene.worker()
  const said = (): number => worker.logged.filter(line => /answers of backends cannot be read from \S*results: NOPERM/.test(line)).length
  await until('it is said', () => said() === 1)
  await scene.client.call('ACL', 'SETUSER', 'default', '+xgroup')
  await scene.declare('turn', {})
  const outcome = worker.run('turn')
  const { job } = await scene.take('turn')
  await scene.answer({ id: job.id as string, result: '"turned"' })
  t.match(await outcome, { status: 'done', result: 'turned' })
  t.equal(said(), 1)
})

t.test('more commands than may wait are refused, and the key may be used again', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.declare('turn', {})
  const filling = scene.client.pipeline()
  for (let n = 0; n < MAX_WAITING; n++) filling.xadd(scene.stream('turn'), '*', 'id', `filler ${n}`)
  await filling.exec()
  await t.rejects(worker.run('turn', {}, 'key'), { code: 'OVERLOADED', statusCode: 503 })
  await scene.client.xtrim(scene.stream('turn'), 'MAXLEN', 0)
  const asked = worker.run('turn', {}, 'key')
  const { entry, job } = await scene.take('turn')
  await scene.answer({ id: job.id as string, entry, result: '1' })
  t.match(await asked, { status: 'done' })
})

t.test('what is handed over twice, as where the first answer of Redis was lost, waits once', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.declare('turn', {})
  const remote = await worker.find('turn') as RemoteCommand
  const job = { id: 'same', command: 'turn', args: {}, identity: trusted('test') }
  const record = { command: 'turn', status: 'running', fingerprint: 'print', by: '' } as const
  for (let n = 0; n < 3; n++) await remote.dispatch(job, record)
  t.same(await scene.left('turn'), [1, 0])
  const { entry } = await scene.take('turn')
  await remote.dispatch(job, record)
  await scene.answer({ id: 'same', entry, result: '{"by":"somebody"}' })
  await until('it is done', async () => (await worker.gateway.commands.outcome('same'))?.status === 'done')
  await remote.dispatch(job, record)
  t.same(await scene.left('turn'), [0, 0])
  t.match(await worker.gateway.commands.outcome('same'), { status: 'done', result: { by: 'somebody' } })
})

t.test('whoever waits is told at once, whichever worker took the answer', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(3)
  await scene.declare('turn', {})
  // By then nobody looks more often than once a second.
  const timed = async (): Promise<number> => {
    const asked = workers.flatMap(({ run }) => [run('turn'), run('turn'), run('turn')])
    const jobs = []
    for (let n = 0; n < asked.length; n++) jobs.push(await scene.take('turn'))
    await delay(2650)
    const begun = performance.now()
    for (const { entry, job } of jobs) await scene.answer({ id: job.id as string, entry, result: '1' })
    await Promise.all(asked)
    return performance.now() - begun
  }
  // On a busy machine one of a few times: to look once a second takes longer each time.
  const ms: number[] = []
  while (ms.length < 8 && (ms.at(-1) ?? Infinity) >= 500) ms.push(await timed())
  t.ok(ms.some(ms => ms < 500), `nine answers in ${ms.map(Math.round).join(', ')} ms`)
})

t.test('the worker that handed a command over is gone: the outcome is recorded and read at another', async t => {
  const scene = new Scene(t)
  const [one, other] = await scene.workers(2) as [Worker, Worker]
  await scene.declare('turn', {})
  const asked = one.run('turn', {}, 'mine')
  asked.catch(() => {})
  const { entry, job } = await scene.take('turn')
  await one.vanish()
  t.match(await other.gateway.commands.outcome(job.id as string), { status: 'running' }, 'it runs, whoever handed it over')
  await scene.answer({ id: job.id as string, entry, result: '"turned"' })
  await until('it is done', async () => (await other.gateway.commands.outcome(job.id as string))?.status === 'done')
  t.match(await other.run('turn', {}, 'mine'), { id: job.id, status: 'done', result: 'turned' })
})

t.test('an answer taken by a worker that died with it is taken by another, and nobody is taken for dead meanwhile', async t => {
  const scene = new Scene(t)
  const one = await scene.worker()
  await scene.declare('turn', { retry: true, timeout: 1 })
  await scene.client.xgroup('CREATE', `${scene.prefix}results`, 'gateway', '0', 'MKSTREAM').catch(() => {})
  one.run('turn', {}, 'mine').catch(() => {})
  const { entry, job } = await scene.take('turn')
  await one.vanish()
  await scene.answer({ id: job.id as string, entry, result: '"turned"' })
  const ghost = await scene.client.xreadgroup('GROUP', 'gateway', 'ghost', 'COUNT', 1, 'STREAMS', `${scene.prefix}results`, '>') as unknown[]
  t.equal(ghost.length, 1)
  const other = await scene.worker()
  t.match(await other.run('turn', {}, 'mine'), { status: 'done', result: 'turned' })
  const info = await scene.client.xinfo('STREAM', scene.stream('turn')) as unknown[]
  t.equal(info[info.indexOf('last-generated-id') + 1], entry, 'it was not handed on')
})

t.test('an answer that a worker held for too long, so that another took it, is counted once', async t => {
  const scene = new Scene(t)
  const slow = await scene.worker()
  await scene.declare('turn', {})
  const asked = slow.run('turn')
  const { entry, job: { id = '' } } = await scene.take('turn')
  await scene.answer({ id, entry, result: '1' })
  t.match(await asked, { status: 'done' })
  let open = (): void => {}
  const gate = new Promise<void>(resolve => { open = resolve })
  const ask = slow.store.ask.bind(slow.store)
  slow.store.ask = async question => {
    await gate
    return await ask(question)
  }
  await scene.answer({ id, entry: '1-1', result: '2' })
  await delay(100)
  const other = await scene.worker()
  await until('another takes it', () => other.gateway.counters.duplicates === 1)
  open()
  await delay(300)
  t.equal(slow.gateway.counters.duplicates, 0)
})

t.test('Redis away for longer than a command may take, then emptied: what was in hand is answered, and the command comes back', async t => {
  const redis = await RedisServer.start(t)
  const scene = new Scene(t, redis)
  const workers = await scene.workers(2) as [Worker, Worker]
  const backend = await scene.backend()
  await scene.declare('move', { retry: true, timeout: 1 })
  const asked = workers[0].run('move', { axis: 'x', to: 5, seconds: 0.5 }, 'through')
  await backend.until('it runs', () => runsOf([backend]).length === 1)
  await redis.stop()
  await delay(1500)
  await redis.restart()
  t.match(await asked, { status: 'done', result: { position: 5 } })
  await delay(1000)
  t.equal(runsOf([backend]).length, 1)
  t.equal(duplicates(workers), 0)
  await scene.client.flushall()
  await until('it is declared anew', async () => (await workers[1].run('move', { axis: 'x', to: 6 }).catch(() => null))?.status === 'done')
})

t.test('connections killed again and again: every command is answered, and none is carried out twice', async t => {
  const redis = await RedisServer.start(t)
  const scene = new Scene(t, redis)
  const workers = await scene.workers(2) as [Worker, Worker]
  const backends = [await scene.backend(), await scene.backend()]
  await scene.declare('move', { retry: false, timeout: 3 })
  const over = new AbortController()
  const harm = (async () => {
    while (!over.signal.aborted) {
      await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal').catch(() => {})
      await delay(150)
    }
  })()
  const ask = async (n: number): Promise<Outcome> => {
    for (;;) {
      try {
        return await (workers[n % 2] as Worker).run('move', { axis: 'x', to: n }, `harm ${n}`)
      } catch (error) {
        if ((error as { code?: string }).code !== 'STORE_UNAVAILABLE') throw error
        await delay(50)
      }
    }
  }
  const outcomes: Outcome[] = []
  for (let n = 0; n < 60; n += 4) outcomes.push(...await Promise.all([n, n + 1, n + 2, n + 3].map(ask)))
  over.abort()
  await harm
  const runs = runsOf(backends)
  t.equal(new Set(runs).size, runs.length, `${runs.length} executions`)
  const unknown = outcomes.filter(({ status }) => status === 'unknown')
  t.same(outcomes.filter(({ status }) => status !== 'unknown' && status !== 'done'), [])
  // A delivery that was lost on its way to the backend is unknown: nobody can tell it from one that was carried out.
  t.ok(unknown.length < 20, `${unknown.length} unknown of 60`)
  for (const { id, status } of outcomes) if (status === 'done') t.ok(runs.includes(`${id} 1`))
})

t.test('a command of the workers themselves: the same key on two of them at once is one execution with one answer', async t => {
  const scene = new Scene(t)
  const workers = await scene.workers(2)
  let runs = 0
  for (const { gateway } of workers) {
    gateway.commands.register('count', compile({
      handler: async () => {
        runs++
        await delay(100)
        return runs
      }
    }))
  }
  for (let n = 1; n <= 10; n++) {
    const outcomes = await Promise.all(workers.map(async ({ run }) => await run('count', {}, `key ${n}`)))
    t.same(outcomes.map(({ status, result }) => ({ status, result })), [{ status: 'done', result: n }, { status: 'done', result: n }])
  }
})

t.test('a worker killed in the middle of a command of its own: the others say unknown, and do not run it again', async t => {
  const scene = new Scene(t)
  const stage = new Stage(t)
  const witness = join(stage.folder(), 'witness.mjs')
  writeFileSync(witness, 'export default { hang: { async handler () { console.log("hanging"); await new Promise(resolve => setTimeout(resolve, 60_000)) } } }')
  const other = await scene.worker()
  let runs = 0
  other.gateway.commands.register('hang', compile({ handler: () => { runs++ } }))
  const killed = await stage.launch({ REDIS_URL: scene.redis.url, REDIS_PREFIX: scene.prefix, COMMANDS_MODULE: witness, PORT: 0 })
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'mine' }
  const ask = async (): Promise<Response> => await fetch(`${killed.url}/api/control`, { method: 'POST', headers, body: '{"command": "hang"}' })
  void (async () => {
    while (await ask().then(({ status }) => status !== 200, () => false)) await delay(50)
  })()
  await until('it runs', () => killed.log().some(({ msg }) => msg === 'hanging'))
  const record = (await scene.client.keys(`${scene.prefix}command:*`))[0] as string
  const id = record.slice(`${scene.prefix}command:`.length)
  t.match(await other.gateway.commands.outcome(id), { status: 'running' })
  await killed.kill9()
  // Rather than wait until its lease has run out.
  for (const name of await scene.client.zrange(`${scene.prefix}workers`, '0', '-1')) if (name !== other.name) await scene.client.zrem(`${scene.prefix}workers`, name)
  t.match(await other.gateway.commands.outcome(id), { status: 'unknown' })
  t.match(await other.gateway.control({ command: 'hang', idempotencyKey: 'mine', identity: trusted('127.0.0.1') }), { id, status: 'unknown' })
  t.equal(runs, 0)
})

t.test('keys of a wrong type are reported once, and served again when they are right', async t => {
  const scene = new Scene(t)
  await scene.client.set(`${scene.prefix}handlers`, 'rubbish')
  await scene.client.set(`${scene.prefix}results`, 'rubbish')
  const worker = await scene.worker()
  const count = (what: RegExp): number => worker.logged.filter(line => what.test(line)).length
  const handlers = /commands of backends cannot be checked: \S+handlers, .*WRONGTYPE/
  const results = /answers of backends cannot be read from \S+results: .*WRONGTYPE/
  await until('both are reported', () => count(handlers) === 1 && count(results) === 1)
  await delay(2500)
  t.same([count(handlers), count(results)], [1, 1])
  await scene.client.del(`${scene.prefix}handlers`, `${scene.prefix}results`)
  await scene.declare('move', {})
  await until('it is served', async () => await worker.find('move') !== null)
  const running = worker.run('move')
  const { job, entry } = await scene.take('move')
  await scene.answer({ id: job.id as string, entry, result: '1' })
  t.match(await running, { status: 'done', result: 1 })
})

t.test('what a backend declares is bounded, and a declaration that changes each time leaves nothing behind', async t => {
  const scene = new Scene(t)
  const worker = await scene.worker()
  await scene.declare('large', { description: 'x', schema: { type: 'object', description: 'x'.repeat(70_000) } })
  await t.rejects(worker.find('large'), { code: 'UNKNOWN_COMMAND', message: /it may have 65536 characters and has 70/ })
  const heap = async (): Promise<number> => {
    collect()
    await delay(20)
    collect()
    return process.memoryUsage().heapUsed
  }
  const change = async (from: number, to: number): Promise<void> => {
    for (let n = from; n < to; n++) {
      await scene.declare('changing', { schema: { type: 'object', title: `${n} ${'x'.repeat(20_000)}` } })
      await worker.find('changing')
    }
  }
  await change(0, 200)
  const before = await heap()
  await change(200, 1200)
  const grown = (await heap() - before) / 1024 / 1024
  t.ok(grown < 10, `${grown.toFixed(1)} MiB after a thousand versions of 20 KB`)
  const fields = Array.from({ length: 1001 }, (_, n) => [`c${n}`, '{}']).flat()
  await scene.client.hset(`${scene.prefix}handlers`, ...fields)
  await until('it is reported', () => worker.logged.some(line => /more than 1000 commands are declared/.test(line)))
})
