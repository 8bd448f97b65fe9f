// Figures that cannot be read, or not be added up, cost a scrape its figures and nobody their process.

import { fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { runWorkers } from '../../src/process/primary.ts'
import { folderFor } from '../tools/daemon.ts'

t.test('a worker that cannot read its figures says so and lives', async t => {
  const script = join(folderFor(t), 'worker.mjs')
  const source = new URL('../../src/process/worker.ts', import.meta.url)
  writeFileSync(script, `
import { Primary } from ${JSON.stringify(source)}
const primary = new Primary(1)
primary.shareFigures(async () => { throw new Error('not today') })
primary.onSettings(() => process.exit(0))
`)
  const child = fork(script, { execArgv: ['--import', 'tsx'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  t.teardown(() => child.kill('SIGKILL'))
  const answer = new Promise(resolve => child.on('message', (message: { kind: string }) => {
    if (message.kind === 'hello') child.send({ kind: 'figures', id: 7 })
    else resolve(message)
  }))
  t.same(await answer, { kind: 'figures', id: 7, figures: null })
  const code = new Promise(resolve => child.once('exit', resolve))
  child.send({ kind: 'settings', settings: {} })
  t.equal(await code, 0)
})

t.test('a primary that cannot add the figures up says so, and drains nobody', async t => {
  const exec = join(folderFor(t), 'worker.mjs')
  // What it hears it passes on as a change of settings: the primary hands that to the test.
  writeFileSync(exec, `
const figures = [{ name: 'broken', type: 'gauge', aggregator: 'sum', values: null }]
process.on('message', message => {
  if (message.kind === 'settings') process.send({ kind: 'listens', url: 'http://127.0.0.1:1' })
  else if (message.kind === 'figures') process.send({ ...message, figures })
  else process.send({ kind: 'tuned', changes: { message } })
  if (message === 'shutdown') process.exit(0)
})
process.on('SIGUSR2', () => process.send({ kind: 'metrics', id: 3 }))
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
    onReady: () => {}
  })
  const { default: cluster } = await import('node:cluster')
  const [worker] = Object.values(cluster.workers ?? {})
  t.ok(worker)
  worker?.on('message', message => { if (message.kind === 'listens') worker.process.kill('SIGUSR2') })
  t.same(await answer, { kind: 'metrics', id: 3, text: null })
  t.match(lines.join(''), /the metrics of the workers could not be added up/)
  t.equal(worker?.isDead(), false)
  worker?.emit('message', { kind: 'shutdown' })
  t.equal(await ended, 0)
})
