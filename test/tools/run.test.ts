// The runner, on a file that never ends.

import { spawn } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { until } from '../process/harness.ts'
import { folderFor } from './daemon.ts'

const ROOT = join(import.meta.dirname, '..', '..')

t.test('a file that does not end is named, the checks of the others count, and neither its gateway nor its folders stay', { skip: process.platform === 'linux' ? false : 'only Linux ends its gateway' }, async t => {
  const temp = folderFor(t)
  // Where the files of tests are: their imports are found from there.
  const file = `test/tools/hangs-${process.pid}.test.ts`
  writeFileSync(join(ROOT, file), `
    import t from 'tap'
    import { Stage } from '../process/harness.ts'
    t.test('it is well', async t => { t.ok(true) })
    t.test('it hangs', async t => {
      const stage = new Stage(t)
      const { pid } = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
      console.error('gateway ' + pid)
      await new Promise(() => setInterval(() => {}, 1000))
    })`)
  t.teardown(() => rmSync(join(ROOT, file)))
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(TAP|REQUIRE_ALL)/.test(name)))
  const child = spawn(process.execPath, ['--import', 'tsx', 'test/run.ts', '--timeout=20', file, 'test/tools/tap-summary.test.ts', 'test/savings.test.ts'], { cwd: ROOT, env: { ...env, TMPDIR: temp }, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', data => { text += data })
  t.equal(await new Promise(resolve => child.once('close', resolve)), 1)
  t.match(text, `timed out: ${file}\n`)
  const [, passed = 0, failed = 0] = /\n(\d+) passed, (\d+) failed/.exec(text) ?? []
  t.ok(Number(passed) > 10 && Number(failed) >= 1, `${passed} passed, ${failed} failed`)
  const gateway = Number(/gateway (\d+)/.exec(text)?.[1])
  await until('its gateway is gone', () => {
    try {
      process.kill(gateway, 0)
      return false
    } catch {
      return true
    }
  })
  t.same(readdirSync(temp).filter(name => name.startsWith('signalbox')), [])
})
