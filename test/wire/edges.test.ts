// HTTP and sockets as other people's software speaks them: proxies, load balancers, libraries of other languages, pages that
// were not meant for this gateway.

import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ClientOptions } from 'ws'
import { WireClient } from './client.ts'
import { getRequest, maskedFrame, TEXT, upgradeHeaders } from './codec.ts'
import { PROFILES, startServer, windowsSince } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'SSE', ...options })
  t.teardown(async () => await started.close())
  return started
}

/** The answer to raw bytes, up to the end of the connection. */
async function raw (port: number, bytes: string, { end = false, pieces = [bytes] }: { end?: boolean, pieces?: Array<string | Buffer> } = {}): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  socket.on('error', () => {}).on('data', data => { text += data.toString() }).on('end', () => socket.destroy())
  for (const piece of pieces) socket.write(piece)
  if (end) socket.end()
  // An end to what it still sends is no failure.
  await Promise.race([new Promise(resolve => { socket.on('close', resolve) }), delay(3000)])
  socket.destroy()
  return text
}

interface Answer { readonly status: number, readonly headers: IncomingHttpHeaders, readonly text: string, readonly body: any }

/** A request with headers that fetch would not send. */
async function ask (port: number, path: string, { method = 'GET', headers = {}, body = '' }: { method?: string, headers?: Record<string, string>, body?: string | Buffer } = {}): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path, method, headers }, answer => {
      let text = ''
      answer.on('data', data => { text += String(data) })
      answer.on('end', () => {
        let body: unknown = null
        try { body = JSON.parse(text) } catch {}
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, body })
      })
      answer.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

const EVENT = '{"type":"cpu","data":1}'
const JSON_TYPE = { 'content-type': 'application/json' }

