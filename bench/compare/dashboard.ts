// A page of gauges: fifty keys, a thousand updates a second, everybody is to see every newest value.

import { setTimeout as delay } from 'node:timers/promises'
import { Histogram } from '../histogram.ts'
import { Audience } from './audience.ts'
import { ROOM } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { eventText } from './mark.ts'
import { readMetrics } from '../metrics.ts'
import type { Metrics } from '../metrics.ts'
import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'
import { savedBytes } from '../watch.ts'
import type { SavedBytes } from '../watch.ts'

const KEYS = 50
const RATE = 1000
const EVENT_BYTES = 150
/** In the first seconds the code of a server in Node is not yet compiled: 440 µs an event, 200 later. */
const WARM_UP_MS = 6000
const COUNTED = 'signalbox_unbundled_bytes_total'
/** Time the last values have to arrive. */
const ARRIVAL_MS = 5000

export async function dashboard (contender: Contender, viewers: number, windowMs: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command({}))
  try {
    const { port } = server
    /** By key, when each of its updates was published. */
    const published: number[][] = Array.from({ length: KEYS }, () => [])
    /** By viewer and key, the newest value shown. */
    const shown = Array.from({ length: viewers }, () => new Int32Array(KEYS).fill(-1))
    const ages = new Histogram()
    const updates = new Histogram()
    let from = Infinity
    const audience = await Audience.open({
      port,
      opening: contender.opening,
      count: viewers,
      onMarks: (viewer, marks, at) => {
        const own = shown[viewer] as Int32Array
        for (const { key, n } of marks) {
          const times = published[key] as number[]
          if ((times[n] as number) >= from) ages.record(at - (times[n] as number))
          for (let update = (own[key] as number) + 1; update <= n; update++) {
            if ((times[update] as number) >= from) updates.record(at - (times[update] as number))
          }
          if (n > (own[key] as number)) own[key] = n
        }
      }
    })
    let taken = 0
    const end = performance.now() + WARM_UP_MS + windowMs
    const publishing = Promise.all(published.map(async (times, key) => {
      const post = await Post.open(port, contender.publishPath, contender.publishHeaders)
      const gapMs = (): number => KEYS / RATE * 1000 * (0.5 + Math.random())
      for (let due = performance.now() + gapMs(); due < end; due += gapMs()) {
        const wait = due - performance.now()
        if (wait > 0) await delay(wait)
        if (performance.now() > end) break
        const n = times.push(performance.now()) - 1
        await post.send(eventText({ key, n }, { bytes: EVENT_BYTES, room: ROOM, keyed: true }))
        taken++
      }
      post.close()
    }))
    await delay(WARM_UP_MS)
    from = performance.now()
    const before = taken
    const counted = contender.hasMetrics === true ? await countersOf(server) : null
    await server.lag()
    const meter = new Meter(server)
    await delay(windowMs)
    const used = meter.read()
    const lag = await server.lag()
    const saved = await savedSince(server, counted)
    const through = taken - before
    await publishing
    const wrong = (): number => shown.reduce((sum, own) => sum + own.reduce((stale, n, key) => stale + (n === (published[key] as number[]).length - 1 ? 0 : 1), 0), 0)
    const deadline = performance.now() + ARRIVAL_MS
    while (wrong() > 0 && performance.now() < deadline) await delay(50)
    const stale = wrong()
    audience.close()
    return {
      figures: {
        cpu: used.serverCpu,
        ageP95: ages.percentile(0.95),
        updateP95: updates.percentile(0.95),
        through: through / (RATE * used.ms / 1000),
        lagP99: lag?.p99Ms ?? null,
        ...saved
      },
      loadCpu: used.loadCpu,
      others: used.others,
      faults: [
        ...(stale === 0 ? [] : [`${stale} values were not the newest ${ARRIVAL_MS / 1000} s after the end`]),
        ...(audience.lost === 0 ? [] : [`${audience.lost} connections lost`])
      ]
    }
  } finally {
    await server.stop()
  }
}

/** What a server of ours has counted; null for another version that did not count it. */
const countersOf = async ({ port }: ServerProcess): Promise<Metrics | null> => await readMetrics(`http://127.0.0.1:${port}/metrics`).then(metrics => metrics.has(COUNTED) ? metrics : null)

/** Shares of the bytes that each means has saved meanwhile. */
async function savedSince (server: ServerProcess, before: Metrics | null): Promise<Partial<SavedBytes>> {
  const after = before === null ? null : await countersOf(server)
  return before === null || after === null ? {} : { ...savedBytes(name => after.figure(name) - before.figure(name)) }
}
