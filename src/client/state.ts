// The newest value of every key, and which events were handed out already.

import type { Event } from './wire.ts'

/**
 * Ids remembered, so that nothing is handed out twice. The gateway repeats nothing; a tab that takes the lead from
 * another (see shared.ts) may go on from a little before where its neighbours are.
 */
const MAX_REMEMBERED = 5000

export class State {
  readonly #values = new Map<string, Event>()
  readonly #listeners = new Set<() => void>()
  readonly #remembered = new Set<string>()

  get size (): number {
    return this.#values.size
  }

  /** The newest value of a key, as the event that brought it: the same object until a newer one comes. The public feed is the room `@public`. */
  readonly get = (room: string, type: string, key: string): Event | undefined => this.#values.get(nameOf(room, type, key))

  /** All present values. */
  readonly entries = (): IterableIterator<Event> => this.#values.values()

  /** Calls `listener` when values have changed, once for all that came together. @returns what ends that */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** @returns whether the event is a new one */
  take (event: Event): boolean {
    if (this.#remembered.has(event.id)) return false
    this.#remembered.add(event.id)
    if (this.#remembered.size > MAX_REMEMBERED) this.#remembered.delete(this.#remembered.values().next().value as string)
    if (event.key !== undefined) {
      const name = nameOf(event.room, event.type, event.key)
      if (event.data === null) this.#values.delete(name)
      else this.#values.set(name, event)
    }
    return true
  }

  /** The rooms' values come anew. */
  forget (rooms: readonly string[]): void {
    this.#remembered.clear()
    for (const [name, event] of this.#values) {
      if (rooms.includes(event.room ?? PUBLIC)) this.#values.delete(name)
    }
  }

  changed (): void {
    for (const listener of this.#listeners) guarded(listener)
  }
}

/** Another's mistake must not cost the events behind it. */
export function guarded (act: () => void): void {
  try {
    act()
  } catch (error) {
    console.error(error)
  }
}

const PUBLIC = '@public'

/** None of the parts can hold a NUL. */
const nameOf = (room: string | undefined, type: string, key: string): string => `${room ?? PUBLIC}\0${type}\0${key}`
