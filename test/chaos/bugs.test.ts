// The planted bugs: their places in the source still exist, each has a rule that names it, and some are caught here and now.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { freePort, request, Stage } from '../process/harness.ts'
import { BUGS } from './bugs.ts'
import type { Bug } from './bugs.ts'
import { FAULTS } from './faults/index.ts'
import { plant, plantedFiles } from './planting.ts'
import { RULES } from './rules/index.ts'
import { bugsOf, catchBugs, tableOfBugs } from './run-bugs.ts'

t.test('each bug can be planted, is due under a fault there is, and must be named by a rule there is', async t => {
  const rules = RULES.map(({ name }) => name)
  const faults = FAULTS.map(make => make().name)
  for (const bug of BUGS) {
    t.doesNotThrow(() => plantedFiles(bug), `${bug.name}: its places exist exactly once`)
    t.ok(rules.includes(bug.rule), `${bug.name}: ${bug.rule}`)
    t.ok(faults.includes(bug.fault), `${bug.name}: ${bug.fault}`)
  }
  t.equal(new Set(BUGS.map(({ name }) => name)).size, BUGS.length, 'names are different')
  const named = new Set(BUGS.map(({ rule }) => rule))
  t.strictSame(rules.filter(rule => !named.has(rule)), ['liveness', 'substance'], 'the rules that no bug is for')
})

t.test('a bug whose place is gone, or is there twice, is refused loudly', async t => {
  const [{ edits, ...bug }] = BUGS as readonly [Bug]
  const planted = (find: string): unknown => plantedFiles({ ...bug, edits: [{ ...edits[0] as Bug['edits'][0], find }] })
  t.throws(() => planted('no such text'), { message: /has 0 times: no such text/ })
  t.throws(() => planted('\n'), { message: /has \d{3} times/ })
})

t.test('the gateway that starts with a bug has it, in every file that it is in', { timeout: 120_000 }, async t => {
  const stage = new Stage(t)
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-bug-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [forgetful] = bugsOf('repeats-not-known') as readonly [Bug]
  const ids = async (env: Record<string, string | number>): Promise<string[]> => {
    const { url, stop } = await stage.launch(env)
    const publish = async (): Promise<string> => (await request(`${url}/api/events`, { json: { type: 'x', data: 1 }, headers: { 'idempotency-key': 'k' } })).body.ids[0]
    const both = [await publish(), await publish()]
    await stop()
    return both
  }
  const env = { PORT: await freePort(), DATA_DIR: stage.folder() }
  const [first, second] = await ids(plant(forgetful, folder, env))
  t.not(first, second, 'a repeat is a new event')
  const [one, two] = await ids({ ...env, DATA_DIR: stage.folder() })
  t.equal(one, two, 'and without the bug it is not')
  await t.rejects(stage.launch({ ...env, CHAOS_BUG: '/nowhere', NODE_OPTIONS: plant(forgetful, folder).NODE_OPTIONS as string }), /no folder with a planted bug/)
})

t.test('bugs are caught under load', { timeout: 900_000 }, async t => {
  const caught = await catchBugs(t, bugsOf('bundle-not-merged,value-keeps-its-place'), { seed: 5, profile: 'both', workers: 1, clients: 12, seconds: 2, processes: 1 }, line => t.comment(line))
  for (const { bug, round } of caught) t.ok(round !== null, `${bug.name} is named by: ${bug.rule}`)
  t.match(tableOfBugs(caught), /^\| `bundle-not-merged` \| .* \| order \| `none` \| \d+ \|/m)
})
