// What viewers cost that ask for fewer values: a page of gauges (50 keys, 1,000 updates a second in batches of 20)
// before 1,000 viewers of one room. In turn: all at every tick; four fifths of them hidden, which get no values; all once a second; no
// viewers, which is what taking in costs. Compared is the server's CPU time: it does not depend on what else the machine does.

import type { ProfileName } from '../profiles/index.ts'
import { Audience } from './compare/audience.ts'
import { ROOM, signalbox } from './compare/contenders.ts'
import { eventText } from './compare/mark.ts'
import { Meter } from './compare/rounds.ts'
import { paced } from './pace.ts'
import { Post } from './post.ts'
import { ServerProcess } from './process.ts'

const VIEWERS = 1000
const KEYS = 50
const BATCH = 20
const BATCHES_PER_SECOND = 50
const WARM_UP_MS = 2000
const WINDOW_MS = 8000
/** Fixed: a longer tick under load would make the viewers cheaper that cause the load. */
const TICK = { MONITOR_TICK_MS: 100, FLUSH_INTERVAL_MS: 100, TICK_FLOOR_MS: 100 }
const ROUNDS = Number(process.env.ROUNDS ?? 3)

/** Viewers by their pace. */
const VARIANTS: Readonly<Record<string, ReadonlyArray<readonly [count: number, paceMs: number | null]>>> = {
  'all at every tick': [[VIEWERS, 0]],
  '200 visible, 800 hidden': [[VIEWERS / 5, 0], [VIEWERS * 4 / 5, null]],
  'all once a second': [[VIEWERS, 1000]],
  'no viewers': []
}

/** @returns ms of the server's CPU a second, and events a second to all viewers */
async function run (profile: ProfileName, viewers: ReadonlyArray<readonly [number, number | null]>): Promise<{ cpuMs: number, events: number }> {
  const { command, opening, publishPath } = signalbox(profile)
  const server = await ServerProcess.start(command(TICK))
  try {
    const post = await Post.open(server.port, publishPath)
    let n = 0
    const publish = async (ms: number): Promise<void> => {
      await paced(ms, 1000 / BATCHES_PER_SECOND, async () => {
        const values = Array.from({ length: BATCH }, () => eventText({ key: n % KEYS, n: n++ }, { bytes: 100, room: ROOM, keyed: true }))
        await post.send(`[${values.join()}]`)
      })
    }
    await publish(WARM_UP_MS)
    const audiences = await Promise.all(viewers.map(async ([count, paceMs]) => await Audience.open({
      port: server.port,
      opening: profile === 'SSE'
        ? { ...opening, path: `${opening.path}&paceMs=${paceMs}`, ready: 'event: hello' }
        : { ...opening, ask: JSON.stringify({ action: 'join', room: ROOM, paceMs }), ready: '"event":"joined"' },
      count
    })))
    const delivered = (): number => audiences.reduce((sum, audience) => sum + audience.delivered, 0)
    await publish(WARM_UP_MS)
    const before = delivered()
    const meter = new Meter(server)
    await publish(WINDOW_MS)
    const { cpuMs, ms } = meter.read()
    const events = (delivered() - before) / ms * 1000
    for (const audience of audiences) {
      if (audience.lost > 0) throw new Error(`${audience.lost} connections lost`)
      audience.close()
    }
    post.close()
    return { cpuMs: cpuMs / ms * 1000, events }
  } finally {
    await server.stop()
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number

for (const profile of (process.env.PROFILES ?? 'SSE,WEBSOCKET').split(',') as ProfileName[]) {
  const rounds = new Map(Object.keys(VARIANTS).map(name => [name, [] as Array<{ cpuMs: number, events: number }>]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, viewers] of Object.entries(VARIANTS)) rounds.get(name)?.push(await run(profile, viewers))
  }
  console.log(`\n${profile}, ${ROUNDS} rounds, medians\n\n| viewers | CPU, ms a second | without taking in | of all at every tick | events a second to each |\n|---|--:|--:|--:|--:|`)
  const cost = (name: string): number => median((rounds.get(name) ?? []).map(({ cpuMs }) => cpuMs))
  for (const [name, results] of rounds) {
    const own = (name: string): number => cost(name) - cost('no viewers')
    console.log(`| ${name} | ${cost(name).toFixed(0)} | ${own(name).toFixed(0)} | ${(100 * own(name) / own('all at every tick')).toFixed(0)} % | ${(median(results.map(({ events }) => events)) / VIEWERS).toFixed(1)} |`)
  }
}
process.exit(0)
