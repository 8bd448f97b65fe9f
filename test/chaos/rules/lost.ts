import { Hearing } from '../hearing.ts'
import type { Types } from '../hearing.ts'
import { RoomFacts } from '../recording.ts'
import type { ChainRecord, LogEvent, Mark, Recording } from '../recording.ts'
import { nameOf, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

/** How far a chain is in the facts of a room. */
interface Progress {
  /** The place of the next fact that it must get. -1: the first that comes begins it, or one published after `since`. */
  next: number
  since: number
  /** The last reset: how many facts it said were missed, and how many were. */
  reset: { missed: number, lost: number, line: number } | null
}

const NO_FACTS = new RoomFacts()

/** What a chain did not get though it had to. Shared by the rules about loss and about what a reset admits. */
export class Losses {
  readonly #recording: Recording
  readonly #chain: ChainRecord
  readonly #hearing = new Hearing()
  readonly #progress = new Map<string, Progress>()
  readonly lost: Violation[] = []
  /** Resets that admitted fewer facts than were missing. */
  readonly understated: Violation[] = []

  constructor (recording: Recording, chain: ChainRecord) {
    this.#recording = recording
    this.#chain = chain
    chain.walk(recording.events, { received: (event, line) => this.#receive(event, line), mark: (mark, line) => this.#take(mark, line) })
  }

  #begin (room: string, since: number): void {
    this.#progress.set(room, { next: -1, since, reset: null })
  }

  #take (mark: Mark, line: number): void {
    const begun = this.#hearing.take(mark)
    // An answer says that it is heard from here on; a connect without a cursor begins all rooms again.
    if (mark.f === 'connect' && mark.type === 'invoke' && mark.cursor === undefined) for (const room of this.#hearing.rooms.keys()) this.#begin(room, Infinity)
    else for (const room of begun) this.#begin(room, Infinity)
    if ((mark.f === 'connect' || mark.f === 'join' || mark.f === 'read') && mark.type === 'ok') {
      for (const room of this.#hearing.rooms.keys()) {
        const progress = this.#progress.get(room)
        if (progress?.next === -1 && progress.since === Infinity) progress.since = mark.t
      }
    }
    if (mark.f === 'connect' && mark.type === 'invoke' && mark.cursor === '0-0' && this.#historyIsWhole()) for (const progress of this.#progress.values()) progress.next = 0
    if (mark.f === 'reset' && mark.reason !== 'subscription') {
      for (const room of mark.rooms ?? [...this.#hearing.rooms.keys()]) {
        const progress = this.#progress.get(room)
        if (progress === undefined) continue
        const before = progress.next
        progress.since = mark.t
        progress.next = -1
        // One message reports all rooms: only of a single one is known how many of them are its.
        const isKnown = typeof mark.missed === 'number' && before !== -1 && (mark.rooms ?? [...this.#hearing.rooms.keys()]).length === 1
        progress.reset = isKnown ? { missed: mark.missed as number, lost: before, line } : null
      }
    }
  }

  #historyIsWhole (): boolean {
    const { run, facts, publishes, endedAt } = this.#recording
    const size = publishes.filter(({ key, value }) => key === null || value === null).length
    return facts.size > 0 && (run?.history === undefined || (size < run.history.size && endedAt - run.t < run.history.ttlMs))
  }

  #receive (event: LogEvent, line: number): void {
    if (!event.isReal || event.key !== null) return
    const progress = this.#progress.get(event.room)
    const types = this.#hearing.rooms.get(event.room)
    if (progress === undefined || types === undefined) return
    const facts = this.#recording.facts.get(event.room) ?? NO_FACTS
    if (progress.next === -1) {
      if (progress.reset !== null) this.#compare(event, progress.reset, facts, types)
      progress.next = Math.min(event.place, facts.firstAfter(progress.since))
      progress.reset = null
    }
    if (event.place > progress.next && this.#hearing.isSettled(event.room)) this.#lose(facts, progress.next, event, types, line)
    progress.next = Math.max(progress.next, event.place + 1)
  }

  #missing (facts: RoomFacts, from: number, to: number, types: Types): LogEvent[] {
    return facts.events.slice(from, to).filter(({ event }) => types === null || types.has(event))
  }

  #lose (facts: RoomFacts, from: number, until: LogEvent, types: Types, line: number): void {
    const missing = this.#missing(facts, from, until.place, types)
    const [first] = missing
    if (first === undefined) return
    this.lost.push({
      what: `${this.#chain.name} got ${nameOf(until)}, and before it not ${nameOf(first)}${missing.length === 1 ? '' : ` nor ${missing.length - 1} more`}`,
      count: missing.length,
      chain: this.#chain.name,
      at: { file: this.#chain.file, number: line },
      see: missing.slice(0, 2).flatMap(({ publish }) => publish === null ? [] : [placeOf(publish)])
    })
  }

  #compare (first: LogEvent, reset: NonNullable<Progress['reset']>, facts: RoomFacts, types: Types): void {
    const missing = this.#missing(facts, reset.lost, first.place, types).length
    if (missing <= reset.missed) return
    this.understated.push({ what: `a reset told ${this.#chain.name} that it had missed ${reset.missed} facts of ${first.room}; it missed ${missing}`, count: missing - reset.missed, chain: this.#chain.name, at: { file: this.#chain.file, number: reset.line } })
  }
}

export const lost: Rule = {
  number: 3,
  name: 'nothing lost',
  holds: 'From its join on a chain gets every fact of its rooms that is in the log, over all of its connections, but for what a reset declares.',
  * check (recording: Recording): Generator<Violation> {
    for (const chain of recording.chains.values()) yield * new Losses(recording, chain).lost
  }
}
