// Programs written without us at the gateway's doors: publishers that offer HTTP/2 on the way, probes, and proxies that put their
// own name in place of the page's.

import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ProfileName } from '../../profiles/index.ts'
import { freePort, until } from '../process/harness.ts'
import { startApache } from '../tools/apache.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'
import type { ToolName } from '../tools/find.ts'
import { HAProxy } from '../tools/haproxy.ts'
import { Nginx } from '../tools/nginx.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server, ServerOptions } from '../wire/harness.ts'

t.setTimeout(600_000)

async function serve (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer(options)
  t.teardown(async () => await server.close())
  return server
}

/** @returns what it prints. @throws Error if it fails */
async function run (name: Exclude<ToolName, 'redis'>, ...args: string[]): Promise<string> {
  const tool = need(name)
  return (await promisify(execFile)(tool.bin, args, { env: childEnv(tool), timeout: 60_000 })).stdout
}

/** A viewer of the room that they publish to. @returns waits until it has as many facts */
async function viewerOf (t: Test, profile: ProfileName, { port }: Server): Promise<(facts: number) => Promise<void>> {
  const viewer = await WireClient.open(profile, port, { rooms: ['a'] })
  t.teardown(() => viewer.cut())
  await viewer.untilKind('ready')
  return async facts => await viewer.until(() => viewer.events.length >= facts)
}

/** Offers of another protocol: an upgrade that the server may ignore (RFC 9110, 7.8). */
const OFFERS: Record<string, string> = {
  'the JDK': 'Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n',
  'Apache HttpClient': 'Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n',
  'a list of protocols': 'Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n'
}

