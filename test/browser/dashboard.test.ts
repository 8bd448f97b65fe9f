// The page at /, in Chromium, against the product as users start it.

import { SignJWT } from 'jose'
import t from 'tap'
import type { Locator, Page } from 'playwright-core'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { Nginx } from '../tools/nginx.ts'
import { RedisServer } from '../tools/redis.ts'
import { PROFILES } from '../wire/harness.ts'
import { publish, says, textOf, visit } from './visit.ts'

t.setTimeout(600_000)
t.jobs = 3
const skip = skipWithout('chromium')

const card = (page: Page, name: string): Locator => page.locator('article', { has: page.getByRole('heading', { name }) })
const command = async (page: Page, name: string): Promise<void> => { await page.getByLabel('Command', { exact: true }).selectOption(name) }
const run = async (page: Page): Promise<void> => await page.getByRole('button', { name: 'Run', exact: true }).click()

for (const profile of PROFILES) {
  t.test(`${profile}: the overview shows whether all is well, and the demo feed shows this machine`, { skip, buffered: true }, async test => {
    const { page, server, complaints } = await visit(test, { APP_PROFILE: profile, DEMO_FEED: 'true' })
    await says(page.locator('#status'), /^Live$/)
    await until('there is a verdict', async () => /^(All well|Over target: )/.test(await textOf(page.locator('#verdict'))))
    for (const name of ['Latency', 'Event-loop lag', 'Oldest backlog']) {
      await says(card(page, name), /\d (ms|s) ?(Under|Over) (150 ms|30 ms|60 s)/)
      await until(`${name} has its line`, async () => /L/.test(await card(page, name).locator('path.line').getAttribute('d') ?? ''))
    }
    await says(card(page, 'Saved by bundling'), /\d+ % ?messages.*Of the bytes, bundling saves \d+ %, patches \d+ %, compression [1-9]\d* %/)
    const facts = await textOf(page.locator('.facts'))
    test.match(facts, new RegExp(`Profile ?${profile === 'SSE' ? 'SSE' : 'WebSocket'} Up for ?\\d+ s Workers ?1 Store ?embedded Sessions ?1`))
    await says(page.locator('#totals'), /^Since the gateway started, \d+ s ago: [\d,]+ events? in, [\d,]+ messages? out/)
    await says(page.locator('#charts'), /In ?\d+.*\/s.*Without bundling ?\d+.*\/s.*Sent ?.*B\/s/)
    test.equal(await page.locator('#charts canvas').count(), 3)

    await says(card(page, 'Processor'), /^Processor ?[\d.]+ %.*core 0/)
    await says(card(page, 'Memory'), /of [\d.]+ GiB in use/)
    test.notOk(await page.getByText('figures are not published').isVisible())
    test.equal(await publish(server, { type: 'greeting', key: 'me', data: 'Hello' }), 202)
    await says(page.locator('#feed'), new RegExp(`curl -X POST ${server.url}/api/events .*me ?greeting ?"Hello"`))
    test.same(complaints, [])
  })
}

t.test('an open room shows its values live, and nothing once it is closed', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  await publish(server, { type: 'temperature', room: 'plant-1', key: 'kiln', data: 812 }, { type: 'temperature', room: 'plant-1', key: 'oven', data: 230 })
  const button = page.getByRole('button', { name: 'plant-1' })
  await button.focus()
  await page.keyboard.press('Enter')
  const values = page.getByRole('group', { name: 'Values' })
  await says(values, /kiln ?812.*oven ?230/)
  test.equal(await button.getAttribute('aria-expanded'), 'true')
  await publish(server, { type: 'temperature', room: 'plant-1', key: 'kiln', data: 813 }, { type: 'alarm', room: 'plant-1', data: 'too hot' })
  await says(values, /kiln ?813/)
  await says(page.getByRole('group', { name: 'Facts' }), /alarm ?"too hot"/)
  await says(page.locator('#rooms').getByRole('row', { name: /plant-1/ }), /plant-1 ?1 ?2/)
  test.equal(new URL(page.url()).hash, '#room=plant-1')
  await page.getByLabel('Filter').fill('oven')
  await until('the others are left out', async () => !/kiln/.test(await textOf(values)))

  const sessions = async (): Promise<number> => Number(/^signalbox_sessions(?:{[^}]*})? (\d+)$/m.exec((await request(`${server.url}/metrics`)).text)?.[1])
  test.equal(await sessions(), 2)
  await page.keyboard.press('Escape')
  await until('its connection has ended', async () => await sessions() === 1)
  test.equal(await values.count(), 0)
  test.ok(await button.evaluate(element => element === document.activeElement), 'the focus is where it was')
  test.equal(new URL(page.url()).hash, '')
  test.same(complaints, [])
})

