// The newest value of every key, and the ids of events already delivered.

import { isObject, PUBLIC } from './wire.ts'
import type { Event, Value } from './wire.ts'

/** The newest values. */
export interface State<Events extends object = Record<string, unknown>> {
  readonly size: number
  /** The event with the newest value of a key. It stays the same object until a newer one arrives. The public feed is the room `@public`. */
  readonly get: <Type extends keyof Events & string>(room: string, type: Type, key: string) => Value<Events, Type> | undefined
  /** All present values. */
  readonly entries: () => IterableIterator<Value<Events>>
  /** Calls `listener` when values have changed, once per bundle. @returns a function that removes it */
  readonly subscribe: (listener: () => void) => () => void
}

export interface Values {
  readonly state_: State
  /**
   * Makes a patch whole.
   * @param isFilled present values have arrived. Until then a patch of a value that is not there is passed over: it is from before
   * its room was left and joined again
   * @returns whether the event is new @throws TypeError for any other patch of a value that is not there
   */
  take_: (event: Event, isFilled: boolean) => boolean
  /** Drops values: they are sent again, or their rooms were left. */
  forget_: (isGone: (event: Event) => boolean) => void
  changed_: () => void
}

/**
 * Number of ids remembered to drop duplicates. The gateway repeats nothing, but a tab that takes the lead from
 * another (see shared.ts) may resume from slightly before the other tabs' position.
 */
const MAX_REMEMBERED = 5000

export function createValues (): Values {
  const values = new Map<string, Event>()
  const listeners = new Set<() => void>()
  const remembered = new Set<string>()
  return {
    state_: {
      get size () { return values.size },
      get: (room, type, key) => values.get(nameOf(room, type, key)) as never,
      entries: () => values.values() as never,
      subscribe (listener) {
        listeners.add(listener)
        return () => { listeners.delete(listener) }
      }
    },
    take_ (event: Event & { data: unknown, patch?: unknown }, isFilled) {
      const { id, room, type, key, patch } = event
      if (remembered.has(id)) return false
      if (key !== undefined) {
        const name = nameOf(room, type, key)
        if (patch) {
          if (!isFilled && !values.has(name)) return false
          event.data = merge((values.get(name) as Event).data, patch)
          delete event.patch
        }
        if (event.data === null) values.delete(name)
        else values.set(name, event)
      }
      remember(remembered, id, MAX_REMEMBERED)
      return true
    },
    forget_ (isGone) {
      remembered.clear()
      for (const [name, event] of values) if (isGone(event)) values.delete(name)
    },
    changed_ () {
      for (const listener of listeners) guarded(listener)
    }
  }
}

/** RFC 7396. What has not changed is shared with the value before. */
function merge (value: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged: Record<string, unknown> = { ...isObject(value) && value }
  for (const name in patch) {
    if (patch[name] === null) delete merged[name]
    else merged[name] = merge(merged[name], patch[name])
  }
  return merged
}

/** Adds to a set that holds the last so many. */
export function remember (set: Set<string>, item: string, max: number): void {
  set.add(item)
  if (set.size > max) set.delete(set.values().next().value as string)
}

/** An error in a listener must not stop the events that follow. */
export function guarded (act: () => void): void {
  try {
    act()
  } catch (error) {
    console.error(error)
  }
}

/** No part can contain NUL. */
const nameOf = (room = PUBLIC, type: string, key: string): string => `${room}\0${type}\0${key}`
