// The client at a gateway that needs tokens, in Node and in a page of a real browser, over both profiles.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { SignJWT } from 'jose'
import t from 'tap'
import type { BrowserContext } from 'playwright-core'
import { ControlAPI } from '../../src/client/node.ts'
import { blankPage, openStrangeTab, openTab } from '../browser/tab.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import type { Test } from '../tools/daemon.ts'
import { PROFILES } from '../wire/harness.ts'
import { DRIVERS } from './drivers.ts'
import { Proxy } from './proxy.ts'
import { idsOf, Seat } from './seat.ts'

t.setTimeout(600_000)
t.jobs = 4
const SECRET = 'a-secret-of-the-tests-long-enough-for-HS256'
const GUARDED: Env = { AUTH_JWT_SECRET: SECRET, PING_INTERVAL: 1, PING_TIMEOUT: 1, RECONNECT_JITTER: 1 }
const ALL = { subscribe: ['*'], publish: ['*'], control: ['*'] }
const skip = skipWithout('chromium')

async function sign (claim: object, seconds: number, subject = 'anna'): Promise<string> {
  return await new SignJWT({ signalbox: claim }).setProtectedHeader({ alg: 'HS256' }).setSubject(subject)
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds).sign(new TextEncoder().encode(SECRET))
}

/** Tokens signed ahead, since a token function may answer at once. Each has its own expiry, counted from now. */
const publisherToken = await sign(ALL, 3600, 'publisher')
const publish = async (url: string, ...events: object[]): Promise<string[]> => {
  const { status, body } = await request(`${url}/api/events`, { json: events, headers: { Authorization: `Bearer ${publisherToken}` } })
  if (status !== 202) throw new Error(JSON.stringify(body))
  return body.ids
}

