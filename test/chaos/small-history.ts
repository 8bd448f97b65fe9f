// Records made by hand for the checker's tests: a small gateway that keeps the contract, and chains that come and go.

import type { Join, Line, Recorded } from './history.ts'
import { Random } from './random.ts'

type Timeless<L> = L extends Line ? Omit<L, 't'> & { t?: number } : never
export type Step = Timeless<Line>

export interface Entry { id: string, room: string, event: string, key?: string, value: string | null }

/** Lines a millisecond apart. */
export class Script {
  readonly lines: Line[] = []
  #t = 0
  #op = 0
  #n = 0

  add (...steps: Step[]): this {
    for (const step of steps) this.lines.push({ ...step, t: step.t ?? (this.#t += 1) } as Line)
    return this
  }

  /** A publish and its answer. */
  publish (room: string, value: string | null, { key, event = key === undefined ? 'fact' : 'value', outcome = 'ok' }: { key?: string, event?: string, outcome?: 'ok' | 'fail' | 'info' } = {}): Entry {
    const entry: Entry = { id: `1000-${this.#n++}`, room, event, ...(key === undefined ? {} : { key }), value }
    const op = ++this.#op
    const { id, ...rest } = entry
    this.add({ f: 'publish', type: 'invoke', op, producer: value?.split('-')[0] ?? 'p', ...rest })
    if (outcome === 'ok') this.add({ f: 'publish', type: 'ok', op, id })
    else if (outcome === 'fail') this.add({ f: 'publish', type: 'fail', op, code: 'ROOM_PAUSED' })
    else this.add({ f: 'publish', type: 'info', op, why: 'cut' })
    return entry
  }

  connect (chain: string, rooms: Join[], cursor?: string, position: 'new' | 'resumed' | 'reset' = cursor === undefined ? 'new' : 'resumed'): this {
    return this.add({ f: 'connect', type: 'invoke', chain, profile: 'WEBSOCKET', rooms, ...(cursor === undefined ? {} : { cursor }) }, { f: 'connect', type: 'ok', chain, session: 's', position })
  }

  receive (chain: string, bundle: number, ...entries: Entry[]): this {
    return this.add(...entries.map(entry => ({ f: 'recv' as const, chain, bundle, ...entry })))
  }

  final (room: string): Entry {
    const entry: Entry = { id: `1000-${this.#n++}`, room, event: 'final', value: `final-${room}` }
    this.add({ f: 'final', room, value: entry.value as string, id: entry.id })
    return entry
  }

  recorded (): Recorded[] {
    return record(this.lines)
  }
}

export const record = (lines: readonly Line[]): Recorded[] => lines.map((line, index) => ({ line, file: 0, number: index + 1 }))

/** A run line for few events and no fault. */
export const QUIET: Step = { f: 'run', seed: 1, profile: 'both', store: 'embedded', workers: 1, fault: 'none', expect: { received: 0, reconnects: 'none' } }

interface Viewer {
  readonly name: string
  readonly rooms: string[]
  cursor: number
  isNew: boolean
  isConnected: boolean
  bundle: number
}

/** A record of a gateway that keeps its promises: chains that are cut and come back, publishes that fail or whose outcome is
 * unknown, values that are folded, deletions. */
export function goodHistory (seed: number, steps = 150): Line[] {
  const random = new Random(seed)
  const script = new Script().add({ ...QUIET, fault: 'cut', expect: { received: 0, reconnects: 'none' } } as Step, { f: 'fault', type: 'start', fault: 'cut', evidence: 'sockets closed' })
  const rooms = ['a', 'b', 'c'].slice(0, 1 + random.below(3))
  const log: Entry[] = []
  const viewers: Viewer[] = Array.from({ length: 1 + random.below(4) }, (_, index) =>
    ({ name: `chain-${index}`, rooms: random.shuffled(rooms).slice(0, 1 + random.below(rooms.length)), cursor: 0, isNew: true, isConnected: false, bundle: 0 }))
  let counter = 0
  const publish = (): void => {
    const key = random.chance(0.5) ? `k${random.below(3)}` : undefined
    const value = key !== undefined && random.chance(0.2) ? null : `p${random.below(3)}-${++counter}`
    const outcome = random.pick(['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'fail', 'info'] as const)
    const entry = script.publish(random.pick(rooms), value, { outcome, ...(key === undefined ? {} : { key }) })
    if (outcome === 'ok' || (outcome === 'info' && random.chance(0.5))) log.push(entry)
  }
  const bring = (viewer: Viewer): void => {
    const pending = log.slice(viewer.isNew ? 0 : viewer.cursor).filter(({ room }) => viewer.rooms.includes(room))
    const isNewest = (entry: Entry): boolean => !log.slice(log.indexOf(entry) + 1).some(({ room, key }) => key === entry.key && room === entry.room)
    const sent = pending.filter(entry => entry.key === undefined ? log.indexOf(entry) >= viewer.cursor : isNewest(entry) && !(viewer.isNew && entry.value === null))
    viewer.cursor = log.length
    viewer.isNew = false
    if (sent.length > 0) script.receive(viewer.name, ++viewer.bundle, ...sent)
  }
  const connect = (viewer: Viewer): void => {
    if (viewer.isNew) viewer.cursor = log.length
    script.connect(viewer.name, viewer.rooms, viewer.isNew ? undefined : `cursor-${viewer.cursor}`)
    viewer.isConnected = true
    if (viewer.isNew) bring(viewer)
  }
  for (let step = 0; step < steps; step += 1) {
    if (random.chance(0.6)) publish()
    const viewer = random.pick(viewers)
    if (!viewer.isConnected) connect(viewer)
    else if (random.chance(0.8)) bring(viewer)
    else {
      viewer.isConnected = false
      script.add({ f: 'close', chain: viewer.name, by: 'fault' })
    }
  }
  script.add({ f: 'fault', type: 'stop', fault: 'cut' })
  for (const room of rooms) log.push(script.final(room))
  for (const viewer of viewers) {
    if (!viewer.isConnected) connect(viewer)
    bring(viewer)
  }
  return script.lines
}