t.test('values that are objects of few members have a column for each member, and others stay whole', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  const hosts = (percent: number | string): object[] => [{ type: 'cpu', room: 'hosts', key: 'web-1', data: { percent, state: 'ok' } }, { type: 'cpu', room: 'hosts', key: 'web-2', data: { percent: 7.5, since: { day: 'Monday' } } }]
  await publish(server, { type: 'names', room: 'hosts', key: 'a', data: { constructor: 1 } }, { type: 'names', room: 'hosts', key: 'b', data: { b: 2 } })
  await publish(server, ...hosts(42), { type: 'note', room: 'hosts', key: 'web-1', data: 'leave it' })
  await page.getByRole('button', { name: 'hosts' }).click()
  const cpu = page.getByRole('group', { name: 'Values of cpu' })
  await says(cpu, /Key ?percent ?state ?since ?Changed ?web-1 ?42 ?ok ?–.*web-2 ?7\.5 ?– ?\{"day":"Monday"\}/)
  await says(page.getByRole('group', { name: 'Values of names' }), /Key ?constructor ?b ?Changed ?a ?1 ?–.*b ?– ?2/)
  await says(page.getByRole('group', { name: 'Values of note' }), /Key ?Value ?Changed ?web-1 ?"leave it"/)
  await publish(server, { type: 'cpu', room: 'hosts', key: 'web-1', data: { percent: 'unknown' } })
  await says(cpu, /web-1 ?unknown ?– ?–/)
  await publish(server, { type: 'cpu', room: 'hosts', key: 'web-2', data: Object.fromEntries([...'abcdefg'].map(name => [name, 1])) })
  await says(cpu, /Key ?Value ?Changed ?web-1 ?\{"percent":"unknown"\}.*web-2 ?\{"a":1,/)
  await publish(server, { type: 'cpu', room: 'hosts', key: 'web-1', data: null }, { type: 'cpu', room: 'hosts', key: 'web-2', data: null })
  await until('a type without values has no table', async () => !await cpu.isVisible())
  test.same(complaints, [])
})

t.test('a room can be linked to and survives a reload; its keys stay on one line, and a long value can be expanded by keyboard', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test, {}, { viewport: { width: 1280, height: 800 } })
  const long = 'x'.repeat(600)
  await publish(server, { type: 'cpu', room: 'plant:1', key: 'host-7', data: 43 }, { type: 'cpu', room: 'plant:1', key: 'host-8', data: { long } })
  await page.goto(`${server.url}/#room=plant%3A1`)
  const values = page.getByRole('group', { name: 'Values' })
  await says(values, /host-8/)
  await page.reload()
  await says(values, /host-8/)
  const [host, place] = await Promise.all([page.getByRole('rowheader', { name: 'host-7' }).boundingBox(), values.boundingBox()])
  test.ok((host?.height ?? Infinity) < 40, `the key's cell is ${host?.height} high`)
  test.ok((place?.width ?? 0) > 1000, `without facts the values have the room there is: ${place?.width}`)
  test.notMatch(await textOf(values), long)
  await page.getByRole('button', { name: 'Show all 611 characters' }).press('Enter')
  await says(values, new RegExp(long))
  await page.getByRole('button', { name: 'Show less' }).press('Enter')
  await until('it is short again', async () => !(await textOf(values)).includes(long))

  // A section's link leads there, and the room stays open and in the address.
  await page.getByRole('navigation').getByRole('link', { name: 'Control' }).click()
  await until('the address names the room', async () => new URL(page.url()).hash === '#room=plant%3A1')
  await until('its sessions are marked', async () => await page.locator('#sessions .tag:visible').count() === 2)
  await page.locator('body').press('Escape')
  test.equal(await values.count(), 0, 'Escape closes it from anywhere')
  test.same(complaints, [])
})

