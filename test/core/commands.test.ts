// Commands and their ledger where things fail: the store does, a process or a backend does. Two processes share a store
// that fails where a test says so.

import t from 'tap'
import { Commands, digest } from '../../src/core/command.ts'
import type { Command, CommandRequest, RemoteCommand } from '../../src/core/command.ts'
import { Refusal } from '../../src/core/errors.ts'
import { trusted } from '../../src/core/identity.ts'
import type { Outcome } from '../../src/core/ledger.ts'
import type { CommandRecord, Store } from '../../src/core/store.ts'
import { ManualClock } from '../clock.ts'
import { FailingStore } from '../store/failing-store.ts'

const TIMEOUT_MS = 10_000
/** Longer than a claim that failed is looked after. */
const A_WHILE_MS = 120_000

/** Keeps records as any store does: as JSON. */
function memoryStore (): Store {
  const texts = new Map<string, string>()
  const recall = (id: string): CommandRecord | null => JSON.parse(texts.get(id) ?? 'null') as CommandRecord | null
  return {
    claim: async (id, record) => {
      const before = recall(id)
      if (before === null) texts.set(id, JSON.stringify(record))
      return before
    },
    settle: async (id, record) => { record === null ? texts.delete(id) : texts.set(id, JSON.stringify(record)) },
    recall: async id => recall(id)
  } satisfies Pick<Store, 'claim' | 'settle' | 'recall'> as unknown as Store
}

interface Process {
  readonly commands: Commands
  readonly errors: string[]
  readonly bad: Outcome[]
  /** Times its handlers were called. */
  runs: number
  run (request?: Partial<CommandRequest>): Promise<Outcome>
}

class Scene {
  readonly clock = new ManualClock()
  readonly store = new FailingStore(memoryStore())
  readonly alive = new Set(['one', 'two'])

  /** A process with the command `move`. @param handle what it does; without, it answers with the number of times it ran */
  process (name: string, handle?: () => unknown): Process {
    const errors: string[] = []
    const bad: Outcome[] = []
    const commands = new Commands({
      store: this.store,
      group: { worker: name, isAlive: async worker => this.alive.has(worker) },
      clock: this.clock,
      timeoutMs: TIMEOUT_MS,
      publish: async () => [],
      // A log reads the error.
      onError: (error, what) => errors.push(`${what}: ${(error as Error).message}`),
      onBad: outcome => bad.push(outcome)
    })
    const process: Process = {
      commands,
      errors,
      bad,
      runs: 0,
      run: async request => await commands.run({ command: 'move', args: { to: 1 }, idempotencyKey: 'key', identity: trusted('me'), ...request })
    }
    const command: Command = {
      check: () => null,
      handler: () => {
        process.runs++
        return handle === undefined ? process.runs : handle()
      }
    }
    commands.register('move', command)
    commands.register('stop', command)
    commands.register('own', command, 'built-in')
    commands.register('look', { ...command, readOnly: true })
    return process
  }

  /** Lets `ms` pass in steps; promises get their turn in between. */
  async pass (ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 500) {
      await this.clock.settle()
      this.clock.advance(500)
    }
    await this.clock.settle()
  }

  async stillRunning ({ commands }: Process): Promise<string[]> {
    const names = commands.stop(0)
    this.clock.advance(0)
    return await names
  }

  async recordOf (key = 'key'): Promise<CommandRecord | null> {
    return await this.store.recall(digest('me', key))
  }
}

const never = async (): Promise<never> => await new Promise<never>(() => {})

t.test('a claim that fails refuses the command before it runs; the same key runs it later', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('claim')
  await t.rejects(one.run(), { code: 'STORE_UNAVAILABLE' })
  t.equal(one.runs, 0)
  scene.store.recover()
  t.match(await one.run(), { status: 'done', result: 1 })
  await scene.pass(A_WHILE_MS)
  t.match(await scene.recordOf(), { status: 'done', result: 1 }, 'taking back the claim has left it alone')
})

