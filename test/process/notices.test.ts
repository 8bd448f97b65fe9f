// What workers tell their primary about changes: one that it cannot follow ends nobody.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { runWorkers } from '../../src/process/primary.ts'
import { folderFor } from '../tools/daemon.ts'

t.test('a primary that cannot keep a change says so, and goes on', async t => {
  const exec = join(folderFor(t), 'worker.mjs')
  writeFileSync(exec, `
process.on('message', message => {
  if (message.kind === 'settings') {
    process.send({ kind: 'tuned', changes: {} })
    process.send({ kind: 'switched', profile: 'SSE' })
    process.send({ kind: 'listening', url: 'http://127.0.0.1:1' })
  }
  if (message === 'shutdown') process.exit(0)
})
process.send({ kind: 'hello' })
`)
  const lines: string[] = []
  const settings = {}
  const code = await runWorkers({
    exec,
    args: [],
    count: 1,
    drainMs: 5000,
    log: pino({ level: 'warn' }, { write: line => lines.push(line) }),
    settings: () => settings,
    onTuned: () => { throw new Error('no such setting') },
    onSwitched: () => { throw new Error('no such profile') },
    onReady: () => process.emit('message', 'shutdown', undefined)
  })
  t.equal(code, 0)
  t.match(lines.map(line => JSON.parse(line)), [
    { msg: /a change of the settings is not kept/, err: { message: 'no such setting' } },
    { msg: /a change of the settings is not kept/, err: { message: 'no such profile' } }
  ])
})
