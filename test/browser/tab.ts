// Tabs of a real browser, at the gateway's own origin.

import { readFileSync } from 'node:fs'
import { transformSync } from 'esbuild'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { Remote, RemoteOptions } from '../client/driver.ts'
import { until } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'

const RECORDER = transformSync(readFileSync(new URL('../client/record.ts', import.meta.url), 'utf8'), { loader: 'ts', format: 'iife', globalName: 'recorder' }).code

/**
 * A page of the gateway that does nothing by itself. It is really loaded, because a browser treats a made-up page as another
 * origin, which may not open a WebSocket to this machine.
 */
export async function blankPage (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(`${url}/healthz`)
  return page
}

type Evaluate = (expression: string) => Promise<any>

/** Imports our client in a loaded page and connects. @param gateway the gateway's address; empty: the page's own host */
async function connectIn (evaluate: Evaluate, options: RemoteOptions, gateway = '', library = gateway): Promise<Remote> {
  await evaluate(`(async () => {
    const { connect } = await import('${library}/client.js')
    ${RECORDER}
    const token = globalThis.tokenOfTest
    globalThis.remote = recorder.record(connect('${gateway}/', { ...${JSON.stringify(options)}, ...(token && { token }) }))
  })()`)
  const ask = async (name: keyof Remote, ...args: unknown[]): Promise<any> => await evaluate(`remote[${JSON.stringify(name)}](...${JSON.stringify(args)})`)
  return {
    happenings: async from => await ask('happenings', from),
    status: async () => await ask('status'),
    value: async (...name) => await ask('value', ...name),
    entries: async () => await ask('entries'),
    size: async () => await ask('size'),
    join: async rooms => await ask('join', rooms),
    leave: async rooms => await ask('leave', rooms),
    control: async (...order) => await ask('control', ...order),
    close: async () => await ask('close')
  }
}

export type Tab = Remote & { readonly page: Page }

/** A page with our client. */
export async function openTab (context: BrowserContext, url: string, options: RemoteOptions = {}): Promise<Tab> {
  const page = await blankPage(context, url)
  if (typeof options.token === 'function') await page.exposeFunction('tokenOfTest', options.token)
  return { page, ...await connectIn(async expression => await page.evaluate(expression), options) }
}

/** A page of another site with our client. @param library the gateway that serves the client */
export async function openStrangeTab (context: BrowserContext, site: string, url: string, options: RemoteOptions, library = url): Promise<Tab> {
  const page = await context.newPage()
  await page.goto(site)
  return { page, ...await connectIn(async expression => await page.evaluate(expression), options, url, library) }
}

export type FreezableTab = Remote & { freeze (): Promise<void>, thaw (): Promise<void>, /** Another tab comes to the front. */ hide (): Promise<void>, show (): Promise<void> }

/** A page with our client that can be hidden, and frozen as browsers freeze background tabs. It is not driven by Playwright, which keeps its pages in the foreground. */
export async function openFreezableTab (t: Test, browser: Browser, url: string, options: RemoteOptions = {}): Promise<FreezableTab> {
  const devtools = await browser.newBrowserCDPSession()
  const { browserContextId } = await devtools.send('Target.createBrowserContext')
  t.teardown(async () => await devtools.send('Target.disposeBrowserContext', { browserContextId }))
  const { targetId } = await devtools.send('Target.createTarget', { url: `${url}/healthz`, browserContextId })
  const { sessionId } = await devtools.send('Target.attachToTarget', { targetId })
  const waiting = new Map<number, (answer: any) => void>()
  devtools.on('Target.receivedMessageFromTarget', ({ message }) => {
    const answer = JSON.parse(message)
    waiting.get(answer.id)?.(answer)
  })
  const send = async (method: string, params: object): Promise<any> => await new Promise((resolve, reject) => {
    const id = waiting.size
    waiting.set(id, resolve)
    devtools.send('Target.sendMessageToTarget', { sessionId, message: JSON.stringify({ id, method, params }) }).catch(reject)
  })
  const evaluate: Evaluate = async expression => {
    const { result } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
    if (result.exceptionDetails !== undefined) throw new Error(JSON.stringify(result.exceptionDetails))
    return result.result.value
  }
  await until('the page is there', async () => await evaluate('location.href !== "about:blank" && document.readyState === "complete"'))
  const become = async (state: 'frozen' | 'active'): Promise<void> => { await send('Page.setWebLifecycleState', { state }) }
  return {
    ...await connectIn(evaluate, options),
    freeze: async () => await become('frozen'),
    thaw: async () => await become('active'),
    hide: async () => { await devtools.send('Target.createTarget', { url: 'about:blank', browserContextId }) },
    show: async () => { await devtools.send('Target.activateTarget', { targetId }) }
  }
}