t.test('a claim that failed and was never kept is looked after for a minute, not for ever', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('claim', undefined, { count: 1 })
  await t.rejects(one.run(), { code: 'STORE_UNAVAILABLE' })
  await scene.pass(A_WHILE_MS)
  t.equal(scene.store.calls.recall, 60)
  t.equal(scene.clock.pending, 0)
})

t.test('a claim that failed but took effect is run by its process at once: it never started', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('claim', undefined, { count: 1, tookEffect: true })
  await t.rejects(one.run(), { code: 'STORE_UNAVAILABLE' })
  t.match(await scene.recordOf(), { status: 'running', by: 'one' })
  t.match(await one.run(), { status: 'done', result: 1 })
  await scene.pass(A_WHILE_MS)
  t.match(await scene.recordOf(), { status: 'done' })
})

t.test('a claim that failed but took effect is taken back, and another process that waits for it runs the command', async t => {
  const scene = new Scene()
  const [one, two] = [scene.process('one'), scene.process('two')]
  scene.store.fail('claim', undefined, { count: 1, tookEffect: true })
  await t.rejects(one.run(), { code: 'STORE_UNAVAILABLE' })
  const answer = two.run()
  await scene.pass(500)
  t.equal(two.runs, 0, 'it may be running elsewhere')
  await scene.pass(2000)
  t.match(await answer, { status: 'done', result: 1 })
  t.same([one.runs, two.runs], [0, 1])
})

t.test('a claim is taken back when the store can be read again, also where it arrived late', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('claim', undefined, { count: 1, tookEffect: true })
  scene.store.fail('recall')
  await t.rejects(one.run(), { code: 'STORE_UNAVAILABLE' })
  await scene.pass(20_000)
  scene.store.recover()
  t.match(await scene.recordOf(), { status: 'running' })
  await scene.pass(2000)
  t.equal(await scene.recordOf(), null)
})

t.test('an outcome the store does not take is kept in memory, a repeat gets it, and the store has it a second after it is back', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('settle')
  const first = await one.run()
  t.match(first, { status: 'done', result: 1 }, 'the caller gets the outcome all the same')
  t.match(one.errors, [/the outcome of command .* could not be recorded/])
  t.same(await one.run(), first)
  t.same(await one.commands.outcome(first.id), first)
  await t.rejects(one.run({ args: { to: 2 } }), { code: 'IDEMPOTENCY_CONFLICT' })
  t.equal(one.runs, 1)
  const two = scene.process('two')
  const other = two.run()
  await scene.pass(5000)
  scene.store.recover()
  await scene.pass(2000)
  t.match(await scene.recordOf(), { status: 'done', result: 1 })
  t.same(await other, first, 'other processes learn of it too')
  t.equal(two.runs, 0)
  t.equal(scene.clock.pending, 0)
})

t.test('an outcome the store did not take is written before the process ends, where the store is back', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('settle')
  await one.run()
  scene.store.recover()
  t.same(await scene.stillRunning(one), [])
  t.match(await scene.recordOf(), { status: 'done', result: 1 })
})

t.test('while the ledger cannot be read, a process that waits goes by the last record, and gets the outcome later', async t => {
  const scene = new Scene()
  let finish = (_result: string): void => {}
  const [one, two] = [scene.process('one', async () => await new Promise(resolve => { finish = resolve })), scene.process('two')]
  const [first, second] = [one.run(), two.run()]
  await scene.pass(1000)
  scene.store.fail('recall')
  await scene.pass(3000)
  finish('moved')
  await scene.pass(1000)
  scene.store.recover()
  await scene.pass(2000)
  t.same(await second, await first)
  t.match(await second, { status: 'done', result: 'moved' })
  t.equal(two.runs, 0)
})

t.test('a command that takes long is answered `running`, and its outcome is found under its id', async t => {
  const scene = new Scene()
  let finish = (): void => {}
  const one = scene.process('one', async () => { await new Promise<void>(resolve => { finish = resolve }) })
  const answer = one.run()
  await scene.pass(TIMEOUT_MS)
  const { id, status } = await answer
  t.equal(status, 'running')
  t.match(await one.commands.outcome(id), { status: 'running' })
  t.same(await scene.stillRunning(one), ['move'])
  finish()
  await scene.clock.settle()
  t.match(await one.commands.outcome(id), { status: 'done', result: null })
  t.equal(await one.commands.outcome('never seen'), null)
})

