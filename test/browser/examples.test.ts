// What README, docs/getting-started.md and docs/examples tell a newcomer to do, in Chromium.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { Proxy } from '../client/proxy.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import type { Test } from '../tools/daemon.ts'

t.setTimeout(600_000)
const skip = skipWithout('chromium')
const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const README = read('README.md')

/** @returns the origin of a web server with one page */
async function siteOf (test: Test, page: () => string): Promise<string> {
  const site = createServer((_request, response) => { response.setHeader('Content-Type', 'text/html').end(page()) })
  test.teardown(() => { site.closeAllConnections(); site.close() })
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

/** The event of README's first curl. */
const EVENT = JSON.parse(/-d '(\{[^']*\})'/.exec(README)?.[1] as string)

t.test('README\'s page shows the value that its curl publishes', { skip, buffered: true }, async test => {
  const html = /```html\n([^]*?)```/.exec(README)?.[1] as string
  const stage = new Stage(test)
  let page = ''
  const site = await siteOf(test, () => page)
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder(), CORS_ORIGINS: site })
  page = html.replaceAll('http://127.0.0.1:3000', server.url)
  test.not(page, html)
  const tab = await (await openContext(test, await openBrowser(t))).newPage()
  await tab.goto(site)
  test.equal((await request(`${server.url}/api/events`, { json: EVENT })).status, 202)
  await until('the value is there', async () => await tab.locator('output').textContent() === 'cpu host-7: {"percent":42}')
  await until('it says that it is connected', async () => await tab.title() === 'connected')
})

t.test('the walk of getting started: docs/examples/page.html shows the value that README publishes, and facts', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const site = await siteOf(test, () => read('docs/examples/page.html'))
  const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder(), CORS_ORIGINS: site })
  test.equal((await request(`${server.url}/api/events`, { json: EVENT })).status, 202)
  const page = await (await openContext(test, await openBrowser(t))).newPage()
  await page.goto(`${site}/?gateway=${server.url}`)
  await until('the value is there', async () => /cpu.*host-7.*42/.test(await page.locator('#values').textContent() ?? ''))
  await request(`${server.url}/api/events`, { json: { room: 'plant-1', type: 'alarm', data: 'too hot' } })
  await until('the fact is there', async () => /alarm: "too hot"/.test(await page.locator('#facts').textContent() ?? ''))
  await page.getByRole('button', { name: 'Ping' }).click()
  await until('it is answered', async () => /answered at/.test(await page.locator('#pong').textContent() ?? ''))
})

t.test('docs/examples/chart.html begins with all facts of history, and goes on over a restart, as one line', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const site = await siteOf(test, () => read('docs/examples/chart.html'))
  const env = { APP_PROFILE: 'SSE', PORT: await freePort(), DATA_DIR: stage.folder(), CORS_ORIGINS: site, RECONNECT_JITTER: 1 }
  let server = await stage.launch(env)
  const publish = async (...values: number[]): Promise<void> => { await request(`${server.url}/api/events`, { json: values.map(data => ({ room: 'plant-1', type: 'temperature', data })) }) }
  await publish(...Array.from({ length: 100 }, (_, n) => n))
  const page = await (await openContext(test, await openBrowser(t))).newPage()
  await page.goto(`${site}/?gateway=${server.url}`)
  const line = async (): Promise<string> => await page.locator('#chart path').getAttribute('d') ?? ''
  await until('what was there is drawn', async () => (await line()).split('L').length === 100)
  await publish(100)
  await until('what comes is drawn too', async () => (await line()).split('L').length === 101)
  await server.stop()
  server = await stage.launch({ ...env, APP_PROFILE: 'WEBSOCKET' })
  await publish(101, 102)
  await until('and what came while the gateway was away', async () => (await line()).split('L').length === 103)
  test.equal((await line()).split('M').length, 2, 'one line, without a hole')
  test.equal(await page.locator('#now').textContent(), '102')
})

t.test('the plain EventSource of getting started, on another origin goes on where it was after an answer that ends an EventSource, and after a downtime', { skip, buffered: true }, async test => {
  const example = /```js\n(const gateway = [^]*?listen\(\)\n)```/.exec(read('docs/getting-started.md'))?.[1] as string
  const stage = new Stage(test)
  const site = await siteOf(test, () => '<!doctype html><title>a page</title>')
  const env = { APP_PROFILE: 'SSE', PORT: await freePort(), DATA_DIR: stage.folder(), CORS_ORIGINS: site, RECONNECT_JITTER: 1 }
  let server = await stage.launch(env)
  const proxy = await Proxy.start(test, server.port)
  const page = await (await openContext(test, await openBrowser(t))).newPage()
  await page.goto(site)
  const publish = async (data: unknown): Promise<void> => { await request(`${server.url}/api/events`, { json: [{ room: 'plant-1', type: 'n', data }, { room: 'plant-1', type: 'n', key: 'k', data }] }) }
  await page.evaluate(`
    globalThis.facts = []
    console.log = (_, { data }) => facts.push(data)
    ${example.replace('http://127.0.0.1:3000', proxy.url)}
    globalThis.seen = () => [facts.join(), values.get('n k')]`)
  const sees = async (...wanted: [string, number]): Promise<void> =>
    await until(`it sees ${wanted.join(' and ')}, not ${JSON.stringify(await page.evaluate('seen()'))}`, async () => JSON.stringify(await page.evaluate('seen()')) === JSON.stringify(wanted))
  await until('it is connected', async () => proxy.passed.length > 0)
  await until('it is a session', async () => /^signalbox_sessions\S* 1$/m.test((await request(`${server.url}/metrics`)).text))
  await publish(1)
  await sees('1', 1)
  // Without CORS headers, as a proxy's own answers: the browser ends the EventSource.
  proxy.answer(/^GET \/api\/events/, '502 Bad Gateway', {}, '<html>')
  proxy.cut()
  await publish(2)
  await sees('1,2', 2)
  await server.kill9()
  server = await stage.launch(env)
  await publish(3)
  await sees('1,2,3', 3)
  test.pass('each fact once')
})