t.test('a command says what it waits for: the rate limit, or an unreachable gateway; and a shutdown from the page is not called a restart', { skip, buffered: true }, async test => {
  const port = await freePort()
  const stage = new Stage(test)
  const folder = stage.folder()
  const { page, server, complaints } = await visit(test, { PORT: port, DATA_DIR: folder, CONTROL_RATE_LIMIT: 1 }, {}, /ERR_|status of (429|50\d)/)
  const result = page.locator('#result')
  await page.locator('#command-form').waitFor()
  await says(page.locator('#verdict'), /^All well|^Over target/)
  const refusal = { status: 429, headers: { 'Retry-After': '2' }, json: { statusCode: 429, code: 'RATE_LIMITED', message: 'too many' } }
  await page.route(`${server.url}/api/control`, async route => route.request().method() === 'POST' ? await route.fulfill(refusal) : await route.fallback(), { times: 1 })
  await run(page)
  await says(result, /^1 command a second is allowed\. ping is sent again in [23] s\.$/)
  await says(result, /ping was done/)
  await command(page, 'disconnect')
  await page.locator('#arg-room').fill('nowhere')
  await run(page)
  await page.getByRole('button', { name: 'Run disconnect' }).click()
  await says(result, /disconnect was run; no session was disconnected\.$/)
  test.equal(await result.getAttribute('data-kind'), 'none', 'no tick')
  await command(page, 'tune')
  await says(page.locator('#args'), /\d+ settings/)
  await page.getByLabel('MONITOR_TICK_MS').fill('99999999')
  await run(page)
  await says(result, /tune was not run: MONITOR_TICK_MS: .*60000/)

  await command(page, 'shutdown')
  await run(page)
  await page.getByRole('button', { name: 'Run shutdown' }).click()
  await says(page.locator('#banner'), /was shut down from this page and stays down until something starts it/)
  await command(page, 'ping')
  await run(page)
  await says(result, /The gateway is not reachable: ping waits for it/)
  await stage.launch({ APP_PROFILE: 'SSE', DATA_DIR: folder, PORT: port })
  await until('it was run', async () => /ping was done/.test(await textOf(result)))
  await until('it is back', async () => await textOf(page.locator('#status')) === 'Live')
  test.notMatch(await textOf(page.locator('#banner')), /shut down/)
  test.same(complaints, [])
})

t.test('an event is looked up by its id: what became of it, in words', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  await command(page, 'explain')
  const event = page.locator('#arg-event')
  const { text } = await request(`${server.url}/api/events`, { json: { type: 'temperature', key: 'kiln', data: 812 } })
  const [id] = (JSON.parse(text) as { ids: [string] }).ids
  await event.fill(id)
  await run(page)
  await says(page.locator('#result-data'), new RegExp(`^${id} @public temperature "kiln" accepted 20`))
  await event.fill('9999999999999-0')
  await run(page)
  await says(page.locator('#result-text'), /explain was run; event 9999999999999-0 is not known/)
  test.same(complaints, [])
})

t.test('a form runs commands, and shows results, refusals in plain words, and a confirmation for the dangerous ones', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test, {}, {}, /status of 400/)
  await publish(server, { type: 'temperature', room: 'plant-1', key: 'kiln', data: 812 })
  const result = page.getByRole('status').filter({ has: page.locator('#result-text') })
  await command(page, 'ping')
  await run(page)
  await says(page.locator('#result-data'), /"pong": true/)
  await says(result, /ping was done in/)

  await command(page, 'tune')
  await page.getByLabel('MONITOR_TICK_MS').fill('500')
  await run(page)
  await says(page.locator('#result-data'), /^MONITOR_TICK_MS: 200 → 500$/)
  await page.getByText('Show the current settings').click()
  await page.getByLabel('only settings that differ').check()
  await says(page.getByRole('row', { name: /MONITOR_TICK_MS/ }), /tunable ?changed ?500 ms/)

  await page.getByLabel('MONITOR_TICK_MS').fill('99999999')
  await page.locator('#command-form').evaluate((form: HTMLFormElement) => { form.noValidate = true })
  await run(page)
  await says(result, /tune was not run: .*MONITOR_TICK_MS.*60000/)
  await says(page.locator('#runs'), /tune.*BAD_COMMAND.*tune.*done.*ping.*done/)

  await command(page, 'clear')
  await page.locator('#arg-room').fill('plant-1')
  await run(page)
  const question = page.getByRole('dialog')
  await says(question, /Run clear\?.*The only way to restore them/)
  test.ok(await page.getByRole('button', { name: 'Cancel' }).evaluate(element => element === document.activeElement), 'the safe answer is the first')
  await page.keyboard.press('Escape')
  test.equal((await request(`${server.url}/api/rooms`)).body.rooms.find(({ room }: { room: string }) => room === 'plant-1').keys, 1, 'nothing has happened')
  await run(page)
  await page.getByRole('button', { name: 'Run clear' }).click()
  await says(page.locator('#result-data'), /"removed": 1/)
  test.same(complaints, [])
})

