import { Hearing } from '../hearing.ts'
import type { ChainRecord, LogEvent, Mark, Recording } from '../recording.ts'
import { nameOf, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

/** What a chain knows of a key. */
interface Known {
  readonly event: LogEvent
  /** In which bundle it came. */
  readonly bundle: number
  /** It was forgotten by a reset, or by leaving: it counts no longer as held. */
  isHeld: boolean
}

function atChain (recording: Recording, chain: ChainRecord): Violation[] {
  const found: Violation[] = []
  const hearing = new Hearing()
  const known = new Map<number, Known>()
  const ended = new Set<string>()
  /** When a chain was last told that the log is another one: what was published before may be lost, and that is declared. */
  let otherLogAt = -Infinity
  let bundle = 0
  const name = (what: string, line: number, see: LogEvent[] = []): void => {
    found.push({ what: `${chain.name} ${what}`, count: 1, chain: chain.name, at: { file: chain.file, number: line }, see: see.map(placeOf) })
  }
  const forget = (rooms: Iterable<string>, isOtherLog: boolean): void => {
    const named = new Set(rooms)
    for (const [key, value] of known) {
      // Another log is another one in rooms that were left as well.
      if (!named.has(value.event.room) && !isOtherLog) continue
      value.isHeld = false
      // Another log, or one that lost its end, may have older values.
      if (isOtherLog) known.delete(key)
    }
  }
  let end = 0
  const mark = (mark: Mark, line: number): void => {
    const before = [...hearing.rooms.keys()]
    hearing.take(mark)
    for (const room of before) if (!hearing.rooms.has(room)) forget([room], false)
    if (mark.f === 'connect' && mark.type === 'invoke' && mark.cursor === undefined) forget(hearing.rooms.keys(), false)
    if (mark.f === 'reset' && (mark.reason === 'unknown' || mark.reason === 'ahead')) otherLogAt = mark.t
    if (mark.f === 'reset') forget(mark.rooms ?? hearing.rooms.keys(), mark.reason === 'unknown' || mark.reason === 'ahead')
    end = line
  }
  chain.walk(recording.events, {
    mark,
    received: (event, line, startsBundle) => {
      if (startsBundle) bundle += 1
      end = line
      if (!event.isReal) return
      if (recording.finals.get(event.room)?.id === event.id) ended.add(event.room)
      if (event.key === null) return
      const before = known.get(event.place)
      if (before !== undefined && before.event.rank > event.rank) {
        name(`got ${nameOf(event)} after the newer ${nameOf(before.event)}`, line)
        return
      }
      // A deletion is kept like a fact; the value behind it may come with it.
      if (before?.bundle === bundle && before.event !== event && before.event.value !== null) name(`got two values of one key in a bundle: ${nameOf(before.event)} and ${nameOf(event)}`, line)
      known.set(event.place, { event, bundle, isHeld: true })
    }
  })
  for (const [key, events] of recording.keys.entries()) {
    const newest = events.at(-1) as LogEvent
    // Whoever did not get the end of a room is named by another rule.
    if (!ended.has(newest.room) || !hearing.hears(newest)) continue
    const held = known.get(key)
    if (held?.event === newest && held.isHeld) continue
    if (newest.value === null && held?.isHeld !== true) continue
    if ((newest.publish?.invokedAt ?? Infinity) < otherLogAt) continue
    name(`ends without ${nameOf(newest)}; what it holds is ${held?.isHeld === true ? nameOf(held.event) : 'nothing'}`, end, [newest])
  }
  return found
}

export const values: Rule = {
  number: 7,
  name: 'values',
  holds: 'Of a key a chain never gets an older value after a newer one, and at most one in a bundle; after the end it holds the newest of every key it hears, or knows that it was deleted.',
  * check (recording: Recording): Generator<Violation> {
    for (const chain of recording.chains.values()) yield * atChain(recording, chain)
  }
}
