// Which rooms a chain hears at each moment of its record.

import type { Join } from './history.ts'
import type { LogEvent, Mark } from './recording.ts'

/** The types heard of a room; null: all. */
export type Types = ReadonlySet<string> | null

const PUBLIC = '@public'

/** As the contract has it: a join with types also hears public events of those types. */
function heardBy (joins: readonly Join[]): Map<string, Types> {
  const heard = new Map<string, Types>()
  const add = (room: string, types: readonly string[] | null): void => {
    const before = heard.get(room)
    heard.set(room, types === null || before === null ? null : new Set([...before ?? [], ...types]))
  }
  for (const join of joins.length === 0 ? [PUBLIC] : joins) {
    if (typeof join === 'string') {
      add(join, null)
      continue
    }
    add(join.room, join.types)
    if (join.room !== PUBLIC) add(PUBLIC, join.types)
  }
  return heard
}

export class Hearing {
  /** What is certainly heard. */
  rooms = new Map<string, Types>()
  /** When a room was left; nothing that is published later may come. */
  readonly leftAt = new Map<string, number>()
  isConnected = false
  #joins = new Map<string, Join>()
  #pending = new Map<string, Join>()
  #leaving = new Set<string>()

  /** @returns rooms that are heard from this mark on, and were not before */
  take (mark: Mark): string[] {
    if (mark.f === 'connect' && mark.type === 'invoke') {
      this.#pending.clear()
      return this.#become(mark.rooms)
    }
    if (mark.f === 'connect') this.isConnected = mark.type === 'ok'
    if (mark.f === 'close') this.isConnected = false
    if (mark.f === 'read') {
      this.isConnected = true
      if (mark.type === 'invoke') return this.#become([mark.room])
    }
    if (mark.f !== 'join' && mark.f !== 'leave') return []
    const room = typeof mark.room === 'string' ? mark.room : mark.room.room
    if (mark.f === 'join') {
      if (mark.type === 'invoke') this.#pending.set(room, mark.room)
      if (mark.type === 'fail') this.#pending.delete(room)
      if (mark.type !== 'ok') return []
      this.#pending.delete(room)
      this.#leaving.delete(room)
      return this.#become([...this.#joins.values(), mark.room])
    }
    if (mark.type === 'fail') this.#leaving.delete(room)
    else this.#leaving.add(room)
    if (mark.type !== 'ok') return []
    this.leftAt.set(room, mark.t)
    this.#leaving.delete(room)
    return this.#become([...this.#joins.values()].filter(join => (typeof join === 'string' ? join : join.room) !== room), true)
  }

  #become (joins: readonly Join[], mayBeEmpty = false): string[] {
    this.#joins = new Map(joins.map(join => [typeof join === 'string' ? join : join.room, join]))
    const before = this.rooms
    this.rooms = mayBeEmpty && joins.length === 0 ? new Map() : heardBy(joins)
    return [...this.rooms.keys()].filter(room => !before.has(room))
  }

  hears (event: Pick<LogEvent, 'room' | 'event'>): boolean {
    const types = this.rooms.get(event.room)
    return types === null || types?.has(event.event) === true
  }

  /** Whether it hears all that is published to the room: no leave is under way. */
  isSettled (room: string): boolean {
    return !this.#leaving.has(room)
  }

  /** Whether it may hear an event: a join or leave is under way. */
  mayHear (event: Pick<LogEvent, 'room' | 'event'>): boolean {
    if (this.hears(event)) return true
    const types = heardBy([...this.#pending.values(), ...[...this.#leaving].filter(room => this.#joins.has(room))]).get(event.room)
    return this.#pending.size + this.#leaving.size > 0 && (types === null || types?.has(event.event) === true)
  }
}
