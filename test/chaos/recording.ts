// A record as the rules need it: every event, publish and chain once, and of each received line two numbers. Ten thousand chains
// that received a thousand events each take 80 MB, and no line is kept.

import type { ConnectInvoke, ConnectResult, Close, Fault, Final, Line, Membership, Metrics, PublishInvoke, Read, Ready, Received, Recorded, Reset, Run, Sample } from './history.ts'

/** What happened on a chain, besides events. */
export type Mark = ConnectInvoke | ConnectResult | Ready | Reset | Membership | Close | Read

export interface Place { readonly file: number, readonly number: number }

export interface Publish extends Place {
  readonly producer: string
  readonly room: string
  readonly event: string
  readonly key: string | null
  readonly value: string | null
  readonly sum: number | undefined
  readonly ttl: boolean
  readonly idem: string | undefined
  readonly invokedAt: number
  /** When the first `ok` came; Infinity: never. */
  okAt: number
  /** The last answer of any kind. */
  endedAt: number
  /** A publish with one `ok` among its repeats is ok, one with an unknown outcome among its failures is unknown. */
  outcome: 'ok' | 'info' | 'fail'
  readonly codes: string[]
  readonly whys: string[]
  /** Ids that the gateway answered. */
  readonly ids: string[]
}

/** An id with its content, as published or received. The same id with other content is another one. */
export interface LogEvent extends Place {
  /** Its place in `events`. */
  readonly index: number
  readonly id: string
  readonly room: string
  readonly event: string
  readonly key: string | null
  readonly value: string | null
  readonly sum: number | undefined
  /** Of the first line that had it; null: it was only published. */
  readonly chain: string | null
  publish: Publish | null
  /** It is certainly in the log: acknowledged, or published and received. Rules about what is missing look at these only. */
  isReal: boolean
  /** A deletion that the gateway made: its key had a `ttl`. */
  isExpiry: boolean
  /** The place of its id among all ids. */
  rank: number
  /** A fact: its place among the facts of its room. A value: the number of its key. */
  place: number
}

interface Content {
  readonly id: string
  readonly room: string
  readonly event: string
  readonly key?: string | null
  readonly value: string | null
  readonly sum?: number | undefined
}

export interface Visitor {
  received?: (event: LogEvent, line: number, startsBundle: boolean) => void
  mark?: (mark: Mark, line: number) => void
}

const keyName = ({ room, event, key }: Pick<LogEvent, 'room' | 'event' | 'key'>): string => `${room}\0${event}\0${key}`

/** One logical client: what it saw, in order. An event's step is 2 x its number, plus 1 where it begins a bundle; a mark's is negative. */
export class ChainRecord {
  readonly name: string
  readonly file: number
  readonly marks: Mark[] = []
  received = 0
  #steps = new Int32Array(16)
  #lines = new Uint32Array(16)
  #length = 0
  #bundle = -1

  constructor (name: string, file: number) {
    this.name = name
    this.file = file
  }

  receive (event: number, bundle: number, line: number): void {
    this.received += 1
    this.#push(event * 2 + (bundle === this.#bundle ? 0 : 1), line)
    this.#bundle = bundle
  }

  mark (mark: Mark, line: number): void {
    this.marks.push(mark)
    this.#push(-this.marks.length, line)
  }

