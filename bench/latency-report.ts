// What the measurements of bench/latency.ts say: Markdown on stdout, everything in reports/latency.json.

import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ProfileName } from '../src/app/status.ts'
import type { Summary } from './histogram.ts'
import type { Wrongs } from './ledger.ts'

export interface Measurement {
  readonly profile: ProfileName
  readonly workload: string
  readonly bundled: boolean
  readonly seconds: number
  /** A second: events meant to be published; published; messages and events received by all viewers together. */
  readonly offered: number
  readonly published: number
  readonly messages: number
  readonly events: number
  /** ms; see `Ledger`. */
  readonly facts: Summary | null
  readonly values: Summary | null
  readonly updates: Summary | null
  readonly answers: Summary | null
  /** How much later than meant requests were started, ms. */
  readonly late: Summary | null
  /** ms. */
  readonly lagP99: number
  /** Shares of a core. */
  readonly serverCpu: number
  readonly loadCpu: number
  /** Shares of the server's core that others used, and that the host took; null where that can't be told. */
  readonly others: number | null
  readonly stolen: number | null
  readonly wrongs: Wrongs
  /** Connections lost, resets and complaints. */
  readonly troubles: readonly string[]
}

export interface Circumstances {
  readonly quick: boolean
  readonly viewers: number
  readonly warmUpMs: number
  readonly windowMs: number
  readonly pinned: boolean
  readonly tookMs: number
}

const TARGET = { p95Ms: 150, lagP99Ms: 30 }
/** Share of its core from which the load may have been what was measured. */
const LOAD_LIMIT = 0.85
/** Share of the server's core from which somebody else was measured too. */
const OTHERS_LIMIT = 0.1
/** Requests that start later than this (p95, ms) had to wait for earlier answers: the server did not keep up. */
const LATE_LIMIT_MS = 50

const FILE = fileURLToPath(new URL('../reports/latency.json', import.meta.url))

/** @returns what must not be: anything lost, twice, out of order or stale */
export function report (measurements: readonly Measurement[], circumstances: Circumstances): string[] {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}`
  mkdirSync(dirname(FILE), { recursive: true })
  writeFileSync(FILE, JSON.stringify({ at: new Date().toISOString(), node: process.version, machine, target: TARGET, ...circumstances, measurements }, null, 2))

  const bundled = measurements.filter(({ bundled }) => bundled)
  const plainOf = ({ profile, workload }: Measurement): Measurement | undefined =>
    measurements.find(other => !other.bundled && other.profile === profile && other.workload === workload)
  console.log([
    latencyTable(bundled, plainOf),
    costTable(bundled, plainOf),
    notes(machine, circumstances),
    ...caveats(measurements).map(caveat => `- **${caveat}**`)
  ].join('\n'))
  return measurements.flatMap(faultsOf)
}

type PlainOf = (of: Measurement) => Measurement | undefined

function latencyTable (measurements: readonly Measurement[], plainOf: PlainOf): string {
  const rows = measurements.flatMap(measurement => {
    const { profile, workload, facts, values, updates } = measurement
    const plain = plainOf(measurement)
    const row = (what: string, summary: Summary | null, other: Summary | null | undefined): string[][] => summary === null
      ? []
      : [[profile, workload, what, ms(summary.p50), mark(summary.p95, TARGET.p95Ms), ms(summary.p99), ms(summary.max), other == null ? '' : ms(other.p95)]]
    return [
      ...row('un-keyed', facts, plain?.facts),
      ...row('keyed, values delivered', values, plain?.values),
      // Where nothing was replaced it says the same.
      ...(updates?.count === values?.count ? [] : row('keyed, every update until it or a newer one is there', updates, plain?.updates))
    ]
  })
  return table(['profile', 'workload', 'from publish to receipt, ms', 'p50', `p95 (target < ${TARGET.p95Ms})`, 'p99', 'max', 'p95 not bundled'], 3, rows)
}

function costTable (measurements: readonly Measurement[], plainOf: PlainOf): string {
  const rows = measurements.map(measurement => {
    const { profile, workload, published, messages, events, serverCpu, lagP99 } = measurement
    const plain = plainOf(measurement)
    return [
      profile, workload, count(published), count(events), count(messages), share(serverCpu), mark(lagP99, TARGET.lagP99Ms),
      ...(plain === undefined
        ? ['', '', '', '', '']
        : [
            count(plain.published), count(plain.messages), share(plain.serverCpu),
            ratio(plain.messages / plain.published, messages / published),
            ratio(plain.serverCpu / plain.published, serverCpu / published)
          ])
    ]
  })
  return table([
    'profile', 'workload', 'published/s', 'events delivered/s', 'messages/s', 'server CPU', `lag p99, ms (target < ${TARGET.lagP99Ms})`,
    'not bundled: published/s', 'messages/s', 'server CPU', 'messages saved', 'CPU saved'
  ], 2, rows)
}

function notes (machine: string, { quick, viewers, warmUpMs, windowMs, pinned, tookMs }: Circumstances): string {
  return `
