// Runs the tests and ends with one plain line of counts: `npm test`, or `npm test -- test/core/pure.test.ts`.
// Real servers and clients that tests need are looked for first (tools/), and a test without its own is skipped; the run says
// how to get them. With REQUIRE_ALL=1 they are downloaded, and one that is missing is a failure. With `--coverage`, which lines
// they reached comes first.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { reportCoverage } from './tools/coverage.ts'
import { mortal } from './tools/daemon.ts'
import { prepareTools } from './tools/fetch.ts'
import { findAll } from './tools/find.ts'
import { TapSummary } from './tools/tap-summary.ts'

/** So many files are named: where a run that became slow spends its time. */
const SLOWEST = 10
const coverage = process.argv.includes('--coverage')
// Tap would run every file of a folder, helpers among them.
const args = process.argv.slice(2).filter(arg => arg !== '--coverage')
  .map(arg => statSync(arg, { throwIfNoEntry: false })?.isDirectory() === true ? `${arg.replaceAll('\\', '/').replace(/\/$/, '')}/**/*.test.ts` : arg)
const requireAll = process.env.REQUIRE_ALL === '1'
const tools = requireAll ? await prepareTools(line => console.log(line)) : findAll()
const missing = Object.values(tools).flatMap(tool => 'missing' in tool ? [tool.missing] : [])
const tap = join(dirname(createRequire(import.meta.url).resolve('tap/package.json')), 'dist', 'esm', 'run.mjs')
// A test that is killed removes nothing: all their folders are in this one.
const folder = mkdtempSync(join(tmpdir(), 'signalbox-test-'))
const command = mortal([process.execPath, tap, '--reporter=tap', ...(coverage ? ['--no-disable-coverage', '--coverage-report=text-summary'] : []), ...args], 'TERM')
const child = spawn(command.file, command.args, {
  stdio: ['inherit', 'pipe', 'inherit'],
  env: { ...process.env, ...(coverage ? {} : { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('tools/tsx.mjs', import.meta.url).href}`.trim() }), TMPDIR: folder, TEMP: folder, TMP: folder, SIGNALBOX_TOOLS: JSON.stringify(tools) }
})
// Tap ends its files; the summary of what has run still follows.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))

const summary = new TapSummary(text => console.log(text))
child.stdout.setEncoding('utf8').on('data', (text: string) => summary.write(text))
child.on('close', (code, signal) => {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  if (coverage) reportCoverage(tap)
  const { passed, skipped, failures, times, finished, planned, complete } = summary
  const early = !complete || signal !== null
  const failed = Math.max(summary.failed, early ? 1 : 0) + (requireAll ? missing.length : 0)
  for (const { file, timedOut } of failures) console.log(`${timedOut ? 'timed out' : 'failed'}: ${file}`)
  if (early) console.log(`tap ended early (${signal ?? `exit code ${code}`}): ${finished} of ${planned ?? 'an unknown number of'} files have run`)
  if (missing.length > 0) console.log(`\n${missing.join('\n')}`)
  const slowest = [...times].sort(([, a], [, b]) => b - a).slice(0, SLOWEST)
  if (slowest.length > 1) console.log(`\nslowest: ${slowest.map(([file, ms]) => `${file} ${Math.round(ms / 1000)} s`).join(', ')}`)
  console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  process.exitCode = code === 0 && failed === 0 && passed + skipped > 0 ? 0 : 1
})
