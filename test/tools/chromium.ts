// A real Chromium for a test, driven by playwright-core: headless, with an empty profile, closed with the test.

import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions } from 'playwright-core'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

export { skipWithout } from './find.ts'

let opened: Promise<Browser> | null = null

/** The one browser of this process, launched on first use. @param t the test that closes it at its end: the file's */
export async function openBrowser (t: Test): Promise<Browser> {
  return await (opened ??= launch(t))
}

async function launch (t: Test): Promise<Browser> {
  const tool = need('chromium')
  const browser = await chromium.launch({ executablePath: tool.bin, env: childEnv(tool), timeout: 120_000 })
  t.teardown(async () => {
    opened = null
    await browser.close()
  })
  return browser
}

/** One user's pages: they share storage with each other and nothing with another context. Closed with the test. */
export async function openContext (t: Test, browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(120_000)
  t.teardown(async () => await context.close())
  return context
}
