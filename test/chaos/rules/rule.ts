// What a rule is, and what it finds.

import type { Place, LogEvent, Publish, Recording } from '../recording.ts'

export interface Violation {
  /** One sentence with names. */
  readonly what: string
  /** How many events, publishes or connections it concerns. */
  readonly count: number
  readonly chain?: string
  /** Where in the record it shows. */
  readonly at?: Place
  /** Other lines that belong to it: the publish of the event, for example. */
  readonly see?: readonly Place[]
}

export interface Rule {
  readonly number: number
  readonly name: string
  /** What must hold, in a sentence. */
  readonly holds: string
  check: (recording: Recording) => Iterable<Violation>
}

const FACT_OR_VALUE = (event: Pick<LogEvent, 'key' | 'value'>): string => event.key === null ? 'fact' : event.value === null ? 'deletion' : 'value'

/** `fact p1-7 (1763770000000-0) of plant-1` */
export const nameOf = (event: LogEvent): string =>
  `${FACT_OR_VALUE(event)} ${event.value ?? `of ${event.key}`} (${event.id}) of ${event.room}${event.key === null || event.value === null ? '' : `, key ${event.key}`}`

/** `publish of p1-7 to plant-1` */
export const nameOfPublish = ({ value, key, room, producer }: Publish): string => `publish of ${value ?? `${producer}'s deletion of ${key}`} to ${room}`

export const placeOf = ({ file, number }: Place): Place => ({ file, number })
