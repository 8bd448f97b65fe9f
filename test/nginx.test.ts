// Behind a real nginx: deploy/nginx.conf as it is delivered, and nginx-canary.conf in place of its first part. Nothing is
// replaced in them but addresses, ports and paths of certificates. Browsers come over TLS and HTTP/2, publishers and the
// sockets of followers over a plain port of the same server block.

import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
import { chromium } from 'playwright-core'
import t from 'tap'
import { WebSocket } from 'ws'
import type { ProfileName } from '../profiles/index.ts'
import { finalTally, freePort, profileOf, request, sentence, Stage, until } from './process/harness.ts'
import type { Client, Env, Launched, Way, Wish } from './process/harness.ts'
import { certificatesFor } from './tools/certificates.ts'
import type { Test } from './tools/daemon.ts'
import { Nginx } from './tools/nginx.ts'
import { RedisServer, skipWithout } from './tools/redis.ts'
import { sseMessage, WireClient } from './wire/client.ts'
import type { Arrived } from './wire/client.ts'
import { splitBlocks } from './wire/codec.ts'
import { PROFILES } from './wire/harness.ts'
import { bearer, SECRET, token } from './auth/harness.ts'

// Also where no runner says so: everything here waits for processes.
t.setTimeout(600_000)
// Most of the time is spent waiting, for processes to start and clients to come back.
t.jobs = 3

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'
const skip = skipWithout('nginx', 'openssl')
const skipOnRedis = skipWithout('nginx', 'openssl', 'redis')
const skipInBrowser = skip !== false ? skip : existsSync(CHROMIUM) ? false : `chromium is missing at ${CHROMIUM}: the test with a browser is left out; CHROMIUM_BIN names another one.`
/** A second address to come from. */
const OTHER = '127.0.0.2'
const otherAddress = process.platform === 'linux'

/** What every gateway here is told: nginx is on this machine; who has to come back does so after a second. */
const BEHIND = { TRUST_PROXY: '127.0.0.1', RECONNECT_JITTER: 0, SHUTDOWN_TIMEOUT: 60 }

interface Front {
  readonly nginx: Nginx
  /** TLS and HTTP/2. */
  readonly tls: number
  /** The same without TLS. */
  readonly plain: number
  readonly redirect: number
  readonly url: string
  readonly ca: Buffer
  /** Ports of the processes, in the order of the file. */
  readonly gateways: readonly [number, number]
}

/** nginx with the delivered configuration, in front of two ports that nobody need listen on. @param options.gzip it compresses streams too, as other configurations do */
async function front (t: Test, { canary = false, gzip = false } = {}): Promise<Front> {
  const [tls, redirect, ...gateways] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const { ca, cert, key } = await certificatesFor(t)
  const nginx = await Nginx.start(t, {
    http: plain => {
      let text = delivered(canary)
      const replace = (found: string | RegExp, put: string | ((...groups: string[]) => string)): void => {
        const replaced = text.replaceAll(found, put as string)
        if (replaced === text) throw new Error(`deploy/nginx.conf has no ${found} any more`)
        text = replaced
      }
      replace(/^ *listen \[::\]:.*\n/gm, '')
      replace('listen 80;', `listen 127.0.0.1:${redirect};`)
      replace('listen 443 ssl http2;', `listen 127.0.0.1:${tls} ssl http2; listen 127.0.0.1:${plain};`)
      replace(/127\.0\.0\.1:300([01])\b/g, (_, which) => `127.0.0.1:${gateways[Number(which)]}`)
      replace('/etc/letsencrypt/live/events.example.com/fullchain.pem', cert)
      replace('/etc/letsencrypt/live/events.example.com/privkey.pem', key)
      if (gzip) replace('gzip off;', 'gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;')
      replace('/var/log/nginx/access.log', 'access.log')
      replace('/var/log/nginx/error.log', 'error.log')
      return text
    }
  })
  if (/\[(warn|error)\]/.test(nginx.log)) throw new Error(nginx.log)
  return { nginx, tls, plain: nginx.port, redirect, url: nginx.url, ca: readFileSync(ca), gateways }
}

function delivered (canary: boolean): string {
  const file = (name: string): string => readFileSync(new URL(`../deploy/${name}`, import.meta.url), 'utf8')
  const text = file('nginx.conf')
  const rest = text.indexOf('# ---- Part 2')
  if (rest === -1) throw new Error('deploy/nginx.conf has no part 2 any more')
  return canary ? file('nginx-canary.conf') + text.slice(rest) : text
}

interface Asked {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  /** The address it comes from. */
  readonly from?: string
}