t.test('an outcome lost with its process is `unknown`, and the command is not run again', async t => {
  const scene = new Scene()
  const [one, two] = [scene.process('one', never), scene.process('two')]
  void one.run()
  await scene.clock.settle()
  const waiting = two.run()
  await scene.pass(1000)
  scene.alive.delete('one')
  await scene.pass(2000)
  t.match(await waiting, { status: 'unknown' })
  t.match(await two.run(), { status: 'unknown' }, 'nor by a repeat')
  t.equal(two.runs, 0)
  t.same(two.bad.map(({ status }) => status), ['unknown', 'unknown'])
})

t.test('a handler that throws has failed, once for all repeats', async t => {
  const scene = new Scene()
  const one = scene.process('one', () => { throw new Error('the pump is stuck') })
  const failed = { status: 'failed', error: { code: 'COMMAND_FAILED', message: 'the pump is stuck' } }
  t.match(await one.run(), failed)
  t.match(await one.run(), failed)
  t.equal(one.runs, 1)
  t.match(one.errors, [/command move .* failed/])
})

t.test('an error that throws when it is read is a failure like any other', async t => {
  const scene = new Scene()
  const unreadable = Object.defineProperty(new Error(''), 'message', { get () { throw new Error('no') } })
  const one = scene.process('one', () => { throw unreadable })
  const failed = { status: 'failed', error: { code: 'COMMAND_FAILED', message: 'it threw something that is no error' } }
  t.match(await one.run(), failed)
  t.match(await one.run(), failed)
  t.equal(one.runs, 1)
  t.match(one.errors, [/command move .* failed/])
})

t.test('a handler whose own publish is refused has failed, once for all repeats', async t => {
  const scene = new Scene()
  const one = scene.process('one', () => { throw new Refusal('ROOM_PAUSED', 'publishing to room a is paused') })
  const failed = { status: 'failed', error: { code: 'COMMAND_FAILED', message: 'publishing to room a is paused' } }
  t.match(await one.run(), failed)
  t.match(await one.run(), failed)
  t.match(await scene.process('two').run(), failed, 'also for those of another process')
  t.equal(one.runs, 1)
  t.match(await one.run({ idempotencyKey: undefined }), failed)
})

for (const [what, make] of [['a circle', () => { const circle: { self?: object } = {}; circle.self = circle; return circle }], ['a BigInt', () => 7n]] as const) {
  t.test(`a handler that returns ${what} has failed with a sentence, is named in the log, and is not run again`, async t => {
    const scene = new Scene()
    const one = scene.process('one', make)
    const failed = { status: 'failed', error: { message: /carried out, but its result cannot be sent as JSON/ } }
    t.match(await one.run(), failed)
    t.match(await one.run(), failed)
    t.match(await scene.recordOf(), failed)
    t.equal(one.runs, 1)
    t.match(one.errors, [/command move .* failed/])
  })
}

t.test('a handler may throw anything: it has failed', async t => {
  for (const thrown of [Object.create(null), 7n, Symbol('stuck'), undefined, Object.assign(new Error(), { message: 7n })]) {
    const one = new Scene().process('one', () => { throw thrown })
    t.match(await one.run(), { status: 'failed', error: { message: String } })
  }
})

t.test('what a built-in command refuses is not recorded: the key may come again, with another command too', async t => {
  const scene = new Scene()
  let refuses = true
  const one = scene.process('one', () => { if (refuses) throw new Refusal('BAD_COMMAND', 'not while it rains') })
  await t.rejects(one.run({ command: 'own' }), { code: 'BAD_COMMAND' })
  t.equal(await scene.recordOf(), null)
  refuses = false
  t.match(await one.run({ command: 'stop' }), { command: 'stop', status: 'done' })
})

