// How many events a second one process takes in and answers for, from publishers that wait for each answer.

import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import type { Command } from '../process.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'
import { eventText } from './mark.ts'

const EVENT_BYTES = 200
const WARM_UP_MS = 1000

export interface Intake {
  readonly name: string
  command (): Command
  readonly path: string
  /** Events in a request. */
  readonly batch: number
  readonly publishers: number
}

export async function ingest ({ command, path, batch, publishers }: Intake, windowMs: number): Promise<Round> {
  const server = await ServerProcess.start(command())
  try {
    let accepted = 0
    const ended = new AbortController()
    const event = eventText({ key: 0, n: 0 }, { bytes: EVENT_BYTES, room: 'bench', keyed: false })
    const body = batch === 1 ? event : `[${Array.from({ length: batch }, () => event).join(',')}]`
    const publishing = Promise.all(Array.from({ length: publishers }, async () => {
      const post = await Post.open(server.port, path)
      while (!ended.signal.aborted) {
        await post.send(body)
        accepted += batch
      }
      post.close()
    }))
    publishing.catch(() => {})
    await Promise.race([publishing, new Promise(resolve => setTimeout(resolve, WARM_UP_MS))])
    const before = accepted
    const meter = new Meter(server)
    await Promise.race([publishing, new Promise(resolve => setTimeout(resolve, windowMs))])
    const used = meter.read()
    const taken = accepted - before
    ended.abort()
    await publishing
    return {
      figures: { perSecond: taken / used.ms * 1000, cpu: used.serverCpu, usPerEvent: used.cpuMs * 1000 / taken },
      loadCpu: used.loadCpu,
      others: used.others,
      faults: []
    }
  } finally {
    await server.stop()
  }
}
