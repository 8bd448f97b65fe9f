import { Hearing } from '../hearing.ts'
import type { ChainRecord, Mark, Recording } from '../recording.ts'
import { nameOf, nameOfPublish, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

const BARE_ID = /^\d+-\d+$/

/** Which sendings of a chain may repeat values (a new snapshot), and which facts (all of history). */
class Snapshots {
  readonly #hearing = new Hearing()
  readonly #ofRoom = new Map<string, number>()
  #count: number
  /** Of the chain: facts repeat only where it asked for the beginning. */
  ofFacts: number

  constructor (first: number) {
    this.#count = this.ofFacts = first
  }

  get last (): number {
    return this.#count
  }

  of (room: string): number {
    return this.#ofRoom.get(room) ?? this.ofFacts
  }

  take (mark: Mark): void {
    const begun = this.#hearing.take(mark)
    const again = (rooms: Iterable<string>): void => {
      this.#count += 1
      for (const room of rooms) this.#ofRoom.set(room, this.#count)
    }
    if ((mark.f === 'connect' || mark.f === 'read') && mark.type === 'invoke') {
      if (mark.cursor === undefined || BARE_ID.test(mark.cursor)) again(this.#hearing.rooms.keys())
      if (mark.cursor === '0-0') this.ofFacts = this.#count
    }
    if (mark.f === 'join' && mark.type === 'invoke') again([typeof mark.room === 'string' ? mark.room : mark.room.room, '@public'])
    if (begun.length > 0) again(begun)
    if (mark.f === 'reset') again(mark.rooms ?? this.#hearing.rooms.keys())
  }
}

function * repeats (recording: Recording, chain: ChainRecord, seen: Int32Array, first: number): Generator<Violation, number> {
  const snapshots = new Snapshots(first)
  const found: Violation[] = []
  chain.walk(recording.events, {
    mark: mark => snapshots.take(mark),
    received: (event, line) => {
      const snapshot = event.key === null ? snapshots.ofFacts : snapshots.of(event.room)
      if (seen[event.index] === snapshot) found.push({ what: `${chain.name} got ${nameOf(event)} twice`, count: 1, chain: chain.name, at: { file: chain.file, number: line } })
      else seen[event.index] = snapshot
    }
  })
  yield * found
  return snapshots.last
}

export const twice: Rule = {
  number: 5,
  name: 'nothing twice',
  holds: 'A chain gets an id once (a value once in a snapshot and what follows it), and one publish, repeated with its Idempotency-Key or not, makes one event.',
  * check (recording: Recording): Generator<Violation> {
    const seen = new Int32Array(recording.events.length)
    let last = 0
    for (const chain of recording.chains.values()) last = yield * repeats(recording, chain, seen, last + 1)
    for (const publish of recording.publishes) {
      if (publish.ids.length > 1) yield { what: `the ${nameOfPublish(publish)} was answered with ${publish.ids.length} ids: ${publish.ids.join(', ')}`, count: publish.ids.length - 1, at: placeOf(publish) }
    }
    for (const event of recording.events) {
      if (event.isReal || event.publish === null || event.publish.outcome === 'fail' || event.value === null || event.publish.ids.slice(1).includes(event.id)) continue
      yield { what: `the ${nameOfPublish(event.publish)} is in the log more than once: also as ${event.id}`, count: 1, at: placeOf(event), see: [placeOf(event.publish)], ...(event.chain === null ? {} : { chain: event.chain }) }
    }
  }
}
