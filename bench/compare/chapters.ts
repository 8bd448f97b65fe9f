// The scenarios, and which variants each of them compares. Targets are the product's own.

import { fileLimit } from '../../src/app/file-limit.ts'
import { against, atLeast, atMost, column, figureIn, noFaults, plain, plot, ratioAtMost, share, us } from './chapter.ts'
import type { Chapter } from './chapter.ts'
import { bundles, compressed } from './compression.ts'
import { BARE_ROUTE, SSE, WEBSOCKET, WS } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { dashboard } from './dashboard.ts'
import { fanOut } from './fan-out.ts'
import { DIMENSIONS, growth, MAY_GROW, STEPS } from './growth.ts'
import { herd } from './herd.ts'
import { idle } from './idle.ts'
import { ingest } from './ingest.ts'
import type { Intake } from './ingest.ts'
import { redisIntakes } from './redis.ts'
import { inTurn } from './rounds.ts'
import type { Round, Series } from './rounds.ts'
import { slowReaders } from './slow.ts'

interface Context {
  readonly rounds: number
  /** Short windows. */
  readonly quick: boolean
  readonly say: (line: string) => void
  /** Builds of Signalbox to compare with, of other checkouts. */
  readonly others: readonly Contender[]
  /** The C loop, where it is there. */
  readonly bottom: readonly Contender[]
  /** All other servers, `WS` first; where only what costs least is of interest, no more than that. */
  readonly peers: readonly Contender[]
}

const OWN = [SSE, WEBSOCKET]
const OWN_NAMES = OWN.map(({ name }) => name)
/** Descriptors a server needs besides those of its clients. */
const FILES = 500

export const clientsHere = (wanted: number): number => Math.min(wanted, fileLimit() - FILES)