for (const profile of PROFILES) {
  for (const [name, offer] of Object.entries(OFFERS)) {
    t.test(`over ${profile}, a publisher that offers an upgrade as ${name} does is answered as if it had not, and keeps its connection`, async t => {
      const server = await serve(t, { profile })
      const socket = connect(server.port, '127.0.0.1')
      t.teardown(() => socket.destroy())
      let text = ''
      socket.setEncoding('latin1').on('data', data => { text += data }).on('error', () => {})
      const answers = (): RegExpMatchArray[] => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)]
      const ask = async (line: string, headers: string, body: string, count: number): Promise<void> => {
        socket.write(`${line} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}${body === '' ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`}\r\n${body}`)
        await until('it is answered', () => answers().length >= count || socket.closed)
      }
      await ask('POST /api/events', offer, '{"type":"fact","room":"a","data":1}', 1)
      await ask('POST /api/events', '', '{"type":"fact","room":"a","data":2}', 2)
      await ask('GET /api/profile', offer, '', 3)
      await ask('POST /api/events', offer, '{"type":"fact"', 4)
      t.same(answers().map(([, status]) => status), ['202', '202', '200', '400'])
    })
  }

  t.test(`over ${profile}, the JDK's HttpClient publishes as it comes`, { skip: skipWithout('java') }, async t => {
    const server = await serve(t, { profile })
    const heard = await viewerOf(t, profile, server)
    t.same((await run('java', fileURLToPath(new URL('programs/Publisher.java', import.meta.url)), server.url)).trim().split(/\s+/), ['202', '202', '202', '200'])
    await heard(3)
  })

  t.test(`over ${profile}, curl --http2 publishes and reads`, { skip: skipWithout('curl') }, async t => {
    const server = await serve(t, { profile })
    const heard = await viewerOf(t, profile, server)
    const curl = async (path: string, ...more: string[]): Promise<string> => await run('curl', '--silent', '--max-time', '10', '--http2', '--output', '-', '--write-out', ' %{http_code}', ...more, server.url + path)
    t.match(await curl('/api/events', '--json', '{"type":"fact","room":"a","data":1}'), /^\{"ids":\["[^"]+"\]\} 202$/)
    t.match(await curl('/api/profile'), new RegExp(`"${profile}".* 200$`))
    await heard(1)
  })

  t.test(`over ${profile}, a probe by HEAD finds what GET does`, { skip: skipWithout('wget') }, async t => {
    const { url } = await serve(t, { profile })
    for (const path of ['/', '/healthz', '/readyz', '/metrics', '/docs', '/client.js', '/api/profile', '/api/rooms']) {
      await t.resolves(run('wget', '--quiet', '--tries=1', '--timeout=10', '--spider', url + path), path)
    }
    await t.rejects(run('wget', '--quiet', '--tries=1', '--timeout=10', '--spider', `${url}/nothing`))
  })

  t.test(`over ${profile}, HAProxy finds the gateway up however it is told to ask`, { skip: skipWithout('haproxy') }, async t => {
    const { port } = await serve(t, { profile })
    const CHECKS: Record<string, string> = {
      default: 'option httpchk',
      head: 'option httpchk HEAD /readyz',
      get: 'option httpchk GET /healthz',
      options: 'option httpchk\n  http-check send meth OPTIONS uri /api/events ver HTTP/1.1 hdr Host localhost'
    }
    const backends = Object.entries(CHECKS).map(([name, check]) => `backend ${name}\n  ${check}\n  server gateway 127.0.0.1:${port} check inter 200ms fall 1 rise 1`).join('\n')
    const haproxy = await HAProxy.start(t, backends)
    await until('all are checked', async () => Object.values(await haproxy.checks()).filter(({ check_status: status }) => status !== 'INI').length === Object.keys(CHECKS).length)
    for (const [name, { check_status: status, check_code: code }] of Object.entries(await haproxy.checks())) t.same([status], ['L7OK'], `${name}: answered ${code}`)
  })
}

/** A page's WebSocket, whose origin is that of its address. @returns the status, and the refusal's message */
async function handshake (url: string): Promise<{ status: number, message: string }> {
  return await new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/events/ws`, { origin: url })
    socket.on('open', () => {
      resolve({ status: 101, message: '' })
      socket.terminate()
    }).on('unexpected-response', (_request, response) => {
      let text = ''
      response.setEncoding('utf8').on('data', data => { text += data }).on('end', () => {
        let message = text
        try { message = JSON.parse(text).message } catch {}
        resolve({ status: response.statusCode ?? 0, message })
      })
    }).on('error', reject)
  })
}

/** By name, what forwards to a gateway's port, with the host that is its default: the gateway's own address. */
const PROXIES: Record<string, { readonly tool: ToolName, readonly start: (t: Test, port: number, header?: string) => Promise<string> }> = {
  nginx: {
    tool: 'nginx',
    start: async (t, to, header = '') => (await Nginx.start(t, {
      http: port => `server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://127.0.0.1:${to};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection upgrade;
          ${header}
        }
      }`
    })).url
  },
  Apache: {
    tool: 'apache',
    start: async (t, to) => await startApache(t, `
      RewriteEngine on
      RewriteCond %{HTTP:Upgrade} websocket [NC]
      RewriteRule ^/(.*) ws://127.0.0.1:${to}/$1 [P]
      ProxyPass / http://127.0.0.1:${to}/`)
  }
}

for (const [name, { tool, start }] of Object.entries(PROXIES)) {
  // Apache names the page's host by itself.
  const named = name === 'nginx' ? ' told to name it' : ''
  const header = 'proxy_set_header X-Forwarded-Host $http_host;'

  t.test(`behind ${name}${named}, a page's own WebSocket is accepted if the proxy is trusted`, { skip: skipWithout(tool) }, async t => {
    const { port } = await serve(t, { profile: 'WEBSOCKET', trustProxy: ['127.0.0.1'] })
    t.same(await handshake(await start(t, port, header)), { status: 101, message: '' })
  })

  t.test(`behind ${name} that is not trusted, the refusal of a page's own WebSocket says what to set`, { skip: skipWithout(tool) }, async t => {
    const { port } = await serve(t, { profile: 'WEBSOCKET' })
    t.match(await handshake(await start(t, port, header)), { status: 403, message: /CORS_ORIGINS/ })
  })
}

t.test("behind nginx's defaults, a page's own WebSocket is accepted if its origin is listed", { skip: skipWithout('nginx') }, async t => {
  const port = await freePort()
  const url = await PROXIES.nginx?.start(t, port) as string
  await serve(t, { profile: 'WEBSOCKET', port, corsOrigins: [url] })
  t.same(await handshake(url), { status: 101, message: '' })
})