/** A request over TLS and HTTP/2, on a connection of its own. */
async function ask (to: Front, path: string, { method = 'GET', headers = {}, body, from }: Asked = {}): Promise<{ status: number, headers: IncomingHttpHeaders, text: string, body: any }> {
  const session = open(to, from)
  try {
    const stream = session.request({ ':method': method, ':path': path, ...headers })
    const answered = new Promise<IncomingHttpHeaders>((resolve, reject) => { stream.once('response', resolve).once('error', reject); session.once('error', reject) })
    stream.end(body)
    const answer = await answered
    let text = ''
    for await (const piece of stream.setEncoding('utf8')) text += piece
    let json = null
    try { json = JSON.parse(text) } catch {}
    return { status: Number(answer[':status']), headers: answer, text, body: json }
  } finally {
    session.destroy()
  }
}

const open = ({ tls, ca }: Front, from?: string): ClientHttp2Session =>
  connect(`https://127.0.0.1:${tls}`, { ca, ...(from === undefined ? {} : { localAddress: from }) }).on('error', () => {})

const publishing = (event: object, more: Asked = {}): Asked =>
  ({ method: 'POST', ...more, headers: { 'content-type': 'application/json', ...more.headers }, body: JSON.stringify(event) })

/** A stream as a browser has it. */
class Stream implements Client {
  readonly messages: Arrived[] = []
  readonly headers: IncomingHttpHeaders
  readonly head: string
  /** What `retry:` said last. */
  retryMs = 3000
  closed = false
  readonly socket
  readonly protocol: string | undefined
  readonly #session: ClientHttp2Session

  private constructor (session: ClientHttp2Session, stream: ClientHttp2Stream, headers: IncomingHttpHeaders, rooms: readonly string[]) {
    this.#session = session
    this.headers = headers
    this.head = `HTTP/1.1 ${this.status} `
    this.protocol = session.alpnProtocol
    this.socket = stream as unknown as Client['socket']
    const read = splitBlocks(block => {
      const text = block.toString()
      this.retryMs = Number(/^retry: (\d+)$/m.exec(text)?.[1] ?? this.retryMs)
      const message = sseMessage(text, rooms)
      if (message !== null) this.messages.push(message)
    })
    const isCompressed = headers['content-encoding'] === 'gzip'
    const body = isCompressed ? stream.pipe(createGunzip()).on('error', () => {}) : stream
    body.on('data', (data: Buffer) => { if (this.accepted) read(data) })
    const close = (): void => { this.closed = true }
    stream.on('end', close).on('close', close)
    session.on('close', close)
  }

  static async open (to: Front, { rooms = [], types, cursor = null, from, headers: more }: Wish & Pick<Asked, 'from' | 'headers'> & { cursor?: string | null } = {}): Promise<Stream> {
    const session = open(to, from)
    const query = new URLSearchParams({ ...(rooms.length > 0 ? { rooms: rooms.join() } : {}), ...(types === undefined ? {} : { types: types.join() }) })
    const stream = session.request({ ':path': `/api/events/stream?${query}`, accept: 'text/event-stream', 'accept-encoding': 'gzip', ...(cursor === null ? {} : { 'last-event-id': cursor }), ...more })
    stream.on('error', () => {})
    try {
      const headers = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
        stream.once('response', resolve).once('close', () => reject(new Error('no answer')))
        session.once('error', reject)
      })
      return new Stream(session, stream, headers, rooms.length === 0 ? ['@public'] : rooms)
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  get status (): number {
    return Number(this.headers[':status'])
  }

  /** Whether an EventSource goes on with it, and after its end. */
  get accepted (): boolean {
    return this.status === 200 && /^text\/event-stream\b/.test(String(this.headers['content-type']))
  }

  get facts (): unknown[] {
    return this.messages.flatMap(message => message.kind === 'bundle' ? message.events : []).map(({ data }) => data)
  }

  get bye (): Record<string, unknown> | undefined {
    return this.messages.flatMap(message => message.kind === 'bye' ? [message.data] : [])[0]
  }

  async until (done: () => boolean, ms?: number): Promise<void> {
    await until(`a stream with ${this.messages.length} messages so far`, done, ms)
  }

  cut (): void {
    this.#session.destroy()
    this.closed = true
  }
}

/** As the page and client.js: asks for the profile, and goes there. */
const asClient = (to: Front): Way => ({
  profile: async () => await profileOf(to.plain),
  open: async (profile, wish) => profile === 'SSE' ? await Stream.open(to, wish) : await WireClient.open(profile, to.plain, wish)
})