export type Scenario = (context: Context) => Promise<Chapter[]>

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'fan-out-1000': async context => await fanOutTo(1000, context),
  'fan-out-5000': async context => await fanOutTo(5000, context),
  'dashboard-100': async context => await dashboardBefore(100, context),
  'dashboard-1000': async context => await dashboardBefore(1000, context),

  compression: async ({ rounds, quick, say }) => {
    const contenders = OWN.flatMap(contender => [contender, compressed(contender)])
    const series = await inTurn(contenders, rounds, line => say(`compression, ${line}`), async contender => await bundles(contender, 1000, quick ? 1500 : 4000))
    return [{
      id: 'compression',
      title: 'Bundles of fifty values to 1,000 viewers, plain and compressed',
      method: 'Ten requests a second of 50 values each to a room of 1,000, whose bundle is compressed once for all. CPU of the server process for each bundle handed over, taking the events in included; bytes as the server counts them.',
      columns: [column('CPU a bundle, µs', 'usPerFrame', us), column('bytes', 'bytes'), column('without compression', 'plainBytes')],
      series,
      verdicts: OWN_NAMES.flatMap(name => ratioAtMost(series, `${name}, compressed`, name, 'usPerFrame', 1.1)),
      plots: []
    }]
  },

  idle: async ({ quick, say, others, peers }) => {
    const clients = clientsHere(quick ? 2000 : 10_000)
    // A second round would say the same.
    const series = await inTurn([...OWN, ...others, ...peers], 1, line => say(`idle, ${line}`), async contender => await idle(contender, clients))
    return [{
      id: 'idle',
      title: 'Idle connections',
      method: `${plain(clients)} held, nothing sent. Resident memory of the server for each beyond the first 500, after garbage collection (nginx has none to collect); how many a second were let in. One round.`,
      columns: [column('memory, KB', 'kbPerConnection', us), column('let in a second', 'openedPerSecond')],
      series,
      verdicts: [
        ...atMost(series, SSE.name, 'kbPerConnection', 6, 'at most 6 KB a connection', us), ...atMost(series, WEBSOCKET.name, 'kbPerConnection', 7, 'at most 7 KB a connection', us),
        ...noFaults(series, OWN_NAMES)
      ],
      plots: [plot('idle', `Memory of a connection, KB, ${plain(clients)} held`, series, 'kbPerConnection', us)]
    }]
  },

  ingest: async ({ rounds, quick, say }) => {
    const own = (name: string, batch: number, publishers: number): Intake => ({ name, command: () => SSE.command({}), path: SSE.publishPath, batch, publishers })
    const bare = (name: string, batch: number, publishers: number): Intake => ({ name, command: () => BARE_ROUTE, path: '/publish', batch, publishers })
    const [single, bareSingle, batch, bareBatch] = ['Signalbox, one by one', 'bare Fastify route, one by one', 'Signalbox, batches of 100', 'bare Fastify route, batches of 100'] as const
    const intakes = [own(single, 1, 64), bare(bareSingle, 1, 64), own(batch, 100, 16), bare(bareBatch, 100, 16)]
    const redis = await redisIntakes()
    const windowMs = quick ? 1000 : 1500
    const series = await inTurn([...intakes.map(intake => ({ name: intake.name, measure: async () => await ingest(intake, windowMs) })), ...redis.variants(windowMs)], rounds, line => say(`ingest, ${line}`), async ({ measure }) => await measure())
    await redis.stop()
    return [{
      id: 'ingest',
      title: 'Taking events in',
      method: `One process, un-keyed events of 200 B over HTTP, each publisher waiting for its answer: 64 with an event a request, 16 with a hundred. Embedded store, durable (\`DURABILITY=fsync\`), against a bare Fastify route that parses the same body and answers 202 with as many ids. On Redis (appendonly everysec, on the load's core) against \`redis-benchmark\` sending it the very append that Signalbox sends. ${redis.missing ?? ''}`,
      columns: [column('events a second', 'perSecond'), column('server CPU, of a core', 'cpu', share), column('CPU an event, µs', 'usPerEvent', us)],
      series,
      verdicts: [
        ...atLeast(series, single, 'perSecond', 15_000, 'at least 15,000 a second', plain), ...atLeast(series, batch, 'perSecond', 150_000, 'at least 150,000 a second', plain),
        ...redis.verdicts(series)
      ],
      plots: [plot('ingest', 'Events taken in a second', series, 'perSecond', plain, 'more')]
    }]
  },

  slow: async ({ rounds, quick, say, others, peers }) => {
    const series = await inTurn([...OWN, ...others, ...peers], 1, line => say(`slow readers, ${line}`), async contender => await slowReaders(contender, quick ? 2500 : 5000))
    return [{
      id: 'slow',
      title: 'Twenty clients that take nothing beside a hundred that do',
      method: 'Values of 50 keys, 200 a second of 10 KB. The twenty join, then read nothing; the system buffers some megabytes for each, what is beyond is up to the server. Latency at the hundred before and after; resident memory gained, after garbage collection. One round.',
      columns: [column('p95 before, ms', 'aloneP95'), column('p95 beside them, ms', 'p95Ms'), column('longest, ms', 'maxMs'), column('memory gained, MB', 'mbMore')],
      series,
      verdicts: [...OWN_NAMES.flatMap(name => undisturbed(series, name)), ...noFaults(series, OWN_NAMES)],
      plots: [plot('slow', 'Memory gained beside twenty clients that take nothing, MB', series, 'mbMore', plain)]
    }]
  },

  herd: async ({ quick, say, others }) => {
    const clients = clientsHere(quick ? 2000 : 10_000)
    const series = await inTurn([...OWN, ...others], 1, line => say(`herd, ${line}`), async contender => await herd(contender, clients))
    return [{
      id: 'herd',
      title: `${plain(clients)} clients come back within a second`,
      method: 'Each with the cursor of a client cut off before 100 un-keyed events and the values of 50 keys: all of that is still to be sent to each. A hundred others go on watching 2 events a second. From the first connection until the last client has all; latency at the hundred meanwhile; CPU for each that came back. Clients share one core too, which makes it longer. One round.',
      columns: [column('until all are served, ms', 'allServedMs'), column('p95 of live events, ms', 'liveP95'), column('longest, ms', 'liveMax'), column('CPU each, µs', 'usPerReturn', us)],
      series,
      verdicts: OWN_NAMES.flatMap(name => [
        ...atMost(series, name, 'allServedMs', 20_000, 'all served within 20 s', plain), ...atMost(series, name, 'liveMax', 1000, 'live events within 1 s meanwhile', plain), ...noFaults(series, [name])
      ]),
      plots: [plot('herd', `Until ${plain(clients)} returning clients are served, ms`, series, 'allServedMs', plain)]
    }]
  },

  growth: async ({ quick, say }) => {
    const most = clientsHere(Infinity)
    const chapters: Chapter[] = []
    const steps = new Map<string, Round[]>()
    for (const dimension of DIMENSIONS) {
      say(`growth, ${dimension}`)
      steps.set(dimension, await growth(SSE, dimension, quick ? 700 : 2500, dimension === 'idle clients' ? most : Infinity))
    }
    const series: Series[] = [...steps].map(([variant, rounds]) => ({ variant, rounds, thrown: [], failed: null }))
    const cost = (round: Round | undefined): number => round?.figures.usPerPublish ?? NaN
    const grown = ({ rounds }: Series): number => cost(rounds.at(-1)) / cost(rounds[0])
    chapters.push({
      id: 'growth',
      title: 'What an event costs as a deployment grows',
      method: 'Signalbox SSE, everything else at 10 or less, 200 requests a second of an event each: CPU of the server for each request, µs, as one thing grows in steps of ten times. With changed keys there are 10 requests a second, which hold them all, so that line compares with itself only. Only with changed keys and viewers may it grow: the others may not cost more than half as much again. One round.',
      columns: [
        { head: 'steps', cell: ({ variant }) => STEPS[variant as keyof typeof STEPS].map(step => step.toLocaleString('en')).join(', ') },
        { head: 'CPU a publish, µs', cell: ({ rounds }) => rounds.map(round => Math.round(cost(round)).toLocaleString('en')).join(', ') },
        { head: 'last / first', cell: one => `${grown(one).toFixed(2)}x` }
      ],
      series,
      verdicts: series.filter(({ variant }) => !MAY_GROW.some(name => name === variant)).map(one => ({
        target: `${one.variant}: an event costs the same`, found: `${grown(one).toFixed(2)}x`, met: grown(one) <= 1.5
      })),
      plots: []
    })
    return chapters
  }
}

