// `npm run validate`: its judgement, its page, and what it does to a server that runs somewhere. How fast that is says nothing here.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Measurement } from '../../bench/measure.ts'
import { judge } from '../../bench/validate/judge.ts'
import { page } from '../../bench/validate/page.ts'
import { NAMES, workload } from '../../bench/validate/workloads.ts'
import { request, Stage, until } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'

// The figures do not matter here, and tests that run at the same time have deadlines: those of Redis want a reconnect within two seconds.
setPriority(constants.priority.PRIORITY_BELOW_NORMAL)

const VALIDATE = fileURLToPath(new URL('../../bench/validate/index.ts', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const summary = { count: 1000, mean: 50, p50: 50, p95: 100, p99: 110, max: 120 }
const measured = (changes: Partial<Measurement> = {}): Measurement => ({
  profile: 'SSE',
  workload: 'dashboard',
  coalesced: true,
  viewers: 100,
  seconds: 20,
  offered: 1000,
  published: 1000,
  events: 50_000,
  messages: 1000,
  bytes: 1e6,
  latency: summary,
  delivered: summary,
  curve: [[1, 0], [50, 0.5], [120, 1]],
  bucketedP95Ms: 100,
  late: summary,
  serverCpu: 0.4,
  lagP99Ms: 3,
  backlogSeconds: 0.1,
  inside: { meanMs: 48, p95Ms: 97, boundsMs: [100, 150], events: 50_000, bundles: 20_000, bytes: 2e7, savedMessages: 0.98, savedCpu: 0.6, savedBytes: { bundling: 0.5, patches: 0, compression: 0.3 } },
  loadCpu: 0.5,
  others: 0,
  stolen: 0,
  crowd: null,
  wrongs: { lost: 0, twice: 0, disorder: 0, stale: 0 },
  troubles: [],
  ...changes,
  ...changes.late === undefined ? { late: { ...summary, p95: 1 } } : {}
})
const plain = (changes: Partial<Measurement> = {}): Measurement => measured({ coalesced: false, serverCpu: 0.9, messages: 100_000, ...changes })
const judged = (...measurements: Measurement[]): ReturnType<typeof judge> => judge(measurements, name => name !== 'sparse')

t.test('it is met where every target is', async t => {
  const { code, sentence, misses, caveats } = judged(measured(), plain())
  t.same({ code, misses, caveats }, { code: 0, misses: [], caveats: [] })
  t.match(sentence, /^MET/)
})

t.test('a target that is missed is named, with the measurement that missed it, and fails the run', async t => {
  const cases: Array<[Partial<Measurement>, RegExp]> = [
    [{ latency: { ...summary, p95: 150 } }, /^MISSED.* dashboard, SSE: p95 150 ms, not below 150/],
    [{ lagP99Ms: 31 }, /lag p99 31.0 ms/],
    [{ backlogSeconds: 61 }, /backlog 61 s/],
    [{ serverCpu: 0.7 }, /CPU 22 % less than at once, not 30 %/],
    [{ wrongs: { lost: 2, twice: 0, disorder: 0, stale: 0 } }, /2 lost/],
    [{ wrongs: { lost: 0, twice: 3, disorder: 0, stale: 0 } }, /3 came twice/],
    [{ wrongs: { lost: 0, twice: 0, disorder: 0, stale: 1 } }, /1 last values wrong/],
    [{ troubles: ['reset: {}'] }, /reset/],
    [{ latency: null, delivered: null }, /nothing arrived/]
  ]
  for (const [changes, told] of cases) {
    const { code, sentence, misses } = judged(measured(changes), plain())
    t.same([code, misses.length], [1, 1], sentence)
    t.match(sentence, told)
  }
})

t.test('unbundled delivery has to deliver everything, but nothing else of it is a target', async t => {
  t.equal(judged(measured(), plain({ latency: { ...summary, p95: 900 }, lagP99Ms: 90 })).code, 0)
  t.equal(judged(measured(), plain({ wrongs: { lost: 1, twice: 0, disorder: 0, stale: 0 } })).code, 1)
})

t.test('each profile is compared with unbundled delivery over its own transport, by the event published', async t => {
  const socket = { profile: 'WEBSOCKET' } as const
  t.match(judged(measured(), plain(), measured({ ...socket, serverCpu: 0.5 }), plain({ ...socket, serverCpu: 0.6 })), { code: 1, misses: [{ of: 'dashboard, WEBSOCKET' }] })
  // It used no more, and took half of the work.
  t.equal(judged(measured({ serverCpu: 0.5 }), plain({ serverCpu: 0.5, published: 500 })).code, 0)
})

t.test('the sparse workload does not fail for CPU that bundling cannot save, but for its latency it does', async t => {
  const sparse = { workload: 'sparse' }
  t.equal(judged(measured({ ...sparse, serverCpu: 0.05 }), plain({ ...sparse, serverCpu: 0.04 })).code, 0)
  t.equal(judged(measured({ ...sparse, latency: { ...summary, p95: 200 } }), plain(sparse)).code, 1)
})

t.test('on a machine that was not quiet a missed figure is not to be said, what was lost is', async t => {
  const { code, sentence, caveats } = judged(measured({ others: 0.4, lagP99Ms: 50 }), plain())
  t.equal(code, 2)
  t.match(sentence, /^NOT MEASURED.*lag p99 50/)
  t.match(caveats, [/others used 40 %/])
  t.equal(judged(measured({ others: 0.4, wrongs: { lost: 1, twice: 0, disorder: 0, stale: 0 } }), plain()).code, 1)
  t.match(judged(measured({ others: 0.4 }), plain()), { code: 0, caveats: [/others/] })
})

t.test('what a deployed server missed is not to be said either, where this machine was busy', async t => {
  const deployed = { others: null, stolen: 0, latency: { ...summary, p95: 400 } }
  t.match(judged(measured({ ...deployed, crowd: 0.5 })), { code: 1 })
  t.match(judged(measured({ ...deployed, crowd: 0.97 })), { code: 2, sentence: /^NOT MEASURED: the machine was not quiet/, caveats: [/busy to 97 %/] })
})

t.test('a short window does not tell a share of CPU near the target, and a long one does', async t => {
  const [short, long] = [{ seconds: 1.2 }, { seconds: 20 }]
  t.match(judged(measured({ ...short, serverCpu: 0.7 }), plain(short)), { code: 2, sentence: /^NOT MEASURED: a window of 1.2 s is too short to tell.*CPU 22 % less.*without --quick/ })
  t.match(judged(measured({ ...short, serverCpu: 0.85 }), plain(short)), { code: 1, sentence: /^MISSED.*CPU 6 % less/ })
  t.match(judged(measured({ ...long, serverCpu: 0.7 }), plain(long)), { code: 1 })
})

t.test('what could not be seen is not taken for met', async t => {
  t.match(judged(measured({ serverCpu: null, lagP99Ms: null, backlogSeconds: null, inside: null })), { code: 2, caveats: [/are not available/] })
  t.equal(judged().code, 2)
})

t.test('the page is well-formed, asks nobody for anything, and takes no text for markup', async t => {
  const measurements = NAMES.flatMap(name => PROFILES.flatMap(profile => [measured({ profile, workload: name }), plain({ profile, workload: name, late: { ...summary, p95: 300 } })]))
  const command = 'npm run validate -- --out "</pre><script>alert(1)</script>&"'
  const text = page({
    at: new Date(0),
    command,
    url: null,
    quick: true,
    viewers: 100,
    warmUpMs: 400,
    windowMs: 1200,
    pinned: false,
    seconds: 60,
    workloads: NAMES.map(name => workload(name, 1)),
    measurements,
    verdict: judge(measurements, () => true)
  })
  const open: string[] = []
  const elements = text.replace(/^<!doctype html>/, '').replace(/<style>[^<]*<\/style>/, '')
  for (const [, close, name = '', empty] of elements.matchAll(/<(\/?)([a-z0-9]+)(?:\s+[a-zA-Z0-9-]+="[^"<]*")*\s*(\/?)>/g)) {
    if (close === '/') t.equal(open.pop(), name)
    else if (empty !== '/') open.push(name)
  }
  t.same(open, [])
  t.equal(elements.match(/</g)?.length, elements.match(/<\/?[a-z0-9]+(?:\s+[a-zA-Z0-9-]+="[^"<]*")*\s*\/?>/g)?.length, 'each < begins an element')
  t.notMatch(text, /<(?:script|link|img|iframe|object)|\bsrc=|url\(|@import|https?:/i)
  t.same([...text.matchAll(/href="([^"]*)"/g)].map(([, target]) => target), ['#definitions'])
  t.notMatch(text, /NaN|undefined|\[object|Infinity/)
  for (const name of NAMES) t.ok(text.includes(`aria-label="Latency, ${name}"`), name)
  t.match(text, /p95 300 ms, not in its latency/)
  t.match(text, /<h2>Bytes saved<\/h2>.*<td>50<\/td><td>0<\/td><td>30<\/td>/s)
})

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function run (args: readonly string[]): { readonly interrupt: () => void, readonly ended: Promise<Ran> } {
  const child = spawn(process.execPath, ['--import', 'tsx', VALIDATE, ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', text => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', text => { stderr += text })
  return { interrupt: () => child.kill('SIGINT'), ended: new Promise(resolve => child.once('close', code => resolve({ code, stdout, stderr }))) }
}

const short = (url: string, ...args: readonly string[]): string[] => ['--url', url, '--viewers', '3', '--load', '0.05', '--window', '0.4', ...args]
const keysAt = async (url: string): Promise<number> => {
  const { rooms } = await (await fetch(`${url}/api/rooms`)).json() as { rooms: Array<{ room: string, keys: number }> }
  // What the gateway says of itself is not the bench's.
  return rooms.filter(({ room }) => room !== '@system').reduce((sum, { keys }) => sum + keys, 0)
}

for (const profile of PROFILES) {
  t.test(`a deployed server is measured from outside over ${profile}, and nothing stays in it`, { buffered: true }, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: ':memory:' })
    const folder = stage.folder()
    const { code, stdout, stderr } = await run(short(server.url, '--only', 'mix,sparse', '--out', folder)).ended
    // Not 0 where this machine is busy.
    t.match(stderr, /runs the profile/)
    t.match(stdout.trim().split('\n\n').at(-1), code === 0 ? /^MET/ : code === 1 ? /^MISSED/ : /^NOT MEASURED: the machine/)
    for (const line of stdout.split('\n')) t.ok(line.length <= 100 || line.endsWith('validation.json'), line)
    const { url, measurements } = JSON.parse(readFileSync(join(folder, 'validation.json'), 'utf8')) as { url: string, measurements: Measurement[] }
    t.equal(url, server.url)
    t.same(measurements.map(({ workload, profile, wrongs }) => ({ workload, profile, wrongs })), ['mix', 'sparse'].map(workload => ({ workload, profile, wrongs: { lost: 0, twice: 0, disorder: 0, stale: 0 } })))
    for (const { latency, serverCpu, messages, inside } of measurements) {
      t.ok((latency?.count ?? 0) > 0 && serverCpu !== null && messages > 0 && inside !== null)
    }
    t.ok((measurements[0]?.inside?.savedBytes?.compression ?? 0) > 0, 'the client accepts compression')
    t.match(stdout, /Of the bytes there would be, saved by/)
    t.match(readFileSync(join(folder, 'validation.html'), 'utf8'), server.url)
    t.equal(await keysAt(server.url), 0)
  })
}

t.test('what a server refuses ends it with 2 and a sentence', { buffered: true }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ PORT: 0, DATA_DIR: ':memory:', MAX_ROOM_SIZE: 2, PUBLISH_RATE_LIMIT: 1 })
  const refused = async (args: readonly string[], told: RegExp): Promise<void> => {
    const { code, stderr } = await run(args).ended
    t.equal(code, 2)
    t.match(stderr.trim().split('\n').at(-1), told)
  }
  await Promise.all([
    refused(short(server.url), /^validate: .*ROOM_FULL.*MAX_ROOM_SIZE.*--viewers/),
    refused(short(server.url, '--viewers', '1'), /^validate: .*RATE_LIMITED.*PUBLISH_RATE_LIMIT.*--load/),
    refused(['--url', 'http://127.0.0.1:9'], /^validate: .*does not answer/),
    refused(['--only', 'nonsense'], /^validate: --only takes dashboard, log, mix, sparse/)
  ])
})

t.test('interrupted, it deletes what it published and ends with 130', { buffered: true, skip: process.platform === 'win32' && 'no SIGINT for a child there' }, async t => {
  const stage = new Stage(t)
  const server = await stage.launch({ PORT: 0, DATA_DIR: ':memory:', CONTROL_RATE_LIMIT: 0 })
  const { interrupt, ended } = run(short(server.url, '--only', 'dashboard', '--window', '60'))
  await until('values are there', async () => await keysAt(server.url) > 5)
  interrupt()
  const { code } = await ended
  t.equal(code, 130)
  t.equal(await keysAt(server.url), 0)
  t.equal((await request(`${server.url}/readyz`)).status, 200)
})
