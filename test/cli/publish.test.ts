// `signalbox publish`, `get`, `control` and `explain` against a real gateway.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test as Tap } from 'tap'
import { Proxy } from '../client/proxy.ts'
import { freePort, Stage } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'
import { Command, LAUNCHER, run, signalbox } from './command.ts'

// Most of the time is waiting.
t.jobs = 3

const SECRET = 'cGxlbnR5LW9mLXJhbmRvbS1ieXRlcy1mb3ItYS10ZXN0'

const launch = async (t: Tap, env: Env = {}): ReturnType<Stage['launch']> => {
  const stage = new Stage(t)
  return await stage.launch({ PORT: 0, DATA_DIR: stage.folder(), ...env })
}

const at = (url: string, more: Record<string, string> = {}): { env: Record<string, string> } => ({ env: { SIGNALBOX_URL: url, ...more } })

/** The facts of a room that the gateway's history holds, in order. */
async function factsOf (t: Tap, url: string, count: number, room = 'a'): Promise<any[]> {
  const tail = signalbox(t, ['tail', '--rooms', room, '--since', '0-0', '--json'], at(url))
  const lines = await tail.prints(count)
  await tail.interrupt()
  return lines.map(line => JSON.parse(line))
}

const ndjson = (count: number, from = 1, room = 'a'): string => Array.from({ length: count }, (_, n) => `{"type":"log","room":"${room}","data":${from + n}}\n`).join('')
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1)

