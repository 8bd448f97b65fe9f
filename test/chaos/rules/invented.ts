import { nameOf, nameOfPublish, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'
import type { LogEvent, Recording } from '../recording.ts'

export const invented: Rule = {
  number: 1,
  name: 'nothing invented',
  holds: 'Every received event was published, with the same room, type, key and bytes, and an id has one content for all chains.',
  * check (recording: Recording): Generator<Violation> {
    for (const event of recording.events) {
      if (event.publish !== null || event.isExpiry || event.chain === null) continue
      const near = event.value === null ? undefined : recording.publishOf(event.value)
      yield {
        what: `${nameOf(event)} was received by ${event.chain}, and ${near === undefined ? 'was never published' : `was published otherwise: ${nameOfPublish(near)}, type ${near.event}, key ${near.key}, checksum ${near.sum}`}`,
        count: 1,
        chain: event.chain,
        at: placeOf(event),
        ...(near === undefined ? {} : { see: [placeOf(near)] })
      }
    }
    for (const [id, variants] of recording.contradictions) {
      const events = variants.map(index => recording.events[index] as LogEvent)
      // What nobody published is named above.
      if (events.filter(({ publish }) => publish !== null).length < 2) continue
      yield { what: `the id ${id} has ${events.length} contents: ${events.map(nameOf).join('; ')}`, count: 1, at: placeOf(events[1] as LogEvent), see: events.map(placeOf) }
    }
  }
}