/** As a plain EventSource: always the stream, again when `retry:` says so, and never again after anything but a stream. */
function asEventSource (to: Front): Way & { readonly refusals: string[] } {
  let last: Stream | null = null
  const refusals: string[] = []
  return {
    refusals,
    profile: async () => {
      if (last !== null) await delay(last.retryMs)
      return refusals.length === 0 ? 'SSE' : null
    },
    open: async (_, wish) => {
      const stream = await Stream.open(to, wish)
      if (!stream.accepted) refusals.push(String(stream.status))
      return (last = stream)
    }
  }
}

const isReady = async (port: number): Promise<boolean> => (await request(`http://127.0.0.1:${port}/readyz`).catch(() => null))?.status === 200

async function launch (stage: Stage, port: number, profile: ProfileName, env: Env): Promise<Launched> {
  const server = await stage.launch({ ...BEHIND, APP_PROFILE: profile, PORT: port, ...env })
  await until(`the gateway on port ${port} is ready`, async () => await isReady(port))
  return server
}

t.test('a stream through TLS and HTTP/2 arrives event by event, while one of the two processes is away; compressed, it passes as it is', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t, { gzip: true })
  await launch(stage, to.gateways[1], 'SSE', { DATA_DIR: stage.folder() })
  const stream = await Stream.open(to, { rooms: ['a'] })
  t.teardown(() => stream.cut())
  t.equal(stream.protocol, 'h2')
  t.equal(stream.status, 200)
  t.match(stream.headers, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache, no-transform', 'content-encoding': 'gzip' })
  await stream.until(() => stream.messages.some(({ kind }) => kind === 'ready'))
  const sizes = [1, 10, 100_000, 5, 1_000_000, 2]
  for (const [index, size] of sizes.entries()) {
    const { status, body } = await ask(to, '/api/events', publishing({ type: 'fact', room: 'a', data: 'x'.repeat(size) }))
    t.equal(status, 202)
    t.equal(body.ids.length, 1)
    // Nothing else is sent that could push it out of a buffer.
    await stream.until(() => stream.facts.length === index + 1)
  }
  t.same(stream.facts.map(data => String(data).length), sizes)

  // Where a client had joined much, its cursor is long; what is no cursor of ours is answered too.
  const returned = await Stream.open(to, { rooms: ['a'], cursor: 'x'.repeat(24_000) })
  t.teardown(() => returned.cut())
  await returned.until(() => returned.messages.some(({ kind }) => kind === 'reset'))
  t.equal(returned.status, 200)

  const page = await request(`http://127.0.0.1:${to.redirect}/some/path?and=more`, { redirect: 'manual', headers: { host: 'events.example.com' } })
  t.equal(page.status, 308)
  t.match(page.headers.get('location'), /^https:\/\/[^/]+\/some\/path\?and=more$/)
})

t.test('the public name is answered where ALLOWED_HOSTS lists it, as the head of the file says; the longest address passes too', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: stage.folder(), ALLOWED_HOSTS: 'events.example.com' })
  t.match(await ask(to, '/api/profile', { headers: { ':authority': 'events.example.com' } }), { status: 200, body: { profile: 'SSE' } })
  t.match(await ask(to, '/api/profile', { headers: { ':authority': 'other.example.com' } }), { status: 421, body: { code: 'HOST_NOT_ALLOWED', message: /"other.example.com".*ALLOWED_HOSTS/ } })

  const rooms = Array.from({ length: 100 }, (_, index) => `${index}`.padEnd(128, '/'))
  const long = await Stream.open(to, { rooms, headers: { ':path': `/api/events/stream?rooms=${rooms.map(encodeURIComponent).join()}&lastEventId=${'x'.repeat(24_000)}` } })
  t.teardown(() => long.cut())
  t.equal(long.status, 200)
  await long.until(() => long.messages.some(({ kind }) => kind === 'reset'))
})

