// Viewers written without us, in Node, Chromium and Firefox, through everything that ends a stream: each gets every fact once and
// in order, and in the end the newest value of every key. Pages come from another origin.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { EventSource } from 'eventsource'
import { createEventSource } from 'eventsource-client'
import t from 'tap'
import type { Test } from 'tap'
import { compareIds } from '../../src/core/id.ts'
import { Proxy } from '../client/proxy.ts'
import { freePort, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { openBrowser, openContext } from '../tools/chromium.ts'
import { skipWithout } from '../tools/find.ts'
import { Firefox } from '../tools/firefox.ts'
import { eventSourceClient, newSeen, plain } from './viewers.ts'
import type { Seen } from './viewers.ts'

t.setTimeout(600_000)

const PATIENCE_MS = 30_000
const AWAY_MS = 3000

const PAGE = buildSync({
  entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))],
  bundle: true,
  format: 'iife',
  globalName: 'viewers',
  write: false
}).outputFiles[0]?.text

/** Origin of a server with a page that has the viewers, on another port than any gateway's. */
const site = await new Promise<string>(resolve => {
  const server = createServer((request, response) => {
    const script = request.url === '/viewers.js'
    response.writeHead(200, { 'Content-Type': script ? 'text/javascript' : 'text/html' })
    response.end(script ? PAGE : '<!doctype html><title>viewers</title><script src="/viewers.js"></script>')
  })
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
})

const firefox = skipWithout('firefox') === false ? await Firefox.start(t) : null
const chromium = skipWithout('chromium') === false ? await openBrowser(t) : null

/** What each viewer has received so far, by name. */
type Look = () => Promise<Record<string, Seen>>

async function watchInPage (name: string, url: string, evaluate: (expression: string) => Promise<any>): Promise<Look> {
  await evaluate(`viewers.start(${JSON.stringify(url)})`)
  return async () => Object.fromEntries(Object.entries(await evaluate('viewers.seen') as Record<string, Seen>).map(([viewer, seen]) => [`${viewer} in ${name}`, seen]))
}

function watchInNode (t: Test, url: string): Look {
  const [source, client] = [newSeen(), newSeen()]
  t.teardown(plain(EventSource)(url, source))
  t.teardown(eventSourceClient(createEventSource)(url, client))
  return async () => ({ 'eventsource in Node': source, 'eventsource-client in Node': client })
}

interface Scene {
  readonly stage: Stage
  /** What the viewers are connected to. */
  readonly proxy: Proxy
  readonly server: Launched
  /** Starts the gateway again, on the same port and data. */
  readonly start: (env?: Env) => Promise<Launched>
}

/** By what ends the streams, how it is done. */
const TROUBLES: Record<string, (scene: Scene) => Promise<unknown>> = {
  'a drain and a new start': async ({ server, start }) => {
    await server.stop()
    await start()
  },
  'kill -9 and a new start': async ({ server, start }) => {
    await server.kill9()
    await start()
  },
  'a port that refuses connections for 3 s': async ({ proxy }) => {
    await proxy.down()
    await delay(AWAY_MS)
    await proxy.up()
  },
  'a proxy that answers 502 for 3 s': async ({ proxy, server, start }) => {
    for (let times = 100; times > 0; times--) proxy.answer(/^GET \/api\/events\/stream/, '502 Bad Gateway', {}, 'nobody is there')
    await server.stop()
    const next = await start()
    await delay(AWAY_MS)
    proxy.forget()
    return next
  },
  'a rollback to the other profile and back': async ({ server, start }) => {
    await server.stop()
    const other = await start({ APP_PROFILE: 'WEBSOCKET' })
    await delay(AWAY_MS)
    await other.stop()
    await start()
  }
}

async function scene (t: Test): Promise<Scene> {
  const stage = new Stage(t)
  const [port, folder] = [await freePort(), stage.folder()]
  const start = async (env: Env = {}): Promise<Launched> => await stage.launch({ APP_PROFILE: 'SSE', PORT: port, DATA_DIR: folder, CORS_ORIGINS: site, RECONNECT_JITTER: 1, ...env })
  return { stage, server: await start(), start, proxy: await Proxy.start(t, port) }
}

for (const [trouble, cause] of Object.entries(TROUBLES)) {
  t.test(`after ${trouble} every viewer has each fact once and the newest values`, async t => {
    const at = await scene(t)
    const url = `${at.proxy.url}/api/events/stream?rooms=plant`
    const looks = [watchInNode(t, url)]
    if (chromium !== null) {
      const page = await (await openContext(t, chromium)).newPage()
      await page.goto(site)
      looks.push(await watchInPage('Chromium', url, async expression => await page.evaluate(expression)))
    }
    if (firefox !== null) looks.push(await watchInPage('Firefox', url, await firefox.open(t, site)))
    const look: Look = async () => Object.assign({}, ...await Promise.all(looks.map(async one => await one())))
    const behind = async (done: (seen: Seen) => boolean): Promise<string[]> => Object.entries(await look()).filter(([, seen]) => !done(seen)).map(([name]) => name)
    const all = async (what: string, done: (seen: Seen) => boolean): Promise<void> => {
      await until(what, async () => (await behind(done)).length === 0, PATIENCE_MS).catch(async () => { throw new Error(`not within ${PATIENCE_MS} ms: ${what}, but ${(await behind(done)).join(', ')}`) })
    }

    await all('every viewer is ready', ({ ready }) => ready > 0)
    const publisher = at.stage.publisher({ name: 'p', url: `http://127.0.0.1:${at.server.port}`, rooms: ['plant'], batch: 2, pauseMs: 40 }).start()
    await all('every viewer has its first facts', ({ facts }) => facts.length > 5)
    await cause(at)
    await all('every viewer is back', ({ opened }) => opened > 1)
    await delay(500)
    await publisher.finish()

    const facts = [...publisher.acknowledged.values()].map(({ id }) => id).sort(compareIds)
    const newest = Object.fromEntries([...publisher.newest].map(([field, { id }]) => [field, id]))
    await all('every viewer has the last fact', seen => seen.facts.includes(facts.at(-1) as string))
    for (const [name, { facts: got, values, resets, mistakes }] of Object.entries(await look())) {
      const once = new Set(got)
      t.same({ missed: facts.filter(id => !once.has(id)), twice: got.length - once.size, inOrder: got.every((id, at) => at === 0 || compareIds(got[at - 1] as string, id) < 0) }, { missed: [], twice: 0, inOrder: true }, `${name}: each of ${facts.length} facts once, and in order`)
      t.same(values, newest, `${name}: the newest values`)
      t.same([resets, mistakes], [[], []], `${name}: no reset, no mistake`)
    }
  })
}
