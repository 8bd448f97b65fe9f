// Reading: "what is new since this position?", the one question behind tick, slow client, resume and
// snapshot. A position is a pair: every fact up to `facts` was sent, every value up to `state`. A bundle
// leads from (F, S) to (F', S') and carries
//   the facts in (F, F'], the present values in (S, S'] and the deletions in (max(F, S), max(F', S')].
// The two sides advance on their own, so a backlog of facts never holds up fresh values. A deletion goes
// out with the side that passes it first: never twice, and never behind a newer value of its key, since
// that value's id is higher and (S, S'] is sent in order.
//
// Where values wait for their pace (value-pace.ts) only the facts advance, and deletions wait with the values. A third id
// then says up to where deletions were sent, and they go out with the values until these have passed the facts again.

import { entryFrom } from './bases.ts'
import type { Entry } from './event.ts'
import { matches } from './filter.ts'
import type { Filter } from './filter.ts'
import { compareIds, latest, ORIGIN } from './id.ts'
import type { Id } from './id.ts'
import type { Log } from './log.ts'
import type { Room, Value } from './room.ts'

/** How far a reader has come; see above. */
export interface Position {
  readonly facts: Id
  readonly state: Id
  /** Every deletion up to here was sent; absent: up to the further one of both. */
  readonly deletions?: Id | undefined
}

/** A room to read, from a position and for some types. */
export interface RoomSource extends Position {
  readonly room: Pick<Room<unknown>, 'facts' | 'deletions' | 'valueAfter'>
  readonly filter: Filter
  /** The reader holds every value as it was at `state`, and takes patches of these. */
  readonly patches?: boolean
}

/** What one bundle may hold. */
export interface BundleLimits {
  /** Facts (deletions passed on their side among them). */
  readonly facts: number
  /** Bytes of the events as they go out. */
  readonly bytes: number
}

/** Which side goes first where both need a bundle apart. */
export type Turn = 'facts' | 'values'

export interface Reading {
  /** In id order. */
  readonly entries: readonly Entry[]
  /** How far each side has come, ORIGIN where it has not moved; null means to the end. */
  readonly facts: Id | null
  readonly state: Id | null
  readonly turn: Turn
}

/** @param hasValues false: only facts, values and deletions wait */
export function read (sources: readonly RoomSource[], limits: BundleLimits, turn: Turn = 'values', hasValues = true): Reading {
  const facts = new Side(sources.flatMap(source => [
    logStream(source.room.facts, source.facts, source.filter),
    ...hasValues && source.deletions === undefined ? [logStream(source.room.deletions, latest(source.facts, source.state), source.filter)] : []
  ]))
  const values = new Side(hasValues
    ? sources.flatMap(source => [
      valueStream(source),
      logStream(source.room.deletions, source.deletions ?? latest(source.facts, source.state), source.filter)
    ])
    : [])
  const sent = new Set<Entry>()
  const half = Math.floor(limits.bytes / 2)
  const outsize = (side: Side): boolean => side.next !== null && cost(side.next) > half

  if ((outsize(facts) || outsize(values)) && facts.next !== null && values.next !== null) {
    // Too large to share a bundle: the sides take turns, and neither waits for more than one bundle of the other.
    const side = turn === 'facts' ? facts : values
    if (outsize(side)) side.takeOne(sent)
    else side.take(sent, limits.bytes, side === facts ? limits.facts : Infinity, half)
    turn = turn === 'facts' ? 'values' : 'facts'
  } else if (outsize(facts)) {
    facts.takeOne(sent)
  } else if (outsize(values)) {
    values.takeOne(sent)
  } else {
    // Each side may claim half of the bytes, and takes what the other leaves.
    values.take(sent, half, Infinity, half)
    facts.take(sent, limits.bytes - values.bytes, limits.facts, half)
    values.take(sent, limits.bytes - facts.bytes, Infinity, half)
  }
  return {
    entries: facts.entries.length === 0
      ? values.entries
      : values.entries.length === 0
        ? facts.entries
        : [...facts.entries, ...values.entries].sort((a, b) => compareIds(a.id, b.id)),
    facts: facts.next === null ? null : facts.passed,
    state: !hasValues ? ORIGIN : values.next === null ? null : values.passed,
    turn
  }
}

/** An event, and what stands around each in a bundle: over SSE `data: `, a comma and the end of the line. */
const cost = (entry: Entry): number => entry.size + 8

/** One side of a bundle: several streams merged by id, and how much of them was taken. */
class Side {
  readonly entries: Entry[] = []
  bytes = 0
  /** The id of the last entry passed. */
  passed = ORIGIN
  #count = 0
  readonly #heap: Stream[] = []

  constructor (streams: readonly Stream[]) {
    for (const stream of streams) {
      if (stream.entry !== null) this.#heap.push(stream)
    }
    for (let index = (this.#heap.length >>> 1) - 1; index >= 0; index--) this.#sink(index)
  }

  get next (): Entry | null {
    return this.#heap[0]?.entry ?? null
  }

  /** Takes entries while they fit, up to one larger than `half`, which has to go alone. */
  take (sent: Set<Entry>, bytes: number, count: number, half: number): void {
    for (let entry = this.next; entry !== null; entry = this.next) {
      if (!(entry.deletion && sent.has(entry))) {
        const size = cost(entry)
        if (size > half || this.bytes + size > bytes || this.#count >= count) return
        this.#add(entry, sent)
      }
      this.#pass(entry)
    }
  }

  takeOne (sent: Set<Entry>): void {
    const entry = this.next as Entry
    this.#add(entry, sent)
    this.#pass(entry)
  }

  #add (entry: Entry, sent: Set<Entry>): void {
    if (entry.deletion) sent.add(entry)
    this.entries.push(entry)
    this.bytes += cost(entry)
    this.#count++
  }

  #pass (entry: Entry): void {
    this.passed = entry.id
    const top = this.#heap[0] as Stream
    top.advance()
    if (top.entry === null) {
      const last = this.#heap.pop() as Stream
      if (this.#heap.length === 0) return
      this.#heap[0] = last
    }
    if (this.#heap.length > 1) this.#sink(0)
  }

  #sink (index: number): void {
    const heap = this.#heap
    const stream = heap[index] as Stream
    const id = (stream.entry as Entry).id
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      const right = heap[child + 1]
      if (right !== undefined && compareIds((right.entry as Entry).id, (heap[child]?.entry as Entry).id) < 0) child++
      if (compareIds((heap[child]?.entry as Entry).id, id) >= 0) break
      heap[index] = heap[child] as Stream
      index = child
    }
    heap[index] = stream
  }
}

/** A list being read: the entry it stands at, null at its end. */
interface Stream {
  entry: Entry | null
  advance (): void
}

function logStream (log: Log, position: Id, filter: Filter): Stream {
  let index = log.after(position)
  const stream: Stream = {
    entry: null,
    advance () {
      let entry = log.at(index++)
      while (entry !== undefined && !matches(filter, entry.type)) entry = log.at(index++)
      stream.entry = entry ?? null
    }
  }
  stream.advance()
  return stream
}

function valueStream ({ room, state, filter, patches = false }: RoomSource): Stream {
  let value: Value | null = room.valueAfter(state)
  const stream: Stream = {
    entry: null,
    advance () {
      while (value !== null && !matches(filter, value.entry.type)) value = value.newer
      stream.entry = value === null ? null : patches ? entryFrom(value, state) : value.entry
      if (value !== null) value = value.newer
    }
  }
  stream.advance()
  return stream
}
