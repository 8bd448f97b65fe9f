// A gateway and its page in a real browser, as somebody who visits it sees it.

import t from 'tap'
import type { BrowserContextOptions, Locator, Page } from 'playwright-core'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { openBrowser, openContext } from '../tools/chromium.ts'
import type { Test } from '../tools/daemon.ts'

export interface Visit {
  readonly page: Page
  readonly server: Launched
  /** Errors and warnings of the console, and requests to other hosts. */
  readonly complaints: readonly string[]
}

/** @param refusals refusals that the test provokes, which the browser writes to its console */
export async function visit (test: Test, env: Env = {}, look: BrowserContextOptions = {}, refusals = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/): Promise<Visit & { stage: Stage }> {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', DATA_DIR: stage.folder(), PORT: await freePort(), RECONNECT_JITTER: 1, ...env })
  const context = await openContext(test, await openBrowser(t), look)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type()) && !refusals.test(message.text())) complaints.push(`${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', error => complaints.push(String(error)))
  page.on('request', asked => {
    if (!asked.url().startsWith(server.url) && !asked.url().startsWith('data:')) complaints.push(`asked ${asked.url()}`)
  })
  await page.goto(server.url)
  return { page, server, complaints, stage }
}

export const publish = async ({ url }: Launched, ...events: object[]): Promise<number> => (await request(`${url}/api/events`, { json: events })).status
export const textOf = async (place: Locator): Promise<string> => (await place.textContent() ?? '').replace(/\s+/g, ' ').trim()
export const says = async (place: Locator, what: RegExp): Promise<void> => await until(`${what}, not: ${await textOf(place)}`, async () => what.test(await textOf(place)))
