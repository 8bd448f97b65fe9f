import t from 'tap'
import { Departures } from '../../src/core/departures.ts'
import type { Departure } from '../../src/core/departures.ts'
import { only } from '../../src/core/filter.ts'

t.test('sessions that have ended are bounded in the types that they named', async t => {
  const departures = new Departures({ now: () => 0 })
  for (let n = 0; n < 1000; n++) {
    const parts = new Map([['a', only(Array.from({ length: 100 }, (_, i) => `${n}-${i}`))]])
    departures.add({ session: `s${n}`, at: 0, hearings: [{ parts }], tracks: [{ parts }] } as unknown as Departure)
  }
  const left = [...departures.all]
  t.ok(left.length > 100 && left.length < 500, `${left.length} of 1000 are known`)
  t.equal(left.at(-1)?.session, 's999')
})