t.test('the page says so if commands are not mounted', { skip, buffered: true }, async test => {
  const { page, complaints } = await visit(test, { ENABLE_CONTROL_HTTP: 'false' })
  await says(page.locator('#control'), /not mounted on this gateway/)
  test.notOk(await page.locator('#command-form').isVisible())
  test.same(complaints, [])
})

t.test('the page reports a restart into the other profile, keeps the last values, and reconnects by itself', { skip, buffered: true }, async test => {
  const port = await freePort()
  const stage = new Stage(test)
  const folder = stage.folder()
  const { page, server, complaints } = await visit(test, { PORT: port, DATA_DIR: folder })
  await publish(server, { type: 'greeting', key: 'me', data: 'before' })
  await says(page.locator('#feed'), /greeting ?"before"/)
  await says(card(page, 'Oldest backlog'), /\d (ms|s)/)
  const backlog = await textOf(card(page, 'Oldest backlog').locator('.figure'))
  await server.stop()
  await says(page.locator('#status'), /^Interrupted$/)
  await says(page.locator('#banner'), /The gateway is restarting.*These are the last values, from \d\d:\d\d:\d\d/)
  await says(page.locator('#verdict'), /^Not connected$/)
  test.match(await textOf(page.locator('#feed')), /"before"/)
  test.match(await textOf(card(page, 'Oldest backlog').locator('.figure')), backlog)
  test.match(await textOf(card(page, 'Oldest backlog').locator('.badge')), /^Was under/)

  // In the background the title alone is kept.
  await until('the title says so', async () => await page.title() === '✕ Signalbox: Not connected')
  const hide = async (hidden: boolean): Promise<void> => {
    await page.evaluate(`Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`)
  }
  await hide(true)
  const other = await stage.launch({ APP_PROFILE: 'WEBSOCKET', DATA_DIR: folder, PORT: port })
  await until('it is back', async () => await textOf(page.locator('#status')) === 'Live')
  await until('the title says that it is back', async () => /^(▲ )?Signalbox(: Over target.*)?$/.test(await page.title()))
  await hide(false)
  await says(page.locator('#banner'), /The gateway has restarted. Reconnected after \d+ s, now over WebSocket instead of SSE\. Nothing was lost/)
  await publish(other, { type: 'greeting', key: 'me', data: 'after' })
  await says(page.locator('#feed'), /greeting ?"after"/)
  await says(page.locator('#profile'), /^WebSocket$/)
  test.same(complaints, [])
})

t.test('while Redis is down the page says that the figures are old and why, and recovers when it is back', { skip: skipWithout('chromium', 'redis'), buffered: true }, async test => {
  const redis = await RedisServer.start(test)
  const { page, server, complaints } = await visit(test, { APP_PROFILE: 'WEBSOCKET', REDIS_URL: redis.url }, {}, /status of 503/)
  await says(page.locator('#verdict'), /^All well|^Over target/)
  await redis.kill9()
  await until('readiness says so', async () => (await request(`${server.url}/readyz`)).status === 503)
  // A page that opens only now gets the last figures as present values.
  const late = await (await openContext(test, await openBrowser(t))).newPage()
  await late.addInitScript(`
    globalThis.verdicts = new Set()
    setInterval(() => verdicts.add(document.querySelector('#verdict')?.textContent), 5)`)
  await late.goto(server.url)
  await says(late.locator('#banner'), /reported no figures since \d\d:\d\d:\d\d.*not ready \(STORE_UNAVAILABLE\): /)
  await says(late.locator('#verdict'), /^Not ready: STORE_UNAVAILABLE$/)
  test.equal(await late.title(), '✕ Signalbox: Not ready: STORE_UNAVAILABLE')
  test.notMatch((await late.evaluate('[...verdicts].join("; ")')) as string, /All well|Over target/, 'nor does it call old figures current before')
  await says(page.locator('#banner'), /reported no figures since \d\d:\d\d:\d\d.*not ready \(STORE_UNAVAILABLE\): /)
  await says(page.locator('#verdict'), /^Not ready: STORE_UNAVAILABLE$/)
  await says(page.locator('#status'), /^No figures$/)
  await redis.restart()
  await says(page.locator('#verdict'), /^All well|^Over target/)
  await until('the banner is gone', async () => !/reported no figures/.test(await textOf(page.locator('#banner'))))
  test.same(complaints, [])
})

