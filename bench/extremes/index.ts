// `npm run bench:extremes`: what a gateway must survive that no ordinary day brings. Each has limits, and the run fails where one is
// missed. On a machine that does nothing else: server and load have a core each.

import { parseArgs } from 'node:util'
import type { Profile } from '../compare/contenders.ts'
import { pinned } from '../cores.ts'
import { onLinux } from '../process.ts'
import { churn } from './churn.ts'
import type { Extreme } from './extreme.ts'
import { halfOpen } from './half-open.ts'
import { herd } from './herd.ts'
import { names } from './names.ts'
import { zeroReaders } from './zero-readers.ts'

const EXTREMES: Readonly<Record<string, Extreme>> = { herd, 'half-open': halfOpen, 'zero-readers': zeroReaders, churn, names }
const PROFILES: readonly Profile[] = ['SSE', 'WEBSOCKET']

const HELP = `npm run bench:extremes -- [options]

  --only herd,churn     these alone: ${Object.keys(EXTREMES).join(', ')}
  --profiles SSE        this profile alone
  --share 0.1           a tenth of the clients, connections and names: a try

Tables on stdout. Ends with 1 where a limit is missed.`

const { values: options } = parseArgs({ options: { only: { type: 'string' }, profiles: { type: 'string' }, share: { type: 'string', default: '1' }, help: { type: 'boolean', default: false } } })
const chosen = options.only?.split(',') ?? Object.keys(EXTREMES)
const profiles = PROFILES.filter(profile => options.profiles?.split(',').includes(profile) ?? true)
const share = Number(options.share)
const complaint = chosen.some(name => !(name in EXTREMES)) || profiles.length === 0 || !(share > 0 && share <= 1) || !onLinux
if (options.help || complaint) {
  console.log(onLinux ? HELP : 'this runs on Linux only: CPU and memory of servers are read from /proc')
  process.exit(complaint ? 1 : 0)
}
if (!pinned) console.error('fewer than two cores, or no taskset: server and load share cores')

let missed = 0
console.log('| what | profile | | measured | limit | |\n|---|---|---|--:|--:|---|')
for (const name of chosen) {
  for (const profile of profiles) {
    const began = performance.now()
    const rows = await (EXTREMES[name] as Extreme)(profile, share)
    for (const { what, measured, limit, isMet } of rows) {
      if (isMet === false) missed++
      console.log(`| ${name} | ${profile} | ${what} | ${measured} | ${limit ?? ''} | ${isMet === undefined ? '' : isMet ? 'met' : '**missed**'} |`)
    }
    console.error(`${name} ${profile}: ${Math.round((performance.now() - began) / 1000)} s`)
  }
}
process.exit(missed === 0 ? 0 : 1)
