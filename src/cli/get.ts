// `signalbox get`: the present values of a room.

import type { Event } from '../client/index.ts'
import { isObject, PUBLIC } from '../client/wire.ts'
import { refuse } from './gateway.ts'
import type { Gateway } from './gateway.ts'
import { lineOf, print, say } from './terminal.ts'

export interface GetOptions {
  readonly types?: readonly string[]
  readonly json?: boolean
}

/** The answer of GET /api/events, as far as it is needed. */
interface Reading {
  readonly cursor: string
  readonly reset: object | null
  readonly more: boolean
  readonly events: readonly Event[]
}

export async function get (gateway: Gateway, room: string, { types = [], json = false }: GetOptions): Promise<void> {
  const values = new Map<string, Event>()
  let lastEventId = ''
  for (let more = true; more;) {
    const answer = await gateway.ask(`/api/events?${new URLSearchParams({ rooms: room, types: types.join(), lastEventId })}`)
    if (answer.status !== 200) refuse(answer)
    if (!isReading(answer.body)) throw gateway.stranger()
    const { cursor, reset, events } = answer.body
    if (reset !== null) values.clear()
    for (const event of events) {
      // Facts may arrive between two pages; they are no values. With types the public feed is heard too.
      if (event.key === undefined || (event.room ?? PUBLIC) !== room) continue
      const name = `${event.type}\0${event.key}`
      values.delete(name)
      if (event.data !== null) values.set(name, event)
    }
    more = answer.body.more
    lastEventId = cursor
  }
  for (const event of values.values()) await print(lineOf(event, json))
  if (values.size === 0) say('no present values')
}

const isReading = (body: unknown): body is Reading => isObject(body) && typeof body.cursor === 'string' && Array.isArray(body.events)
