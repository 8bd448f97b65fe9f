import { nameOf, nameOfPublish, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'
import type { ChainRecord, LogEvent, Publish, Recording } from '../recording.ts'

/** A publish that began after another was answered comes behind it in the log, whoever published. */
function * inTheLog ({ events }: Recording): Generator<Violation> {
  const known = events.filter(({ isReal, publish }) => isReal && publish !== null && publish.okAt < Infinity)
  const invoked = [...known].sort((a, b) => (a.publish as Publish).invokedAt - (b.publish as Publish).invokedAt)
  const answered = [...known].sort((a, b) => (a.publish as Publish).okAt - (b.publish as Publish).okAt)
  let highest: LogEvent | null = null
  let next = 0
  for (const event of invoked) {
    const publish = event.publish as Publish
    for (; next < answered.length && ((answered[next] as LogEvent).publish as Publish).okAt < publish.invokedAt; next += 1) {
      const before = answered[next] as LogEvent
      if (highest === null || before.rank > highest.rank) highest = before
    }
    if (highest === null || highest.rank < event.rank) continue
    yield { what: `the ${nameOfPublish(publish)} got the id ${event.id}, though ${nameOf(highest)} was acknowledged before it began`, count: 1, at: placeOf(publish), see: [placeOf(highest.publish as Publish)] }
  }
}

function atChain (recording: Recording, chain: ChainRecord): Violation[] {
  const found: Violation[] = []
  const ofRoom = new Map<string, LogEvent>()
  const seen = new Set<LogEvent>()
  let ofAll: LogEvent | null = null
  let inBundle: LogEvent | null = null
  // A later join catches up beside the rooms that are there already.
  let isSteered = false
  const name = (event: LogEvent, before: LogEvent, line: number, where: string): void => {
    found.push({ what: `${chain.name} got ${nameOf(event)} after ${nameOf(before)}${where}`, count: 1, chain: chain.name, at: { file: chain.file, number: line } })
  }
  chain.walk(recording.events, {
    mark: mark => {
      inBundle = null
      if (mark.f === 'join' && mark.type === 'ok') isSteered = true
      if (mark.f !== 'connect' || mark.type !== 'invoke' || (mark.cursor !== undefined && mark.cursor !== '0-0')) return
      isSteered = false
      ofAll = null
      if (mark.cursor !== '0-0') return
      ofRoom.clear()
      seen.clear()
    },
    received: (event, line, startsBundle) => {
      if (!event.isReal) return
      if (startsBundle) inBundle = null
      const last = isSteered || ofAll === null ? ofRoom.get(event.room) : ofAll
      if (event.key === null && !seen.has(event)) {
        // What it gets again is another rule's.
        seen.add(event)
        if (last !== undefined && last.rank > event.rank) {
          name(event, last, line, '')
          inBundle = event
          return
        }
        ofRoom.set(event.room, event)
        ofAll = event
      }
      if (inBundle !== null && inBundle.rank > event.rank && inBundle.id !== event.id && !isSameKey(inBundle, event)) name(event, inBundle, line, ' in the same bundle')
      inBundle = event
    }
  })
  return found
}

const isSameKey = (one: LogEvent, other: LogEvent): boolean => one.key !== null && other.key !== null && one.place === other.place

export const order: Rule = {
  number: 6,
  name: 'order',
  holds: 'A chain gets facts in the order of their ids (room by room where a later join catches up), and the events of a bundle too. Ids follow the order in which publishes were acknowledged, and so are the same order for all.',
  * check (recording: Recording): Generator<Violation> {
    yield * inTheLog(recording)
    for (const chain of recording.chains.values()) yield * atChain(recording, chain)
  }
}