for (const driver of DRIVERS) {
  for (const profile of PROFILES) {
    const other = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
    const test = (what: string, run: (t: Test & typeof import('tap')['t'], stage: Stage) => Promise<void>): void => {
      t.test(`the client in ${driver.name} over ${profile} ${what}`, { skip: driver.skip ?? false, buffered: true }, async test => await run(test as never, new Stage(test)))
    }

    test('asks for another token when its own expires, and loses and repeats nothing, also over a rollback', async (t, stage) => {
      const env: Env = { ...GUARDED, PORT: await freePort(), DATA_DIR: stage.folder() }
      let server = await stage.launch({ ...env, APP_PROFILE: profile })
      let asked = 0
      const token = async (): Promise<string> => {
        asked++
        return await sign({ subscribe: ['a'] }, 6)
      }
      const proxy = await Proxy.start(t, server.port)
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'], token: token as never })
      await seat.untilConnected()
      const ids: string[] = []
      const over = new AbortController()
      const publishing = (async () => {
        for (let n = 0; !over.signal.aborted; n++) {
          await publish(server.url, { type: 'log', room: 'a', data: n }, { type: 'cpu', room: 'a', key: 'host', data: n })
            .then(([id]) => ids.push(id as string), () => {})
          await delay(30)
        }
      })()
      const expiries = (): number => seat.statuses.filter(status => status.state === 'stale' && status.code === 'TOKEN_EXPIRED' && status.retryMs !== null).length
      await seat.until('its token has expired twice', () => expiries() >= 2)
      await seat.untilConnected(seat.seen.at(-1)?.at)
      const at = Date.now()
      // What was on its way at the end is known to have been refused or not.
      over.abort()
      await publishing
      await seat.look()
      // On a machine that is slow a third one may have expired by now, and one on its way.
      t.ok(asked === expiries() || asked === expiries() + 1, `once for each: ${asked} for ${expiries()}`)
      if (asked === 3) t.equal(proxy.passed.filter(({ line }) => /^(GET \/api\/events\/stream|POST \/api\/ticket)/.test(line)).length, 3, 'none was sent in vain')
      await server.stop()
      server = await stage.launch({ ...env, APP_PROFILE: other })
      ids.push(...await publish(server.url, { type: 'log', room: 'a', data: 'after' }))
      await seat.untilConnected(at)
      t.match(seat.now, { profile: other })
      await seat.until('its token has expired there too', () => expiries() >= 3)
      ids.push(...await publish(server.url, { type: 'log', room: 'a', data: 'last' }))
      await seat.until('the last is there', () => seat.facts.at(-1)?.data === 'last')
      t.same(idsOf(seat.facts), ids, `each of ${ids.length} facts once, and in order`)
      t.same(seat.received('reset'), [])
      t.same(seat.received('mistake'), [])
    })

    test('gives commands under one key when their token is refused', async (t, stage) => {
      const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const tokens = [await sign(ALL, 3600), await sign(ALL, 3601)]
      let asked = 0
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'], token: () => tokens[Math.min(asked++, 1)] as string })
      await seat.untilConnected()
      proxy.answer(/^POST \/api\/control/, '401 Unauthorized', {}, { statusCode: 401, code: 'UNAUTHENTICATED', message: 'the token is not accepted: it has expired' })
      t.match(await seat.remote.control('ping'), { result: { pong: true } })
      t.equal(asked, 2)
      const sent = proxy.passed.filter(({ line }) => line === 'POST /api/control').map(({ headers }) => ({ key: /^idempotency-key: (\S+)/im.exec(headers)?.[1], token: /^authorization: Bearer (\S+)/im.exec(headers)?.[1] }))
      t.equal(new Set(sent.map(({ key }) => key)).size, 1)
      t.same(sent.map(({ token }) => token), tokens)
      proxy.answer(/^POST \/api\/control/, '401 Unauthorized', {}, { statusCode: 401, code: 'UNAUTHENTICATED', message: 'the token is not accepted: it has expired' })
      t.match(await seat.remote.control('ping'), { error: { code: 'UNAUTHENTICATED', message: /expired/ } }, 'the same token is not sent again')
      t.equal(seat.now?.state, 'connected', 'the connection stays')
    })

    test('stops for good where a token is refused that nothing can replace, and says what is missing', async (t, stage) => {
      const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const cases: ReadonlyArray<[string | undefined, object]> = [
        [await sign(ALL, -10), { code: 'UNAUTHENTICATED', reason: 'the token is not accepted: it has expired' }],
        [undefined, { code: 'UNAUTHENTICATED', reason: /needs a token/ }],
        [await sign({ subscribe: ['b'] }, 60), { code: 'FORBIDDEN', reason: /may not hear a: .*signalbox\.subscribe/ }]
      ]
      for (const [token, why] of cases) {
        const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'], token })
        await seat.until('it is refused', () => seat.now?.state === 'refused')
        t.match(seat.now, why)
      }
      // After this status fetch itself tries once more, over another connection.
      for (let n = 0; n < 2; n++) proxy.answer(/^GET \/api\/profile/, '421 Misdirected Request', {}, { statusCode: 421, code: 'HOST_NOT_ALLOWED', message: 'add yours to ALLOWED_HOSTS' })
      const misled = await Seat.open(driver, t, proxy.url, { rooms: ['a'] })
      await misled.until('it is refused', () => misled.now?.state === 'refused')
      t.match(misled.now, { code: 'HOST_NOT_ALLOWED', reason: /ALLOWED_HOSTS/ })
      const { length } = proxy.passed
      await delay(3000)
      t.equal(proxy.passed.length, length, 'nothing is asked any more')
    })

    test('asks once per refusal, and ever more seldom while it is given the same token', async (t, stage) => {
      const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      const [expired, good] = [await sign(ALL, -10), await sign(ALL, 60)]
      let isGood = false
      let asked = 0
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'], token: () => { asked++; return isGood ? good : expired } })
      await seat.until('it was refused three times', () => seat.statuses.filter(status => 'retryMs' in status && typeof status.retryMs === 'number').length === 3)
      const waits = seat.statuses.flatMap(status => 'retryMs' in status && typeof status.retryMs === 'number' ? [status.retryMs] : [])
      t.ok(waits.every(ms => ms >= 1000), `it waited ${waits.join(', ')} ms`)
      const refusals = proxy.passed.filter(({ line }) => /^(GET \/api\/events|POST \/api\/ticket)/.test(line)).length
      t.equal(asked, 1 + refusals, 'each refusal is one question')
      t.match(seat.now, { state: 'connecting', code: 'UNAUTHENTICATED', reason: /expired/ })
      isGood = true
      await seat.untilConnected()
    })

    test('goes on where the keys cannot be fetched just now', async (t, stage) => {
      const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
      const proxy = await Proxy.start(t, server.port)
      proxy.answer(/^(GET \/api\/events|POST \/api\/ticket)/, '503 Service Unavailable', { 'Retry-After': '1' }, { statusCode: 503, code: 'KEYS_UNAVAILABLE', message: 'the keys cannot be fetched' })
      const seat = await Seat.open(driver, t, proxy.url, { rooms: ['a'], token: await sign(ALL, 60) })
      await seat.untilConnected()
      t.ok(seat.statuses.some(status => 'code' in status && status.code === 'KEYS_UNAVAILABLE'))
    })

    test('needs no ticket from a gateway that is open, whatever token it has', async (t, stage) => {
      const server = await stage.launch({ PORT: 0, APP_PROFILE: profile, DATA_DIR: stage.folder() })
      const seat = await Seat.open(driver, t, server.url, { rooms: ['a'], token: 'whatever' })
      await seat.untilConnected()
      t.same(seat.states, ['connecting', 'catching-up', 'connected'])
    })
  }
}

