// Windows of one second: what is counted where, and who is asked.

import t from 'tap'
import { Rate } from '../../src/core/rate.ts'
import { ManualClock } from '../clock.ts'

const setUp = (): { clock: ManualClock, rate: Rate, asked: string[] } => {
  const clock = new ManualClock(1_763_770_000_000)
  const asked: string[] = []
  const rate = new Rate('control', clock, {
    hit: async (name, caller) => {
      asked.push(`${name} ${caller}`)
      return null
    }
  })
  return { clock, rate, asked }
}

t.test('where there is no limit nothing is counted, and nobody asked', async t => {
  const { rate, asked } = setUp()
  for (let i = 0; i < 3; i++) t.same(await rate.hit('me', 0), { count: 0, resetMs: 0 })
  t.match(await rate.hit('me', 5), { count: 1 }, 'a limit set meanwhile begins with the next request')
  t.same(asked, ['control me'])
})

t.test('while the group cannot be asked this process counts, and under a flood it does not even ask', async t => {
  const { rate, asked } = setUp()
  for (let i = 1; i <= 6; i++) t.match(await rate.hit('me', 2), { count: i })
  t.equal(asked.length, 4)
})

t.test('what is counted here asks nobody; each second has a count of its own for each caller', async t => {
  const { clock, rate, asked } = setUp()
  clock.advance(250)
  t.same(rate.hitHere('me'), { count: 1, resetMs: 750 })
  t.same(rate.hitHere('me'), { count: 2, resetMs: 750 })
  t.match(rate.hitHere('you'), { count: 1 })
  clock.advance(750)
  t.same(rate.hitHere('me'), { count: 1, resetMs: 1000 })
  t.same(asked, [])
})
