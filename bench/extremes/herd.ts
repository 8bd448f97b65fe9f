// All clients come back within a second, each with what it missed still to get.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from '../compare/audience.ts'
import { ROOM, signalbox } from '../compare/contenders.ts'
import { cursorOf } from '../compare/herd.ts'
import { eventText } from '../compare/mark.ts'
import { Post } from '../post.ts'
import { addressesFrom, judged, told, withServer } from './extreme.ts'
import type { Extreme } from './extreme.ts'

const CLIENTS = 10_000
const WITHIN_MS = 1000
const MISSED = 20
const EVENT_BYTES = 200
/** One that is refused tries again after this time. */
const RETRY_MS = 1000
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
  const missing = new Int32Array(clients).fill(MISSED)
  const backAfter: number[] = []
  await server.lag()
  const cameAt = performance.now()
  const audience = Audience.begin({
    port: server.port,
    localAddress: addressesFrom(1),
    opening: opening.webSocket ? { ...opening, ask: JSON.stringify({ action: 'join', room: ROOM, lastEventId: cursor }) } : { ...opening, headers: { 'Last-Event-ID': cursor } },
    count: clients,
    withinMs: WITHIN_MS,
    retryMs: RETRY_MS,
    onMarks: (viewer, marks, at) => {
      if ((missing[viewer] = (missing[viewer] as number) - marks.length) === 0) backAfter.push(at - cameAt)
    }
  })
  while (backAfter.length < clients && performance.now() - cameAt < LIMIT_MS) await delay(20)
  const lag = await server.lag()
  audience.close()
  const twice = missing.filter(left => left < 0).length
  const lost = missing.reduce((sum, left) => sum + Math.max(0, left), 0)
  return [
    judged(`${clients} clients come within a second: 99 % have all they missed after, s`, (backAfter[Math.ceil(0.99 * clients) - 1] ?? Infinity) / 1000, BACK_S, 1),
    told('the last of them, s', ((backAfter[clients - 1] ?? Infinity) / 1000).toFixed(1)),
    judged('event-loop lag p99 meanwhile, ms', lag?.p99Ms ?? Infinity, LAG_MS),
    told('longest lag, ms', (lag?.maxMs ?? Infinity).toFixed(0)),
    told('refused, and tried again', String(audience.retried)),
    judged('events that a client did not get', lost, 0),
    judged('clients that got more than they missed', twice, 0)
  ]
})
