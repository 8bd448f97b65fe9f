// Thousands of clients come back within a second, each with what it missed still to get, while events go on.

import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { Histogram } from '../histogram.ts'
import { Audience } from './audience.ts'
import type { Opening } from './audience.ts'
import { ROOM } from './contenders.ts'
import type { Contender } from './contenders.ts'
import { eventText } from './mark.ts'
import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'

const HEALTHY = 100
/** Un-keyed events that each client has missed, and keys whose values it must be sent. */
const MISSED = 100
const KEYS = 50
const LIVE_PER_SECOND = 2
const EVENT_BYTES = 200
const WITHIN_MS = 1000
const LIMIT_MS = 40_000

export async function herd (contender: Contender, clients: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command({}))
  try {
    const { port } = server
    const { opening } = contender
    const cursor = await cursorOf(opening, port)
    const post = await Post.open(port, contender.publishPath)
    const publish = async (key: number, n: number, keyed: boolean): Promise<void> => {
      await post.send(eventText({ key, n }, { bytes: EVENT_BYTES, room: ROOM, keyed }))
    }
    for (let key = 1; key <= KEYS; key++) await publish(key, 0, true)
    for (let n = 0; n < MISSED; n++) await publish(0, n, false)

    const startedAt: number[] = []
    const live = new Histogram()
    const healthy = await Audience.open({
      port,
      opening,
      count: HEALTHY,
      onMarks: (_viewer, marks, at) => {
        for (const { key, n } of marks) if (key === 0 && n >= MISSED) live.record(at - (startedAt[n - MISSED] as number))
      }
    })
    const missing = new Int32Array(clients).fill(MISSED)
    let served = 0
    const came = performance.now()
    const all: { at: number | null } = { at: null }
    const meter = new Meter(server)
    const herd = Audience.begin({
      port,
      opening: returning(opening, cursor),
      count: clients,
      withinMs: WITHIN_MS,
      onMarks: (viewer, marks, at) => {
        for (const { key, n } of marks) {
          if (key !== 0 || n >= MISSED || missing[viewer] === 0) continue
          missing[viewer] = (missing[viewer] as number) - 1
          if (missing[viewer] === 0 && ++served === clients) all.at = at
        }
      }
    })
    while (all.at === null && performance.now() - came < LIMIT_MS) {
      startedAt.push(performance.now())
      await publish(0, MISSED + startedAt.length - 1, false)
      await delay(1000 / LIVE_PER_SECOND)
    }
    const used = meter.read()
    await delay(500)
    const lost = herd.lost + healthy.lost
    herd.close()
    healthy.close()
    return {
      figures: {
        allServedMs: all.at === null ? null : all.at - came,
        liveP95: live.percentile(0.95),
        liveMax: live.max,
        usPerReturn: used.cpuMs * 1000 / clients
      },
      // The server is to be full: that the load is, too, makes the times longer, never shorter.
      loadCpu: 0,
      others: used.others,
      faults: [
        ...(served === clients ? [] : [`${clients - served} of ${clients} were not served within ${LIMIT_MS / 1000} s`]),
        ...(lost === 0 ? [] : [`${lost} connections lost`])
      ]
    }
  } finally {
    await server.stop()
  }
}

/** How a client with a cursor comes back. */
export const returning = (opening: Opening, cursor: string): Opening => opening.webSocket
  ? { ...opening, ask: JSON.stringify({ action: 'join', room: ROOM, lastEventId: cursor }) }
  : { ...opening, headers: { 'Last-Event-ID': cursor } }

/** The cursor of a client that connects now. */
export const cursorOf = async (opening: Opening, port: number): Promise<string> => opening.webSocket ? await socketCursor(port) : await streamCursor(port, opening)

async function streamCursor (port: number, { path }: Opening): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`)
  let text = ''
  const decoder = new TextDecoder()
  for await (const piece of response.body as AsyncIterable<Uint8Array>) {
    text += decoder.decode(piece, { stream: true })
    // Leaving the loop ends the request.
    if (text.includes('event: ready')) return /^id: (.+)$/m.exec(text)?.[1] as string
  }
  throw new Error(`no cursor in ${text}`)
}

async function socketCursor (port: number): Promise<string> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/api/events/ws`)
  return await new Promise<string>((resolve, reject) => {
    socket.on('error', reject).on('open', () => socket.send(JSON.stringify({ action: 'join', room: ROOM }))).on('message', bytes => {
      const { event, data } = JSON.parse(String(bytes)) as { event: string, data: { cursor: string } }
      if (event !== 'joined') return
      resolve(data.cursor)
      socket.terminate()
    })
  })
}
