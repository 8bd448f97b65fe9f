// The pages in examples/, built as their users build them, in Chromium; and the hooks where there is no browser.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { existsSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { createElement, StrictMode } from 'react'
import { renderToString } from 'react-dom/server'
import { build } from 'vite'
import { request, Stage, until } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { folderFor } from '../tools/daemon.ts'
import type { Test } from '../tools/daemon.ts'

t.setTimeout(600_000)
const skip = skipWithout('chromium')
const ROOT = join(import.meta.dirname, '..', '..')
const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }

/** @returns the origin of a web server for a folder */
async function serve (test: Test, folder: () => string): Promise<string> {
  const site = createServer(({ url = '/' }, response) => {
    const path = url.replace(/\?.*$/, '')
    const file = join(folder(), path === '/' ? 'index.html' : path)
    if (!existsSync(file)) return response.writeHead(404).end()
    response.setHeader('Content-Type', TYPES[extname(file)] ?? 'text/plain').end(readFileSync(file))
  })
  test.teardown(() => { site.closeAllConnections(); site.close() })
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

const lines = async (page: Page): Promise<string> => (await page.locator('li').allTextContents()).map(text => text.trim()).join('; ')

for (const name of ['page', 'react', 'vue']) {
  t.test(`examples/${name} shows values as they come, and joins and leaves a room`, { skip, buffered: true }, async test => {
    const stage = new Stage(test)
    let folder = join(ROOT, 'examples', name)
    const site = await serve(test, () => folder)
    const server = await stage.launch({ APP_PROFILE: name === 'vue' ? 'WEBSOCKET' : 'SSE', PORT: 0, DATA_DIR: stage.folder(), CORS_ORIGINS: site })
    if (name !== 'page') {
      const outDir = folderFor(test)
      await build({ root: folder, configFile: join(folder, 'vite.config.js'), logLevel: 'error', define: { 'import.meta.env.VITE_GATEWAY': JSON.stringify(server.url) }, build: { outDir, emptyOutDir: true } })
      folder = outDir
    }
    const publish = async (room: string, data: number): Promise<void> => { await request(`${server.url}/api/events`, { json: { type: 'cpu', room, key: 'host-7', data } }) }
    await publish('plant-1', 1)
    await publish('plant-2', 2)
    const page = await (await openContext(test, await openBrowser(t))).newPage()
    const mistakes: string[] = []
    page.on('pageerror', error => mistakes.push(error.message))
    await page.goto(`${site}/?gateway=${server.url}`)
    const shows = async (wanted: string): Promise<void> => await until(`it shows ${wanted}`, async () => await lines(page) === wanted)
    await shows('plant-1 host-7: 1')
    test.equal(await page.getByRole('status').textContent(), 'connected')
    await publish('plant-1', 3)
    await shows('plant-1 host-7: 3')
    if (name === 'react') test.equal(await page.locator('h1').textContent(), '3')
    await page.getByRole('checkbox').check()
    await shows('plant-1 host-7: 3; plant-2 host-7: 2')
    await page.getByRole('checkbox').uncheck()
    await shows('plant-1 host-7: 3')
    // The gateway has one session, which is in one room by now.
    await until('the room is left', async () => {
      const { rooms } = (await request(`${server.url}/api/rooms`)).body
      // It counts for CONTROL_RATE_LIMIT.
      return rooms?.find(({ room }: { room: string }) => room === 'plant-2')?.members === 0
    })
    test.match((await request(`${server.url}/metrics`)).text, /^signalbox_sessions\S* 1$/m)
    test.same(mistakes, [])
  })
}

t.test('the hooks render on a server, without a connection', async test => {
  const { SignalboxProvider, useStatus, useValue, useValues, useBox } = await import(new URL('../../dist/src/react/index.js', import.meta.url).href) as typeof import('../../src/react/index.ts')
  function Page (): string {
    return JSON.stringify([useBox(), useStatus(), useValue('a', 'cpu', 'host') ?? 'none', useValues('a')])
  }
  const html = renderToString(createElement(StrictMode, null, createElement(SignalboxProvider, { url: 'http://127.0.0.1:1', rooms: ['a'] }, createElement(Page))))
  test.equal(html.replaceAll('&quot;', '"'), '[null,{"state":"connecting"},"none",[]]')
})
