// `npm run bench`: Signalbox in both profiles and its peers side by side, in one run on one machine.

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bareLoop, installPeers, PEERS_IN_NODE, signalbox, SSE, WEBSOCKET, WS } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { fanOut } from './fan-out.ts'
import { figureOf, inTurn, ratioOf } from './rounds.ts'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    quick: { type: 'boolean', default: false },
    bare: { type: 'boolean', default: false },
    against: { type: 'string', multiple: true, default: [] }
  }
})
const say = (line: string): void => console.error(line)
installPeers(say)
const loop = bareLoop(mkdtempSync(join(tmpdir(), 'signalbox-loop-')))
const others = options.against.flatMap(root => [signalbox('SSE', root), signalbox('WEBSOCKET', root)])
const core: Contender[] = [SSE, WEBSOCKET, ...others, WS, ...('why' in loop ? [] : [loop])]
const all = [...core, ...PEERS_IN_NODE.filter(peer => peer !== WS)]
for (const clients of [1000, 5000]) {
  const series = await inTurn(clients === 1000 && !options.bare ? all : core, Number(options.rounds), line => say(`fan-out to ${clients}, ${line}`), async contender => await fanOut(contender, clients, options.quick ? 1500 : 4000))
  const base = series.find(({ variant }) => variant === WS.name)
  const bottom = series.find(({ variant }) => variant === 'C loop')
  for (const one of series) {
    const us = figureOf(one, 'usPerFrame')
    const spread = (s: ReturnType<typeof figureOf>): string => s === null ? '' : `${s.median.toFixed(2)} (${s.least.toFixed(2)}-${s.most.toFixed(2)})`
    console.log([clients, one.variant, spread(us), spread(ratioOf(one, base, 'usPerFrame')), spread(ratioOf(one, bottom, 'usPerFrame')), spread(figureOf(one, 'p95Ms')), one.rounds.map(r => r.loadCpu.toFixed(2)).join(), one.thrown.join(), one.failed, one.rounds.flatMap(r => r.faults).join()].join(' | '))
  }
}
process.exit(0)
