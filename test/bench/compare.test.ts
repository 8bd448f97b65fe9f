// The counts and texts of `npm run bench`; no timing is asserted.

import t from 'tap'
import { against, atMost, ratioAtMost } from '../../bench/compare/chapter.ts'
import { eventText, marksIn } from '../../bench/compare/mark.ts'
import { svg } from '../../bench/compare/plot.ts'
import { inTurn, ratioOf } from '../../bench/compare/rounds.ts'
import type { Round } from '../../bench/compare/rounds.ts'

const round = (figure: number, more: Partial<Round> = {}): Round => ({ figures: { figure }, loadCpu: 0.2, others: 0, faults: [], ...more })

/** Measurements that are there beforehand, in the order they are taken. */
async function taken (by: Record<string, readonly Round[]>): Promise<Awaited<ReturnType<typeof inTurn>>> {
  const left = Object.fromEntries(Object.entries(by).map(([name, rounds]) => [name, [...rounds]]))
  const names = Object.keys(by).map(name => ({ name }))
  return await inTurn(names, by[names[0]?.name as string]?.length ?? 0, () => {}, async ({ name }) => left[name]?.shift() as Round)
}

t.test('an event is found in whatever is wrapped around it, wherever the stream is cut', async t => {
  const text = `HTTP ~@m@ ${eventText({ key: 7, n: 123 }, { bytes: 200, room: 'bench', keyed: true })}\n\n${eventText({ key: 49, n: 999_999_999 }, { bytes: 10, room: 'bench', keyed: false })} @`
  for (let cut = 0; cut <= text.length; cut++) {
    const first = marksIn(Buffer.from(text.slice(0, cut)))
    const second = marksIn(Buffer.from(text.slice(0, cut).slice(first.used) + text.slice(cut)))
    t.same([...first.marks, ...second.marks], [{ key: 7, n: 123 }, { key: 49, n: 999_999_999 }], `cut after ${cut}`)
  }
})

t.test('an event has the size it is said to have', async t => {
  t.equal(eventText({ key: 0, n: 0 }, { bytes: 200, room: 'bench', keyed: true }).length, 200)
})

t.test('a round in which the load or somebody else was measured too is thrown away, and said', async t => {
  const [one] = await taken({ one: [round(1, { loadCpu: 0.95 }), round(2, { others: 0.3 }), round(3)] })
  t.same(one?.rounds.map(({ figures }) => figures.figure), [3])
  t.match(one?.thrown, [/the load had 95 %/, /others had 30 %/])
})

t.test('a ratio is one of medians, and its spread that of the extremes', async t => {
  const [one, other] = await taken({ one: [round(2), round(4), round(3)], other: [round(1), round(2), round(1.5)] })
  t.same(ratioOf(one!, other, 'figure'), { median: 2, least: 1, most: 4 })
  t.match(against('other', 'figure').cell(one!, [one!, other!]), /^2.00x \(1.00x to 4.00x\)$/)
})

t.test('a target is met by the median', async t => {
  const series = await taken({ one: [round(1), round(5), round(2)], base: [round(1), round(1), round(1)] })
  t.match(atMost(series, 'one', 'figure', 2, 'at most 2', String), [{ met: true }])
  t.match(atMost(series, 'one', 'figure', 1.9, 'at most 1.9', String), [{ met: false }])
  t.match(ratioAtMost(series, 'one', 'base', 'figure', 1.5), [{ met: false, target: 'one: at most 1.5 x base' }])
})

t.test('a variant that cannot be measured stops nobody else', async t => {
  const series = await inTurn([{ name: 'broken' }, { name: 'whole' }], 2, () => {}, async ({ name }) => {
    if (name === 'broken') throw new Error('it does not start')
    return round(1)
  })
  t.match(series, [{ failed: 'it does not start', rounds: [] }, { failed: null, rounds: [{}, {}] }])
})

t.test('a plot escapes what it is told and holds nothing from elsewhere', async t => {
  const text = svg({ name: 'x', title: 'a < b & "c"', better: 'less', bars: [{ name: '<script>', spread: { median: 1, least: 0.5, most: 2 }, text: '1' }] })
  t.notMatch(text, /<script>|a < b/)
  t.notMatch(text.replace('http://www.w3.org/2000/svg', ''), /https?:/)
})