t.test('what readiness warns of is on the page, which then does not say that all is well', { skip, buffered: true }, async test => {
  const { page, complaints } = await visit(test, { DATA_DIR: ':memory:' })
  await says(page.locator('#banner'), /The gateway warns: DATA_DIR is :memory:, so nothing outlives this process\./)
  await says(page.locator('#verdict'), /Ready, with warnings$/)
  test.match(await page.title(), /^▲ Signalbox: .*Ready, with warnings$/)
  test.same(complaints, [])
})

t.test('a page that opens late shows the lines of the minutes before, with those of every worker', { skip: skipWithout('chromium', 'redis'), buffered: true }, async test => {
  const redis = await RedisServer.start(test)
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', REDIS_URL: redis.url, WORKERS: 2, PORT: await freePort() })
  await publish(server, { type: 'n', room: 'a', data: 1 })
  await until('there are some seconds of both', async () => {
    const { processes } = (JSON.parse((await request(`${server.url}/api/control`, { json: { command: 'recent' } })).text) as { result?: { processes: Array<{ samples: unknown[] }> } }).result ?? { processes: [] }
    return processes.length === 2 && processes.every(({ samples }) => samples.length >= 15)
  })
  const page = await (await openContext(test, await openBrowser(t))).newPage()
  const openedAt = Date.now()
  await page.goto(server.url)
  const line = card(page, 'Event-loop lag').locator('path.line')
  // It draws one point a second by itself.
  await until('the line is longer than the page is old', async () => (await line.getAttribute('d') ?? '').split('L').length > (Date.now() - openedAt) / 1000 + 8)
  test.pass('it was there before')
})

t.test('a session shows its client, and the action beside it fills in the command that ends it', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  const other = await fetch(`${server.url}/api/events/stream?rooms=plant-1`)
  const row = page.locator('#sessions tr', { hasText: 'plant-1' })
  await says(row, /127\.0\.0\.1/)
  await row.getByRole('button', { name: /^Disconnect/ }).click()
  test.equal(await page.getByLabel('Command', { exact: true }).inputValue(), 'disconnect')
  await run(page)
  await page.getByRole('dialog').getByRole('button', { name: /disconnect/i }).click()
  await says(page.locator('#result'), /disconnect was done/)
  test.match(await other.text().catch((error: Error) => error.message), /event: bye|terminated/)
  test.same(complaints, [])
})

t.test('of 300 rooms, the page finds one by the beginning of its name, and opens it', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  await publish(server, ...Array.from({ length: 300 }, (_, n) => ({ type: 'n', room: `plant-${n}`, key: 'k', data: n })))
  await says(page.locator('#rooms'), /and 2[56]\d more/)
  await page.getByRole('searchbox', { name: 'Find rooms that begin with' }).fill('plant-29')
  await until('it and its like are all that is listed', async () => (await page.locator('#rooms-place th[scope=row]').allTextContents()).join() === ['plant-29', ...Array.from({ length: 10 }, (_, n) => `plant-29${n}`)].join())
  await page.getByRole('button', { name: 'plant-293' }).click()
  await says(page.locator('#room-view'), /n ?Key ?Value ?Changed ?k ?293/)
  await page.getByRole('searchbox', { name: 'Find rooms that begin with' }).fill('plant-nine')
  await says(page.locator('#rooms-place'), /No room begins with “plant-nine”\./)
  await page.getByRole('searchbox', { name: 'Find rooms that begin with' }).fill('')
  await says(page.locator('#rooms'), /and 2[56]\d more/)
  test.same(complaints, [])
})

