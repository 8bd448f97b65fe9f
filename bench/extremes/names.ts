// A million names of rooms, each with a key, that are published to once; and a million that clients join. None of them is ever
// heard of again, and the gateway must forget them.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from '../compare/audience.ts'
import { signalbox } from '../compare/contenders.ts'
import type { Profile } from '../compare/contenders.ts'
import { Post } from '../post.ts'
import type { ServerProcess } from '../process.ts'
import { baseOf, figuresOf, openingOf, returned, told, until, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const NAMES = 1_000_000
const BATCH = 1000
/** MAX_ROOMS_PER_CLIENT. */
const JOINED_EACH = 100
const AT_ONCE = 100
/** Values stand so long; and so long it is remembered that they were deleted. */
const KEPT_S = 30
const RSS_MB = 50
const QUIET_MS = 60_000
const GONE_MS = 300_000
const GIGABYTE = 2 ** 30

export const names: Extreme = async (profile, share) => await withServer(profile, { MAX_ROOMS: 2 * NAMES, STATE_BYTES: GIGABYTE, STATE_TTL: KEPT_S, HISTORY_TTL: KEPT_S }, async server => {
  // The memory that the first of them takes is taken for good.
  await publishAndJoin(server, profile, 'warm', Math.round(NAMES / 10 * share))
  const before = await baseOf(server)
  const count = Math.round(NAMES * share)
  const peak = await publishAndJoin(server, profile, 'name', count)
  await delay(QUIET_MS * share)
  return [told('names published to, then joined: rooms at most; RSS then, MB', `${count.toLocaleString('en')}: ${peak.rooms.toLocaleString('en')}; ${(peak.rss / 1e6).toFixed(0)}`), ...returned(before, await baseOf(server), RSS_MB)]
})

async function publishAndJoin (server: ServerProcess, profile: Profile, prefix: string, count: number): Promise<{ rooms: number, rss: number }> {
  const { port } = server
  const rooms = async (): Promise<number> => (await figuresOf(server)).figure('signalbox_rooms')
  const base = await rooms()
  const post = await Post.open(port, signalbox(profile).publishPath)
  for (let from = 0; from < count; from += BATCH) {
    await post.send(JSON.stringify(Array.from({ length: Math.min(BATCH, count - from) }, (_, index) => ({ type: 'named', room: `${prefix}-${from + index}`, key: `key-${from + index}`, data: from + index }))))
  }
  post.close()
  const peak = { rooms: await rooms(), rss: server.rss }
  await until('the rooms that were published to are gone', async () => await rooms() <= base, GONE_MS)
  for (let from = 0; from < count; from += JOINED_EACH * AT_ONCE) {
    const waves = await Promise.all(Array.from({ length: AT_ONCE }, async (_, client) => {
      const joined = Array.from({ length: JOINED_EACH }, (_, index) => `${prefix}-joined-${from + client * JOINED_EACH + index}`)
      return await Audience.open({ port, opening: openingOf(profile, joined), count: 1 })
    }))
    for (const wave of waves) wave.close()
  }
  await until('the rooms that were joined are gone', async () => await rooms() <= base, GONE_MS)
  return peak
}