for (const profile of PROFILES) {
  t.test(`one event, NDJSON from a file and from a pipe over ${profile}: each is published once, in order, and its id printed`, { buffered: true }, async t => {
    const { url } = await launch(t, { APP_PROFILE: profile })
    const one = await run(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1'], at(url))
    t.match(one, { code: 0, stderr: '', stdout: /^\d+-\d+\n$/ })
    const folder = t.testdir()
    writeFileSync(join(folder, 'events.ndjson'), `\ufeff${ndjson(1500, 2).replaceAll('\n', '\r\n')}\n\n`)
    const file = await run(t, ['publish', join(folder, 'events.ndjson'), '--url', url])
    t.match(file, { code: 0, stderr: 'published 1500 events\n' })
    const pipe = await run(t, ['publish'], { ...at(url), input: `${ndjson(1000, 1502)}{"type":"log","room":"a","data":"\u2028\ud83d\ude00"}` })
    t.match(pipe, { code: 0, stderr: 'published 1001 events\n' })
    const events = await factsOf(t, url, 2502)
    t.same(events.map(({ data }) => data), [...numbers(2501), '\u2028\ud83d\ude00'])
    t.equal(one.stdout + file.stdout + pipe.stdout, events.map(({ id }) => `${id}\n`).join(''), 'the ids, in the order of the lines')
  })

  t.test(`control over ${profile} prints the result, and passes the gateway's refusal on`, { buffered: true }, async t => {
    const { url } = await launch(t, { APP_PROFILE: profile, ...profile === 'WEBSOCKET' ? { ENABLE_CONTROL_HTTP: 'false' } : {} })
    const ping = await run(t, ['control', 'ping'], at(url))
    t.match(ping, { code: 0, stderr: '' })
    t.match(JSON.parse(ping.stdout), { pong: true })
    t.match(await run(t, ['control', 'pause', '{"room": "a"}'], at(url)), { code: 0 })
    t.match(await run(t, ['control', 'nonsense'], at(url)), { code: 1, stdout: '', stderr: /^error: there is no command "nonsense".*\(UNKNOWN_COMMAND\)\n$/ })
    t.match(await run(t, ['control', 'pause', '{"rom": "a"}'], at(url)), { code: 1, stdout: '', stderr: /BAD_COMMAND/ })
    t.match(await run(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1'], at(url)), { code: 1, stdout: '', stderr: /paused.*\(ROOM_PAUSED\)/ })
  })
}

for (const profile of PROFILES) {
  t.test(`explain over ${profile} tells what became of an event, and ends with 1 where it is not known`, { buffered: true }, async t => {
    const { url } = await launch(t, { APP_PROFILE: profile, HISTORY_SIZE: 2, ...profile === 'WEBSOCKET' ? { ENABLE_CONTROL_HTTP: 'false' } : {} })
    const publish = async (...args: string[]): Promise<string> => (await run(t, ['publish', '--room', 'a', ...args], at(url))).stdout.trim()
    const tail = signalbox(t, ['tail', '--rooms', 'a', '--json'], at(url))
    await tail.says(/^connected/m)
    const value = await publish('--type', 'cpu', '--key', 'h1', '--data', '1')
    await tail.prints(1)
    const fact = await publish('--type', 'log', '--data', '1', '--idempotency-key', 'order-7')
    await tail.prints(2)
    const told = await run(t, ['explain', value], at(url))
    t.match(told, { code: 0, stderr: '' })
    const [event, counts, session] = told.stdout.split('\n')
    t.match(event, new RegExp(`^${value}  a  cpu  "h1"  accepted 20\\d\\d-.*Z$`))
    // A socket of its own, over which the command goes, hears the public feed.
    t.match(counts, profile === 'SSE' ? /^1 delivered$/ : /^1 delivered(, 1 not heard)?$/)
    t.match(session, /^[\w-]{12} {2}delivered$/)
    const json = await run(t, ['explain', '--idempotency-key', 'order-7', '--json'], at(url))
    t.match(JSON.parse(json.stdout), { ids: [fact], event: { id: fact, room: 'a', type: 'log', key: null }, counts: { delivered: 1 }, processes: 1 })
    t.match(await run(t, ['explain', fact, '--session', 'nobody'], at(url)), { code: 0, stdout: /No session with this id is known/ })
    for (let n = 0; n < 3; n++) await publish('--type', 'log', '--data', '2')
    t.match(await run(t, ['explain', fact], at(url)), { code: 1, stdout: '', stderr: `error: event ${fact} is older than what history holds (HISTORY_SIZE, HISTORY_TTL, HISTORY_BYTES)\n` })
    t.match(await run(t, ['explain', '9999999999999-0', '--json'], at(url)), { code: 1, stdout: /"reason":"unknown"/, stderr: /^error: event 9999999999999-0 is not known/ })
    t.match(await run(t, ['explain', '--idempotency-key', 'order-8'], at(url)), { code: 1, stdout: '', stderr: /^error: no event is known that you published with the Idempotency-Key order-8/ })
  })

  t.test(`get over ${profile} prints the newest value of each key, over all pages, and no facts`, { buffered: true }, async t => {
    const { url } = await launch(t, { APP_PROFILE: profile, MAX_BUNDLE_BYTES: 20_000 })
    const value = (key: number, data: unknown, room: string | null = 'a'): string => JSON.stringify({ type: key % 2 === 0 ? 'even' : 'odd', room, key: `k${key}`, data, timestamp: 1_700_000_000_000 })
    const lines = [...Array.from({ length: 1000 }, (_, key) => value(key, { old: 'x'.repeat(100) })), ndjson(1).trim(), ...Array.from({ length: 999 }, (_, key) => value(key, key)), value(999, null), value(2, 'of the public feed', null), value(4, null, null)]
    t.match(await run(t, ['publish'], { ...at(url), input: lines.join('\n') }), { code: 0 })
    const all = await run(t, ['get', 'a', '--json'], at(url))
    t.match(all, { code: 0, stderr: '' })
    t.same(all.stdout.split('\n').slice(0, -1).map(line => JSON.parse(line)).map(({ key, data }) => [key, data]), Array.from({ length: 999 }, (_, key) => [`k${key}`, key]))
    const even = await run(t, ['get', 'a', '--types', 'even'], at(url))
    t.equal(even.stdout.split('\n').length, 501)
    t.equal(even.stdout.split('\n')[1], '2023-11-14T22:13:20.000Z  a  even  k2  2')
    const brief = ['publish', '--type', 'cpu', '--room', 'b', '--data', '1', '--ttl', '90m']
    t.match(await run(t, [...brief, '--key', 'h'], at(url)), { code: 0 })
    t.match(JSON.parse((await run(t, ['get', 'b', '--json'], at(url))).stdout), { key: 'h', ttl: 5400 })
    t.match(await run(t, brief, at(url)), { code: 1, stdout: '', stderr: /ttl.*\(BAD_EVENT\)/ }, 'a fact has none')
    t.match(await run(t, ['get', '@public'], at(url)), { code: 0, stdout: /^\S+ {2}@public {2}even {2}k2 {2}"of the public feed"\n$/, stderr: '' })
    t.match(await run(t, ['get', 'empty'], at(url)), { code: 0, stdout: '', stderr: 'no present values\n' })
    t.match(await run(t, ['get', 'no room'], at(url)), { code: 1, stdout: '', stderr: /\(BAD_SUBSCRIPTION\)\n$/ })
  })
}

t.test('lines are published as they come, without waiting for the end of the input', { buffered: true }, async t => {
  const { url } = await launch(t)
  const command = signalbox(t, ['publish', '-'], at(url))
  command.write('{"type":"log","room":"a",')
  command.write('"data":1}\n{"type":"log","room":"a","data":2}\n')
  await command.prints(2)
  command.write('{"type":"log","room":"a","data":3}')
  command.child.stdin?.end()
  t.match(await command.ended, { code: 0 })
  t.same((await factsOf(t, url, 3)).map(({ data }) => data), [1, 2, 3])
})

t.test('a line that is not JSON, or that the gateway refuses, is named; all before it is published, and nothing after it', { buffered: true }, async t => {
  const cases: ReadonlyArray<readonly [line: string | Buffer, code: number, says: RegExp]> = [
    ['{"type":"log","room":"a","data":}', 2, /line 702: it is not JSON: /],
    [Buffer.from('{"type":"log","room":"a","data":"\xff"}', 'latin1'), 2, /line 702: it is not UTF-8/],
    ['[{"type":"log"}', 2, /line 702: .*jq -c/],
    ['{"type":"log","room":"a","dta":1}', 1, /line 702: unknown field "dta"/],
    ['{"type":"log","room":"a","data":1,"data":2}', 1, /line 702: .*data/],
    ['{"type":"log","room":"@system","data":1}', 1, /line 702: rooms beginning with @/],
    [`{"type":"log","room":"a","data":"${'x'.repeat(30_000)}"}`, 1, /line 702: .*MAX_HTTP_BUFFER_SIZE/]
  ]
  const { url } = await launch(t, { MAX_HTTP_BUFFER_SIZE: 20_000 })
  for (const [index, [line, code, says]] of cases.entries()) {
    const room = `room-${index}`
    const command = signalbox(t, ['publish'], at(url))
    command.child.stdin?.end(Buffer.concat([Buffer.from(`${ndjson(700, 1, room)}\n`), Buffer.from(line), Buffer.from(`\n${ndjson(500, 701, room)}`)]))
    const ended = await command.ended
    t.match(ended, { code, stderr: says }, String(says))
    t.match(ended.stderr, /\nPublished: 700 events, all up to line 700\.\n$/)
    const ids = command.lines
    t.same((await factsOf(t, url, 700, room)).map(({ id, data }) => [id, data]), numbers(700).map(n => [ids[n - 1], n]))
  }
})

t.test('what was sent again after a lost answer is published once', { buffered: true }, async t => {
  const { url, port } = await launch(t)
  const proxy = await Proxy.start(t, port)
  proxy.cutAnswer(/^POST/, 2)
  t.match(await run(t, ['publish'], { ...at(proxy.url), input: ndjson(1200) }), { code: 0, stderr: /^http.*: it does not answer .*; trying for 30 s\npublished 1200 events\n$/ })
  proxy.answer(/^POST/, '503 Service Unavailable', { 'Retry-After': '1' }, { statusCode: 503, code: 'OVERLOADED', message: 'no place just now' })
  t.match(await run(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1201'], at(proxy.url)), { code: 0, stderr: /no place just now; trying/ })
  for (let n = 0; n < 2; n++) t.match(await run(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1202', '--idempotency-key', 'one'], at(url)), { code: 0 })
  t.same((await factsOf(t, url, 1202)).map(({ data }) => data), numbers(1202))
})

t.test('a gateway that is not there yet is tried, with one line on stderr', { buffered: true }, async t => {
  const stage = new Stage(t)
  const port = await freePort()
  const command = signalbox(t, ['publish', '--type', 'log', '--room', 'a', '--data', '1'], at(`http://127.0.0.1:${port}`))
  const waiting = signalbox(t, ['get', 'a'], at(`http://127.0.0.1:${port}`))
  await waiting.says(/ECONNREFUSED/)
  t.match(await waiting.interrupt(), { code: 130, stdout: '' })
  await command.says(/ECONNREFUSED/)
  await stage.launch({ PORT: port, DATA_DIR: stage.folder() })
  t.match(await command.ended, { code: 0, stdout: /^\d+-\d+\n$/, stderr: /^.*does not answer \(ECONNREFUSED\); trying for 30 s\n$/ })
})

t.test('a gateway that never answers ends every verb with 1 after 30 s, and publish says what it published', { buffered: true }, async t => {
  const url = `http://127.0.0.1:${await freePort()}`
  const { port, url: full } = await launch(t, { MAX_ROOM_SIZE: 1 })
  // Commands go over a socket here, and the one that there may be is taken.
  const { url: taken } = await launch(t, { APP_PROFILE: 'WEBSOCKET', ENABLE_CONTROL_HTTP: 'false', MAX_CLIENTS: 1 })
  await signalbox(t, ['tail'], at(taken)).says(/connected/)
  const waiting = run(t, ['control', 'ping'], at(taken))
  const member = signalbox(t, ['tail', '--rooms', 'b'], at(full))
  await member.says(/connected/)
  const refused = signalbox(t, ['tail', '--rooms', 'b'], at(full))
  const proxy = await Proxy.start(t, port)
  const publishing = signalbox(t, ['publish'], at(proxy.url))
  publishing.write(ndjson(3))
  await publishing.prints(3)
  await proxy.down()
  publishing.write(ndjson(2, 4))
  publishing.child.stdin?.end()
  const [tail, get, control, published] = await Promise.all([run(t, ['tail'], at(url)), run(t, ['get', 'a'], at(url)), run(t, ['control', 'ping'], at(url)), publishing.ended])
  for (const ended of [tail, get, control]) t.match(ended, { code: 1, stdout: '', stderr: /^.*; trying for 30 s\nerror: .*does not answer \(ECONNREFUSED\), for 30 s; is the gateway running there\?.*\n$/ })
  t.match(published, { code: 1, stderr: /for 30 s.*\nPublished: 3 events, all up to line 3(; whether those up to line 5 are, too, is unknown)?\.\n$/ })
  t.match(await refused.ended, { code: 1, stdout: '', stderr: /^[^\n]*room[^\n]*; trying again\n(.*\n)*error: .*room.*, for 30 s\n$/ }, 'nor does one that has no place for it')
  t.match(await waiting, { code: 1, stdout: '', stderr: /^[^\n]*MAX_CLIENTS[^\n]*; trying again\nerror: http.*MAX_CLIENTS.*, for 30 s\n$/ })
})

t.test('a reader that closes the pipe stops no publishing, and is no failure', { skip: process.platform === 'win32', buffered: true }, async t => {
  const { url } = await launch(t)
  const folder = t.testdir()
  writeFileSync(join(folder, 'events.ndjson'), ndjson(20_000))
  // eslint-disable-next-line no-template-curly-in-string
  const command = new Command(t, ['bash', '-c', '"$0" "$1" publish "$2" | head -1; echo ${PIPESTATUS[0]}', process.execPath, LAUNCHER, join(folder, 'events.ndjson')], { ...at(url), input: '' })
  t.match(await command.ended, { stdout: /^\d+-\d+\n0\n$/, stderr: 'published 20000 events\n' })
  t.match(JSON.parse((await run(t, ['control', 'stats'], at(url))).stdout), {})
})

t.test('Ctrl-C ends publish with 130, and it says what is published', { buffered: true }, async t => {
  const { url } = await launch(t)
  const command = signalbox(t, ['publish', '-'], at(url))
  command.write(ndjson(2))
  await command.prints(2)
  t.match(await command.interrupt(), { code: 130, stderr: 'error: interrupted\nPublished: 2 events, all up to line 2.\n' })
})

t.test('a gateway with tokens: what token signs opens it, for what it grants', { buffered: true }, async t => {
  const { url } = await launch(t, { AUTH_JWT_SECRET: SECRET })
  const tokenOf = async (...args: string[]): Promise<string> => (await run(t, ['token', ...args], { env: { AUTH_JWT_SECRET: SECRET } })).stdout.trim()
  const publish = ['publish', '--type', 'log', '--room', 'a', '--data', '1']
  t.match(await run(t, publish, at(url)), { code: 1, stdout: '', stderr: /UNAUTHENTICATED/ })
  for (const verb of [publish, ['tail'], ['get', 'a'], ['control', 'ping']]) t.match(await run(t, verb, at(url)), { code: 1, stdout: '', stderr: /\(UNAUTHENTICATED\) \(set SIGNALBOX_TOKEN, or --token\)$/m })
  const publisher = await tokenOf('--publish', 'a', '--ttl', '1m')
  t.match(await run(t, publish, at(url, { SIGNALBOX_TOKEN: publisher })), { code: 0 })
  t.match(await run(t, [...publish, '--token', publisher], at(url, { SIGNALBOX_TOKEN: 'another' })), { code: 0 }, '--token comes first')
  const refused = await run(t, ['publish', '-'], { ...at(url, { SIGNALBOX_TOKEN: publisher }), input: '{"type":"log","room":"a","data":1}\n{"type":"log","room":"b","data":1}\n' })
  t.match(refused, { code: 1, stderr: /^error: line 2: .*publish.*\nPublished: 1 event, all up to line 1\.\n$/ })
  t.match(await run(t, ['control', 'ping'], at(url, { SIGNALBOX_TOKEN: publisher })), { code: 1, stderr: /FORBIDDEN/ })
  t.match(await run(t, ['control', 'ping'], at(url, { SIGNALBOX_TOKEN: await tokenOf('--control', 'ping') })), { code: 0 })
  const who = await run(t, ['control', 'whoami'], at(url, { SIGNALBOX_TOKEN: await tokenOf('--sub', 'me', '--control', 'whoami') }))
  t.match(JSON.parse(who.stdout), { subject: 'me', expiresAt: Number, grants: { subscribe: [], publish: [], control: ['whoami'] } })
  for (const verb of [['tail', '--rooms', 'a'], ['get', 'a']]) t.match(await run(t, verb, at(url, { SIGNALBOX_TOKEN: publisher })), { code: 1, stdout: '', stderr: /FORBIDDEN/ })
  t.match(await run(t, ['get', 'a'], at(url, { SIGNALBOX_TOKEN: await tokenOf('--subscribe', 'a') })), { code: 0 })
  for (const verb of [publish, ['tail'], ['get', 'a'], ['control', 'ping']]) t.notMatch((await run(t, verb, at(url, { SIGNALBOX_TOKEN: 'do-not-show-me' }))).stderr, 'do-not-show-me')
})

t.test('what is no gateway is named: a web page, a redirect, a certificate that nobody vouches for', { buffered: true }, async t => {
  const { port } = await launch(t)
  const proxy = await Proxy.start(t, port)
  for (const [verb, line] of [[['tail'], /^GET/], [['publish', '--type', 'log', '--data', '1'], /^POST/], [['control', 'ping'], /^GET/], [['get', 'a'], /^GET/]] as const) {
    proxy.answer(line, '200 OK', { 'Content-Type': 'text/html' }, '<html>')
    t.match(await run(t, verb, at(proxy.url)), { code: 1, stdout: '', stderr: /is not answered by a Signalbox gateway/ })
    proxy.answer(line, '301 Moved', { Location: 'https://signalbox.example/api/profile' }, '')
    t.match(await run(t, verb, at(proxy.url)), { code: 1, stdout: '', stderr: /redirects to https:\/\/signalbox.example: set --url or SIGNALBOX_URL/ })
  }
})
