// The page below a prefix of somebody's program, which knows its users by cookies.

import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import signalbox from '../../src/plugin/index.ts'
import type { Grants } from '../../src/plugin/index.ts'
import { until } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { PROFILES } from '../wire/harness.ts'

t.setTimeout(180_000)
const skip = skipWithout('chromium')

const GRANTS: Readonly<Record<string, Grants>> = { operator: { subscribe: ['*', '@system'], control: ['*'] }, viewer: { subscribe: ['*'] } }

async function pageOf (t: Test, profile: 'SSE' | 'WEBSOCKET', user: string): Promise<import('playwright-core').Page> {
  const app = Fastify()
  t.teardown(async () => await app.close())
  await app.register(signalbox, { dataDir: ':memory:', prefix: '/live', profile, authorize: ({ headers }) => GRANTS[/user=(\w+)/.exec(headers.cookie ?? '')?.[1] ?? ''] ?? null })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/live/`
  const context = await openContext(t, await openBrowser(t))
  await context.addCookies([{ name: 'user', value: user, url }])
  const page = await context.newPage()
  await page.goto(url)
  return page
}

for (const profile of PROFILES) {
  t.test(`${profile}: who is known by a cookie is asked for no token`, { skip, buffered: true }, async t => {
    const page = await pageOf(t, profile, 'operator')
    await until('it is live', async () => await page.locator('#status').textContent() === 'Live')
    t.notOk(await page.locator('#sign-in').isVisible())
    t.notOk(await page.locator('#missing').isVisible())
    t.match(await page.locator('#caller-name').textContent(), 'Known by a cookie')
  })
}

t.test('what is not granted to a cookie is named, and who is unknown is asked for a token', { skip, buffered: true }, async t => {
  const viewer = await pageOf(t, 'SSE', 'viewer')
  await until('it is live', async () => await viewer.locator('#status').textContent() === 'Live')
  t.match(await viewer.locator('#missing').textContent(), /Figures, rooms, .*: this needs the grant subscribe: @system/)
  const stranger = await pageOf(t, 'SSE', 'nobody')
  await until('it asks', async () => await stranger.locator('#sign-in').isVisible())
})
