// The cost of an event as a deployment grows: three steps of ten times as much in each dimension, in one running server.

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
const RATE = 200
const WARM_UP_MS = 3000
const BATCH = 500
/** Of what is not grown just now. */
const FEW = 10

export const DIMENSIONS = ['rooms', 'history', 'idle clients', 'known keys', 'changed keys', 'viewers'] as const
export type Dimension = typeof DIMENSIONS[number]

/** The first may be smaller where ten times as often leaves the range a machine can hold. */
export const STEPS: Readonly<Record<Dimension, readonly number[]>> = {
  rooms: [10, 100, 1000, 10_000],
  history: [100, 1000, 10_000, 100_000],
  'idle clients': [10, 100, 1000, 10_000],
  'known keys': [10, 100, 1000, 10_000],
  'changed keys': [1, 10, 100, 1000],
  viewers: [1, 10, 100, 1000]
}

/** Only these may make an event cost more. */
export const MAY_GROW: readonly Dimension[] = ['changed keys', 'viewers']

/** @returns for each step CPU, µs: for each event, or for each second where more changes in one */
export async function growth (contender: Contender, dimension: Dimension, windowMs: number, most: number): Promise<Round[]> {
  const server = await ServerProcess.start(contender.command({ HISTORY_SIZE: 1_000_000, HISTORY_BYTES: 1_000_000_000, MAX_KEYS_PER_ROOM: 100_000 }))
  const rounds: Round[] = []
  try {
    const { port } = server
    const post = await Post.open(port, contender.publishPath)
    const own = { port, opening: contender.opening, count: dimension === 'viewers' ? 1 : FEW }
    const viewers = await Audience.open(own)
    // Nobody publishes to where these listen.
    const idle = await Audience.open({ ...own, count: 1, opening: elsewhere(contender.opening) })
    let n = 0
    let grown = 0
    /** Publishes events of which only their number matters, many in a request. */
    const fill = async (until: number, event: (index: number) => string): Promise<void> => {
      while (grown < until) {
        const count = Math.min(BATCH, until - grown)
        await post.send(`[${Array.from({ length: count }, (_, index) => event(grown + index)).join(',')}]`)
        grown += count
      }
    }
    const text = (room: string, key: number | null): string => eventText({ key: key ?? 0, n: n++ }, { bytes: EVENT_BYTES, room, keyed: key !== null })
    const keysChanged = (step: number): number => dimension === 'changed keys' ? step : 1
    const publish = async (step: number, ms: number): Promise<number> => {
      const count = keysChanged(step)
      // Ever more keys change in the same number of requests, so that what grows is not the number of requests.
      const everyMs = dimension === 'changed keys' ? 100 : 1000 / RATE
      return await paced(ms, everyMs, async () => {
        const events = Array.from({ length: count }, (_, key) => text(ROOM, key))
        await post.send(count === 1 ? events[0] as string : `[${events.join(',')}]`)
      })
    }
    await warmUp(async () => await post.send(text(ROOM, 0)))
    for (const step of STEPS[dimension].filter(step => step <= most)) {
      if (dimension === 'rooms') await fill(step, index => text(`room-${index}`, 0))
      if (dimension === 'history') await fill(step, () => text(ROOM, null))
      if (dimension === 'known keys') await fill(step, index => text(ROOM, index).replace('"key":"key-', '"key":"other-'))
      if (dimension === 'idle clients') await idle.more(step - idle.size)
      if (dimension === 'viewers') await viewers.more(step - viewers.size)
      await publish(step, WARM_UP_MS)
      const meter = new Meter(server)
      const published = await publish(step, windowMs)
      const used = meter.read()
      rounds.push({
        figures: { step, usPerPublish: used.cpuMs * 1000 / published, cpu: used.serverCpu },
        loadCpu: used.loadCpu,
        others: used.others,
        faults: viewers.lost + idle.lost === 0 ? [] : [`${viewers.lost + idle.lost} connections lost`]
      })
    }
    viewers.close()
    idle.close()
    post.close()
    return rounds
  } finally {
    await server.stop()
  }
}

const elsewhere = <Opening extends { path: string, ask?: string }>(opening: Opening): Opening => ({
  ...opening,
  path: opening.path.replace(ROOM, 'elsewhere'),
  ...(opening.ask === undefined ? {} : { ask: opening.ask.replace(ROOM, 'elsewhere') })
})
