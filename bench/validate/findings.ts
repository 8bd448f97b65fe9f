// The findings of a run, in the form that all reports are made from, and the explanations of its figures.

import { arch, cpus, platform, release, totalmem } from 'node:os'
import type { Measurement } from '../measure.ts'
import type { Verdict } from './judge.ts'
import type { Named } from './workloads.ts'

export interface Report {
  readonly at: Date
  /** The command that repeats the run. */
  readonly command: string
  /** The deployed server measured; null for one started here. */
  readonly url: string | null
  readonly quick: boolean
  readonly viewers: number
  readonly warmUpMs: number
  readonly windowMs: number
  /** Server and load had a core each. */
  readonly pinned: boolean
  readonly seconds: number
  readonly workloads: readonly Named[]
  readonly measurements: readonly Measurement[]
  readonly verdict: Verdict
}

export const machine = (): string =>
  `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; ${platform()} ${release()} ${arch()}; Node.js ${process.version}`

/** The meaning of each figure: term and explanation. */
export function definitions ({ url, quick, viewers, windowMs, warmUpMs, workloads, pinned }: Report): ReadonlyArray<readonly [string, string]> {
  const local = url === null
  return [
    ['Latency', `from the moment a publisher's HTTP request is ${local ? 'written' : 'handed to fetch'} to the moment a viewer has ${local ? 'the last byte of the bundle' : 'the event from the client'}, the store's fsync included: of every fact, and of every update of a key until it or a newer value of its key is there, at every viewer. Publishers and viewers are one process, so it is one clock. A request that could not start when it was due, because the one before it was not answered yet, counts from its start; the report says if that happened.`],
    ['At once', 'unbundled delivery: the same product, the same work, the same transport, with the tick at 0 (MONITOR_TICK_MS=0 for SSE, FLUSH_INTERVAL_MS=0 for WEBSOCKET). Each event is then a separate message, each value of a key too; a viewer that lags catches up by bundles. Each profile is compared with its own transport this way.'],
    ['CPU', `of the server process, all threads, as a share of one core (process_cpu_seconds_total). Saved: how much less CPU a published event costs than at once.${local ? '' : ' A deployed server is not run a second time: the saving is its own estimate, of all its traffic, and is not judged.'}`],
    ['Lag p99', `of a 10 ms timer of the server, less its 10 ms (nodejs_eventloop_lag_p99_seconds): the maximum of the readings, taken about every ${short(Math.max(0.7, windowMs / 8000))} s.${local ? '' : ' Over several workers it is their average, and each other reader of /metrics resets it.'}`],
    ['Backlog', 'age of the oldest pending event of a connected client (signalbox_backlog_seconds): the maximum of the same readings.'],
    ['Messages', `bundles received by all viewers together, a second, and their bytes ${local ? 'as they came out of the sockets, framing included' : 'by the server\'s own count of all its traffic'}.`],
    ['Bytes saved', `by the server's own count${local ? '' : ', of all its traffic'}. Bundling: events that a newer value of their key replaced before they were sent. Patches: what they are shorter than whole values${local ? ' (these viewers ask for none)' : ''}. Compression: what it takes off the bundles${local ? '; these viewers accept it, as browsers do' : ''}.`],
    ['Lost, twice, last values', `each viewer has every fact that was acknowledged, once and in order, and in the end the newest value of every key.${local ? '' : ' As the client delivers them; it skips repeated events itself.'}`],
    ['Inside', 'the figure of the server itself: from the acceptance of an event (the milliseconds of its id) to its hand-over to a connection (signalbox_delivery_seconds). The latency outside also includes the way of the request to the server and of the bundle to the viewer. Both 95th percentiles are computed from the same coarse buckets, and of delivered events: an update that was replaced counts in neither.'],
    ['Work', `${viewers} viewers in one room; each event 150 B, a separate request on a keep-alive connection. ${warmUpMs / 1000} s of warm-up, then ${windowMs / 1000} s${workloads.some(({ longer }) => longer > 1) ? ` (sparse: ${windowMs * 1.5 / 1000} s)` : ''} measured, and up to 15 s for the rest to arrive.${local ? ` The product as built, with its defaults (DURABILITY=fsync, a new DATA_DIR in the folder for temporary files, which TMPDIR changes), except MAX_ROOM_SIZE=0; ${quick ? 'one process for each way of delivery, which has worked before it is measured' : 'a new process for each measurement'}. ${pinned ? 'Server and load have a core each.' : 'Server and load share cores here: each affects the other\'s figures.'}` : ''}`]
  ]
}

const short = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: 1 })
