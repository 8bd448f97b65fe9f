// All clients come back within a second.

import { ROOM, signalbox } from '../compare/contenders.ts'
import { cursorOf } from '../compare/herd.ts'
import { eventText } from '../compare/mark.ts'
import { backBy, comeBack } from '../herd.ts'
import { Post } from '../post.ts'
import { addressesFrom, judged, told, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const CLIENTS = 10_000
const WITHIN_MS = 1000
const MISSED = 20
const EVENT_BYTES = 200
const LIMIT_MS = 60_000
const BACK_S = 20
const LAG_MS = 100

export const herd: Extreme = async (profile, share) => await withServer(profile, {}, async server => {
  const { opening, publishPath } = signalbox(profile)
  const clients = Math.round(CLIENTS * share)
  const cursor = await cursorOf(opening, server.port)
  const post = await Post.open(server.port, publishPath)
  for (let n = 0; n < MISSED; n++) await post.send(eventText({ key: 0, n }, { bytes: EVENT_BYTES, room: ROOM, keyed: false }))
  post.close()
  const back = await comeBack({ server, opening, cursor, clients, missed: MISSED, withinMs: WITHIN_MS, limitMs: LIMIT_MS, localAddress: addressesFrom(1) })
  return [
    judged(`${clients.toLocaleString('en')} clients come within a second: 99 % have all they missed after, s`, backBy(back, 0.99) / 1000, BACK_S, 1),
    told('the last of them, s', (backBy(back, 1) / 1000).toFixed(1)),
    judged('event-loop lag p99 meanwhile, ms', back.lag?.p99Ms ?? Infinity, LAG_MS),
    told('longest lag, ms', (back.lag?.maxMs ?? Infinity).toFixed(0)),
    told('refused, and tried again', String(back.retried)),
    judged('events that a client did not get', back.lost, 0),
    judged('events that a client got twice', back.twice, 0)
  ]
})