t.test('a refusal that cannot be taken out of the ledger does not hold up its process', async t => {
  const scene = new Scene()
  let refuses = true
  const one = scene.process('one', () => { if (refuses) throw new Refusal('BAD_COMMAND', 'not while it rains') })
  scene.store.fail('settle', undefined, { count: 1 })
  await t.rejects(one.run({ command: 'own' }), { code: 'BAD_COMMAND' })
  t.match(one.errors, [/could not be recorded/])
  t.equal(await one.commands.outcome(digest('me', 'key')), null)
  refuses = false
  t.match(await one.run({ command: 'own' }), { status: 'done' })
  await scene.pass(5000)
  t.match(await scene.recordOf(), { status: 'done' }, 'and it is not taken out later')
})

t.test('where a refusal could not be taken out of the ledger, it is when the store is back, and another process runs the command', async t => {
  const scene = new Scene()
  const one = scene.process('one', () => { throw new Refusal('BAD_COMMAND', 'not while it rains') })
  scene.store.fail('settle')
  await t.rejects(one.run({ command: 'own' }), { code: 'BAD_COMMAND' })
  const two = scene.process('two')
  const other = two.run({ command: 'own' })
  scene.store.recover()
  await scene.pass(3000)
  t.match(await other, { status: 'done', result: 1 })
})

t.test('a process that drains takes no more commands, also none that came just before, and waits for those that run', async t => {
  const scene = new Scene()
  let finish = (): void => {}
  const one = scene.process('one', async () => { await new Promise<void>(resolve => { finish = resolve }) })
  let found = (): void => {}
  one.commands.useRemote({ find: async () => await new Promise(resolve => { found = () => resolve({ check: () => null, dispatch: async () => {} }) }), list: () => [] })
  const [running, checked] = [one.run(), one.run({ command: 'fly', idempotencyKey: 'another' })]
  await scene.clock.settle()
  const over = one.commands.stop(TIMEOUT_MS)
  await t.rejects(one.run({ idempotencyKey: 'late' }), { code: 'DRAINING' })
  await t.rejects(one.run(), { code: 'DRAINING' }, 'repeats neither')
  found()
  await t.rejects(checked, { code: 'DRAINING' })
  finish()
  t.same(await over, [])
  t.match(await running, { status: 'done' })
  t.equal(one.runs, 1)
})

t.test('at most a thousand commands run at a time in a process', async t => {
  const scene = new Scene()
  const one = scene.process('one', never)
  for (let command = 0; command < 1000; command++) void one.run({ idempotencyKey: `key-${command}` })
  await t.rejects(one.run({ idempotencyKey: 'one more' }), { code: 'OVERLOADED', message: /1000 commands/ })
  await scene.clock.settle()
  t.equal(one.runs, 1000)
})

t.test('requests with the same key at the same time run once, in one process and in several', async t => {
  const scene = new Scene()
  const [one, two] = [scene.process('one'), scene.process('two')]
  const answers = Promise.all([one.run(), one.run(), two.run(), two.run()])
  await scene.pass(2000)
  const [first, ...others] = await answers
  t.match(first, { status: 'done', result: 1 })
  for (const other of others) t.same(other, first)
  t.equal(one.runs + two.runs, 1)
})

t.test('a key that comes with another command or other arguments is refused, while the first runs and later', async t => {
  const scene = new Scene()
  let finish = (): void => {}
  const [one, two] = [scene.process('one', async () => { await new Promise<void>(resolve => { finish = resolve }) }), scene.process('two')]
  const first = one.run()
  await scene.clock.settle()
  for (const process of [one, two]) {
    await t.rejects(process.run({ args: { to: 2 } }), { code: 'IDEMPOTENCY_CONFLICT' })
    await t.rejects(process.run({ command: 'stop' }), { code: 'IDEMPOTENCY_CONFLICT' })
  }
  finish()
  await first
  for (const process of [one, two]) await t.rejects(process.run({ args: { to: 2 } }), { code: 'IDEMPOTENCY_CONFLICT' })
  t.match(await two.run({ identity: trusted('another'), args: { to: 2 } }), { status: 'done' }, 'keys are each caller\'s own')
})

