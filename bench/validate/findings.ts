// What a run has found, as everything that shows it is given it, and the words that explain it.

import { arch, cpus, platform, release, totalmem } from 'node:os'
import type { Measurement } from '../measure.ts'
import type { Verdict } from './judge.ts'
import type { Named } from './workloads.ts'

export interface Report {
  readonly at: Date
  /** The command that makes it again. */
  readonly command: string
  /** Where a deployed server was measured. */
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

/** What the figures mean: term and sentence. */
export function definitions ({ url, viewers, windowMs, warmUpMs, workloads, pinned }: Report): ReadonlyArray<readonly [string, string]> {
  const local = url === null
  return [
    ['Latency', `from the moment a publisher's HTTP request is ${local ? 'written' : 'handed to fetch'} to the moment a viewer has ${local ? 'the last byte of the bundle' : 'the event from the client'}, the store's fsync included: of every fact, and of every update of a key until it or a newer value of its key is there, at every viewer. Publishers and viewers are one process, so it is one clock. A request that could not start when it was due, because the one before it was not answered yet, counts from its start; where that happened it is said.`],
    ['At once', 'un-coalesced delivery: the same product, the same work, the same transport, with the tick at 0 (MONITOR_TICK_MS=0 for SSE, FLUSH_INTERVAL_MS=0 for WEBSOCKET). Each event is then a message of its own, each value of a key too; a viewer that lags catches up by bundles. So each profile is compared with its own kind.'],
    ['CPU', `the server process's own, all threads, as a share of one core (process_cpu_seconds_total). Saved: how much less of it an event published costs than at once.${local ? '' : ' A deployed server is not run a second time, so what is saved is its own estimate, of all its traffic, and not judged.'}`],
    ['Lag p99', `of a 10 ms timer of the server, less its 10 ms (nodejs_eventloop_lag_p99_seconds): the greatest of the readings, taken about every ${told(Math.max(0.7, windowMs / 8000))} s.${local ? '' : ' Over several workers it is their average, and whoever else reads /metrics takes a part of it away.'}`],
    ['Backlog', 'age of the oldest event owed to a connected client (signalbox_backlog_seconds): the greatest of the same readings.'],
    ['Messages', `bundles received by all viewers together, a second, and their bytes ${local ? 'as they came out of the sockets, framing included' : 'by the server\'s own count of all its traffic'}.`],
    ['Lost, twice, last values', `each viewer has every fact that was acknowledged, once and in order, and in the end the newest value of every key.${local ? '' : ' As the client hands them out; it would itself pass over what comes twice.'}`],
    ['Inside', 'what the server says: from the acceptance of an event (the milliseconds of its id) to its hand-over to a connection (signalbox_delivery_seconds). It is less than what is seen outside by the way of the request to the server and of the bundle to the viewer. Both 95th percentiles are reckoned from the same buckets, so they are coarse, and of what was delivered: an update that was replaced counts in neither.'],
    ['Work', `${viewers} viewers in one room; each event 150 B, a request of its own on a keep-alive connection. ${warmUpMs / 1000} s of warm-up, then ${windowMs / 1000} s${workloads.some(({ longer }) => longer > 1) ? ` (sparse: ${windowMs * 1.5 / 1000} s)` : ''} measured, and up to 15 s for the rest to arrive.${local ? ` The product as built, with its defaults (DURABILITY=fsync, a new DATA_DIR in the folder for temporary files, which TMPDIR changes), except MAX_ROOM_SIZE=0; a new process for each measurement. ${pinned ? 'Server and load have a core each.' : 'Server and load are not kept on different cores here, so each is in the other\'s figures.'}` : ''}`]
  ]
}

const told = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: 1 })