t.test('ControlAPI sends its token, and asks for another when that is refused', { buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ ...GUARDED, APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const tokens = [await sign(ALL, -10), await sign(ALL, 60)]
  const api = new ControlAPI(`${server.url}/api/control`, { token: () => tokens.shift() ?? null })
  test.match(await api.execute({ command: 'ping' }), { ok: true, result: { pong: true } })
  test.match(await new ControlAPI(`${server.url}/api/control`).execute({ command: 'ping' }), { code: 'UNAUTHENTICATED' })
})

t.test('a token goes over the WebSocket of a browser as a ticket: no address, no cookie that a page can read, no console has it', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ ...GUARDED, APP_PROFILE: 'WEBSOCKET', PORT: 0, DATA_DIR: stage.folder() })
  const context = await openContext(test, await openBrowser(t))
  const said: string[] = []
  const sockets: string[] = []
  context.on('request', asked => said.push(asked.url()))
  context.on('console', message => said.push(message.text()))
  context.on('page', page => page.on('websocket', socket => sockets.push(socket.url())))
  const token = await sign(ALL, 60)
  const tab = await openTab(context, server.url, { rooms: ['a'], token: () => token })
  await new Seat(tab).untilConnected()
  test.equal(sockets.length, 1)
  test.match(sockets[0], /\/api\/events\/ws\?ticket=[\w.-]+$/)
  test.notOk([...said, ...sockets, await tab.page.evaluate(() => document.cookie)].some(text => text.includes(token)))
  test.match(server.log().filter(({ msg }) => /ticket=\w/.test(msg)), [])
  test.equal((await request(`${server.url}/api/events/stream?ticket=${(sockets[0] as string).split('=')[1]}`)).status, 404)
})

t.test('a plain EventSource is let in by a ticket, and back by the cookie that the ticket was answered with; after the expiry it stops', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ ...GUARDED, APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const proxy = await Proxy.start(test, server.port)
  const page = await blankPage(await openContext(test, await openBrowser(t)), proxy.url)
  await page.evaluate(`(async token => {
    const response = await fetch('/api/ticket', { method: 'POST', headers: { Authorization: 'Bearer ' + token } })
    const { ticket } = await response.json()
    globalThis.heard = []
    globalThis.source = new EventSource('/api/events/stream?rooms=a&ticket=' + ticket)
    source.onmessage = ({ data }) => heard.push(...JSON.parse(data))
  })(${JSON.stringify(await sign({ subscribe: ['a'] }, 12))})`)
  const heard = async (): Promise<unknown[]> => await page.evaluate('heard.map(({ data }) => data)')
  await until('it is open', async () => await page.evaluate('source.readyState') === 1)
  await publish(server.url, { type: 'log', room: 'a', data: 1 })
  await until('it hears', async () => (await heard()).length === 1)
  proxy.cut()
  await publish(server.url, { type: 'log', room: 'a', data: 2 })
  await until('it hears what it missed', async () => (await heard()).length === 2)
  test.same(await heard(), [1, 2])
  test.equal(await page.evaluate('document.cookie'), '', 'no script can read the cookie')
  await until('it has stopped', async () => await page.evaluate('source.readyState') === 2)
})

async function emptySite (test: Test): Promise<string> {
  const site = createServer((_request, response) => { response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>another site</title>') })
  test.teardown(() => { site.closeAllConnections(); site.close() })
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve))
  return `http://localhost:${(site.address() as AddressInfo).port}`
}

