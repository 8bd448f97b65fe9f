// Connections as strangers use them: many requests at once, answers that are not read, bytes that are no HTTP.

import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { startServer } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

async function server (t: Test, options: Partial<ServerOptions> = {}): Promise<Server> {
  const started = await startServer({ profile: 'SSE', ...options })
  t.teardown(async () => await started.close())
  return started
}

/** A bare connection and the text it has received. */
function dial (t: Test, port: number, allowHalfOpen = false): { socket: Socket, text: () => string, until: (done: (text: string) => boolean, ms?: number) => Promise<void> } {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen })
  let text = ''
  socket.on('error', () => {})
  socket.on('data', data => { text += data.toString('latin1') })
  t.teardown(() => socket.destroy())
  return {
    socket,
    text: () => text,
    async until (done, ms = 60_000) {
      for (const end = Date.now() + ms; !done(text); await delay(5)) {
        if (Date.now() > end) throw new Error(`not within ${ms} ms: ${text.slice(-300)}`)
      }
    }
  }
}

const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`
const countOf = (text: string, what: RegExp): number => [...text.matchAll(what)].length

t.test('pipelined requests are answered in their order, one at a time, while others are served in between', async t => {
  let [running, most, runs] = [0, 0, 0]
  const s = await server(t, {
    commands: {
      slow: {
        handler: async () => {
          most = Math.max(most, ++running)
          await delay(1)
          running--
          return ++runs
        }
      }
    },
    limits: { controlRateLimit: 0 }
  })
  const body = '{"command":"slow"}'
  const { socket, until, text } = dial(t, s.port)
  const count = 500
  socket.write(`POST /api/control HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`.repeat(count))
  await until(() => runs > 10)
  const before = runs
  t.equal((await fetch(`${s.url}/healthz`)).status, 200)
  t.ok(runs < count && before > 0, 'another connection need not wait for all of them')
  await until(text => countOf(text, /HTTP\/1\.1 200/g) === count)
  t.equal(most, 1)
  t.same([...text().matchAll(/"result":(\d+)/g)].map(([, n]) => Number(n)), Array.from({ length: count }, (_, n) => n + 1))
})

t.test('a packet of 1,400 requests neither stalls the event loop nor holds its answers in memory', async t => {
  const s = await server(t)
  await s.publish(...Array.from({ length: 1000 }, (_, n) => ({ type: 'x', room: `room-with-a-name-${n}`, key: 'k', data: 1 })))
  let longest = 0
  // By what it works: it may also have to wait for the processor.
  let last = process.cpuUsage()
  const watch = setInterval(() => {
    const { user, system } = process.cpuUsage(last)
    longest = Math.max(longest, (user + system) / 1000)
    last = process.cpuUsage()
  }, 1)
  t.teardown(() => clearInterval(watch))
  const { socket, until } = dial(t, s.port)
  socket.write(get('/api/rooms').repeat(1400))
  await until(text => text.includes('HTTP/1.1 200'))
  // It reads no more.
  socket.pause()
  await delay(500)
  t.ok(longest < 500, `${Math.round(longest)} ms at most in one turn`)
  socket.destroy()
})

t.test('requests that wait are bounded over all connections: beyond that a connection ends, and the rest of its packet makes no requests', async t => {
  const s = await server(t)
  let afterwards = 0
  const cut = new Set<Socket>()
  s.app.server.prependListener('request', ({ socket }) => { if (socket.destroyed) afterwards++ })
  s.app.server.on('request', ({ socket }) => { if (socket.destroyed) cut.add(socket) })
  const dialled = Array.from({ length: 60 }, () => dial(t, s.port))
  await Promise.all(dialled.map(async ({ socket }) => await once(socket, 'connect')))
  for (const { socket } of dialled) {
    // Its answers are not read: nothing makes room.
    socket.pause()
    socket.write(get('/docs/static/swagger-ui-bundle.js').repeat(900))
  }
  while (cut.size === 0) await delay(20)
  await delay(500)
  t.equal(afterwards, 0)
  t.equal((await fetch(`${s.url}/healthz`)).status, 200)
  for (const { socket } of dialled) socket.destroy()
  const { socket, until } = dial(t, s.port)
  for (let n = 0; n < 100; n++) await delay(5)
  socket.write(get('/healthz').repeat(900))
  await until(text => countOf(text, /HTTP\/1\.1 200/g) === 900)
  t.pass('and there is room again')
})

t.test('files whose client goes away are closed, however many were asked for at once', { skip: process.platform !== 'linux' }, async t => {
  const s = await server(t)
  const files = (): string[] => readdirSync('/proc/self/fd').map(fd => { try { return readlinkSync(`/proc/self/fd/${fd}`) } catch { return '' } }).filter(path => /swagger|dist\/web/.test(path))
  for (let n = 0; n < 6; n++) {
    const { socket, until } = dial(t, s.port)
    socket.write(get('/docs/static/swagger-ui-bundle.js').repeat(100) + get('/dashboard.js').repeat(100))
    await until(text => text.length > 0)
    socket.resetAndDestroy()
  }
  for (let n = 0; n < 100 && files().length > 0; n++) await delay(20)
  t.same(files(), [])
  t.equal((await fetch(`${s.url}/docs/static/swagger-ui-bundle.js`)).status, 200)
})

t.test('a client that does not read its answer is ended after SLOW_CLIENT_TIMEOUT, whether it is made of one piece or of a file', async t => {
  const s = await server(t, { limits: { slowClientTimeoutMs: 300, controlRateLimit: 0 }, commands: { large: { handler: () => 'x'.repeat(20_000_000) } } })
  const body = '{"command":"large"}'
  for (const request of [`POST /api/control HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, get('/docs/static/swagger-ui-bundle.js').repeat(50)]) {
    const before = s.gateway.counters.slow
    const { socket } = dial(t, s.port)
    await once(socket, 'connect')
    socket.pause()
    socket.write(request)
    const began = Date.now()
    while (s.gateway.counters.slow === before && Date.now() - began < 60_000) await delay(10)
    t.equal(s.gateway.counters.slow, before + 1)
    socket.destroy()
  }
  const { socket, until } = dial(t, s.port)
  socket.write(get('/api/profile'))
  await until(text => text.includes('"profile"'))
  await delay(500)
  socket.write(get('/healthz'))
  await until(text => text.includes('"ok"'))
  t.pass('an idle connection, and one that reads, stay')
})

t.test('a command that takes longer than SLOW_CLIENT_TIMEOUT is answered', async t => {
  const s = await server(t, { limits: { slowClientTimeoutMs: 100 }, commands: { long: { handler: async () => { await delay(400); return 'late' } } } })
  const body = '{"command":"long"}'
  const { socket, until } = dial(t, s.port)
  socket.write(get('/healthz') + `POST /api/control HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  await until(text => text.includes('"late"'))
  t.equal(s.gateway.counters.slow, 0)
})

t.test('unread answers are bounded in sum: the oldest are ended first', async t => {
  const s = await server(t, { limits: { controlRateLimit: 0 }, commands: { large: { handler: () => 'x'.repeat(30_000_000) } } })
  const body = '{"command":"large"}'
  for (let n = 0; n < 6; n++) {
    const { socket } = dial(t, s.port)
    await once(socket, 'connect')
    socket.pause()
    socket.write(`POST /api/control HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    await delay(150)
  }
  while (s.gateway.troubles.bounds.unread < 2) await delay(20)
  await delay(500)
  t.equal(s.gateway.troubles.bounds.unread, 2, 'four of 30 MB stay')
  t.equal(s.gateway.counters.slow, 0, 'they had time left')
})
