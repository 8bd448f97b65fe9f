// A page under load stays quick: 500 keys with 20 updates a second each, and no task of the page's longer than 100 ms.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { request, Stage, until } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'
import { blankPage } from './tab.ts'

t.setTimeout(120_000)
const KEYS = 500
const UPDATES = 20
const SECONDS = 3
const ROUNDS = 3
const LONGEST_MS = 100

/** Of the page: how long its long tasks took, what it was handed, how often it drew. */
interface Told {
  readonly tasks: number[]
  readonly events: number
  readonly draws: number
  readonly shown: Record<string, string>
}

/** What somebody writes who wants a wall of figures: a cell for each key, drawn when there is a frame to draw in. */
const WALL = `(async () => {
  const { connect } = await import('/client.js')
  globalThis.told = { tasks: [], events: 0, draws: 0 }
  new PerformanceObserver(list => { for (const { duration } of list.getEntries()) told.tasks.push(duration) }).observe({ entryTypes: ['longtask'] })
  const cells = new Map()
  const box = connect('/', { rooms: ['wall'] })
  box.on('event', () => { told.events++ })
  let frame = 0
  box.state.subscribe(() => { frame ||= requestAnimationFrame(draw) })
  function draw () {
    frame = 0
    told.draws++
    for (const event of box.state.entries()) {
      let cell = cells.get(event.key)
      if (cell === undefined) {
        cell = { node: document.createElement('span'), event: null }
        document.body.append(cell.node, ' ')
        cells.set(event.key, cell)
      }
      if (cell.event !== event) cell.node.textContent = event.data.n
      cell.event = event
    }
  }
  globalThis.read = () => ({ ...told, shown: Object.fromEntries([...cells].map(([key, { node }]) => [key, node.textContent])) })
})()`

for (const profile of PROFILES) {
  t.test(`a page over ${profile} with ${KEYS} keys at ${UPDATES} updates a second each has no task over ${LONGEST_MS} ms, and shows the last of each`, { skip: skipWithout('chromium') }, async test => {
    const stage = new Stage(test)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    const context = await openContext(test, await openBrowser(t))
    const page = await blankPage(context, server.url)
    await page.evaluate(WALL)
    const read = async (): Promise<Told> => await page.evaluate('read()')

    let n = 0
    // Others on the same machine can only make a task longer: it is the best of a few rounds that counts.
    for (let round = 1; round <= ROUNDS; round++) {
      const before = await read()
      const begun = performance.now()
      for (let update = 1; update <= SECONDS * UPDATES; update++) {
        n++
        const events = Array.from({ length: KEYS }, (_, key) => ({ type: 'figure', room: 'wall', key: `key-${key}`, data: { n, at: 'somewhere in the plant' } }))
        const { status, text } = await request(`${server.url}/api/events`, { json: events })
        if (status !== 202) throw new Error(text)
        await delay(begun + update * 1000 / UPDATES - performance.now())
      }
      const seconds = (performance.now() - begun) / 1000
      await until('all cells show the last', async () => {
        const { shown } = await read()
        return Object.keys(shown).length === KEYS && Object.values(shown).every(text => text === String(n))
      })
      const after = await read()
      const tasks = after.tasks.slice(before.tasks.length)
      const longest = Math.round(Math.max(0, ...tasks))
      const rate = (count: number): number => Math.round(count / seconds)
      test.comment(`${profile}: ${rate(SECONDS * UPDATES * KEYS)} updates/s published, ${rate(after.events - before.events)}/s handed out, ${rate(after.draws - before.draws)} draws/s; ${tasks.length} tasks over 50 ms, the longest ${longest} ms`)
      if (longest < LONGEST_MS || round === ROUNDS) {
        test.ok(longest < LONGEST_MS, `the longest task took ${longest} ms`)
        break
      }
    }
    const { events } = await read()
    test.ok(events < n * KEYS && events >= KEYS, 'coalesced')
  })
}
