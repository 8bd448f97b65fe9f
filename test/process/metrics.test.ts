// Metrics that cannot be read or added up cost a scrape its answer, and no process its life.

import { fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { runWorkers } from '../../src/process/primary.ts'
import { folderFor } from '../tools/daemon.ts'

t.test('a worker that cannot read its metrics answers with none, and lives on', async t => {
  const script = join(folderFor(t), 'worker.mjs')
  const source = new URL('../../src/process/worker.ts', import.meta.url)
  writeFileSync(script, `
import { Primary } from ${JSON.stringify(source)}
const primary = new Primary(1)
primary.provide(async () => { throw new Error('not today') })
primary.onSettings(() => process.exit(0))
`)
  const child = fork(script, { execArgv: ['--import', 'tsx'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  t.teardown(() => child.kill('SIGKILL'))
  const answer = new Promise(resolve => child.on('message', (message: { kind: string }) => {
    if (message.kind === 'hello') child.send({ kind: 'metrics', id: 7 })
    else resolve(message)
  }))
  t.same(await answer, { kind: 'metrics', id: 7, metrics: null })
  const code = new Promise(resolve => child.once('exit', resolve))
  child.send({ kind: 'settings', settings: {} })
  t.equal(await code, 0)
})

t.test('a primary that cannot add the metrics up says so, and drains no worker', async t => {
  const exec = join(folderFor(t), 'worker.mjs')
  // The worker passes its messages on as a change of settings, which the primary hands to the test.
  writeFileSync(exec, `
const metrics = [{ name: 'broken', type: 'gauge', aggregator: 'sum', values: null }]
process.on('message', message => {
  if (message.kind === 'settings') process.send({ kind: 'listening', url: 'http://127.0.0.1:1' })
  else if (message.kind === 'metrics') process.send({ ...message, metrics })
  else if (message.kind === 'ping') process.send({ kind: 'pong' })
  else process.send({ kind: 'tuned', changes: { message } })
  if (message === 'shutdown') process.exit(0)
})
process.on('SIGUSR2', () => process.send({ kind: 'groupMetrics', id: 3 }))
process.send({ kind: 'hello' })
`)
  const lines: string[] = []
  const log = pino({ level: 'warn' }, { write: line => lines.push(line) })
  let answered: (message: unknown) => void = () => {}
  const answer = new Promise(resolve => { answered = resolve })
  const ended = runWorkers({
    exec,
    args: [],
    count: 1,
    drainMs: 5000,
    log,
    settings: () => ({}),
    onTuned: ({ message }) => answered(message),
    onSwitched: () => {},
    onReady: () => {}
  })
  const { default: cluster } = await import('node:cluster')
  const [worker] = Object.values(cluster.workers ?? {})
  t.ok(worker)
  worker?.on('message', message => { if (message.kind === 'listening') worker.process.kill('SIGUSR2') })
  t.same(await answer, { kind: 'groupMetrics', id: 3, text: null })
  t.match(lines.join(''), /the metrics of the workers could not be added up/)
  t.equal(worker?.isDead(), false)
  worker?.emit('message', { kind: 'shutdown' })
  t.equal(await ended, 0)
})