for (const profile of PROFILES) {
  t.test(`${profile}: HEAD is answered where GET is, OPTIONS with the methods, another method with 405, and a trailing slash changes nothing`, async t => {
    const s = await server(t, { profile })
    for (const path of ['/healthz', '/readyz', '/metrics', '/', '/client.js', '/docs', '/docs/json', '/api/profile', '/api/rooms', '/api/control']) {
      const [get, head] = [await ask(s.port, path), await ask(s.port, path, { method: 'HEAD' })]
      t.match([get.status, head.status, head.text], [200, 200, ''], `HEAD ${path}`)
      t.equal(head.headers['content-type'], get.headers['content-type'], path)
      t.match((await ask(s.port, path, { method: 'OPTIONS' })), { status: 204, headers: { allow: /GET, HEAD, .*OPTIONS/ } }, `OPTIONS ${path}`)
      t.match(await ask(s.port, path, { method: 'DELETE' }), { status: 405, headers: { allow: /GET, HEAD/ }, body: { statusCode: 405, code: 'METHOD_NOT_ALLOWED', message: /GET, HEAD/ } }, `DELETE ${path}`)
    }
    for (const path of ['/api/events/stream', '/api/events/ws']) {
      t.match(await ask(s.port, path, { method: 'HEAD' }), { status: 405, headers: { allow: 'GET, OPTIONS' } }, path)
      t.match(await ask(s.port, path, { method: 'OPTIONS' }), { status: 204, headers: { allow: 'GET, OPTIONS' } }, path)
    }
    t.match(await ask(s.port, '/api/events', { method: 'PUT' }), { status: 405, headers: { allow: 'GET, HEAD, OPTIONS, POST' } })
    t.match(await ask(s.port, '/api/events', { method: 'PROPFIND' }), { status: 405 })
    t.match(await ask(s.port, '/api/control/abc', { method: 'POST' }), { status: 405, headers: { allow: 'GET, HEAD, OPTIONS' } })
    for (const method of ['GET', 'POST', 'OPTIONS', 'HEAD']) t.equal((await ask(s.port, '/nowhere', { method })).status, 404, method)
    t.equal((await ask(s.port, '/api/profile/')).body.profile, profile)
    t.equal((await ask(s.port, '/docs/')).status, 200)
    t.equal((await ask(s.port, '/api/events/', { method: 'POST', headers: JSON_TYPE, body: EVENT })).status, 202)
    t.match(await raw(s.port, 'OPTIONS / HTTP/1.0\r\n\r\n'), /^HTTP\/1.1 204 /, 'the check of a load balancer')
    t.match(await raw(s.port, 'OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 204 .*Allow: GET, HEAD, OPTIONS, POST\r\n/si)
    for (const request of ['OPTIONS / HTTP/1.1', 'GET /healthz HTTP/1.1', 'GET /nowhere HTTP/1.1']) t.match(await raw(s.port, `${request}\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 400 .*"BAD_REQUEST".*Host/s, `${request} without Host`)
    t.match(await raw(s.port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 400 .*"BAD_REQUEST".*one header Host/s)
  })

  t.test(`${profile}: an offer to upgrade to anything else is ignored, with a body and without, and the connection goes on`, async t => {
    const s = await server(t, { profile })
    const offers = ['Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n', 'Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n', 'Connection: Upgrade\r\nUpgrade: websocket\r\n']
    for (const offer of offers) {
      const socket = connect(s.port, '127.0.0.1')
      t.teardown(() => socket.destroy())
      let text = ''
      socket.on('data', data => { text += data.toString() })
      const until = async (pattern: RegExp): Promise<void> => {
        for (const end = Date.now() + 3000; !pattern.test(text);) {
          if (Date.now() > end) throw new Error(`${offer}: ${text}`)
          await delay(5)
        }
        text = ''
      }
      socket.write(`POST /api/events HTTP/1.1\r\nHost: localhost\r\n${offer}Content-Type: application/json\r\nContent-Length: ${EVENT.length}\r\n\r\n${EVENT}`)
      await until(/^HTTP\/1.1 202 .*"ids"/s)
      socket.write(`GET /api/profile HTTP/1.1\r\nHost: localhost\r\n${offer}\r\n`)
      await until(/^HTTP\/1.1 200 .*"profile"/s)
      socket.write(`GET /nowhere HTTP/1.1\r\nHost: localhost\r\n${offer}\r\n`)
      await until(/^HTTP\/1.1 404 .*"NOT_FOUND"/s)
      socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
      await until(/^HTTP\/1.1 200 .*"ok"/s)
    }
    t.equal(s.gateway.counters.events, 3)
    t.match(await raw(s.port, 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n'), /^HTTP\/1.1 405 .*"METHOD_NOT_ALLOWED"/s)
  })
}

t.test('the path of the socket is found in absolute form and with a slash; a handshake that is none is refused in the shape of all errors', async t => {
  const s = await server(t, { profile: 'WEBSOCKET' })
  const handshake = async (target: string, headers: Record<string, string> = upgradeHeaders()): Promise<string> => {
    const socket = connect(s.port, '127.0.0.1')
    socket.write(getRequest(target, { Host: 'localhost', ...headers }))
    const [data] = await once(socket, 'data') as [Buffer]
    socket.destroy()
    return data.toString()
  }
  for (const target of ['/api/events/ws', '/api/events/ws/', `http://127.0.0.1:${s.port}/api/events/ws`, '/api/events/ws?x=1']) t.match(await handshake(target), /^HTTP\/1.1 101 /, target)
  t.match(await handshake('/api/events/ws', { ...upgradeHeaders(), 'Sec-WebSocket-Key': 'short' }), /^HTTP\/1.1 400 .*\r\nSec-WebSocket-Version: 13\r\n.*"code":"BAD_REQUEST".*Sec-WebSocket-Key/is)
  t.match(await handshake('/api/events/ws', { ...upgradeHeaders(), 'Sec-WebSocket-Version': '12' }), /^HTTP\/1.1 400 .*"statusCode":400/s)
  t.match(await handshake('/api/events/ws', { ...upgradeHeaders(), 'Sec-WebSocket-Protocol': 'token-abc, signalbox' }), /\r\nSec-WebSocket-Protocol: signalbox\r\n/)
  t.notMatch(await handshake('/api/events/ws', { ...upgradeHeaders(), 'Sec-WebSocket-Protocol': 'token-abc' }), /Sec-WebSocket-Protocol/)
})

t.test('a close code reaches a client that still sends, with a reason', async t => {
  const s = await server(t, { profile: 'WEBSOCKET', limits: { maxHttpBufferSize: 10_000, maxEventsPerSecondPerClient: 0 } })
  const closed = async (act: (socket: WebSocket) => void): Promise<[number, string]> => {
    const socket = new WebSocket(`ws://127.0.0.1:${s.port}/api/events/ws`)
    socket.on('error', () => {})
    await once(socket, 'open')
    act(socket)
    const [code, reason] = await once(socket, 'close') as [number, Buffer]
    return [code, reason.toString()]
  }
  for (let n = 0; n < 20; n++) t.match(await closed(socket => socket.send('x'.repeat(8_000_000))), [1009, /MAX_HTTP_BUFFER_SIZE/])
  t.match(await closed(socket => {
    for (let n = 0; n < 1100; n++) socket.send('x', { fin: false })
  }), [1008, /1024 fragments/])
  const client = await WireClient.open('WEBSOCKET', s.port, { join: false })
  client.socket.write(maskedFrame(TEXT, Buffer.from([0xff])))
  await client.until(() => client.closeCode !== null)
  t.equal(client.closeCode, 1007)
  client.cut()
})

t.test('bodies may be gzip, begin with a BOM, and be NDJSON under its other names; what they become is bounded', async t => {
  const s = await server(t, { limits: { maxHttpBufferSize: 100_000 } })
  const post = async (body: string | Buffer, headers: Record<string, string> = {}): Promise<Answer> => await ask(s.port, '/api/events', { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body })
  t.equal((await post(gzipSync(EVENT), { 'content-encoding': 'gzip' })).status, 202)
  t.equal((await post(gzipSync(EVENT), { 'content-encoding': 'x-gzip' })).status, 202)
  t.equal((await post(EVENT, { 'content-encoding': 'identity' })).status, 202)
  t.match(await post(gzipSync('x'.repeat(50_000_000)), { 'content-encoding': 'gzip' }), { status: 413, body: { code: 'TOO_LARGE', message: /decompressed/ } })
  t.match(await post(EVENT, { 'content-encoding': 'gzip' }), { status: 400, body: { code: 'BAD_REQUEST', message: /gzip/ } })
  t.match(await post(EVENT, { 'content-encoding': 'br' }), { status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE', message: /gzip/ } })
  t.equal((await post(`\ufeff${EVENT}`)).status, 202)
  for (const type of ['application/x-ndjson', 'application/ndjson', 'application/jsonl']) {
    t.equal((await post(`\ufeff${EVENT}\r\n\r\n${EVENT}`, { 'content-type': type })).body.ids.length, 2, type)
    t.match((await post(`${EVENT}\n\n\n{"type":NaN}`, { 'content-type': type })).body.message, /^line 4: not valid JSON at character 8: "NaN"/, 'the line as an editor counts it')
  }
  const key = { 'idempotency-key': 'zipped' }
  t.same((await post(EVENT, key)).body, (await post(gzipSync(EVENT), { ...key, 'content-encoding': 'gzip' })).body, 'a retry may be compressed')
  t.match(await raw(s.port, `POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n${EVENT.length.toString(16)}\r\n${EVENT}\r\n0\r\n\r\n`), /^HTTP\/1.1 501 .*"NOT_IMPLEMENTED"/s)
})

t.test('null for room, key and timestamp is absence; microseconds, rounded numbers, repeated names and deep data are refused', async t => {
  const s = await server(t)
  const post = async (body: string): Promise<Answer> => await ask(s.port, '/api/events', { method: 'POST', headers: JSON_TYPE, body })
  const client = await WireClient.open('SSE', s.port)
  await client.untilKind('ready')
  t.equal((await post('{"type":"x","room":null,"key":null,"timestamp":null,"data":"a\u2028b\u2029c\u0085d"}')).status, 202)
  await client.until(() => client.events.length === 1)
  t.match(client.events[0], { type: 'x', data: 'a\u2028b\u2029c\u0085d', room: undefined, key: undefined })
  t.notMatch(client.bytes.toString(), /[\u0085\u2028\u2029]/, 'no reader of lines is cut by them')
  client.cut()
  const deep = (levels: number): string => `{"type":"x","data":${'['.repeat(levels)}${']'.repeat(levels)}}`
  t.equal((await post(deep(499))).status, 202)
  for (const [body, words] of [
    [deep(500), /500 deep/],
    [deep(4000), /500 deep/],
    ['{"type":"x","data":9007199254740993.0}', /as a string/],
    ['{"type":"x","data":9007199254740993e0}', /as a string/],
    ['{"type":"x","data":12345678901234567.89}', /as a string/],
    ['{"type":"x","data":{"a":1,"\\u0061":2}}', /"a" stands twice/],
    ['{"type":"x","data":1,"data":2}', /"data" stands twice/],
    ['{"type":"x","data":None}', /character 19: "None"/],
    ['{"type":"x","data":1,"timestamp":1763770000000000}', /microseconds/]
  ] as Array<[string, RegExp]>) t.match(await post(body), { status: 400, body: { message: words } }, body.slice(0, 60))
  t.match(await ask(s.port, '/api/control', { method: 'POST', headers: JSON_TYPE, body: `{"command":"ping","args":${'['.repeat(4150)}${']'.repeat(4150)}}` }), { status: 400, body: { code: 'BAD_REQUEST' } })
  await t.rejects(s.box.publish([{ type: 'x', data: JSON.parse(`${'['.repeat(600)}${']'.repeat(600)}`) }]), { code: 'BAD_EVENT' }, 'nor through the program\'s own door')
})

t.test('a retry gets its first answer though its room was paused or is full by now', async t => {
  const s = await server(t)
  const post = async (body: object, key: string): Promise<Answer> => await ask(s.port, '/api/events', { method: 'POST', headers: { ...JSON_TYPE, 'idempotency-key': key }, body: JSON.stringify(body) })
  const event = { type: 'g', room: 'a', key: 'k', data: 1 }
  const first = await post(event, 'one')
  t.equal(first.status, 202)
  await ask(s.port, '/api/control', { method: 'POST', headers: JSON_TYPE, body: '{"command":"pause","args":{"room":"a"}}' })
  t.match(await post(event, 'two'), { status: 409, body: { code: 'ROOM_PAUSED' } })
  const again = await post(event, 'one')
  t.same([again.status, again.body], [202, first.body])
  t.match(await post({ ...event, data: 2 }, 'one'), { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
  t.equal(s.gateway.counters.events, 1)
  t.same((await post(event, 'two')).body.code, 'ROOM_PAUSED', 'a refusal is still not remembered')
})

t.test('PUBLISH_RATE_LIMIT counts the command publish, over both doors', async t => {
  const s = await server(t, { limits: { publishRateLimit: 2, controlRateLimit: 0 } })
  const answers = []
  const begun = Date.now()
  for (let n = 0; n < 9 || (answers.at(-1)?.status !== 429 && n < 500); n++) answers.push(await ask(s.port, '/api/control', { method: 'POST', headers: JSON_TYPE, body: `{"command":"publish","args":{"event":${EVENT}}}` }))
  t.ok(answers.filter(({ status }) => status !== 429).length <= 2 * windowsSince(begun), answers.map(({ status }) => status).join())
  t.match(answers.find(({ status }) => status === 429)?.body, { code: 'RATE_LIMITED', message: /PUBLISH_RATE_LIMIT/ })
})

t.test('while it is open, a gateway answers only to names it knows', async t => {
  const status = async (port: number, host: string | null, path = '/api/profile'): Promise<number> => Number((await raw(port, `GET ${path} HTTP/1.${host === null ? 0 : 1}\r\n${host === null ? '' : `Host: ${host}\r\n`}Connection: close\r\n\r\n`)).split(' ')[1])
  const s = await server(t, { corsOrigins: ['https://app.example.com:8443'], allowedHosts: ['gateway.lan', '*.example.org'] })
  for (const host of ['localhost', 'LOCALHOST:3000', 'a.localhost', '127.0.0.1', '127.1.2.3:80', '[::1]:3000', 'app.example.com', 'gateway.lan:9', 'Gateway.LAN.', 'a.b.example.org', null]) t.equal(await status(s.port, host), 200, String(host))
  for (const host of ['evil.com', 'evil.com:3000', 'localhost.evil.com', '127.0.0.1.evil.com', 'example.org', 'notexample.org', '10.0.0.1', 'localhost@evil.com', 'evil.com#localhost', '[::2]', '']) {
    for (const path of ['/api/profile', '/', '/nowhere', '/healthz', '/api/events/ws', '/api/events/stream']) t.equal(await status(s.port, host, path), 421, `${host} ${path}`)
  }
  t.match(await ask(s.port, '/', { headers: { host: 'evil.com', 'x-forwarded-host': 'localhost' } }), { status: 421, body: { code: 'HOST_NOT_ALLOWED', message: /ALLOWED_HOSTS/ } }, 'forwarded names do not count')
  t.match(await raw(s.port, 'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 400 .*"BAD_REQUEST".*Host/s)
  const open = await server(t, { allowAnonymous: true })
  t.equal(await status(open.port, 'any.thing'), 200)
  const socket = await server(t, { profile: 'WEBSOCKET' })
  const refused = connect(socket.port, '127.0.0.1')
  refused.write(getRequest('/api/events/ws', { Host: 'evil.com', ...upgradeHeaders() }))
  const [answer] = await once(refused, 'data') as [Buffer]
  t.match(answer.toString(), /^HTTP\/1.1 421 /)
  await once(refused, 'close')
  t.pass('the connection of a refused handshake ends')
})

t.test('the origin of a page is compared without default port and case, and with what a trusted proxy was asked for', async t => {
  const open = async (port: number, headers: Record<string, string>): Promise<number> => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/events/ws`, { headers } as ClientOptions)
    t.teardown(() => socket.terminate())
    return await new Promise<number>((resolve, reject) => {
      setTimeout(() => reject(new Error(JSON.stringify(headers))), 3000).unref()
      socket.on('open', () => resolve(101)).on('error', error => { t.comment(error.message) }).on('unexpected-response', (_request, answer) => resolve(answer.statusCode ?? 0))
    })
  }
  const s = await server(t, { profile: 'WEBSOCKET', allowAnonymous: true })
  for (const [host, origin] of [['name:443', 'https://name'], ['name:80', 'http://name'], ['NAME', 'http://name'], ['name:8080', 'http://name:8080']] as const) t.equal(await open(s.port, { host, origin }), 101, `${host} ${origin}`)
  for (const [host, origin] of [['name:443', 'http://name'], ['name', 'http://name:8080'], ['name', 'null'], ['name', 'http://user@name'], ['name', 'http://name.evil.com']] as const) t.equal(await open(s.port, { host, origin }), 403, `${host} ${origin}`)
  const forwarded = { host: 'upstream', 'x-forwarded-host': 'app.example.com' }
  t.equal(await open(s.port, { ...forwarded, origin: 'https://app.example.com' }), 403, 'not from just anybody')
  const trusting = await server(t, { profile: 'WEBSOCKET', allowAnonymous: true, trustProxy: ['127.0.0.1'] })
  t.equal(await open(trusting.port, { ...forwarded, origin: 'https://app.example.com' }), 101)
  t.equal(await open(trusting.port, { ...forwarded, 'x-forwarded-host': 'App.example.com:443, inner', origin: 'https://app.example.com' }), 101, 'several proxies in a row')
  t.equal(await open(trusting.port, { ...forwarded, 'x-forwarded-proto': 'wss', origin: 'https://app.example.com' }), 101)
  t.equal(await open(trusting.port, { ...forwarded, 'x-forwarded-proto': 'https', origin: 'http://app.example.com' }), 403)
  t.equal(await open(trusting.port, { ...forwarded, origin: 'https://evil.com' }), 403)
  t.match(trusting.gateway.troubles.recent, [{ code: 'FORBIDDEN', message: /evil\.com.*CORS_ORIGINS/ }])
})

t.test('a page of an origin that CORS_ORIGINS does not list is named in troubles and metrics; a listed one may send credentials', async t => {
  const s = await server(t, { corsOrigins: ['https://app.example.com'] })
  for (let n = 0; n < 3; n++) await ask(s.port, '/api/profile', { headers: { origin: 'https://other.example.com' } })
  await ask(s.port, '/api/rooms', { headers: { origin: 'null' } })
  for (let n = 0; n < 50; n++) await ask(s.port, '/api/profile', { headers: { origin: `https://${n}.example.net` } })
  await ask(s.port, '/api/profile', { headers: { origin: `http://127.0.0.1:${s.port}`, host: `127.0.0.1:${s.port}` } })
  const metrics = (await ask(s.port, '/metrics')).text
  t.match(metrics, /^signalbox_foreign_origin_requests_total\{.*origin="https:\/\/other\.example\.com".*\} 3$/m)
  t.match(metrics, /origin="others"/, 'the names are bounded')
  t.ok(metrics.split('\n').filter(line => line.startsWith('signalbox_foreign_origin_requests_total')).length <= 21)
  t.notMatch(metrics, /origin="http:\/\/127/, 'the own origin is not foreign')
  const t2 = await server(t)
  await ask(t2.port, '/api/profile', { headers: { origin: 'https://page.example.com' } })
  await ask(t2.port, '/api/profile', { headers: { origin: 'null' } })
  t.match(t2.gateway.troubles.recent, [{ code: 'ORIGIN_NOT_LISTED', message: /file/ }, { code: 'ORIGIN_NOT_LISTED', message: /page\.example\.com.*CORS_ORIGINS/ }])
  const preflight = await ask(s.port, '/api/events', { method: 'OPTIONS', headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } })
  t.match(preflight, { status: 204, headers: { 'access-control-allow-origin': 'https://app.example.com', 'access-control-allow-credentials': 'true', 'access-control-max-age': '600', allow: /POST/ } })
  const client = connect(s.port, '127.0.0.1')
  client.write(getRequest('/api/events/stream', { Host: 'localhost', Origin: 'https://app.example.com' }))
  const [head] = await once(client, 'data') as [Buffer]
  t.match(head.toString(), /access-control-allow-credentials: true/i, 'on the stream too')
  client.destroy()
})

t.test('an address forwarded with its port is the same caller on every connection', async t => {
  const s = await server(t, { trustProxy: ['127.0.0.1', '10.0.0.0/8'], limits: { controlRateLimit: 2 } })
  for (const addresses of [(n: number) => `203.0.113.9:${50_000 + n}`, (n: number) => `[2001:db8:1:2::${n}]:${50_000 + n}`, (n: number) => `2001:db8:1:3::${n}`, (n: number) => `203.0.113.10:${n}, 10.0.0.1:${n}`]) {
    const statuses = []
    const begun = Date.now()
    for (let n = 1; n < 10; n++) statuses.push((await ask(s.port, '/api/control', { method: 'POST', headers: { ...JSON_TYPE, 'x-forwarded-for': addresses(n) }, body: '{"command":"ping"}' })).status)
    t.ok(statuses.filter(status => status !== 429).length <= 2 * windowsSince(begun), `${addresses(1)}: ${statuses.join()}`)
  }
})

t.test('a client that still sends reads why it was refused; one that closes its side reads its answer; garbage waits for the answer before it', async t => {
  const s = await server(t, { limits: { maxHttpBufferSize: 10_000 }, commands: { long: { handler: async () => { await delay(100); return 'late' } } } })
  const head = (path: string, length: number): string => `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`
  const large = Array.from({ length: 300 }, () => Buffer.alloc(100_000, 'x'))
  for (let n = 0; n < 5; n++) t.match(await raw(s.port, '', { pieces: [head('/api/events', 30_000_000), ...large] }), /^HTTP\/1.1 413 .*"TOO_LARGE"/s)
  t.match(await raw(s.port, '', { pieces: [`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(200_000)}`, ...large.slice(0, 20)] }), /^HTTP\/1.1 431 .*"statusCode":431,"code":"TOO_LARGE"/s)
  const command = '{"command":"long"}'
  t.match(await raw(s.port, head('/api/control', command.length) + command, { end: true }), /^HTTP\/1.1 200 .*"late"/s)
  t.match(await raw(s.port, `${head('/api/control', command.length)}${command}garbage\r\n\r\n`), /^HTTP\/1.1 200 .*"late".*HTTP\/1.1 400 .*"BAD_REQUEST"/s)
  const first = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'
  t.match(await raw(s.port, `${head('/api/events', 100)}{`, { end: true }), /^HTTP\/1.1 400 .*"BAD_REQUEST"/s, 'a body that ends too early')
  t.match(await raw(s.port, `${first}${head('/api/events', 100)}{`, { end: true }), /^HTTP\/1.1 200 .*HTTP\/1.1 400 .*"BAD_REQUEST"/s)
  for (const before of ['', first]) t.match(await raw(s.port, `${before}POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno chunk`), /HTTP\/1.1 400 .*"BAD_REQUEST"/s)
  t.match(await raw(s.port, 'GET / HTTP/1.1\r\nHost: localhost\r\nExpect: magic\r\n\r\n'), /^HTTP\/1.1 417 .*"EXPECTATION_FAILED"/s)
})

t.test('the largest subscription that is allowed fits into the address, encoded and with a long cursor', async t => {
  const s = await server(t)
  const rooms = Array.from({ length: 100 }, (_, n) => `${'/'.repeat(124)}${String(n).padStart(4, '0')}`)
  const types = Array.from({ length: 31 }, (_, n) => `${':'.repeat(124)}${String(n).padStart(3, '0')}`)
  const query = new URLSearchParams({ rooms: rooms.join(), types: types.join() })
  const socket = connect(s.port, '127.0.0.1')
  socket.write(getRequest(`/api/events/stream?${query}`, { Host: 'localhost', 'Last-Event-ID': 'x'.repeat(24_000) }))
  const [data] = await once(socket, 'data') as [Buffer]
  t.match(data.toString(), /^HTTP\/1.1 200 /)
  socket.destroy()
})

t.test('/docs may not be framed by other sites', async t => {
  const s = await server(t)
  for (const path of ['/docs', '/', '/docs/static/index.css']) t.match((await ask(s.port, path)).headers['content-security-policy'], /frame-ancestors 'self'/, path)
})