t.test('tabs of one browser share a connection, and one continues when the other is closed', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  await says(page.locator('#verdict'), /^All well|^Over target/)
  const other = await page.context().newPage()
  await other.goto(server.url)
  await says(other.locator('#verdict'), /^All well|^Over target/)
  await says(other.locator('#sessions'), /^Sessions 1/)
  await other.locator('#command').waitFor()
  await page.close()
  await publish(server, { type: 'greeting', key: 'me', data: 'to the other' })
  await says(other.locator('#feed'), /"to the other"/)
  await says(other.locator('#status'), /^Live$/)
  test.same(complaints, [])
})

t.test('whatever anybody publishes as a figure, the page stays as wide as it is, and no drawing fails', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test)
  for (const value of [1e300, -Number.MAX_VALUE, 'x'.repeat(3000), { long: 'y'.repeat(3000) }]) {
    const status = await publish(server,
      { type: 'cpu', key: 'total', data: { percent: value } }, { type: 'cpu', key: 'core-0', data: { percent: value } }, { type: 'load', key: 'average', data: { one: value, five: value, fifteen: value, cores: value } },
      { type: 'memory', key: 'total', data: { percent: value, usedBytes: value, totalBytes: value } }, { type: 'disk', key: 'data', data: { percent: value, freeBytes: value, totalBytes: value } },
      ...['a', 'b'].flatMap(key => [{ type: 'network', key, data: { receivedPerSecond: value, sentPerSecond: value } }, { type: 'disk-traffic', key, data: { readPerSecond: value, writtenPerSecond: value } }]),
      { type: 'process', key: 'gateway', data: { cpuPercent: value, rssBytes: value, heapUsedBytes: value } }, { type: 'host', key: 'this', data: { name: value, system: value, processor: value, uptimeSeconds: value } },
      { type: 'a-figure', key: 'mine', data: { value } }, { type: 'notice', data: { text: String(value) } })
    test.equal(status, 202)
    await says(page.locator('#feed'), new RegExp(`mine ?a-figure ?."value":${JSON.stringify(value).slice(0, 5).replace(/[+{]/g, '.')}`))
    await until('it is drawn', async () => await page.locator('#machine-cards').isVisible())
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: 800 })
      test.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${JSON.stringify(value).slice(0, 20)} at ${width}`)
    }
  }
  test.same(complaints, [])
})

t.test('under a path of a proxy the page is whole: styles, figures, an open room, commands and links', { skip: skipWithout('chromium', 'nginx'), buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ APP_PROFILE: 'SSE', DATA_DIR: stage.folder(), PORT: 0 })
  const nginx = await Nginx.start(test, {
    http: port => `server {
      listen 127.0.0.1:${port};
      location /live/ {
        proxy_pass http://127.0.0.1:${server.port}/;
        proxy_http_version 1.1;
        proxy_buffering off;
      }
    }`
  })
  await publish(server, { type: 'temperature', room: 'plant-1', key: 'kiln', data: 812 })
  const page = await (await openContext(test, await openBrowser(t))).newPage()
  const failed: string[] = []
  page.on('response', response => { if (response.status() >= 400) failed.push(response.url()) })
  await page.goto(`${nginx.url}/live/#room=plant-1`)
  await says(page.locator('#status'), /^Live$/)
  await says(page.getByRole('group', { name: 'Values' }), /kiln ?812/)
  test.equal(await page.locator('header').evaluate(element => getComputedStyle(element).display), 'flex', 'it has its styles')
  await run(page)
  await says(page.locator('#result-data'), /"pong": true/)
  await says(page.locator('#curl'), new RegExp(`${nginx.url}/live/api/events`))
  for (const name of ['API reference', 'Metrics', 'Profile']) {
    const address = await page.getByRole('link', { name, exact: true }).evaluate((link: HTMLAnchorElement) => link.href)
    test.equal((await request(address)).status, 200, address)
  }
  test.same(failed, [])
})

t.test('on a phone nothing is wider than the page', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test, { DEMO_FEED: 'true' }, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' })
  await publish(server, { type: 'reading', room: 'a-room-with-quite-a-long-name/and-a-path', key: 'x'.repeat(200), data: 'y'.repeat(400) }, { type: 'reading', key: 'x'.repeat(200), data: 'y'.repeat(400) })
  await says(page.locator('#feed'), /yyy/)
  await page.getByRole('button', { name: 'a-room-with' }).click()
  await says(page.getByRole('group', { name: 'Values' }), /yyy/)
  test.equal((await request(`${server.url}/api/control`, { json: { command: 'no-such-command' } })).status, 404)
  const refusals = page.getByRole('group', { name: 'Problems' })
  await says(refusals, /UNKNOWN_COMMAND.*1.*ago/)
  test.equal(await refusals.evaluate(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth), 0, 'a refusal is read without moving sideways')
  await command(page, 'tune')
  test.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390)
  await page.getByText('Sections', { exact: true }).click()
  await page.getByRole('link', { name: 'Control' }).click()
  test.notOk(await page.getByRole('link', { name: 'Control' }).isVisible(), 'the menu is out of the way again')
  await until('it leads there', async () => (await page.locator('#control').boundingBox())?.y as number < 400)
  test.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390)
  test.same(complaints, [])
})

