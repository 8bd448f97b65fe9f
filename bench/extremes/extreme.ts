// What all extremes share: a row of the table, and a server with its own figures beside the kernel's.

import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Opening } from '../compare/audience.ts'
import { signalbox } from '../compare/contenders.ts'
import type { Profile } from '../compare/contenders.ts'
import { readMetrics } from '../metrics.ts'
import type { Metrics } from '../metrics.ts'
import { ServerProcess } from '../process.ts'

export interface Row {
  readonly what: string
  readonly measured: string
  /** What it must not exceed; absent: it is told, not judged. */
  readonly limit?: string
  readonly isMet?: boolean
}

/** @param share of the full size, for a try: 0 to 1 */
export type Extreme = (profile: Profile, share: number) => Promise<readonly Row[]>

export const told = (what: string, measured: string): Row => ({ what, measured })
export const judged = (what: string, value: number, limit: number, digits = 0): Row =>
  ({ what, measured: value.toFixed(digits), limit: String(limit), isMet: value <= limit })

/** Runs the built product with these settings, and ends it afterwards. */
export async function withServer<T> (profile: Profile, settings: Record<string, string | number>, use: (server: ServerProcess) => Promise<T>): Promise<T> {
  const server = await ServerProcess.start(signalbox(profile).command(settings))
  try {
    return await use(server)
  } finally {
    await server.stop()
  }
}

/** How a client opens rooms other than the bench's. */
export function openingOf (profile: Profile, rooms: readonly string[]): Opening {
  const { opening } = signalbox(profile)
  return profile === 'SSE' ? { ...opening, path: `/api/events/stream?rooms=${rooms.join()}` } : { ...opening, ask: JSON.stringify({ action: 'join', rooms }) }
}

export const figuresOf = async ({ port }: ServerProcess): Promise<Metrics> => await readMetrics(`http://127.0.0.1:${port}/metrics`)

/** Counts of what is present: they must be as before once all has gone. */
const PRESENT = ['signalbox_sessions', 'signalbox_waiting_reads', 'signalbox_stalled_sessions', 'signalbox_rooms', 'signalbox_keys', 'signalbox_state_bytes', 'nodejs_active_handles_total'] as const

export interface Base {
  readonly counts: Readonly<Record<typeof PRESENT[number], number>>
  readonly fds: number
  readonly rss: number
}

/** What is present, after garbage collection. */
export async function baseOf (server: ServerProcess): Promise<Base> {
  const rss = await server.settled()
  const figures = await figuresOf(server)
  const counts = Object.fromEntries(PRESENT.map(name => [name, figures.figure(name)])) as Base['counts']
  return { counts, fds: readdirSync(`/proc/${server.pid}/fd`).length, rss }
}

/** What must be as before, and memory that may have grown by so many MB. */
export function returned (before: Base, after: Base, rssMb: number): Row[] {
  const changed = PRESENT.filter(name => after.counts[name] > before.counts[name]).map(name => `${name} ${before.counts[name]} to ${after.counts[name]}`)
  return [
    { what: `counts that are not as before, of ${PRESENT.length}`, measured: changed.join(', ') || '0', limit: '0', isMet: changed.length === 0 },
    judged('open descriptors more than before', after.fds - before.fds, 0),
    judged('memory (RSS) more than before, MB', (after.rss - before.rss) / 1e6, rssMb, 1)
  ]
}

/** @throws Error after `ms` */
export async function until (what: string, holds: () => Promise<boolean> | boolean, ms: number): Promise<void> {
  const deadline = performance.now() + ms
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${ms / 1000} s: ${what}`)
    await delay(50)
  }
}

/** An address for each so many clients: from one there are 28,000 ports towards a server, and each is taken for a minute after its end. */
export const addressesFrom = (second: number, perAddress = 5000) => (index: number): string => `127.${second}.0.${1 + Math.floor(index / perAddress)}`