const signIn = async (context: BrowserContext, token: string): Promise<void> =>
  await context.addCookies([{ name: 'signalbox_token', value: token, domain: 'localhost', path: '/', httpOnly: true, sameSite: 'Lax' }])

for (const profile of PROFILES) {
  t.test(`with credentials: include a page of another origin is known by its cookie over ${profile}, and may give commands`, { skip, buffered: true }, async test => {
    const stage = new Stage(test)
    const site = await emptySite(test)
    const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), CORS_ORIGINS: site })
    const url = `http://localhost:${server.port}`
    const context = await openContext(test, await openBrowser(t))
    await signIn(context, await sign(ALL, 60))
    const seat = new Seat(await openStrangeTab(context, site, url, { rooms: ['a'], credentials: 'include' }))
    await seat.untilConnected()
    test.match(await seat.remote.control('ping'), { result: { pong: true } })
    const [id] = await publish(url, { type: 'log', room: 'a', data: 1 })
    await seat.until('it hears', () => seat.facts.length === 1)
    test.same(idsOf(seat.facts), [id])

    if (profile === 'WEBSOCKET') return
    const without = new Seat(await openStrangeTab(context, site, url, { rooms: ['a'] }))
    await without.until('it is refused', () => without.now?.state === 'refused')
    test.match(without.now, { code: 'UNAUTHENTICATED', reason: /needs a token/ })
  })

  t.test(`tabs of one caller share a connection over ${profile}, whatever token each has; another caller has another`, { skip, buffered: true }, async test => {
    const stage = new Stage(test)
    const server = await stage.launch({ ...GUARDED, APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    const context = await openContext(test, await openBrowser(t))
    const open = async (token: string): Promise<Seat> => {
      const seat = new Seat(await openTab(context, server.url, { rooms: ['a'], share: true, token: () => token }))
      await seat.untilConnected()
      return seat
    }
    const sessions = async (): Promise<number> => Number(/^signalbox_sessions (\d+)$/m.exec((await request(`${server.url}/metrics`, { headers: { Authorization: `Bearer ${publisherToken}` } })).text)?.[1])
    const first = await open(await sign(ALL, 6))
    const second = await open(await sign(ALL, 600))
    test.equal(await sessions(), 1)
    await open(await sign(ALL, 600, 'berta'))
    test.equal(await sessions(), 2)

    // The first one leads with a token that expires, and is given no other.
    await first.until('its token has expired', () => first.stale()?.code === 'TOKEN_EXPIRED')
    const [id] = await publish(server.url, { type: 'log', room: 'a', data: 1 })
    await until('tabs are there', async () => await sessions() >= 1)
    // It may be connected again before its answer to the close is here.
    const before = Date.now()
    await (first.remote as Awaited<ReturnType<typeof openTab>>).page.close()
    await second.untilConnected(before)
    await second.until('the other hears', () => second.facts.length === 1)
    test.same(idsOf(second.facts), [id])
  })
}

t.test('a tab that leads and is refused for good lets another lead, which has a token of its own', { skip, buffered: true }, async test => {
  const stage = new Stage(test)
  const server = await stage.launch({ ...GUARDED, APP_PROFILE: 'SSE', PORT: 0, DATA_DIR: stage.folder() })
  const context = await openContext(test, await openBrowser(t))
  const open = async (token: string): Promise<Seat> => {
    const seat = new Seat(await openTab(context, server.url, { rooms: ['a'], share: true, token }))
    await seat.untilConnected()
    return seat
  }
  const leader = await open(await sign(ALL, 5))
  const others = [await open(await sign(ALL, 600)), await open(await sign(ALL, 601))]
  await publish(server.url, { type: 'log', room: 'a', data: 1 })
  for (const seat of others) await seat.until('it hears', () => seat.facts.length === 1)
  await leader.until('it is refused', () => leader.now?.state === 'refused')
  test.match(leader.now, { code: 'UNAUTHENTICATED', reason: /expired/ })
  await publish(server.url, { type: 'log', room: 'a', data: 2 })
  for (const seat of others) {
    await seat.until('it hears', () => seat.facts.length === 2)
    await seat.untilConnected()
    test.notOk(seat.states.includes('refused'))
    test.same(seat.facts.map(({ data }) => data), [1, 2])
  }
})
