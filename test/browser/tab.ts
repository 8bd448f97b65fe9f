// Tabs of a real browser, at the gateway's own origin.

import { readFileSync } from 'node:fs'
import { transformSync } from 'esbuild'
import type { BrowserContext, Page } from 'playwright-core'
import type { Remote, Wish } from '../client/driver.ts'

const RECORDER = transformSync(readFileSync(new URL('../client/record.ts', import.meta.url), 'utf8'), { loader: 'ts', format: 'iife', globalName: 'recorder' }).code

/**
 * A page of the gateway's that does nothing by itself. It is really loaded: a browser takes one that a test has made up
 * for a stranger, who may not open a WebSocket to this machine.
 */
export async function blankPage (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(`${url}/healthz`)
  return page
}

export type Tab = Remote & { readonly page: Page }

/** A page that has imported our client, and connected. */
export async function openTab (context: BrowserContext, url: string, wish: Wish = {}): Promise<Tab> {
  const page = await blankPage(context, url)
  await page.evaluate(`(async () => {
    const { connect } = await import('/client.js')
    ${RECORDER}
    globalThis.remote = recorder.record(connect('/', ${JSON.stringify(wish)}))
  })()`)
  const ask = async (name: keyof Remote, ...args: unknown[]): Promise<any> => await page.evaluate(`remote[${JSON.stringify(name)}](...${JSON.stringify(args)})`)
  return {
    page,
    happenings: async from => await ask('happenings', from),
    status: async () => await ask('status'),
    value: async (...name) => await ask('value', ...name),
    entries: async () => await ask('entries'),
    size: async () => await ask('size'),
    control: async (...order) => await ask('control', ...order),
    close: async () => await ask('close')
  }
}
