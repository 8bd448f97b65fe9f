// The cost of one event to one client: each event separately, at a rate that every server can keep up with.

import { setTimeout as delay } from 'node:timers/promises'
import { Histogram } from '../histogram.ts'
import { Audience } from './audience.ts'
import { ROOM } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { eventText } from './mark.ts'
import { paced } from '../pace.ts'
import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'
import { warmUp } from './warm-up.ts'

const EVENT_BYTES = 200
const WARM_UP_MS = 1000
/** Frames a second to all clients together, whatever their number. */
const FRAMES = 20_000
/** Bundling off, in either profile. */
const UNBUNDLED = { MONITOR_TICK_MS: 0, FLUSH_INTERVAL_MS: 0, TICK_FLOOR_MS: 0 }

export async function fanOut (contender: Contender, clients: number, windowMs: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command(UNBUNDLED))
  try {
    const { port } = server
    const latency = new Histogram()
    const startedAt: number[] = []
    let from = Infinity
    const post = await Post.open(port, contender.publishPath, contender.publishHeaders)
    const publishOne = async (): Promise<void> => {
      const n = startedAt.push(performance.now()) - 1
      await post.send(eventText({ key: 0, n }, { bytes: EVENT_BYTES, room: ROOM, keyed: false }))
    }
    await warmUp(publishOne)
    const audience = await Audience.open({
      port,
      opening: contender.opening,
      count: clients,
      onMarks: (_viewer, marks, at) => {
        for (const { n } of marks) if (n >= from) latency.record(at - (startedAt[n] as number))
      }
    })
    const everyMs = 1000 / (FRAMES / clients)
    const publish = async (ms: number): Promise<void> => {
      await paced(ms, everyMs, publishOne)
      await delay(everyMs)
    }
    await publish(WARM_UP_MS)
    from = startedAt.length
    const before = audience.delivered
    const meter = new Meter(server)
    await publish(windowMs)
    const used = meter.read()
    const frames = audience.delivered - before
    const owed = (startedAt.length - from) * clients
    post.close()
    audience.close()
    return {
      figures: { usPerFrame: used.cpuMs * 1000 / frames, p95Ms: latency.percentile(0.95), framesPerSecond: frames / used.ms * 1000 },
      loadCpu: used.loadCpu,
      others: used.others,
      faults: [
        ...(frames === owed ? [] : [`${frames} of ${owed} frames arrived within the window`]),
        ...(audience.lost === 0 ? [] : [`${audience.lost} connections lost`])
      ]
    }
  } finally {
    await server.stop()
  }
}
