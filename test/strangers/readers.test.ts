// The example in Python, which has nothing but `requests`: it reads a room and follows it, over a rollback too.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { request, Stage, until } from '../process/harness.ts'
import type { Launched } from '../process/harness.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'

const EXAMPLE = fileURLToPath(new URL('../../examples/python-read/read.py', import.meta.url))

t.test('read.py prints the present values, then what follows, once each, over a change of the profile', { skip: skipWithout('requests') }, async t => {
  const stage = new Stage(t)
  const folder = stage.folder()
  const start = async (profile: string, port: number): Promise<Launched> => await stage.launch({ APP_PROFILE: profile, PORT: port, DATA_DIR: folder })
  let server = await start('SSE', 0)
  const publish = async (...json: object[]): Promise<void> => { t.equal((await request(`${server.url}/api/events`, { json })).status, 202) }
  await publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data: 42 }, { type: 'cpu', room: 'plant-2', key: 'host-7', data: 'elsewhere' })
  const tool = need('requests')
  const reader = spawn(tool.bin, [EXAMPLE, server.url, 'plant-1'], { env: childEnv(tool) })
  t.teardown(() => reader.kill('SIGKILL'))
  let printed = ''
  let complained = ''
  reader.stdout.setEncoding('utf8').on('data', text => { printed += text })
  reader.stderr.setEncoding('utf8').on('data', text => { complained += text })
  const lines = (): unknown[] => printed.split('\n').slice(0, -1).map(line => (JSON.parse(line) as { data: unknown }).data)
  await until('the present value', () => lines().length === 1)
  await publish({ type: 'log', room: 'plant-1', data: 'one' }, { type: 'log', room: 'plant-1', data: 'ü two' })
  await until('what follows', () => lines().length === 3)
  await server.stop()
  server = await start('WEBSOCKET', server.port)
  await publish({ type: 'log', room: 'plant-1', data: 'after' })
  await until('what follows in the other profile', () => lines().length === 4)
  t.same(lines(), [42, 'one', 'ü two', 'after'])
  t.match(complained, /^http:[^\n]*; trying again\n$/, 'one line for the outage')
})