  #push (step: number, line: number): void {
    if (this.#length === this.#steps.length) {
      const [steps, lines] = [new Int32Array(this.#length * 2), new Uint32Array(this.#length * 2)]
      steps.set(this.#steps)
      lines.set(this.#lines)
      this.#steps = steps
      this.#lines = lines
    }
    this.#steps[this.#length] = step
    this.#lines[this.#length] = line
    this.#length += 1
  }

  walk (events: readonly LogEvent[], { received, mark }: Visitor): void {
    for (let index = 0; index < this.#length; index += 1) {
      const step = this.#steps[index] as number
      const line = this.#lines[index] as number
      if (step < 0) mark?.(this.marks[-step - 1] as Mark, line)
      else received?.(events[step >> 1] as LogEvent, line, (step & 1) === 1)
    }
  }
}

/** The facts of a room in the order of the log, and where those begin that were asked for after a time. */
export class RoomFacts {
  readonly events: LogEvent[] = []
  #invoked: { at: number, place: number }[] | null = null

  /** The place of the first fact that was published after a time; the number of all facts if there is none. */
  firstAfter (time: number): number {
    if (this.#invoked === null) {
      let least = this.events.length
      this.#invoked = this.events.map(({ publish, place }) => ({ at: (publish as Publish).invokedAt, place })).sort((a, b) => a.at - b.at)
      for (const entry of [...this.#invoked].reverse()) entry.place = least = Math.min(least, entry.place)
    }
    let [low, high] = [0, this.#invoked.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#invoked[middle] as { at: number }).at > time) high = middle
      else low = middle + 1
    }
    return this.#invoked[low]?.place ?? this.events.length
  }
}

export class Recording {
  run: Run | null = null
  lines = 0
  endedAt = 0
  readonly publishes: Publish[] = []
  readonly events: LogEvent[] = []
  readonly chains = new Map<string, ChainRecord>()
  readonly faults: (Fault & Place)[] = []
  readonly samples: Sample[] = []
  readonly metrics: Metrics[] = []
  readonly finals = new Map<string, Final>()
  /** By room. */
  readonly facts = new Map<string, RoomFacts>()
  /** By key: all of its real values and deletions, in the order of the log. */
  readonly keys: LogEvent[][] = []

  #byOp = new Map<number, Publish>()
  #byValue = new Map<string, Publish>()
  #byIdem = new Map<string, Publish>()
  #byId = new Map<string, number>()
  #variants = new Map<string, number[]>()

  constructor (lines: Iterable<Recorded>) {
    for (const { line, file, number } of lines) this.#take(line, file, number)
    this.#order()
    this.#link()
    this.#index()
  }

  /** Ids with more than one content. */
  get contradictions (): Iterable<[string, number[]]> {
    return this.#variants
  }

  publishOf (value: string): Publish | undefined {
    return this.#byValue.get(value)
  }

  #take (line: Line, file: number, number: number): void {
    this.lines += 1
    this.endedAt = line.t
    switch (line.f) {
      case 'recv':
      case 'removed':
        this.#receive(line, file, number)
        break
      case 'publish':
        if (line.type === 'invoke') this.#invoke(line, file, number)
        else this.#settle(line, file, number)
        break
      case 'run': this.run = line; break
      case 'fault': this.faults.push({ ...line, file, number }); break
      case 'sample': this.samples.push(line); break
      case 'metrics': this.metrics.push(line); break
      case 'final': this.#end(line, file, number); break
      default: this.#chain(line.chain, file).mark(line, number)
    }
  }

  #chain (name: string, file: number): ChainRecord {
    let chain = this.chains.get(name)
    if (chain === undefined) this.chains.set(name, chain = new ChainRecord(name, file))
    return chain
  }

  #receive (line: Received, file: number, number: number): void {
    // The gateway's own rooms have nothing that anybody published.
    if (line.room.startsWith('@') && line.room !== '@public') return
    this.#chain(line.chain, file).receive(this.#eventOf(line, line.chain, file, number), line.bundle, number)
  }

  #eventOf ({ id, room, event, key = null, value, sum }: Content, chain: string | null, file: number, number: number): number {
    const isSame = (index: number): boolean => {
      const other = this.events[index] as LogEvent
      return other.value === value && other.room === room && other.key === key && other.event === event && (other.sum === sum || other.sum === undefined || sum === undefined)
    }
    const first = this.#byId.get(id)
    if (first !== undefined && isSame(first)) return first
    const known = this.#variants.get(id)?.find(isSame)
    if (known !== undefined) return known
    const index = this.events.length
    this.events.push({ index, id, room, event, key, value, sum, chain, file, number, publish: null, isReal: false, isExpiry: false, rank: -1, place: -1 })
    if (first === undefined) this.#byId.set(id, index)
    else this.#variants.set(id, [...this.#variants.get(id) ?? [first], index])
    return index
  }

  #invoke ({ t, op, producer, room, event, key, value, idem, ttl, sum }: PublishInvoke, file: number, number: number): void {
    // A deletion has no value of its own.
    const earlier = value === null ? this.#byIdem.get(idem ?? '') : this.#byValue.get(value)
    if (earlier !== undefined) {
      this.#byOp.set(op, earlier)
      return
    }
    const publish: Publish = { producer, room, event, key: key ?? null, value, sum, ttl: ttl !== undefined, idem, invokedAt: t, okAt: Infinity, endedAt: Infinity, outcome: 'info', codes: [], whys: [], ids: [], file, number }
    this.publishes.push(publish)
    this.#byOp.set(op, publish)
    if (value !== null) this.#byValue.set(value, publish)
    else if (idem !== undefined) this.#byIdem.set(idem, publish)
  }

