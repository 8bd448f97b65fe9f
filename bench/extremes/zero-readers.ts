// Clients that read nothing, among many that do: what they cost, what the others see of it, and when they are ended.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from '../compare/audience.ts'
import { ROOM, signalbox } from '../compare/contenders.ts'
import { eventText } from '../compare/mark.ts'
import { Histogram } from '../histogram.ts'
import { paced } from '../pace.ts'
import { Post } from '../post.ts'
import { addressesFrom, baseOf, figuresOf, judged, openingOf, told, until, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const CLIENTS = 10_000
const ZERO_READERS = 500
const BULK_ROOM = 'bulk'
const READ_ROOM = 'read'
/** A value of so many bytes, so often: what their connections' buffers in the system take is full after some seconds. */
const BULK_BYTES = 100_000
const BULK_EVERY_MS = 300
const WINDOW_MS = 20_000
const EVERY_MS = 500
const EVENT_BYTES = 200
/** Longer than the measurement. */
const SLOW_CLIENT_TIMEOUT = 60
const KB_EACH = 64
/** What two windows of the same differ by on a machine that does nothing else. */
const P95_RATIO = 1.1

export const zeroReaders: Extreme = async (profile, share) => await withServer(profile, { SLOW_CLIENT_TIMEOUT, PING_INTERVAL: 300, PING_TIMEOUT: 300 }, async server => {
  const [clients, deaf] = [CLIENTS * share, ZERO_READERS * share].map(Math.round) as [number, number]
  const { opening, publishPath } = signalbox(profile)
  const { port } = server
  let sentAt = 0
  let n = 0
  let latency = new Histogram()
  const others = await Audience.open({
    port,
    localAddress: addressesFrom(1),
    opening,
    count: clients - deaf,
    onMarks: (_viewer, marks, at) => { for (const mark of marks) if (mark.n === n - 1) latency.record(at - sentAt) }
  })
  const zero = await Audience.open({ port, localAddress: addressesFrom(2), opening: openingOf(profile, [BULK_ROOM]), count: deaf, deaf: true })
  const window = async (): Promise<number> => {
    latency = new Histogram()
    const post = await Post.open(port, publishPath)
    await paced(WINDOW_MS, EVERY_MS, async () => {
      sentAt = performance.now()
      await post.send(eventText({ key: 0, n: n++ }, { bytes: EVENT_BYTES, room: ROOM, keyed: true }))
    })
    post.close()
    await delay(EVERY_MS)
    return latency.percentile(0.95) ?? Infinity
  }
  // A connection each: there may be a minute between two.
  const publishBulk = async (room = BULK_ROOM): Promise<void> => {
    const bulk = await Post.open(port, publishPath)
    await bulk.send(eventText({ key: 1, n: 0 }, { bytes: BULK_BYTES, room, keyed: true }))
    bulk.close()
  }
  // Compiled, and the memory that such values take once, whoever gets them, is taken.
  const readers = await Audience.open({ port, localAddress: addressesFrom(3), opening: openingOf(profile, [READ_ROOM]), count: 10 })
  await paced(WINDOW_MS, BULK_EVERY_MS, async () => await publishBulk(READ_ROOM))
  readers.close()
  await window()
  const before = await window()
  const base = await baseOf(server)
  const stalled = async (): Promise<number> => (await figuresOf(server)).figure('signalbox_stalled_sessions')
  await until('all that read nothing are stalled', async () => {
    await publishBulk()
    await delay(BULK_EVERY_MS)
    return await stalled() === deaf
  }, 120_000)
  const stalledAt = performance.now()
  // What they miss goes on.
  const going = paced(WINDOW_MS, EVERY_MS, async () => await publishBulk())
  const during = await window()
  await going
  const { rss } = await baseOf(server)
  await until('all that read nothing are ended', async () => (await figuresOf(server)).figure('signalbox_sessions') <= clients - deaf, 120_000)
  const endedS = (performance.now() - stalledAt) / 1000
  const { lost } = others
  others.close()
  zero.close()
  return [
    judged(`${deaf} that read nothing, among ${clients.toLocaleString('en')}: memory (RSS) for each, KB`, (rss - base.rss) / 1024 / deaf, KB_EACH, 1),
    told('p95 of the others before, ms', before.toFixed(0)),
    judged('p95 of the others meanwhile, by that before', during / before, P95_RATIO, 2),
    judged('others ended', lost, 0),
    judged('those that read nothing are ended after, s', endedS, SLOW_CLIENT_TIMEOUT + 1, 1)
  ]
})
