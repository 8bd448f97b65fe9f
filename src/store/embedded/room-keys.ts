// Which keys are present in each room, and the id of their values. Answers "is this room full" and "is that value still
// current" for the appends of a batch, each after the ones before it, and rolls back what was not written.

import { PUBLIC } from '../../core/event.ts'
import { Sums } from './sums.ts'
import type { Id } from '../../core/id.ts'

export class RoomKeys {
  /** What the keys and their ids add up to. */
  readonly sums = new Sums()
  readonly #rooms = new Map<string, Map<string, Id>>()
  readonly #changes: Array<{ room: string, field: string, before: Id | undefined }> = []
  readonly #perRoom: number

  /** @param perRoom keys a room may have; 0: no limit */
  constructor (perRoom: number) {
    this.#perRoom = perRoom
  }

  get (room: string, field: string): Id | undefined {
    return this.#rooms.get(room)?.get(field)
  }

  /** Whether the room has no place for another key. The gateway's own rooms have no limit. */
  full (room: string): boolean {
    if (this.#perRoom === 0 || (room.startsWith('@') && room !== PUBLIC)) return false
    return (this.#rooms.get(room)?.size ?? 0) >= this.#perRoom
  }

  set (room: string, field: string, id: Id | undefined): void {
    const before = this.get(room, field)
    this.#changes.push({ room, field, before })
    this.#put(room, field, id, before)
  }

  /** A point that `undo` can go back to. */
  get mark (): number {
    return this.#changes.length
  }

  undo (mark: number): void {
    for (let last = this.#changes.length - 1; last >= mark; last--) {
      const { room, field, before } = this.#changes.pop() as { room: string, field: string, before: Id | undefined }
      this.#put(room, field, before, this.get(room, field))
    }
  }

  /** Commits all changes: `undo` cannot go back beyond this. */
  settle (): void {
    this.#changes.length = 0
  }

  * [Symbol.iterator] (): Generator<readonly [room: string, field: string, id: Id]> {
    for (const [room, fields] of this.#rooms) {
      for (const [field, id] of fields) yield [room, field, id]
    }
  }

  #put (room: string, field: string, id: Id | undefined, before: Id | undefined): void {
    if (before !== undefined) this.sums.remove(room, field, before)
    if (id !== undefined) this.sums.add(room, field, id)
    let fields = this.#rooms.get(room)
    if (id !== undefined) {
      if (fields === undefined) this.#rooms.set(room, fields = new Map())
      fields.set(field, id)
    } else if (fields?.delete(field) && fields.size === 0) {
      this.#rooms.delete(room)
    }
  }
}