t.test('a command without a key runs while the store does not; that it could not be recorded is logged', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  scene.store.fail('claim')
  scene.store.fail('settle')
  const { id, ...outcome } = await one.run({ idempotencyKey: undefined })
  t.same(outcome, { command: 'move', status: 'done', result: 1 })
  await scene.clock.settle()
  t.match(one.errors, [/command move .* could not be recorded/, /the outcome of command .* could not be recorded/])
  t.match(await one.commands.outcome(id), { status: 'done', result: 1 })
})

t.test('a large result that was the answer is not kept; one with a key is, up to 64 KiB', async t => {
  const scene = new Scene()
  let large = 'x'.repeat(5000)
  const one = scene.process('one', () => large)
  const { id, result } = await one.run({ idempotencyKey: undefined })
  t.equal(result, large)
  await scene.clock.settle()
  t.same(await one.commands.outcome(id), { id, command: 'move', status: 'done', resultOmitted: true })
  t.equal((await one.run()).result, large)
  t.equal((await scene.recordOf())?.result, large)
  large = 'x'.repeat(70_000)
  const huge = await one.run({ idempotencyKey: 'huge' })
  t.equal(huge.result, large, 'whoever waited for it gets it')
  t.same(await one.run({ idempotencyKey: 'huge' }), { id: huge.id, command: 'move', status: 'done', resultOmitted: true })
  t.equal(one.runs, 3)
})

t.test('the result of a command that changes nothing is not kept, and a repeat runs it again', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  const { id, result } = await one.run({ command: 'look' })
  t.equal(result, 1)
  await scene.clock.settle()
  t.equal(await scene.recordOf(), null, 'nothing stands under its key')
  t.same(await one.commands.outcome(id), { id, command: 'look', status: 'done', resultOmitted: true })
  t.match(await one.run({ command: 'look' }), { status: 'done', result: 2 })
  t.match(await one.run(), { command: 'move', status: 'done', result: 3 }, 'nor is the key used up')
  await t.rejects(one.run({ command: 'look' }), { code: 'IDEMPOTENCY_CONFLICT' }, 'which then stands for the command that used it')
  t.match(await one.run(), { command: 'move', status: 'done', result: 3 })
  scene.store.fail('recall')
  scene.store.fail('claim')
  t.match(await one.run({ command: 'look', idempotencyKey: 'another' }), { status: 'done' }, 'without the store as well')
})

/** A process whose command `fly` backends carry out. */
function remote (scene: Scene, dispatch: RemoteCommand['dispatch']): Process {
  const one = scene.process('one')
  one.commands.useRemote({ find: async name => name === 'fly' ? { check: () => null, dispatch } : null, list: () => [{ name: 'fly' }] })
  return one
}

t.test('a command handed over is answered as soon as its record is settled', async t => {
  const scene = new Scene()
  const one = remote(scene, async ({ id }, record) => { await scene.store.settle(id, record) })
  const answer = one.run({ command: 'fly' })
  await scene.pass(5000)
  t.match(await scene.recordOf(), { status: 'running', by: '' })
  await scene.store.settle(digest('me', 'key'), { ...await scene.recordOf() as CommandRecord, status: 'done', result: 'landed' })
  one.commands.recheck(digest('me', 'key'))
  await scene.clock.settle()
  t.match(await answer, { status: 'done', result: 'landed' }, 'without waiting for the next look')
  t.same(await scene.stillRunning(one), [])
})

