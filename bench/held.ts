// `npm run bench:viewers -- --held 50000`: so many viewers on one worker, to whom hardly anything is sent. What one of them
// costs in memory; how long an event takes to the last of them; and how long it takes until all are back after a cut.
//
// From one address a client has some 28,000 ports towards a server, and one that was closed is not free again for a minute. The
// viewers therefore come from several loopback addresses, and from others each time. They and the server need a descriptor each: as root the limit is raised, otherwise there are as many as it allows.

import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileLimit } from '../src/app/file-limit.ts'
import { Audience } from './compare/audience.ts'
import type { Opening } from './compare/audience.ts'
import { ROOM, signalbox } from './compare/contenders.ts'
import type { Profile } from './compare/contenders.ts'
import { cursorOf } from './compare/herd.ts'
import { eventText } from './compare/mark.ts'
import { Meter } from './compare/rounds.ts'
import { pinned } from './cores.ts'
import { figuresOf, until } from './extremes/extreme.ts'
import { backBy, comeBack } from './herd.ts'
import { Histogram } from './histogram.ts'
import { paced } from './pace.ts'
import { Post } from './post.ts'
import { ServerProcess } from './process.ts'

const EVENT_BYTES = 200
const PER_ADDRESS = 5000
/** Descriptors that a process needs besides those of viewers. */
const FILES = 500
const FIRST = 500
/** An event a second, for so many seconds. */
const EVENTS = 20
const ARRIVAL_MS = 20_000
/** RECONNECT_JITTER: clients that were cut come back within it. */
const BACK_WITHIN_MS = 3000
const BACK_LIMIT_MS = 120_000
const LIMIT_MS = 900_000
/** Those in use come from 127.0.<wave>.x. */
let wave = 0
const nextAddresses = (): (index: number) => string => {
  const own = ++wave
  return index => `127.0.${own}.${1 + Math.floor(index / PER_ADDRESS)}`
}
const TARGETS = { lastMs: 1000, lagP99Ms: 50, backMs: 60_000 }

export async function held (wanted: number, profiles: readonly Profile[]): Promise<void> {
  setTimeout(() => {
    console.error(`not done after ${LIMIT_MS / 1000} s`)
    process.exit(1)
  }, LIMIT_MS).unref()
  raiseFileLimit(wanted + FILES)
  const viewers = Math.min(wanted, fileLimit() - FILES)
  if (viewers < wanted) console.error(`the limit of open files (${fileLimit()}) allows ${viewers} viewers; as root this raises it itself, otherwise: ulimit -n ${wanted + FILES}`)
  if (!pinned) console.error('fewer than two cores, or no taskset: server and load share cores')
  for (const profile of profiles) await measure(profile, viewers)
}

async function measure (profile: Profile, viewers: number): Promise<void> {
  const say = (what: string, value: string): void => console.log(`| ${profile} | ${what} | ${value} |`)
  const { command, opening, publishPath } = signalbox(profile)
  const server = await ServerProcess.start(command({}))
  try {
    const { port } = server
    let n = 0
    let left = 0
    const last = { at: 0 }
    const toLast = new Histogram()
    // A connection for each: there may be minutes between two.
    const publish = async (): Promise<void> => {
      const post = await Post.open(port, publishPath)
      await post.send(eventText({ key: 0, n: n++ }, { bytes: EVENT_BYTES, room: ROOM, keyed: false }))
      post.close()
    }
    console.log(`\n${viewers.toLocaleString('en')} viewers over ${profile}\n\n| profile | what | measured |\n|---|---|--:|`)

    const audience = await Audience.open({
      port,
      localAddress: nextAddresses(),
      patienceMs: LIMIT_MS,
      opening,
      count: Math.min(FIRST, viewers),
      onMarks: (_viewer, marks, at) => {
        left -= marks.length
        if (left <= 0) last.at = at
      }
    })
    const before = await server.settled()
    const joining = new Meter(server)
    await audience.more(viewers - audience.size)
    const joined = joining.read()
    if (viewers > FIRST) say('accepted a second; CPU for each, µs', `${Math.round((viewers - FIRST) / joined.ms * 1000).toLocaleString('en')}; ${(joined.cpuMs * 1000 / (viewers - FIRST)).toFixed(0)}`)
    if (viewers > FIRST) say('memory of an idle connection (RSS), KB', ((await server.settled() - before) / 1024 / (viewers - FIRST)).toFixed(1))

    // Compiled.
    await paced(3000, 1000, publish)
    await delay(1000)
    await server.lag()
    const meter = new Meter(server)
    await paced(EVENTS * 1000, 1000, async () => {
      left = viewers
      last.at = 0
      const sentAt = performance.now()
      await publish()
      while (last.at === 0 && performance.now() - sentAt < ARRIVAL_MS) await delay(5)
      toLast.record(last.at === 0 ? ARRIVAL_MS : last.at - sentAt)
    })
    const { cpuMs, ms, loadCpu, others } = meter.read()
    const lag = await server.lag()
    const { p50 = 0, max = 0 } = toLast.summary ?? {}
    say(`an event to the last of all, ms: median, longest of ${EVENTS}`, `${p50.toFixed(0)}, ${verdict(max, TARGETS.lastMs)}`)
    say('event-loop lag p99, longest, ms', `${verdict(lag?.p99Ms ?? Infinity, TARGETS.lagP99Ms)}, ${lag?.maxMs.toFixed(0) ?? '?'}`)
    say('server CPU, load CPU, others on its core', [cpuMs / ms, loadCpu, others ?? 0].map(share => `${Math.round(share * 100)} %`).join(', '))
    if (audience.lost > 0) say('connections lost', String(audience.lost))

    const cursor = await cursorOf(opening, port)
    audience.close()
    await until('nobody is left', async () => (await figuresOf(server)).figure('signalbox_sessions') === 0, BACK_LIMIT_MS)
    await publish()
    await herd(server, opening, cursor, viewers, say)
  } finally {
    await server.stop()
  }
}

/** Everybody comes back, each with an event to be sent that it missed. */
async function herd (server: ServerProcess, opening: Opening, cursor: string, viewers: number, say: (what: string, value: string) => void): Promise<void> {
  const meter = new Meter(server)
  const back = await comeBack({ server, opening, cursor, clients: viewers, missed: 1, withinMs: BACK_WITHIN_MS, limitMs: BACK_LIMIT_MS, localAddress: nextAddresses() })
  const { cpuMs } = meter.read()
  say('all back after a cut, with what they missed, ms: 99 %, 100 %', `${backBy(back, 0.99).toFixed(0)}, ${verdict(backBy(back, 1), TARGETS.backMs)}`)
  say('meanwhile: event-loop lag p99, longest, ms; CPU for each, µs', `${back.lag?.p99Ms.toFixed(0) ?? '?'}, ${back.lag?.maxMs.toFixed(0) ?? '?'}; ${(cpuMs * 1000 / viewers).toFixed(0)}`)
  if (back.retried > 0) say('refused and tried again', String(back.retried))
}

const verdict = (value: number, limit: number): string => `${value.toFixed(0)} (${value <= limit ? 'met' : 'MISSED'}: ${limit})`

/** As root a process may raise its own limit. Servers that it starts inherit it. */
function raiseFileLimit (files: number): void {
  if (fileLimit() >= files) return
  try {
    execFileSync('prlimit', [`--nofile=${files}:${files}`, `--pid=${process.pid}`], { stdio: 'ignore' })
  } catch {
    // Said by whoever counts.
  }
}
