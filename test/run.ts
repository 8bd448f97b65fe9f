// Runs the tests and ends with one plain line of counts: `npm test`, or `npm test -- test/core/pure.test.ts`.
// Real servers that tests need are found or fetched first (tools/); a test without its server is skipped, or with
// REQUIRE_ALL=1 a failure. SIGNALBOX_NO_SETUP=1 fetches nothing.

import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { prepareTools } from './tools/fetch.ts'

const tools = await prepareTools(line => console.log(line))
const missing = Object.values(tools).flatMap(tool => 'missing' in tool ? [tool.missing] : [])
const tap = join(dirname(createRequire(import.meta.url).resolve('tap/package.json')), 'dist', 'esm', 'run.mjs')
const child = spawn(process.execPath, [tap, '--reporter=terse', ...process.argv.slice(2)], {
  stdio: ['inherit', 'pipe', 'inherit'],
  // One summary at the end: through a pipe the reporter's redrawing would be hundreds of them.
  env: { ...process.env, CI: 'true', SIGNALBOX_TOOLS: JSON.stringify(tools) }
})

let output = ''
child.stdout.on('data', (data: Buffer) => {
  process.stdout.write(data)
  output += data.toString()
})
child.on('close', code => {
  const counts = /^# \{ total: \d+(.*) \}$/m.exec(output)?.[1]
  const count = (name: string): number => Number(new RegExp(`${name}: (\\d+)`).exec(counts ?? '')?.[1] ?? 0)
  const skipped = count('skip') + count('todo')
  const failed = (counts === undefined ? 1 : count('fail')) + (process.env.REQUIRE_ALL === '1' ? missing.length : 0)
  if (missing.length > 0) console.log(`\n${missing.join('\n')}`)
  console.log(`\n${count('pass')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  process.exitCode = code === 0 && failed === 0 && count('pass') + skipped > 0 ? 0 : 1
})
