// A page, as tests model it: it applies what it gets message by message, keeps its place for the next
// connection, and complains about whatever no page should ever get.

import type { Notice } from '../src/core/connection.ts'
import type { Event } from '../src/core/event.ts'
import { compareIds } from '../src/core/id.ts'

/** What a page is sent, in either profile. */
export type Received =
  | { readonly kind: 'joined', readonly rooms: readonly string[], readonly position: 'new' | 'resumed' | 'reset', readonly cursor: string | null }
  | { readonly kind: 'bundle', readonly events: readonly Event[], readonly cursor: string }
  | { readonly kind: 'position', readonly cursor: string | null }
  | Notice

export class Page {
  cursor: string | null = null
  /** Present values by `room type key`. */
  readonly values = new Map<string, Event>()
  /** Runs of facts without a declared gap, a list of them for each `room type`. */
  readonly runs = new Map<string, Event[][]>()
  /** Rooms whose snapshot has begun and not yet ended. */
  readonly unready = new Set<string>()
  readonly resets: string[] = []
  /** Values that came as patches. */
  patches = 0
  /** Last id seen of each key since it was last forgotten. */
  readonly #seen = new Map<string, string>()
  readonly #lastFact = new Map<string, string>()
  /** Rooms whose join was answered: joining one again begins nothing. */
  readonly #heard = new Set<string>()

  apply (message: Received): void {
    if (message.cursor !== null) this.cursor = message.cursor
    switch (message.kind) {
      case 'joined':
        for (const room of message.rooms) {
          if (message.position === 'new' && !this.#heard.has(room)) this.unready.add(room)
          this.#heard.add(room)
        }
        break
      case 'reset':
        this.resets.push(message.reason)
        for (const room of message.rooms) {
          this.unready.add(room)
          this.#forgetValues(room)
          // What was missed is a gap between two runs; a changed subscription misses nothing.
          if (message.reason !== 'subscription') for (const [name, runs] of this.runs) if (name.startsWith(`${room} `)) runs.push([])
        }
        break
      case 'ready':
        for (const room of message.rooms) this.unready.delete(room)
        break
      case 'bundle':
        for (const [index, event] of message.events.entries()) {
          const before = message.events[index - 1]
          if (before !== undefined && compareIds(before.id, event.id) >= 0) throw new Error(`${event.id} stands behind ${before.id} in a bundle`)
          this.#take(event)
        }
        break
      case 'position':
    }
  }

  /** Every fact received, in order of arrival within each (room, type). */
  get facts (): Event[] {
    return [...this.runs.values()].flat(2)
  }

  /** The page left a room. */
  forget (room: string): void {
    this.#forgetValues(room)
    for (const facts of [this.runs, this.#lastFact]) for (const name of [...facts.keys()]) if (name.startsWith(`${room} `)) facts.delete(name)
    this.unready.delete(room)
    this.#heard.delete(room)
  }

  #take (event: Event): void {
    const name = `${event.room ?? '@public'} ${event.type}`
    if (event.key === undefined) {
      const runs = this.runs.get(name) ?? [[]]
      this.runs.set(name, runs)
      const last = this.#lastFact.get(name)
      this.#lastFact.set(name, event.id)
      if (last !== undefined && compareIds(event.id, last) <= 0) throw new Error(`fact ${event.id} came after ${last}`)
      runs.at(-1)?.push(event)
      return
    }
    const field = `${name} ${event.key}`
    const seen = this.#seen.get(field)
    if (seen !== undefined && compareIds(event.id, seen) <= 0) throw new Error(`${field}: ${event.id} came after ${seen}`)
    this.#seen.set(field, event.id)
    if (event.data === null) this.values.delete(field)
    else this.values.set(field, this.#wholeOf(event, this.values.get(field)))
  }

  #wholeOf (event: Event & { readonly patch?: unknown }, held: Event | undefined): Event {
    if (!('patch' in event)) return event
    if (held === undefined) throw new Error(`${event.id} is a patch of a value that is not held`)
    if ('data' in event) throw new Error(`${event.id} has data and a patch`)
    this.patches++
    const { patch, ...rest }: { patch?: unknown } & Omit<Event, 'data'> = event
    return { ...rest, data: mergePatch(held.data, patch) }
  }

  #forgetValues (room: string): void {
    for (const name of [...this.values.keys()]) if (name.startsWith(`${room} `)) this.values.delete(name)
    for (const name of [...this.#seen.keys()]) if (name.startsWith(`${room} `)) this.#seen.delete(name)
  }
}

/** MergePatch as RFC 7396, section 2, writes it down. */
export function mergePatch (target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged = isObject(target) ? { ...target } : {}
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name]
    else merged[name] = mergePatch(merged[name], value)
  }
  return merged
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
