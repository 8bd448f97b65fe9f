// Which keys are present, and since which event. Answers "is this room full" and "is that value still the
// present one" for the appends of a batch, each after those before it, and takes back what did not come to pass.

import { PUBLIC } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'

export class RoomKeys {
  readonly #rooms = new Map<string, Map<string, Id>>()
  readonly #changes: Array<{ room: string, field: string, before: Id | undefined }> = []
  readonly #perRoom: number

  /** @param perRoom keys a room may have; 0 for any number */
  constructor (perRoom: number) {
    this.#perRoom = perRoom
  }

  get (room: string, field: string): Id | undefined {
    return this.#rooms.get(room)?.get(field)
  }

  /** Whether one more key would be too many. The gateway's own rooms have no limit. */
  full (room: string): boolean {
    if (this.#perRoom === 0 || (room.startsWith('@') && room !== PUBLIC)) return false
    return (this.#rooms.get(room)?.size ?? 0) >= this.#perRoom
  }

  set (room: string, field: string, id: Id | undefined): void {
    this.#changes.push({ room, field, before: this.get(room, field) })
    this.#put(room, field, id)
  }

  /** Where `undo` goes back to. */
  get mark (): number {
    return this.#changes.length
  }

  undo (mark: number): void {
    for (let last = this.#changes.length - 1; last >= mark; last--) {
      const { room, field, before } = this.#changes.pop() as { room: string, field: string, before: Id | undefined }
      this.#put(room, field, before)
    }
  }

  /** What was set holds: there is no way back behind this. */
  settle (): void {
    this.#changes.length = 0
  }

  * [Symbol.iterator] (): Generator<readonly [room: string, field: string, id: Id]> {
    for (const [room, fields] of this.#rooms) {
      for (const [field, id] of fields) yield [room, field, id]
    }
  }

  #put (room: string, field: string, id: Id | undefined): void {
    let fields = this.#rooms.get(room)
    if (id !== undefined) {
      if (fields === undefined) this.#rooms.set(room, fields = new Map())
      fields.set(field, id)
    } else if (fields?.delete(field) && fields.size === 0) {
      this.#rooms.delete(room)
    }
  }
}