t.test('a WebSocket through TLS hears, commands and is asked for its origin', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  await launch(stage, to.gateways[0], 'WEBSOCKET', { DATA_DIR: stage.folder() })
  const dial = (origin: string): WebSocket => {
    const socket = new WebSocket(`wss://127.0.0.1:${to.tls}/api/events/ws`, { ca: to.ca, origin })
    t.teardown(() => socket.terminate())
    return socket.on('error', () => {})
  }
  const socket = dial(`https://127.0.0.1:${to.tls}`)
  const messages: any[] = []
  socket.on('message', data => { messages.push(JSON.parse(data.toString())) })
  const said = async (event: string): Promise<any> => {
    await until(`the socket says ${event}`, () => messages.some(message => message.event === event))
    return messages.find(message => message.event === event)
  }
  await said('hello')
  socket.send(JSON.stringify({ action: 'join', room: 'a' }))
  await said('ready')
  t.equal((await ask(to, '/api/events', publishing({ type: 'fact', room: 'a', data: 'x'.repeat(100_000) }))).status, 202)
  t.equal((await said('events')).data[0].data.length, 100_000)
  socket.send(JSON.stringify({ action: 'control', command: 'ping' }))
  t.match((await said('result')).data, { ok: true, command: 'ping' })

  const status = await new Promise(resolve => { dial('https://elsewhere.example').on('unexpected-response', (_, { statusCode }) => resolve(statusCode)).on('open', () => resolve('open')) })
  t.equal(status, 403, 'the page of another site may not')
  t.match(await ask(to, '/api/events/ws'), { status: 426, body: { code: 'UPGRADE_REQUIRED' } })
})

t.test('tokens, tickets and cookies pass through nginx, and stand in no log, also where no process is there', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  const gateway = await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: stage.folder(), AUTH_JWT_SECRET: SECRET })
  const text = token({ subscribe: ['a'], publish: ['a'] })
  const origin = `https://127.0.0.1:${to.tls}`
  t.match(await ask(to, '/api/profile', { headers: { ':authority': 'any.example.com' } }), { status: 200, body: { auth: true } }, 'with tokens every name is answered')
  t.match(await ask(to, '/api/events', publishing({ type: 'n', room: 'a', data: 1 })), { status: 401, headers: { 'www-authenticate': 'Bearer' } })
  t.equal((await ask(to, '/api/events', publishing({ type: 'n', room: 'a', data: 1 }, { headers: bearer(text) as never }))).status, 202)
  t.equal((await ask(to, '/api/events', publishing({ type: 'n', room: 'a', data: 1 }, { headers: { cookie: `signalbox_token=${text}`, origin } }))).status, 202)
  t.equal((await ask(to, '/api/events', publishing({ type: 'n', room: 'a', data: 1 }, { headers: { cookie: `signalbox_token=${text}`, origin: 'https://elsewhere.example' } }))).status, 403)
  const { ticket } = (await ask(to, '/api/ticket', { method: 'POST', headers: bearer(text) as never })).body
  const path = `/api/events/stream?rooms=a&ticket=${ticket}`
  const stream = await Stream.open(to, { headers: { ':path': path } })
  t.equal(stream.status, 200)
  const [cookie = ''] = stream.headers['set-cookie'] ?? []
  t.match(cookie, /^signalbox_ticket=.*; Path=\/api\/events; HttpOnly; Secure; SameSite=None$/)
  stream.cut()
  const back = await Stream.open(to, { headers: { ':path': path, cookie: cookie.split(';')[0] as string } })
  t.equal(back.status, 200)
  back.cut()
  t.match((await ask(to, path)), { status: 401, body: { code: 'TICKET_USED' } })
  await until('nginx logs', () => to.nginx.accessLog.includes('"GET /api/events/stream HTTP/2.0" 401'))
  await gateway.stop()
  for (const way of ['stream', 'ws']) await ask(to, `/api/events/${way}?ticket=${ticket}`)
  await ask(to, `/api/events?ticket=${ticket}`)
  await until('nginx logs', () => /"GET \/api\/events HTTP\/2.0" 503 .* "127.0.0.1:\d+, 127.0.0.1:\d+" "502, 502"/.test(to.nginx.accessLog))
  const log = JSON.stringify(gateway.log())
  const errors = `${to.nginx.log}${readFileSync(join(to.nginx.folder, 'error.log'), 'utf8')}`
  await ask(to, '/api/rooms')
  await until('nginx logs errors elsewhere', () => to.nginx.log.includes('/api/rooms'))
  for (const secret of [ticket, text, SECRET, cookie.slice(-200, -150)]) {
    for (const written of [to.nginx.accessLog, errors, log]) t.notOk(written.includes(secret))
  }
})

