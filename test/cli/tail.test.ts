// `signalbox tail` against a real gateway: what it prints, and that it goes on over restarts and rollbacks.

import { createServer } from 'node:https'
import { request as forward } from 'node:http'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { freePort, request, residentMiB, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { certificatesFor } from '../tools/certificates.ts'
import { skipWithout } from '../tools/find.ts'
import { PROFILES } from '../wire/harness.ts'
import { Command, LAUNCHER, signalbox } from './command.ts'

// Most of the time is waiting.
t.jobs = 3

const at = (url: string, more: Record<string, string> = {}): { env: Record<string, string> } => ({ env: { SIGNALBOX_URL: url, ...more } })
const dataOf = (lines: readonly string[]): unknown[] => lines.map(line => JSON.parse(line).data)
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1)

async function publish (url: string, ...events: object[]): Promise<void> {
  const answer = await request(`${url}/api/events`, { json: events })
  if (answer.status !== 202) throw new Error(answer.text)
}

const fact = (data: unknown): object => ({ type: 'log', room: 'a', data })

for (const profile of PROFILES) {
  t.test(`tail over ${profile} prints present values, then what follows, as lines for people or as JSON`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const { url } = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    await publish(url, { type: 'cpu', room: 'a', key: 'h1', data: { percent: 1 }, timestamp: 1_700_000_000_000 }, { type: 'cpu', room: 'b', key: 'h1', data: 2 }, fact('before'))
    const people = signalbox(t, ['tail', '--rooms', 'a,b', '--types', 'cpu'], at(url))
    const programs = signalbox(t, ['tail', '--rooms', 'a', '--json'], at(url))
    await people.prints(2)
    await programs.prints(1)
    await publish(url, { type: 'cpu', room: 'a', key: 'h1', data: null }, fact('\u009b31m'), { type: 'cpu', room: 'a', key: 'a key', data: [1] })
    await people.prints(4)
    await programs.prints(4)
    t.match(people.lines[0], /^2023-11-14T22:13:20\.000Z {2}a {2}cpu {2}h1 {2}{"percent":1}$/)
    t.match(people.lines[1], /Z {2}b {2}cpu {2}h1 {2}2$/)
    t.same(people.lines.slice(2).map(line => line.replace(/^\S+/, '')).sort(), ['  a  cpu  "a key"  [1]', '  a  cpu  h1  deleted'])
    t.notMatch(people.stdout, '\u001b')
    t.match(JSON.parse(programs.lines[0] as string), { type: 'cpu', room: 'a', key: 'h1', data: { percent: 1 }, timestamp: 1_700_000_000_000, id: /^\d+-\d+$/ })
    t.same(programs.lines.slice(1).map(line => JSON.parse(line).data).sort(), [null, '\u009b31m', [1]].sort())
    t.notMatch(programs.stdout, '\u009b', 'nothing that commands a terminal')
    t.match(people.stderr, new RegExp(`^connected to ${url} over ${profile}\n$`))
    const ended = await programs.interrupt()
    t.equal(ended.code, 130)
    const cursor = /^to go on from here: --since (\S+)$/m.exec(ended.stderr)?.[1] as string
    await publish(url, fact('later'))
    const later = signalbox(t, ['tail', '--rooms', 'a', '--json', '--since', cursor], at(url))
    t.same(dataOf(await later.prints(1)), ['later'], 'it goes on from there')
    t.match(await later.interrupt(), { code: 130 })
  })

  t.test(`tail over ${profile} says what the gateway refuses, and ends with 1`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const { url } = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    t.match(await signalbox(t, ['tail', '--rooms', '@nope'], at(url)).ended, { code: 1, stdout: '', stderr: /^error: .*\(BAD_SUBSCRIPTION\)\n$/ })
  })
}

t.test('tail goes on over kill -9, restarts and rollbacks, and prints each event once', { buffered: true }, async t => {
  const stage = new Stage(t)
  const port = await freePort()
  const settings: Env = { PORT: port, DATA_DIR: stage.folder() }
  let server: Launched = await stage.launch({ ...settings, APP_PROFILE: 'SSE' })
  const { url } = server
  await publish(url, { type: 'cpu', room: 'a', key: 'h', data: 0 })
  const tail = signalbox(t, ['tail', '--rooms', 'a', '--json'], at(url))
  await tail.prints(1)
  const publisher = stage.publisher({ name: 'p', url, rooms: ['a'], pauseMs: 20 }).start()
  for (const profile of ['SSE', 'WEBSOCKET', 'SSE'] as const) {
    await until('it follows', () => tail.stderr.trimEnd().split('\n').at(-1)?.includes('connected to') === true)
    await (profile === 'SSE' ? server.kill9() : server.stop())
    server = await stage.launch({ ...settings, APP_PROFILE: profile })
  }
  await until('it follows again', () => (tail.stderr.match(/connected to/g) ?? []).length === 4)
  // A busy machine needs longer for so many.
  await until('there was load', () => publisher.acknowledged.size > 50)
  await publisher.finish()
  const facts = (): any[] => tail.lines.slice(1).map(line => JSON.parse(line)).filter(({ key }) => key === undefined)
  await until('all are there', () => facts().length >= publisher.acknowledged.size)
  await delay(300)
  t.ok(publisher.acknowledged.size > 50, `${publisher.acknowledged.size} facts`)
  t.same(facts().map(({ id }) => id), [...publisher.acknowledged.values()].map(({ id }) => id), 'each once, in order')
  const newest = new Map(tail.lines.map(line => JSON.parse(line)).filter(({ key }) => key !== undefined).map(({ type, key, id }) => [`a ${type} ${key}`, id]))
  for (const [name, { id }] of publisher.newest) t.equal(newest.get(name), id, name)
  t.match(tail.stderr, /\nagain connected to \S+ over WEBSOCKET\n[^]*\nagain connected to \S+ over SSE\n$/)
  t.notMatch(tail.stderr, /reset/)
  t.ok(tail.stderr.split('\n').length < 12, tail.stderr)
})

