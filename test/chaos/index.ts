// `npm run chaos -- --help`.

import { spawnSync } from 'node:child_process'
import { Command, InvalidArgumentError, Option } from 'commander'
import { FAULTS } from './faults/index.ts'
import { growthOf, HeapGauge } from './heap.ts'
import type { RoundResult, RunOptions, RunProfile } from './run.ts'
import { run } from './run.ts'
import { bugsOf, catchBugs, tableOfBugs } from './run-bugs.ts'
import { writeReport } from './report.ts'

const closers: Array<() => unknown> = []
const stage = { teardown: (close: () => unknown) => { closers.push(close) } }

const whole = (text: string): number => {
  if (!/^\d+$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('It is a whole number from 1.')
  return Number(text)
}

const wholeOrNone = (text: string): number => text === '0' ? 0 : whole(text)

const program = new Command('npm run chaos --')
  .description('Runs the built gateway under load and faults, records what publishers and clients see, and checks it against the promises of docs/reliability.md.')
  .option('--fault <names>', 'faults by name, separated by commas: each in turn, so many rounds; `all`: every one that can be had here. Default: kill')
  .option('--rounds <n>', 'rounds of each fault', whole, 3)
  .option('--soak <minutes>', 'instead of rounds one gateway that lives so long under one fault after the other (unless --fault says which: mixed-alive), and by how much its heap grew', whole)
  .option('--seed <n>', 'of the first round; each further one has the next. Default: a new one', whole)
  .addOption(new Option('--profile <name>', 'what the gateway runs; both: in turn').choices(['SSE', 'WEBSOCKET', 'both']).default('both'))
  .addOption(new Option('--store <name>', 'default: what the fault needs, otherwise embedded').choices(['embedded', 'redis']))
  .option('--workers <n>', 'on Redis', whole, 2)
  .option('--clients <n>', 'connections', whole, 100)
  .option('--seconds <n>', 'load of a round, with the fault in it', whole, 5)
  .option('--processes <n>', 'that run the clients', whole, 2)
  .option('--back-within <s>', 'clients are back so many seconds after they lost their connection; 0: a machine that does other work too cannot tell', wholeOrNone, 30)
  .option('--keep <folder>', 'keeps the histories of all rounds there; otherwise those of failed rounds are kept in /tmp')
  .option('--report <file>', 'writes the table there as Markdown, and with .json in place of .md as JSON')
  .option('--bugs [names]', 'plants bugs in the gateway, each in turn, and shows that the checker finds them; without names all')
  .option('--list', 'lists the faults')

program.parse()
// What it has started ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const { soak: minutes, ...options } = program.opts<Omit<RunOptions, 'faults' | 'profile' | 'seed' | 'soak'> & { fault?: string, profile: RunProfile, seed?: number, list?: true, report?: string, bugs?: true | string, soak?: number }>()
const { fault: named = minutes === undefined ? 'kill' : 'mixed-alive' } = options
const faults = FAULTS.map(make => ({ make, ...make() }))

if (options.list === true) {
  const width = Math.max(...faults.map(({ name }) => name.length))
  for (const { name, about, needs } of faults) console.log(`${name.padEnd(width)}  ${about}${typeof needs.missing === 'string' ? ` (not here: ${needs.missing})` : ''}`)
  process.exit()
}

const names = named === 'all' ? faults.filter(({ needs }) => typeof needs.missing !== 'string').map(({ name }) => name) : named.split(',')
const unknown = names.filter(name => !faults.some(fault => fault.name === name))
if (unknown.length > 0) {
  console.error(`no such fault: ${unknown.join(', ')}; npm run chaos -- --list names all`)
  process.exit(2)
}

if (minutes !== undefined && (names.length > 1 || options.bugs !== undefined)) {
  console.error('--soak is of one fault, and without planted bugs')
  process.exit(2)
}

// Only what runs needs it: a question is answered at once.
if (spawnSync('npm run build', { stdio: ['ignore', 'ignore', 'inherit'], shell: true }).status !== 0) process.exit(1)
const seed = options.seed ?? Date.now() % 1_000_000
try {
  if (options.bugs !== undefined) {
    const caught = await catchBugs(stage, bugsOf(options.bugs === true ? 'all' : options.bugs), { ...options, seed }, line => console.log(line))
    console.log(`\n${tableOfBugs(caught)}`)
    for (const close of closers.reverse()) await close()
    process.exit(caught.every(({ round }) => round !== null) ? 0 : 1)
  }
  // After each round: a long run may be ended.
  const save = (results: readonly RoundResult[]): string => writeReport(results, { ...options, seed }, options.report)
  const makers = names.map(name => (faults.find(fault => fault.name === name) as typeof faults[number]).make)
  const heap = new HeapGauge(stage)
  const soak = minutes === undefined ? {} : { soak: { minutes, heap }, plant: heap.plant }
  const results = await run(stage, { ...options, ...soak, seed, faults: makers }, line => console.log(line), save)
  console.log(`\n${save(results)}`)
  const growth = minutes === undefined ? null : growthOf(heap.readings)
  if (growth !== null) console.log(`\n${growth.text}`)
  process.exitCode = results.every(({ failures }) => failures.length === 0) && growth?.isWithin !== false ? 0 : 1
} finally {
  for (const close of closers.reverse()) await close()
}
process.exit()