t.test('a publisher gets the gateway\'s answers through nginx, and a key where it brings none', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: stage.folder() })
  const event = { type: 'fact', data: 1 }
  const keyed = { headers: { 'idempotency-key': 'mine' } }
  const { status, body: { ids } } = await ask(to, '/api/events', publishing(event, keyed))
  t.equal(status, 202)
  t.same((await ask(to, '/api/events', publishing(event, keyed))).body.ids, ids, 'its own key is passed on')
  const unkeyed = await Promise.all([1, 2].map(async () => (await ask(to, '/api/events', publishing(event))).body.ids[0]))
  t.equal(new Set([...unkeyed, ...ids]).size, 3, 'without one every publish is another')
  t.match(await ask(to, '/api/events', publishing({ type: 'fact' })), { status: 400, body: { code: 'BAD_EVENT' } })
  const large = (bytes: number): Asked => ({ ...publishing(event), body: JSON.stringify(event).padEnd(bytes) })
  t.match(await ask(to, '/api/events', large(2_097_152)), { status: 202 }, 'as large as the gateway takes')
  t.match(await ask(to, '/api/events', large(2_097_153)), { status: 413, body: { statusCode: 413, code: 'TOO_LARGE', error: 'Payload Too Large' } }, 'a byte more')
  t.match(await ask(to, '/metrics'), { status: 404, text: /port of each process/ })
})

t.test('a client cannot avoid limits by sending a false address', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  const LIMIT = 2
  await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: stage.folder(), CONTROL_RATE_LIMIT: LIMIT, MAX_CLIENTS_PER_IP: 1 })
  const forged = (n: number): Record<string, string> => ({ 'x-forwarded-for': `10.0.0.${n}`, 'x-real-ip': `10.0.0.${n}`, forwarded: `for=10.0.0.${n}` })
  const began = performance.now()
  const answers = await Promise.all(Array.from({ length: 40 }, async (_, n) =>
    await request(`${to.url}/api/control`, { json: { command: 'ping' }, headers: forged(n) })))
  // Every second that has begun meanwhile has a count of its own.
  const seconds = Math.floor((performance.now() - began) / 1000) + 2
  const allowed = answers.filter(({ status }) => status === 200).length
  t.ok(allowed >= LIMIT && allowed <= LIMIT * seconds, `${allowed} of ${answers.length} in at most ${seconds} windows of one second with ${LIMIT} each`)
  t.same([...new Set(answers.map(({ status }) => status))].sort(), [200, 429])

  const mine = await Stream.open(to)
  t.teardown(() => mine.cut())
  t.equal(mine.status, 200)
  const second = await Stream.open(to, { headers: forged(1) })
  t.teardown(() => second.cut())
  t.equal(second.status, 429, 'a second stream from the same address')
  if (!otherAddress) return t.comment('this system has one loopback address: nobody else asks')
  const other = await Stream.open(to, { from: OTHER })
  t.teardown(() => other.cut())
  t.equal(other.status, 200, 'who comes from elsewhere is counted for itself')
})

t.test('while no process answers, a stream gets a bye, and every other request a 503 in the shape of the gateway', { skip }, async t => {
  const to = await front(t)
  for (const [cursor, headers, readers] of [[null, {}, '*'], ['1763770000000-0', { origin: 'https://app.example' }, 'https://app.example']] as const) {
    const stream = await Stream.open(to, { cursor, headers })
    await stream.until(() => stream.closed)
    t.ok(stream.accepted, 'an EventSource comes back')
    t.ok(stream.retryMs >= 1000 && stream.retryMs <= 4000, `after ${stream.retryMs} ms`)
    t.same(stream.bye, { reason: 'DRAINING', retryMs: stream.retryMs })
    t.match(stream.headers, { 'cache-control': 'no-cache, no-transform', 'access-control-allow-origin': readers, 'access-control-allow-credentials': 'true' })
  }
  const away = { status: 503, headers: { 'retry-after': '2', 'content-type': 'application/json' }, body: { statusCode: 503, code: 'DRAINING', error: 'Service Unavailable', message: /try again/ } }
  for (const path of ['/', '/api/profile', '/readyz', '/api/events/ws']) t.match(await ask(to, path), away, path)
  for (const path of ['/api/events', '/api/control']) t.match(await ask(to, path, publishing({})), away, `POST ${path}`)
  t.match((await WireClient.open('WEBSOCKET', to.plain)).head, /^HTTP\/1.1 503 /)
})

t.test('in the midst of a rollback, streams and sockets find the process that has them', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  await Promise.all(PROFILES.map(async (profile, at) => await launch(stage, to.gateways[at] as number, profile, { DATA_DIR: stage.folder() })))
  for (let n = 0; n < 4; n++) {
    // Twice, so that whose turn it is changes.
    for (let twice = 0; twice < 2; twice++) {
      const stream = await Stream.open(to)
      t.equal(stream.status, 200)
      stream.cut()
    }
    const socket = await WireClient.open('WEBSOCKET', to.plain)
    t.match(socket.head, /^HTTP\/1.1 101 /)
    socket.cut()
  }
})