t.test('where it is not known whether a command was handed over, its record stays, and a repeat does not hand it over as another one', async t => {
  const scene = new Scene()
  const jobs: string[] = []
  let available = false
  const one = remote(scene, async ({ id }, record) => {
    jobs.push(id)
    if (!available) throw new Refusal('STORE_UNAVAILABLE', 'the connection was lost')
    await scene.store.settle(id, { ...record, status: 'done', result: 'landed' })
  })
  await t.rejects(one.run({ command: 'fly' }), { code: 'STORE_UNAVAILABLE' })
  t.match(await scene.recordOf(), { command: 'fly', status: 'running', by: 'one' })
  available = true
  const answer = one.run({ command: 'fly' })
  await scene.pass(1000)
  t.match(await answer, { status: 'done', result: 'landed' })
  t.equal(new Set(jobs).size, 1, 'under the same id: handing over twice does nothing')
})

t.test('a command that was surely not handed over leaves no record', async t => {
  const scene = new Scene()
  const one = remote(scene, async () => { throw new Refusal('OVERLOADED', 'too many wait') })
  await t.rejects(one.run({ command: 'fly' }), { code: 'OVERLOADED' })
  t.equal(await scene.recordOf(), null)
  t.match(await one.run(), { command: 'move', status: 'done' })
})

t.test('once closed, nothing is followed and nothing is stored any more', async t => {
  const scene = new Scene()
  const one = remote(scene, async () => {})
  const answer = one.run({ command: 'fly' })
  await scene.clock.settle()
  scene.store.fail('settle')
  t.match(await one.run({ idempotencyKey: 'mine' }), { status: 'done' }, 'an outcome that the store has not taken')
  scene.clock.advance(1000)
  await scene.clock.settle()
  one.commands.close()
  await t.rejects(answer, { code: 'DRAINING' })
  await scene.pass(A_WHILE_MS)
  t.equal(scene.clock.pending, 0)
})

t.test('a command handed over whose record is gone is `unknown`', async t => {
  const scene = new Scene()
  const one = remote(scene, async ({ id }) => { await scene.store.settle(id, null) })
  const answer = one.run({ command: 'fly' })
  await scene.pass(1000)
  t.match(await answer, { command: 'fly', status: 'unknown' })
})

t.test('a repeat gets its first answer, also where the command is gone since, or takes other arguments', async t => {
  const scene = new Scene()
  const one = scene.process('one')
  t.match(await one.run({ command: 'new' }).catch(({ code }) => code), 'UNKNOWN_COMMAND')
  let problem: string | null = null
  let isThere = true
  const command = { check: () => problem, dispatch: async ({ id }: { readonly id: string }, record: CommandRecord) => { await scene.store.settle(id, { ...record, status: 'done', result: 'flown' }) } }
  one.commands.useRemote({ find: async name => name === 'fly' && isThere ? command : null, list: () => [] })
  const answer = { command: 'fly', status: 'done', result: 'flown' }
  const first = one.run({ command: 'fly' })
  await scene.pass(1000)
  t.match(await first, answer)
  problem = 'to must be a text'
  t.match(await one.run({ command: 'fly' }), answer)
  await t.rejects(one.run({ command: 'fly', args: { to: 2 } }), { code: 'IDEMPOTENCY_CONFLICT' })
  await t.rejects(one.run({ command: 'fly', idempotencyKey: 'other' }), { code: 'BAD_COMMAND' })
  isThere = false
  t.match(await one.run({ command: 'fly' }), answer)
  t.match(await scene.process('two').run({ command: 'fly' }), answer, 'in another process too')
  await t.rejects(one.run({ command: 'fly', identity: trusted('somebody else') }), { code: 'UNKNOWN_COMMAND' })
})

t.test('a command nobody knows is refused with the names of those there are', async t => {
  const one = remote(new Scene(), async () => {})
  await t.rejects(one.run({ command: 'swim' }), { code: 'UNKNOWN_COMMAND', message: /move, own, stop/ })
  for (const command of ['', 7, undefined]) await t.rejects(one.run({ command }), { code: 'BAD_COMMAND' })
  for (const idempotencyKey of ['', 'x'.repeat(201)]) await t.rejects(one.run({ idempotencyKey }), { code: 'BAD_COMMAND' })
  t.same(one.commands.list.map(({ name, source }) => [name, source]), [['fly', 'backend'], ['look', 'module'], ['move', 'module'], ['own', 'built-in'], ['stop', 'module']])
})
