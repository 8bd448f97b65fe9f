// Clients that vanish without a word: their connections stay open, and nobody answers a ping any more.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from '../compare/audience.ts'
import { signalbox } from '../compare/contenders.ts'
import { addressesFrom, figuresOf, judged, until, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const CLIENTS = 10_000
const SILENT = 1000
/** PING_INTERVAL and PING_TIMEOUT by default, and half a second. */
const GONE_S = 15.5
const WATCHED_MS = 30_000

export const halfOpen: Extreme = async (profile, share) => {
  // A stream is told from a dead one by what cannot be written to it, not by an answer.
  if (profile === 'SSE') return []
  return await withServer(profile, {}, async server => {
    const [clients, silent] = [CLIENTS * share, SILENT * share].map(Math.round) as [number, number]
    const sessions = async (): Promise<number> => (await figuresOf(server)).figure('signalbox_sessions')
    const audience = await Audience.open({ port: server.port, localAddress: addressesFrom(1), opening: signalbox(profile).opening, count: clients })
    // All have been pinged at least once.
    await delay(11_000)
    const since = performance.now()
    audience.silence(silent)
    await until('the silent ones are gone', async () => await sessions() <= clients - silent, 60_000)
    const goneS = (performance.now() - since) / 1000
    await delay(WATCHED_MS)
    const left = await sessions()
    const { lost } = audience
    audience.close()
    return [
      judged(`${silent.toLocaleString('en')} silent sockets of ${clients.toLocaleString('en')} are all ended after, s`, goneS, GONE_S, 1),
      judged(`others ended then and in the ${WATCHED_MS / 1000} s that followed`, clients - silent - left, 0),
      judged('others whose connection broke', lost, 0)
    ]
  })
}
