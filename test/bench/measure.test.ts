// A measurement of the built product; its figures do not matter. In a separate process, because a bench pins itself to one core.

import t from 'tap'
import { around, measure } from '../../bench/measure.ts'

t.test('a measurement starts the built product, finds all that it published, and stops it', async t => {
  const sources = [{ key: () => null, gapMs: around(20, 0.5) }]
  const { published, messages, wrongs, troubles } = await measure({
    profile: 'SSE', workload: { name: 'few', rate: 50, sources }, warmUp: sources, viewers: 3, warmUpMs: 200, windowMs: 500, settings: {}, coalesced: true
  })
  t.ok(published > 0 && messages > 0, `${published} published and ${messages} messages a second`)
  t.same(wrongs, { lost: 0, twice: 0, disorder: 0, stale: 0 })
  t.same(troubles, [])
})