t.test('a request to a process that broke the connection is repeated at the other one if that is safe: with the same key', { skip }, async t => {
  const to = await front(t)
  // Stand-ins for the gateway: the first one breaks off when it has read a request, or says that it drains.
  let drains = false
  const heard: Array<{ at: number, method: string | undefined, key: string | undefined }> = []
  const connections = new Set<number | undefined>()
  await Promise.all(to.gateways.map(async (port, at) => {
    const server = createServer((request, response) => {
      heard.push({ at, method: request.method, key: request.headers['idempotency-key'] as string | undefined })
      if (at === 1) connections.add(request.socket.remotePort)
      request.resume().on('end', () => {
        if (at === 1) response.writeHead(202, { 'content-type': 'application/json' }).end('{"ids":[]}')
        else if (drains) response.writeHead(503, { 'content-type': 'application/json' }).end('{"code":"DRAINING"}')
        else request.socket.destroy()
      })
    })
    await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
    t.teardown(() => { server.closeAllConnections(); server.close() })
  }))
  /** Until the first one was asked first. */
  const asked = async (path: string, what: Asked): Promise<{ status: number, code: unknown, heard: typeof heard }> => {
    for (;;) {
      heard.splice(0)
      const { status, body } = await ask(to, path, what)
      if (heard[0]?.at === 0) return { status, code: body?.code, heard: [...heard] }
    }
  }
  for (drains of [false, true]) {
    const how = drains ? 'drains' : 'breaks off'
    const keyed = await asked('/api/events', publishing({}, { headers: { 'idempotency-key': 'mine' } }))
    t.match(keyed, { status: 202, heard: [{ at: 0, key: 'mine' }, { at: 1, key: 'mine' }] }, `a publish with a key, where the first process ${how}`)
    const unkeyed = await asked('/api/events', publishing({}))
    t.match(unkeyed, { status: 202, heard: [{ at: 0, key: /^nginx-\w{32}$/ }, { at: 1, key: unkeyed.heard[0]?.key }] }, 'without one it has got one')
    t.not((await asked('/api/events', publishing({}))).heard[0]?.key, unkeyed.heard[0]?.key, 'each its own')
    t.match(await asked('/api/profile', {}), { status: 202, heard: [{ at: 0, key: undefined }, { at: 1 }] }, 'what changes nothing')
    const command = await asked('/api/control', publishing({}))
    t.match(command, { status: 503, code: 'DRAINING' })
    t.same(command.heard, [{ at: 0, method: 'POST', key: undefined }], 'a command is sent once')
  }
  t.equal(connections.size, 1, 'a connection to a process is used again')
})

