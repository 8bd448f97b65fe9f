// Bundles of fifty values to everybody in a room, plain or compressed: what it costs the server, and how many bytes go out.

import { setTimeout as delay } from 'node:timers/promises'
import { COMPRESSED_HEADERS } from '../../test/wire/codec.ts'
import { readMetrics } from '../metrics.ts'
import type { Metrics } from '../metrics.ts'
import { paced } from '../pace.ts'
import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import { Audience } from './audience.ts'
import { ROOM } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'

const KEYS = 50
const EVERY_MS = 100
/** Each batch is a bundle of its own. */
const TICK = { MONITOR_TICK_MS: EVERY_MS, FLUSH_INTERVAL_MS: EVERY_MS, TICK_FLOOR_MS: EVERY_MS }
const WARM_UP_MS = 4000

/** The same server, to clients that accept compression. */
export const compressed = (contender: Contender): Contender => ({
  ...contender,
  name: `${contender.name}, compressed`,
  opening: { ...contender.opening, headers: COMPRESSED_HEADERS[contender.opening.webSocket ? 'WEBSOCKET' : 'SSE'] }
})

export async function bundles (contender: Contender, viewers: number, windowMs: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command(TICK))
  try {
    const { port } = server
    const post = await Post.open(port, contender.publishPath, contender.publishHeaders)
    const audience = await Audience.open({ port, opening: contender.opening, count: viewers })
    const publish = async (): Promise<void> => { await post.send(batch()) }
    await paced(WARM_UP_MS, EVERY_MS, publish)
    const metrics = async (): Promise<Metrics> => await readMetrics(`http://127.0.0.1:${port}/metrics`)
    const before = await metrics()
    const meter = new Meter(server)
    await paced(windowMs, EVERY_MS, publish)
    await delay(EVERY_MS)
    const used = meter.read()
    const after = await metrics()
    const grown = (name: string): number => after.figure(name) - before.figure(name)
    const frames = grown('signalbox_bundles_total')
    const { lost } = audience
    post.close()
    audience.close()
    return {
      figures: {
        usPerFrame: used.cpuMs * 1000 / frames,
        bytes: grown('signalbox_sent_bytes_total') / frames,
        plainBytes: grown('signalbox_plain_bytes_total') / frames
      },
      loadCpu: used.loadCpu,
      others: used.others,
      faults: lost === 0 ? [] : [`${lost} connections lost`]
    }
  } finally {
    await server.stop()
  }
}

/** Measurements as a fleet of machines sends them: two numbers that nobody can guess, and words that repeat. */
function batch (): string {
  return JSON.stringify(Array.from({ length: KEYS }, (_, n) => ({
    type: 'host', room: ROOM, key: `host-${n}.example.com`, data: { cpu: Math.random() * 100, memory: Math.round(Math.random() * 2 ** 34), state: 'ok', zone: `eu-${n % 3}` }
  })))
}
