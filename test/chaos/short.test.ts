// Three short rounds of chaos: what `npm run chaos` plays for longer, with more clients and all faults.

import t from 'tap'
import { kill } from './faults/kill.ts'
import { cuts } from './faults/network.ts'
import { rollback } from './faults/restart.ts'
import { run } from './run.ts'

t.setTimeout(600_000)

t.test('through a crash, a rollback and cut connections nothing acknowledged is lost, repeated or out of order', { skip: process.platform === 'linux' ? false : 'faults need /proc' }, async t => {
  const seed = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000)
  const options = { seed, rounds: 1, profile: 'both', workers: 1, clients: 48, seconds: 3, processes: 1 } as const
  // Each begins with the profile that the one before did not.
  const faults = [kill, rollback, cuts]
  for (const [index, fault] of faults.entries()) {
    const results = await run(t, { ...options, seed: seed + index, faults: [fault] }, line => t.comment(line))
    t.same(results.flatMap(({ failures }) => failures), [], `${fault().name}, seed ${seed + index}`)
  }
})