t.test('refusals of the gateway are passed on unchanged', { skip }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  const nowhere = `redis://127.0.0.1:${await freePort()}`
  await Promise.all(to.gateways.map(async port => await stage.launch({ ...BEHIND, APP_PROFILE: 'WEBSOCKET', PORT: port, REDIS_URL: nowhere })))
  t.match(await ask(to, '/api/events', publishing({ type: 'fact', data: 1 })), { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  t.match(await ask(to, '/readyz'), { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  t.match(await ask(to, '/api/events/stream'), { status: 404, body: { code: 'PROFILE_NOT_MOUNTED' } }, 'a first request')
  const returning = await Stream.open(to, { cursor: '1763770000000-0' })
  await returning.until(() => returning.closed)
  t.ok(returning.accepted)
  t.match(returning.bye, { reason: 'PROFILE_NOT_MOUNTED' })
})

t.test('while Redis is away the code is STORE_UNAVAILABLE, also where one of the processes is not there', { skip: skipOnRedis }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  await stage.launch({ ...BEHIND, PORT: to.gateways[0], REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  for (let n = 0; n < 6; n++) {
    t.match(await ask(to, '/api/events', publishing({ type: 'fact', data: 1 })), { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
    t.match(await ask(to, '/readyz'), { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  }
})

t.test('a plain EventSource in a browser survives a restart and misses nothing', { skip: skipInBrowser }, async t => {
  const stage = new Stage(t)
  const to = await front(t)
  const folder = stage.folder()
  const server = await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: folder })
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  t.teardown(async () => await browser.close())
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage()
  await page.goto(`https://127.0.0.1:${to.tls}/healthz`)
  await page.evaluate(() => {
    const seen = { facts: [] as unknown[], ready: 0, opened: 0, byes: [] as unknown[], closed: false }
    Object.assign(globalThis, { seen })
    const source = new EventSource('/api/events/stream?rooms=a')
    source.onmessage = ({ data }) => { for (const event of JSON.parse(data)) seen.facts.push(event.data) }
    source.onopen = () => { seen.opened++ }
    source.onerror = () => { seen.closed = source.readyState === EventSource.CLOSED }
    source.addEventListener('ready', () => { seen.ready++ })
    source.addEventListener('bye', ({ data }) => { seen.byes.push(JSON.parse(data).reason) })
  })
  const seen = async (): Promise<{ facts: number[], ready: number, opened: number, byes: string[], closed: boolean }> => await page.evaluate(() => (globalThis as any).seen)
  const publish = async (...numbers: number[]): Promise<void> => {
    for (const data of numbers) t.equal((await request(`${to.url}/api/events`, { json: { type: 'fact', room: 'a', data } })).status, 202)
  }
  await until('the page is ready', async () => (await seen()).ready === 1)
  await publish(1, 2, 3)
  await until('the page has the first facts', async () => (await seen()).facts.length === 3)
  t.equal(await server.stop(process.platform === 'win32' ? 'SIGKILL' : 'SIGTERM') ?? 0, 0)
  // The gateway's own goodbye, then nginx's, which is of the same kind.
  await until('the page was turned away by nginx', async () => (await seen()).byes.length >= 2)
  await launch(stage, to.gateways[0], 'SSE', { DATA_DIR: folder })
  await publish(4, 5, 6)
  await until('the page has all facts', async () => (await seen()).facts.length >= 6)
  const { facts, closed, ready, byes, opened } = await seen()
  t.comment(`the browser opened its stream ${opened} times; ${byes.length} byes`)
  t.same(facts, [1, 2, 3, 4, 5, 6])
  t.same(byes, byes.map(() => 'DRAINING'))
  t.equal(ready, 1, 'it went on from where it was: no snapshot again')
  t.notOk(closed)
  t.equal(await page.evaluate(() => (performance.getEntriesByType('navigation')[0] as PerformanceNavigationTiming).nextHopProtocol), 'h2')
})

/** Two publishers that bring an Idempotency-Key and one that does not. */
const publishers = (stage: Stage, to: Front): Array<ReturnType<Stage['publisher']>> => ['p', 'q', 'unkeyed'].map(name =>
  stage.publisher({ name, url: to.url, rooms: ['a', 'b', null, 'c', 'a', null], batch: 6, keyed: name !== 'unkeyed', patienceMs: 10_000 }).start())

const WISHES: readonly Wish[] = [{ rooms: ['a'] }, {}, { rooms: ['a', 'b', 'c'] }, { rooms: ['@public', 'b'] }, { rooms: ['b', 'c'], types: ['fact-0', 'fact-1', 'value-0'] }]

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  const skipSignal = process.platform === 'win32' && signal === 'SIGTERM' ? 'Windows has no SIGTERM' : false
  t.test(`a rollback to the other profile and back, one process after the other by ${signal}, refuses no publisher that tries once more and loses nothing`, { skip: skipOnRedis !== false ? skipOnRedis : skipSignal }, async t => {
    const stage = new Stage(t)
    const [to, redis] = await Promise.all([front(t), RedisServer.start(t)])
    const start = async (at: number, profile: ProfileName): Promise<Launched> => await launch(stage, to.gateways[at] as number, profile, { REDIS_URL: redis.url })
    const processes = await Promise.all([start(0, 'SSE'), start(1, 'SSE')])
    const source = asEventSource(to)
    const plain = await stage.follower(source, { rooms: ['a', 'b'] }).start()
    const followers = await Promise.all(WISHES.map(async wish => await stage.follower(asClient(to), wish).start()))
    const sources = publishers(stage, to)

    const codes: Array<number | null> = []
    const troubles: string[] = []
    for (const profile of ['WEBSOCKET', 'SSE'] as const) {
      for (const at of [0, 1]) {
        await delay(300 + Math.random() * 300)
        const process = processes[at] as Launched
        codes.push(await process.stop(signal))
        troubles.push(...process.log().filter(({ level }) => level >= 50).map(({ msg }) => msg))
        processes[at] = await start(at, profile)
      }
    }
    await delay(300)
    await Promise.all(sources.map(async publisher => await publisher.finish()))
    const everybody = [...followers, plain]

    // The EventSource comes when its `retry:` is over, and may meet the wrong process once more.
    const counts = await finalTally(sources, everybody, 120_000)
    const refusedTwice = sources.reduce((sum, publisher) => sum + publisher.refusedTwice, 0)
    t.comment(`${signal}: ${sentence(counts)}; ${refusedTwice} refused twice; the EventSource connected ${plain.connections} times`)
    t.same(counts.complaints, [], 'no page got anything it should not')
    t.ok(counts.acknowledged > 200, 'there was load')
    t.equal(refusedTwice, 0, 'no publisher was refused when it tried once more')
    t.equal(counts.lost, 0, 'every acknowledged fact reached everybody who hears it')
    t.equal(counts.twice, 0, 'none twice')
    t.equal(counts.disorder, 0, 'none out of order')
    t.equal(counts.torn, 0, 'what was never acknowledged reached all who hear it, or nobody')
    t.equal(counts.foreign, 0, 'none that nobody sent')
    t.equal(counts.stale, 0, 'of every key everybody has the newest value')
    t.equal(counts.resets, 0, 'nobody was told to begin anew')
    t.same(source.refusals, [], 'the EventSource was never answered with anything but a stream')
    t.ok(plain.connections >= 2, 'and came back')
    t.ok(followers.every(({ profiles }) => profiles.size === 2), 'all others came over both profiles')
    t.same(codes, codes.map(() => signal === 'SIGTERM' ? 0 : null), 'the processes ended as asked')
    t.same(troubles, [], 'the logs have no errors')
  })
}

t.test('a canary: each client stays on its side, both sides hear everything, and a side without its process goes over to the other', { skip: skipOnRedis !== false ? skipOnRedis : otherAddress ? false : 'this system has one loopback address' }, async t => {
  const stage = new Stage(t)
  const [to, redis] = await Promise.all([front(t, { canary: true }), RedisServer.start(t)])
  const [sse, websocket] = await Promise.all(PROFILES.map(async (profile, at) => await launch(stage, to.gateways[at] as number, profile, { REDIS_URL: redis.url }))) as [Launched, Launched]
  const side = async (from: string): Promise<ProfileName> => (await ask(to, '/api/profile', { from })).body.profile

  const addresses = Array.from({ length: 60 }, (_, n) => `127.0.0.${n + 1}`)
  const sides = new Map<string, ProfileName>()
  for (const from of addresses) sides.set(from, await side(from))
  const canaries = addresses.filter(from => sides.get(from) === 'WEBSOCKET')
  t.comment(`${canaries.length} of ${addresses.length} addresses are canaries`)
  t.ok(canaries.length > 0 && canaries.length < addresses.length / 3)
  const [canary, other] = [canaries[0] as string, addresses.find(from => sides.get(from) === 'SSE') as string]
  for (let n = 0; n < 5; n++) t.same([await side(canary), await side(other)], ['WEBSOCKET', 'SSE'], 'whoever asks again is told the same')

  // Streams and sockets of any address, whatever its side: a plain EventSource asks for no profile.
  const streams = await Promise.all([canary, other].map(async from => await Stream.open(to, { rooms: ['a'], from })))
  const sockets = await Promise.all([1, 2].map(async () => await WireClient.open('WEBSOCKET', to.plain, { rooms: ['a'] })))
  t.teardown(() => { for (const client of [...streams, ...sockets]) client.cut() })
  for (const client of [...streams, ...sockets]) await client.until(() => client.messages.some(({ kind }) => kind === 'ready'))
  const doors = [to.url, sse.url, websocket.url, to.url]
  for (const [data, url] of doors.entries()) t.equal((await request(`${url}/api/events`, { json: { type: 'fact', room: 'a', data } })).status, 202)
  const hears = doors.map((_, data) => data)
  for (const stream of streams) await stream.until(() => stream.facts.length >= doors.length)
  for (const socket of sockets) await socket.until(() => socket.events.length >= doors.length)
  t.same(streams.map(({ facts }) => facts), [hears, hears], 'over SSE')
  t.same(sockets.map(({ events }) => events.map(({ data }) => data)), [hears, hears], 'over WEBSOCKET')

  // A returning EventSource never meets the process that has no stream.
  const [{ messages }] = streams as [Stream]
  const cursor = messages.findLast(message => message.cursor !== null)?.cursor ?? null
  for (let n = 0; n < 5; n++) {
    const returned = await Stream.open(to, { rooms: ['a'], cursor })
    await returned.until(() => returned.messages.length > 0)
    t.match(returned.messages[0], { kind: 'joined', position: 'resumed' })
    returned.cut()
  }

  await websocket.kill9()
  t.same([await side(canary), await side(other)], ['SSE', 'SSE'], 'without its process, the canary is called off')
  for (let n = 0; n < 5; n++) t.equal((await ask(to, '/api/events', publishing({ type: 'fact', room: 'a', data: 'still' }))).status, 202)
  t.match(await ask(to, '/api/events/ws'), { status: 503, body: { code: 'DRAINING' } })
})
