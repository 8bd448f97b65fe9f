// `npm run fuzz -- [--seed N] [--count N] [--only kind,kind]`: 100,000 inputs of a new seed where nothing else is said. What fails is
// printed as a line for stored.json, which every run begins with.

import { parseArgs } from 'node:util'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { fuzz } from './fuzz.ts'
import { KINDS } from './inputs.ts'
import { readStored } from './stored.ts'

const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' }, only: { type: 'string' } } })
const seed = Number(values.seed ?? Date.now() % 1_000_000)
const count = Number(values.count ?? 100_000)
const only = values.only?.split(',')
const unknown = only?.find(kind => !(kind in KINDS))
if (!Number.isInteger(seed) || !Number.isInteger(count) || count < 1 || unknown !== undefined) {
  console.error(`--seed and --count are whole numbers; --only is a list of ${Object.keys(KINDS).join(', ')}`)
  process.exit(2)
}

const closers: Array<() => unknown> = []
const stage = { teardown: (close: () => unknown) => { closers.push(close) } }
try {
  const redis = skipWithout('redis') === false ? await RedisServer.start(stage) : null
  if (redis === null) console.log('without a redis-server: no payloads through Redis')
  console.log(`seed ${seed}, ${count} inputs`)
  const began = performance.now()
  const findings = await fuzz(stage, { seed, count, ...(only === undefined ? {} : { only }), redisUrl: redis?.url, stored: readStored(), report: line => console.log(line) })
  for (const finding of findings) console.log(JSON.stringify(finding))
  console.log(`${findings.length} findings in ${Math.round((performance.now() - began) / 1000)} s`)
  process.exitCode = findings.length === 0 ? 0 : 1
} finally {
  for (const close of closers.reverse()) await close()
}