const SECRET = 'a-secret-of-the-tests-long-enough-for-HS256'
const EVERYTHING = { subscribe: ['*', '@system'], publish: ['*'], control: ['*'] }

async function sign (claim: object, seconds = 600, subject = 'anna'): Promise<string> {
  return await new SignJWT({ signalbox: claim }).setProtectedHeader({ alg: 'HS256' }).setSubject(subject)
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds).sign(new TextEncoder().encode(SECRET))
}

const enter = async (page: Page, token: string): Promise<void> => {
  await page.getByLabel('Token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

const guarded = (env: Env = {}): Env => ({ AUTH_JWT_SECRET: SECRET, PING_INTERVAL: 1, PING_TIMEOUT: 1, ...env })
/** What the browser writes to its console of refusals that a test provokes. */
const REFUSALS = /status of 40[13]|Unexpected response code|WebSocket connection/

for (const profile of PROFILES) {
  t.test(`${profile}: where the gateway needs a token the page asks for it, shows whose it is, and forgets it on signing out`, { skip, buffered: true }, async test => {
    const { page, server, complaints } = await visit(test, guarded({ APP_PROFILE: profile }), {}, REFUSALS)
    const addresses: string[] = []
    page.on('request', asked => addresses.push(asked.url()))
    await says(page.locator('#status'), /^Not signed in$/)
    test.notOk(await page.locator('#overview').isVisible(), 'there is nothing to see yet')
    test.equal(await page.getByLabel('Token').getAttribute('type'), 'password')
    await enter(page, 'nonsense')
    await says(page.getByRole('alert'), /^The token is not accepted: /)
    await enter(page, await sign(EVERYTHING, -60))
    await says(page.getByRole('alert'), /^The token is not accepted: it has expired\.$/)
    const token = await sign(EVERYTHING)
    await enter(page, `Bearer ${token}`)
    await says(page.locator('#status'), /^Live$/)
    await says(page.locator('#verdict'), /^All well|^Over target/)
    test.notOk(await page.locator('#sign-in').isVisible())
    test.notOk(await page.locator('#missing').isVisible())
    await page.locator('#caller summary').click()
    await says(page.locator('#caller-facts'), /Subject ?anna ?Expires ?[\d:]+, in 9 min.*May hear ?\*, @system ?May publish to ?\* ?May run ?\*/)
    await run(page)
    await says(page.locator('#result'), /ping was done/)
    await says(page.locator('#curl'), /-H "Authorization: Bearer \$SIGNALBOX_TOKEN"/)

    await page.reload()
    await says(page.locator('#status'), /^Live$/)
    const kept = await page.evaluate(() => ({ page: document.documentElement.outerHTML, values: Array.from(document.querySelectorAll('input'), ({ value }) => value), local: JSON.stringify(localStorage), cookie: document.cookie }))
    test.notOk(JSON.stringify([kept, addresses]).includes(token), 'it is in no element, field, address, cookie or lasting store')
    const other = await page.context().newPage()
    await other.goto(server.url)
    await says(other.locator('#status'), /^Not signed in$/)
    await other.close()

    await page.locator('#caller summary').click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await says(page.locator('#status'), /^Not signed in$/)
    test.equal(await page.evaluate(() => sessionStorage.length), 0)
    test.same(complaints, [])
  })

  t.test(`${profile}: when the token expires the page asks for another, and goes on where it was; another caller's begins anew`, { skip, buffered: true }, async test => {
    const { page, server, complaints } = await visit(test, guarded({ APP_PROFILE: profile }), {}, REFUSALS)
    await enter(page, await sign(EVERYTHING, 5))
    await says(page.locator('#status'), /^Live$/)
    await says(page.getByRole('alert'), /^The token has expired\. Enter another to go on\.$/)
    await says(page.locator('#banner-shown'), /^Interrupted: the gateway waits for a token\. These are the last values/)
    await request(`${server.url}/api/events`, { json: { type: 'notice', data: { text: 'meanwhile' } }, headers: { Authorization: `Bearer ${await sign(EVERYTHING)}` } })
    await page.evaluate(() => { (window as never as Record<string, boolean>).isTheSame = true })
    await enter(page, await sign(EVERYTHING, 5))
    await says(page.locator('#status'), /^Live$/)
    await says(page.locator('#banner-shown'), /Nothing was lost/)
    await says(page.locator('#notice-list'), /meanwhile/)
    test.ok(await page.evaluate(() => (window as never as Record<string, boolean>).isTheSame))
    await page.getByLabel('Token').waitFor()
    await enter(page, await sign(EVERYTHING, 600, 'berta'))
    await says(page.locator('#caller-name'), /^berta$/)
    await says(page.locator('#status'), /^Live$/)
    test.notOk(await page.evaluate(() => (window as never as Record<string, boolean>).isTheSame), 'nothing of what anna saw is left')
    test.same(complaints, [])
  })
}

t.test('the page offers what the token grants, and says what is missing for the rest', { skip, buffered: true }, async test => {
  const { page, server, complaints } = await visit(test, guarded(), {}, REFUSALS)
  const all = await sign(EVERYTHING)
  await request(`${server.url}/api/events`, { json: [{ type: 'cpu', room: 'plant-1', key: 'a', data: 1 }, { type: 'cpu', room: 'office', key: 'a', data: 1 }], headers: { Authorization: `Bearer ${all}` } })
  await enter(page, await sign({ subscribe: ['plant-*', '@system'], control: ['ping', 'stats'] }))
  await says(page.locator('#missing'), /This machine and the public feed: this needs the grant subscribe: @public/)
  test.notOk(await page.locator('#feed').isVisible())
  await says(page.locator('#rooms-place'), /office ?not granted/)
  test.equal(await page.getByRole('button', { name: 'office' }).count(), 0)
  await page.getByRole('button', { name: 'plant-1' }).click()
  await says(page.getByRole('group', { name: 'Values' }), /a ?1/)
  test.same(await page.locator('#command option').allTextContents(), ['ping', 'stats'])
  await page.goto(`${server.url}/#room=office`)
  await says(page.locator('#room-view'), /refused: this token may not hear office/)

  const become = async (claim: object): Promise<void> => {
    await page.locator('#caller summary').click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await enter(page, await sign(claim))
  }
  await become({ subscribe: ['*'], control: [] })
  await says(page.locator('#missing'), /Figures, rooms, .*: this needs the grant subscribe: @system/)
  await says(page.locator('#status'), /^Live$/)
  test.same(await Promise.all(['#overview', '#rooms', '#settings', '#feed'].map(async id => await page.locator(id).isVisible())), [false, false, false, true])
  await says(page.locator('#feed'), /needs the grant publish: @public, which the page’s own token does not have/)
  await says(page.locator('#control-none'), /may run no commands: they need the grant “control”/)

  await become({ subscribe: ['plant-1'], control: ['ping'] })
  await says(page.locator('#banner-shown'), /The gateway refused this page: this token may not hear @system: .*sign out and in with another token/)
  await run(page)
  await says(page.locator('#result'), /ping was done/)
  test.same(complaints, [])
})

t.test('without a token the page shows what everybody may hear, where there is something', { skip, buffered: true }, async test => {
  const { page } = await visit(test, guarded({ ANONYMOUS_SUBSCRIBE: '@public,@system' }), {}, REFUSALS)
  await page.getByRole('button', { name: 'Continue without a token' }).click()
  await says(page.locator('#status'), /^Live$/)
  await says(page.locator('#caller-name'), /^No token$/)
  await page.locator('#caller summary').click()
  await page.getByRole('button', { name: 'Enter a token' }).click()
  await enter(page, await sign(EVERYTHING))
  await says(page.locator('#caller-name'), /^anna$/)
  await says(page.locator('#status'), /^Live$/)

  const { page: closed } = await visit(test, guarded(), {}, REFUSALS)
  await closed.getByRole('button', { name: 'Continue without a token' }).click()
  await says(closed.getByRole('alert'), /^The gateway needs a token for this\.$/)
})