/** Those that take something notice nothing of those that do not. */
function undisturbed (series: readonly Series[], name: string): Chapter['verdicts'] {
  const [before, after] = ['aloneP95', 'p95Ms'].map(figure => figureIn(series, name, figure)?.median)
  if (before === undefined || after === undefined) return []
  return [{ target: `${name}: the others notice nothing (p95 at most 20 ms more)`, found: `${plain(before)} -> ${plain(after)} ms`, met: after <= before + 20 }]
}

async function fanOutTo (clients: number, { rounds, quick, say, others, bottom, peers }: Context): Promise<Chapter[]> {
  // The additional cost of many over few shows best in the variants that cost least.
  const contenders = [...OWN, ...others, ...(clients === 1000 ? peers : [WS]), ...bottom]
  const series = await inTurn(contenders, rounds, line => say(`fan-out to ${plain(clients)}, ${line}`), async contender => await fanOut(contender, clients, quick ? 1000 : 1500))
  return [{
    id: `fan-out-${clients}`,
    title: `One event to ${plain(clients)} clients`,
    method: `Bundling off (a tick of 0), ${20_000 / clients} events a second of 200 B, each sent by itself: CPU of the server process for each frame delivered, taking the event in included. The C loop is epoll and one \`send()\` a socket, what the kernel alone costs.`,
    columns: [
      column('CPU a frame, µs', 'usPerFrame', us), against(WS.name, 'usPerFrame'), ...bottom.map(({ name }) => against(name, 'usPerFrame')),
      column('p95 of receipt, ms', 'p95Ms')
    ],
    series,
    verdicts: OWN_NAMES.flatMap(name => [
      ...ratioAtMost(series, name, WS.name, 'usPerFrame', 1), ...bottom.flatMap(base => ratioAtMost(series, name, base.name, 'usPerFrame', 1.5)), ...noFaults(series, [name])
    ]),
    plots: [plot(`fan-out-${clients}`, `CPU for one frame to one of ${plain(clients)} clients, µs`, series, 'usPerFrame', us)]
  }]
}

async function dashboardBefore (viewers: number, { rounds, quick, say, others, peers }: Context): Promise<Chapter[]> {
  const products = viewers === 100 ? peers : peers.filter(({ name }) => [WS.name, 'socket.io', 'nchan SSE'].includes(name))
  const series = await inTurn([...OWN, ...others, ...products], rounds, line => say(`dashboard, ${plain(viewers)} viewers, ${line}`), async contender => await dashboard(contender, viewers, quick ? 1000 : 1500))
  const sixth = peers.filter(({ name }) => ['socket.io', 'nchan SSE'].includes(name))
  return [{
    id: `dashboard-${viewers}`,
    title: `A page of gauges before ${plain(viewers)} viewers`,
    method: '50 keys, 1,000 updates a second of 150 B, each a request of its own on one of 50 keep-alive connections, at irregular times; one room; Signalbox with its defaults. Age: of a value when it is received. Until shown: from the publishing of any update until it or a newer one of its key is there. Where a server cannot follow, its publishers wait: "let through" says for how much of the work the CPU was used. Lag: of the event loop of servers in Node, by the histogram of `node:perf_hooks`. Bytes saved: of those there would be if each update went to each viewer, as Signalbox counts them; these viewers ask for neither patches nor compression.',
    columns: [
      column('server CPU, of a core', 'cpu', share), against(SSE.name, 'cpu'), column('p95 age of a value, ms', 'ageP95'), column('p95 until shown, ms', 'updateP95'), column('let through', 'through', share), column('lag p99, ms', 'lagP99'),
      ...['bundling', 'patches', 'compression'].map(means => column(`bytes saved by ${means}`, means, share))
    ],
    series,
    verdicts: OWN_NAMES.flatMap(name => [
      ...(viewers === 100 ? sixth.flatMap(peer => ratioAtMost(series, name, peer.name, 'cpu', 1 / 6, `${peer.name}'s CPU`)) : atMost(series, name, 'cpu', 0.15, 'at most 15 % of a core', share)),
      ...(viewers === 100 ? [] : atMost(series, name, 'ageP95', 100, 'p95 age below 100 ms', plain)),
      ...noFaults(series, [name])
    ]),
    plots: [plot(`dashboard-${viewers}`, `Server CPU, ${plain(viewers)} viewers, share of a core`, series, 'cpu', share)]
  }]
}