  #settle (line: Extract<Line, { f: 'publish' }>, file: number, number: number): void {
    const publish = this.#byOp.get(line.op)
    if (publish === undefined) throw new Error(`line ${number}: operation ${line.op} has an answer and was never asked for`)
    publish.endedAt = line.t
    if (line.type === 'ok') this.#acknowledge(publish, line.id, line.t, file, number)
    else if (line.type === 'info') publish.whys.push(line.why)
    else if (line.type === 'fail') {
      publish.codes.push(line.code)
      if (publish.outcome !== 'ok' && publish.whys.length === 0) publish.outcome = 'fail'
    }
    if (line.type === 'info' && publish.outcome === 'fail') publish.outcome = 'info'
  }

  #acknowledge (publish: Publish, id: string, t: number, file: number, number: number): void {
    publish.okAt = Math.min(publish.okAt, t)
    publish.outcome = 'ok'
    if (!publish.ids.includes(id)) publish.ids.push(id)
    this.#eventOf({ ...publish, id }, null, file, number)
  }

  #end (line: Final, file: number, number: number): void {
    this.finals.set(line.room, line)
    if (this.#byValue.has(line.value)) return
    const op = -this.finals.size
    this.#invoke({ t: line.t, f: 'publish', type: 'invoke', op, producer: 'final', room: line.room, event: 'final', value: line.value }, file, number)
    this.#settle({ t: line.t, f: 'publish', type: 'ok', op, id: line.id }, file, number)
  }

  #order (): void {
    const ids = this.events.map(({ id }, index) => {
      const [ms = NaN, n = NaN] = id.split('-').map(Number)
      return { ms, n, index }
    }).sort((a, b) => a.ms - b.ms || a.n - b.n)
    let rank = -1
    for (const [at, { index, ms, n }] of ids.entries()) {
      const before = ids[at - 1]
      if (before === undefined || before.ms !== ms || before.n !== n) rank += 1
      ;(this.events[index] as LogEvent).rank = rank
    }
  }

  /** Finds the publish of each event. */
  #link (): void {
    const deletions = new Map<string, Publish>()
    const unknown = new Map<string, Publish>()
    const mortal = new Set<string>()
    for (const publish of this.publishes) {
      if (publish.ttl) mortal.add(keyName(publish))
      if (publish.value !== null) continue
      for (const id of publish.ids) deletions.set(id, publish)
      if (publish.outcome === 'info') unknown.set(keyName(publish), publish)
    }
    const found = new Map<Publish, LogEvent>()
    for (const event of [...this.events].sort((a, b) => a.rank - b.rank)) {
      const publish = event.value === null ? deletions.get(event.id) ?? unknown.get(keyName(event)) : this.#byValue.get(event.value)
      if (event.value === null && publish === undefined) event.isExpiry = event.isReal = event.key !== null && mortal.has(keyName(event))
      if (publish === undefined || keyName(publish) !== keyName(event) || (publish.sum !== undefined && event.sum !== undefined && publish.sum !== event.sum)) continue
      event.publish = publish
      // Of several ids of one publish the first that was answered counts; the others are named by a rule of their own.
      const isFirst = event.value === null || (publish.ids[0] ?? found.get(publish)?.id ?? event.id) === event.id
      event.isReal = publish.outcome !== 'fail' && isFirst
      if (event.isReal) found.set(publish, event)
    }
  }

  #index (): void {
    const numbers = new Map<string, number>()
    for (const event of this.events.filter(({ isReal }) => isReal).sort((a, b) => a.rank - b.rank)) {
      if (event.key === null) {
        let facts = this.facts.get(event.room)
        if (facts === undefined) this.facts.set(event.room, facts = new RoomFacts())
        event.place = facts.events.push(event) - 1
        continue
      }
      const name = keyName(event)
      let number = numbers.get(name)
      if (number === undefined) numbers.set(name, number = this.keys.push([]) - 1)
      event.place = number
      ;(this.keys[number] as LogEvent[]).push(event)
    }
  }
}

/** How long after a fault was healed it may still show: timeouts of clients and of the gateway run until then. */
const ECHO_MS = 15_000

/** Whether a fault was at work at some time between two moments. Processes start and end outside of them: so may their connections. */
export function isDuringFault ({ faults }: Recording, from: number, to: number): boolean {
  return faults.some(({ type, fault, t }) => {
    if (type !== 'start' || t > to) return false
    const stop = faults.find(other => other.type === 'stop' && other.fault === fault && other.t >= t)
    return (stop?.t ?? Infinity) + ECHO_MS >= from
  })
}
