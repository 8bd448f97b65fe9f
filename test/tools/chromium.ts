// A real Chromium for a test, driven by playwright-core: without a window, with nothing kept, gone with the test.

import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions } from 'playwright-core'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

export { skipWithout } from './find.ts'

let opened: Promise<Browser> | null = null

/** The one browser of this process, launched when it is first asked for. @param t with whose end it closes: the file's */
export async function openBrowser (t: Test): Promise<Browser> {
  return await (opened ??= launch(t))
}

async function launch (t: Test): Promise<Browser> {
  const tool = need('chromium')
  const browser = await chromium.launch({ executablePath: tool.bin, env: childEnv(tool), timeout: 30_000 })
  t.teardown(async () => {
    opened = null
    await browser.close()
  })
  return browser
}

/** What one user has open: pages that share storage, and nothing with another context. Closed with the test. */
export async function openContext (t: Test, browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(10_000)
  t.teardown(async () => await context.close())
  return context
}
