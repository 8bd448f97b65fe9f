// The newest value of every key, and the ids of events already delivered.

import type { Event } from './wire.ts'

/**
 * Number of ids remembered to drop duplicates. The gateway repeats nothing, but a tab that takes the lead from
 * another (see shared.ts) may resume from slightly before the other tabs' position.
 */
const MAX_REMEMBERED = 5000

export class State {
  readonly #values = new Map<string, Event>()
  readonly #listeners = new Set<() => void>()
  readonly #remembered = new Set<string>()

  get size (): number {
    return this.#values.size
  }

  /** The event with the newest value of a key. It stays the same object until a newer one arrives. The public feed is the room `@public`. */
  readonly get = (room: string, type: string, key: string): Event | undefined => this.#values.get(nameOf(room, type, key))

  /** All present values. */
  readonly entries = (): IterableIterator<Event> => this.#values.values()

  /** Calls `listener` when values have changed, once per bundle. @returns a function that removes it */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** @returns whether the event is new */
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

  /** Drops the rooms' values before they are sent again. */
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

/** An error in a listener must not stop the events that follow. */
export function guarded (act: () => void): void {
  try {
    act()
  } catch (error) {
    console.error(error)
  }
}

const PUBLIC = '@public'

/** No part can contain NUL. */
const nameOf = (room: string | undefined, type: string, key: string): string => `${room ?? PUBLIC}\0${type}\0${key}`
