// Twenty clients that take nothing beside a hundred that do: what the hundred notice, and what the server keeps for
// the twenty.

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

const HEALTHY = 100
const SLOW = 20
const KEYS = 50
/** 2 MB/s to each client: more than the system's buffers take within the window. */
const RATE = 200
const EVENT_BYTES = 10_000
/** Before the twenty come; the first seconds do not count, for the code of most servers is not yet compiled then. */
const WARM_UP_MS = 3000
const ALONE_MS = 2000

export async function slowReaders (contender: Contender, windowMs: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command({}))
  try {
    const { port } = server
    const { opening } = contender
    const published: number[] = []
    const latency = new Histogram()
    let aloneFrom = Infinity
    let slowFrom = Infinity
    const alone = new Histogram()
    const healthy = await Audience.open({
      port,
      opening,
      count: HEALTHY,
      onMarks: (_viewer, marks, at) => {
        for (const { n } of marks) if (n >= aloneFrom) (n >= slowFrom ? latency : alone).record(at - (published[n] as number))
      }
    })
    const post = await Post.open(port, contender.publishPath, contender.publishHeaders)
    const publish = async (ms: number): Promise<number> => await paced(ms, 1000 / RATE, async () => {
      const n = published.push(performance.now()) - 1
      await post.send(eventText({ key: n % KEYS, n }, { bytes: EVENT_BYTES, room: ROOM, keyed: true }))
    })
    await publish(WARM_UP_MS)
    aloneFrom = published.length
    await publish(ALONE_MS)
    const slow = await Audience.open({ port, opening, count: SLOW, deaf: true })
    server.collect()
    await delay(300)
    const before = server.rss
    slowFrom = published.length
    const meter = new Meter(server)
    await publish(windowMs)
    const used = meter.read()
    server.collect()
    await delay(300)
    const after = server.rss
    const { lost } = healthy
    healthy.close()
    slow.close()
    return {
      figures: { aloneP95: alone.percentile(0.95), p95Ms: latency.percentile(0.95), maxMs: latency.max, mbMore: (after - before) / 2 ** 20 },
      loadCpu: used.loadCpu,
      others: used.others,
      faults: lost === 0 ? [] : [`${lost} of the healthy were cut off`]
    }
  } finally {
    await server.stop()
  }
}
