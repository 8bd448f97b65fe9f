// `npm run bench`: Signalbox in both profiles and its peers side by side, in one run on one machine.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Chapter } from './chapter.ts'
import { clientsHere, SCENARIOS } from './chapters.ts'
import { bareLoop, installPeers, PEERS_IN_NODE, profileInto, signalbox, WS } from './contenders.ts'
import type { Absent, Contender } from './contenders.ts'
import { flaskSocketIo, nchan } from './fetched.ts'
import { onLinux } from '../process.ts'
import { report } from './report.ts'
import { pinned } from '../cores.ts'

const HELP = `npm run bench -- [options]

  --only fan-out,idle   these scenarios alone (fan-out: both of that name): ${Object.keys(SCENARIOS).join(', ')}
  --rounds 3            how often each variant is measured, in turn; idle, slow, herd and growth: once
  --quick               short windows, one round: an impression, in two or three minutes
  --bare                no peers but ws and the C loop
  --against <folder>    another checkout of Signalbox, built, to compare with; may be repeated
  --cpu-prof <folder>   servers in Node that end in order write CPU profiles
  --docs                writes the tables and plots of docs/performance.md; what was not run stays as the last run with --docs had it

Writes reports/bench.json; tables on stdout, progress on stderr.`

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    bare: { type: 'boolean', default: false },
    against: { type: 'string', multiple: true, default: [] },
    'cpu-prof': { type: 'string' },
    docs: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false }
  }
})
if (options.help) {
  console.log(HELP)
  process.exit(0)
}
const wanted = options.only?.split(',') ?? ['']
const isMeant = (name: string, by: string): boolean => by === '' || name === by || name.startsWith(`${by}-`)
const names = Object.keys(SCENARIOS).filter(name => wanted.some(by => isMeant(name, by)))
const unknown = wanted.filter(by => !Object.keys(SCENARIOS).some(name => isMeant(name, by)))
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3))
if (unknown.length > 0 || !(rounds >= 1)) {
  console.error(`${unknown.length > 0 ? `no such scenario: ${unknown.join(', ')}` : '--rounds takes a number from 1'}\n\n${HELP}`)
  process.exit(1)
}
if (!onLinux) {
  console.error('this runs on Linux only: CPU and memory of servers are read from /proc')
  process.exit(1)
}

const startedAt = performance.now()
const say = (line: string): void => console.error(`${String(Math.round((performance.now() - startedAt) / 1000)).padStart(4)} s  ${line}`)
const folder = mkdtempSync(join(tmpdir(), 'signalbox-bench-tools-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

installPeers(say)
if (options['cpu-prof'] !== undefined) profileInto(resolve(options['cpu-prof']))
const found: Array<Contender | Absent> = [bareLoop(folder), ...(options.bare ? [] : [...await nchan(say), await flaskSocketIo(say)])]
const here = found.filter(one => !('why' in one)) as Contender[]
const bottom = here.filter(({ bare }) => bare)
const chapters: Chapter[] = []
for (const name of names) {
  const scenario = SCENARIOS[name] as (typeof SCENARIOS)[string]
  const context = {
    rounds,
    quick: options.quick,
    say,
    others: options.against.flatMap(root => [signalbox('SSE', resolve(root)), signalbox('WEBSOCKET', resolve(root))]),
    bottom,
    peers: options.bare ? [WS] : [...PEERS_IN_NODE, ...here.filter(({ bare }) => bare !== true)]
  }
  try {
    chapters.push(...await scenario(context))
  } catch (error) {
    // The others are still worth their time.
    say(`${name} could not be measured: ${(error as Error).message}`)
    found.push({ name: `the scenario ${name}`, why: (error as Error).message.split('\n')[0] as string })
  }
}
report(chapters, {
  pinned,
  rounds,
  quick: options.quick,
  tookMs: performance.now() - startedAt,
  absent: found.filter((one): one is Absent => 'why' in one),
  remarks: clientsHere(10_000) < 10_000 ? [`The limit of open files (\`ulimit -n\`) allows ${clientsHere(10_000)} clients where 10,000 were wanted.`] : []
}, Object.keys(SCENARIOS), options.docs)
process.exit(0)
