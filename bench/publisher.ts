// Publishers as in production: each has its keep-alive HTTP connection and publishes a value or a fact at intervals, one
// request at a time. The schedule does not depend on how fast the last request was answered, unless the server falls
// behind the whole load.

import { setTimeout as delay } from 'node:timers/promises'
import type { Histogram } from './histogram.ts'
import type { Ledger } from './ledger.ts'
import { Post } from './post.ts'

export interface Source {
  /** The key of its next event; null for a fact. */
  readonly key: () => string | null
  /** Time to its next event, ms. */
  readonly gapMs: () => number
}

/** One publisher's way to the gateway. */
export interface Door {
  /** @returns the ids. @throws Error if it is not accepted */
  publish (body: string): Promise<string[]>
  close (): void
}

export interface Publishing {
  readonly sources: readonly Source[]
  readonly room: string
  readonly open: () => Promise<Door>
  readonly ms: number
  readonly ledger: Ledger
  /** Records how late each request started. */
  readonly late: Histogram
}

export const TYPE = 'metric'
/** Size of an event as it is published. */
const EVENT_BYTES = 150

/** Publishes from all sources for `ms`. @throws Error if one fails; all have then ended */
export async function publish (publishing: Publishing): Promise<void> {
  const ending = { until: performance.now() + publishing.ms }
  const ends = await Promise.allSettled(publishing.sources.map(async source => {
    try {
      await publishFrom(source, ending, publishing)
    } catch (error) {
      ending.until = 0
      throw error
    }
  }))
  const failed = ends.find(end => end.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function publishFrom (source: Source, ending: { readonly until: number }, { room, open, ledger, late }: Publishing): Promise<void> {
  const door = await open()
  for (let due = performance.now() + Math.random() * source.gapMs(); due < ending.until; due += source.gapMs()) {
    const wait = due - performance.now()
    if (wait > 0) await delay(wait)
    const startedAt = performance.now()
    if (startedAt >= ending.until) break
    late.record(startedAt - due)
    const key = source.key()
    const n = ledger.start(key)
    const [id] = await door.publish(eventText(room, key, n))
    ledger.acknowledged(n, id as string)
  }
  door.close()
}

function eventText (room: string, key: string | null, n: number): string {
  const event = { type: TYPE, room, ...(key === null ? {} : { key }), data: { n, padding: '' } }
  event.data.padding = 'x'.repeat(Math.max(0, EVENT_BYTES - JSON.stringify(event).length))
  return JSON.stringify(event)
}

/** The door of a gateway on this machine. */
export async function localDoor (port: number): Promise<Door> {
  const post = await Post.open(port, '/api/events', {}, '202')
  return {
    publish: async body => (JSON.parse(await post.send(body)) as { ids: string[] }).ids,
    close: () => post.close()
  }
}