${machine}; Node.js ${process.version}. ${pinned ? 'Server and load on a core each (`taskset`).' : '**Server and load were not kept on different cores.**'} ${windowMs / 1000} s each after ${warmUpMs / 1000} s of warm-up, ${Math.round(tookMs / 1000)} s in all${quick ? '; `--quick`, too short for more than an impression' : ''}.

- ${viewers} viewers in one room of the built product with its defaults (\`DURABILITY=fsync\`), except \`MAX_ROOM_SIZE=0\`: the default room ends at 50. Not bundled: \`MONITOR_TICK_MS=0\` or \`FLUSH_INTERVAL_MS=0\`.
- Latency: from the moment the publisher's HTTP request is written to the moment a viewer has the event's last bytes, fsync included; every event at every viewer, one clock. A value replaced before it was sent never arrives, by design, and is not in "values delivered"; "every update" counts it until a newer value of its key arrives.
- Workloads, each event of 150 B and a request of its own on keep-alive connections, at irregular times: *sparse*, 5 events/s, by turns keyed and un-keyed, at least 120 ms apart (the leading edge of a tick; ${Math.round(windowMs / 200)} events in all, so its p95 is one or two of them); *steady*, 100 un-keyed events/s; *hot keys*, 50 keys with 20 updates/s each.
- CPU: the server process's own, all threads, 100 % = one core. Lag p99: of a 10 ms timer's delay, less its 10 ms (\`nodejs_eventloop_lag_p99_seconds\` over the window). Saved: the factor by which messages, and CPU, per published event are fewer than without bundling.
- Checked at every viewer: every un-keyed event once and in order, the newest value of every key.`
}

/** What a reader has to know about these measurements. */
function caveats (measurements: readonly Measurement[]): string[] {
  const caveat = (text: string, concerns: (measurement: Measurement) => boolean, tell: (measurement: Measurement) => string): string[] => {
    const those = measurements.filter(concerns)
    return those.length === 0 ? [] : [`${text}: ${those.map(measurement => `${nameOf(measurement)} (${tell(measurement)})`).join('; ')}`]
  }
  return [
    ...caveat('The load may be what was measured, throw this away; share of its own core', ({ loadCpu }) => loadCpu > LOAD_LIMIT, ({ loadCpu }) => share(loadCpu)),
    ...caveat('Others were busy on the server\'s core, measure again on a quiet machine', ({ others }) => (others ?? 0) > OTHERS_LIMIT, ({ others }) => share(others as number)),
    ...caveat('The host took from the server\'s core', ({ stolen }) => (stolen ?? 0) > OTHERS_LIMIT, ({ stolen }) => share(stolen as number)),
    ...caveat('The server did not keep up: requests waited at their publishers before they were sent, which is not in the latencies above',
      ({ late }) => late !== null && late.p95 > LATE_LIMIT_MS,
      ({ late, offered, published }) => `${count(published)} of ${count(offered)} events/s taken, p95 of the wait ${ms(late?.p95 ?? 0)} ms`)
  ]
}

function faultsOf (measurement: Measurement): string[] {
  const { wrongs, troubles } = measurement
  const wrong = Object.entries(wrongs).filter(([, count]) => count > 0).map(([name, count]) => `${name}: ${count}`)
  return [...wrong, ...new Set(troubles)].map(fault => `${nameOf(measurement)}: ${fault}`)
}

const nameOf = ({ profile, workload, bundled }: Measurement): string => `${profile}, ${workload}${bundled ? '' : ', not bundled'}`

/** @param texts columns that are not numbers */
function table (head: readonly string[], texts: number, rows: readonly string[][]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, index) => index < texts ? '---' : '--:')), ...rows.map(line)].join('\n') + '\n'
}

const ms = (value: number): string => value.toFixed(value < 10 ? 1 : 0)
const mark = (value: number, target: number): string => value < target ? ms(value) : `**${ms(value)}**`
const count = (value: number): string => Math.round(value).toLocaleString('en')
const share = (value: number): string => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`
const ratio = (more: number, less: number): string => `${(more / less).toFixed(more / less < 10 ? 1 : 0)}x`