t.test('a reader that closes the pipe ends tail with 0', { skip: process.platform === 'win32', buffered: true }, async t => {
  const stage = new Stage(t)
  const { url } = await stage.launch({ PORT: 0, DATA_DIR: stage.folder() })
  await publish(url, ...numbers(100).map(data => ({ type: 'cpu', room: 'a', key: String(data), data })))
  // eslint-disable-next-line no-template-curly-in-string
  const command = new Command(t, ['bash', '-c', '"$0" "$1" tail --rooms a --json | head -1; echo ${PIPESTATUS[0]}', process.execPath, LAUNCHER], { ...at(url), input: '' })
  let over = false
  command.ended.then(() => { over = true }, () => {})
  // It notices when it writes.
  await until('it ends', async () => {
    if (!over) await publish(url, fact('more'))
    await delay(100)
    return over
  })
  t.match(await command.ended, { stdout: /^{"id":.*"data":1,.*}\n0\n$/ })
})

t.test('a slow reader of tail costs no memory, and in the end has everything once', { buffered: true }, async t => {
  const stage = new Stage(t)
  const { url } = await stage.launch({ PORT: 0, DATA_DIR: stage.folder(), MAX_EVENTS_PER_SECOND_PER_CLIENT: 0, MAX_QUEUE_PER_CLIENT: 1000 })
  const tail = signalbox(t, ['tail', '--rooms', 'a', '--json'], at(url))
  await tail.says(/connected/)
  tail.child.stdout?.pause()
  const before = residentMiB(tail.child.pid as number) ?? 0
  const padding = 'x'.repeat(20_000)
  for (const n of numbers(60)) await publish(url, ...numbers(50).map(k => fact({ n: (n - 1) * 50 + k, padding })))
  await delay(1000)
  const grown = (residentMiB(tail.child.pid as number) ?? 0) - before
  t.ok(grown < 60, `${grown.toFixed(0)} MiB more for 60 MB of events`)
  tail.child.stdout?.resume()
  await tail.prints(3000)
  await delay(300)
  t.same(dataOf(tail.lines).map((data: any) => data.n), numbers(3000))
})

t.test('it reaches a gateway by https behind a proxy that has it under a path', { skip: skipWithout('openssl'), buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ PORT: 0, DATA_DIR: stage.folder() })
  const files = await certificatesFor(t)
  const proxy = createServer({ key: readFileSync(files.key), cert: readFileSync(files.cert) }, (incoming, outgoing) => {
    if (incoming.url?.startsWith('/live/') !== true) return outgoing.writeHead(404).end()
    const { method, headers } = incoming
    incoming.pipe(forward(`${server.url}${incoming.url.slice(5)}`, { method: method as string, headers: { ...headers, host: `127.0.0.1:${server.port}` } }, answer => {
      answer.pipe(outgoing.writeHead(answer.statusCode as number, answer.headers))
    }))
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  const url = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}/live/`
  const trust = { NODE_EXTRA_CA_CERTS: files.ca }
  const begun = Date.now()
  t.match(await signalbox(t, ['tail'], at(url)).ended, { code: 1, stdout: '', stderr: /^error: https:\S+: its certificate is not trusted \([A-Z_]+\): NODE_EXTRA_CA_CERTS names .*\n$/ }, 'nobody vouches for it')
  t.ok(Date.now() - begun < 15_000, 'and waiting would not help')
  const tail = signalbox(t, ['tail', '--rooms', 'a', '--json'], at(url, trust))
  await tail.says(/connected to https:\/\/127.0.0.1:\d+\/live over SSE/)
  t.match(await signalbox(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1'], at(url, trust)).ended, { code: 0 })
  t.match(await signalbox(t, ['control', 'ping'], at(url, trust)).ended, { code: 0 })
  t.same(dataOf(await tail.prints(1)), [1])
})
