// A million connections that come, get their first messages and go.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from '../compare/audience.ts'
import { signalbox } from '../compare/contenders.ts'
import { baseOf, returned, told, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const CONNECTIONS = 1_000_000
const AT_ONCE = 200
const WARM_UP = 20_000
const QUIET_MS = 60_000
const RSS_MB = 50
/** Each wave comes from the next of so many addresses: its ports are taken for a minute. */
const ADDRESSES = 250

export const churn: Extreme = async (profile, share) => await withServer(profile, {}, async server => {
  const { opening } = signalbox(profile)
  let wave = 0
  const comeAndGo = async (count: number): Promise<number> => {
    const since = performance.now()
    for (let done = 0; done < count; done += AT_ONCE) {
      const address = `127.9.9.${1 + wave++ % ADDRESSES}`
      const audience = await Audience.open({ port: server.port, localAddress: () => address, opening, count: AT_ONCE })
      audience.close()
    }
    return count / (performance.now() - since) * 1000
  }
  await comeAndGo(Math.round(WARM_UP * share))
  await delay(QUIET_MS * share)
  const before = await baseOf(server)
  const connections = Math.round(CONNECTIONS * share)
  const perSecond = await comeAndGo(connections)
  await delay(QUIET_MS * share)
  return [told('connections opened and ended; a second', `${connections.toLocaleString('en')}; ${perSecond.toFixed(0)}`), ...returned(before, await baseOf(server), RSS_MB)]
})
