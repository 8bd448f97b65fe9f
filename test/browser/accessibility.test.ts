// The page by axe's rules (WCAG 2.2 A and AA, and good practice), as it looks in each of its states: in light, in dark, and on a
// phone.

import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import t from 'tap'
import type { Page } from 'playwright-core'
import { request, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { skipWithout } from '../tools/chromium.ts'
import { RedisServer } from '../tools/redis.ts'
import type { Test } from '../tools/daemon.ts'
import { publish, says, visit } from './visit.ts'

t.setTimeout(600_000)
t.jobs = 3

const DESK = { width: 1280, height: 900 }
const PHONE = { width: 390, height: 844 }
const LOOKS = [
  { look: 'in light', viewport: DESK, colorScheme: 'light' },
  { look: 'in dark', viewport: DESK, colorScheme: 'dark' },
  { look: 'on a phone', viewport: PHONE, colorScheme: 'light' },
  { look: 'on a phone, in dark', viewport: PHONE, colorScheme: 'dark' }
] as const

interface State {
  readonly name: string
  readonly env?: (test: Test) => Promise<Env>
  readonly needs?: 'redis'
  /** Refusals that it provokes, which the browser writes to its console. */
  readonly refusals?: RegExp
  reach (page: Page, server: Launched): Promise<unknown>
}

const overview = async (page: Page): Promise<void> => await says(page.locator('#verdict'), /^(All well|Over target|Ready)/)
let redis: RedisServer | null = null

const STATES: readonly State[] = [{
  name: 'with nothing in it',
  reach: overview
}, {
  name: 'with the figures of this machine, an open room with values and facts, and a result of a command',
  env: async () => ({ DEMO_FEED: 'true' }),
  reach: async (page, server) => {
    await publish(server, { type: 'cpu', room: 'plant-1', key: 'web-1', data: { percent: 42, state: 'ok' } }, { type: 'note', room: 'plant-1', key: 'n', data: 'x'.repeat(600) }, { type: 'alarm', room: 'plant-1', data: { text: 'too hot' } })
    await page.getByRole('button', { name: 'plant-1' }).click()
    await says(page.getByRole('group', { name: 'Values of cpu' }), /42/)
    await publish(server, { type: 'alarm', room: 'plant-1', data: 'again' })
    await says(page.getByRole('group', { name: 'Facts' }), /again/)
    await page.getByLabel('Command', { exact: true }).selectOption('ping')
    await page.getByRole('button', { name: 'Run', exact: true }).click()
    await says(page.locator('#result'), /ping/)
    await overview(page)
  }
}, {
  name: 'with 300 rooms, some of them found by name',
  reach: async (page, server) => {
    await publish(server, ...Array.from({ length: 300 }, (_, n) => ({ type: 'n', room: `plant-${n}`, key: 'k', data: n })))
    await says(page.locator('#rooms'), /and 2[56]\d more/)
    await page.getByRole('searchbox', { name: 'Find rooms that begin with' }).fill('plant-29')
    await until('they are listed', async () => await page.locator('#rooms-place th[scope=row]').count() === 11)
  }
}, {
  name: 'with a warning and refusals',
  env: async () => ({ DATA_DIR: ':memory:' }),
  reach: async (page, server) => {
    for (let n = 0; n < 3; n++) await request(`${server.url}/api/control`, { json: { command: 'no-such-command' } })
    await says(page.locator('#banner'), /The gateway warns/)
    await says(page.getByRole('group', { name: 'Problems' }), /UNKNOWN_COMMAND/)
  }
}, {
  name: 'without its store',
  needs: 'redis',
  refusals: /status of 503/,
  env: async test => {
    redis = await RedisServer.start(test)
    return { REDIS_URL: redis.url }
  },
  reach: async page => {
    await overview(page)
    await redis?.kill9()
    await says(page.locator('#verdict'), /^Not ready: STORE_UNAVAILABLE$/)
  }
}, {
  name: 'without its gateway',
  reach: async (page, server) => {
    await overview(page)
    await server.stop()
    await says(page.locator('#status'), /^(Interrupted|Reconnecting|Not connected|Disconnected)/)
  }
}, {
  name: 'where it asks for a token that is refused',
  env: async () => ({ AUTH_JWT_SECRET: 'a-secret-of-the-tests-long-enough-for-HS256' }),
  refusals: /status of 40[13]/,
  reach: async page => {
    await page.getByLabel('Token').fill('nonsense')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await says(page.getByRole('alert'), /^The token is not accepted: /)
  }
}]

for (const { name, env, needs, refusals, reach } of STATES) {
  t.test(name, { skip: skipWithout('chromium', ...needs === undefined ? [] : [needs]), buffered: true }, async test => {
    const { page, server } = await visit(test, await env?.(test), {}, refusals)
    await reach(page, server)
    for (const { look, viewport, colorScheme } of LOOKS) {
      await page.setViewportSize(viewport)
      await page.emulateMedia({ colorScheme })
      // The page's policy for content allows no script of others; this one is not put into it.
      await page.evaluate(axe.source)
      const { violations, passes } = await page.evaluate('axe.run()') as AxeResults
      test.ok(passes.length > 10, `axe has looked at something: ${passes.length} rules hold`)
      test.same(violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target.join(' ')}: ${failureSummary}`)), [], look)
    }
  })
}
