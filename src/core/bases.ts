// Bases: earlier values of keys, from which patches start. Who has read a room to its end holds the values of that
// moment. Of each key that has changed since the last tick in which patches were read, its value of then is kept; those in
// step hold it, and get the newest value as a patch against it. All others get it whole.

import type { Entry } from './event.ts'
import { isAfter } from './id.ts'
import type { Id } from './id.ts'
import { holdsObject, patchOf } from './patch.ts'
import { valueBytes } from './state-bytes.ts'

/** An earlier value of a key. */
export interface Base {
  readonly entry: Entry
  /** The id of the value that followed it: a position from its own id up to here is that of somebody who holds it. */
  readonly until: Id
  /** The newest value as a patch against it, once that was asked for; null: it is sent whole. */
  patch: Entry | null | undefined
}

interface Value {
  readonly entry: Entry
  base: Base | null
}

/** Bytes of the bases of all rooms; beyond them the oldest are forgotten, and their keys sent whole. */
const MAX_BYTES = 16 * 1024 * 1024

export class Bases {
  bytes = 0
  readonly #maxBytes: number
  /** Those that have one, the oldest first. */
  readonly #values = new Set<Value>()

  constructor (maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes
  }

  /**
   * A value is about to be replaced.
   * @param readTo how far its room was read to the end
   */
  replace (value: Value, next: Entry, readTo: Id): void {
    if (isAfter(value.entry.id, readTo)) {
      // Nobody holds it for certain: the base is still the one before.
      if (value.base !== null) value.base.patch = undefined
      return
    }
    this.delete(value)
    if (!holdsObject(value.entry)) return
    value.base = { entry: value.entry, until: next.id, patch: undefined }
    this.#values.add(value)
    this.bytes += valueBytes(value.entry)
    for (const oldest of this.#values) {
      if (this.bytes <= this.#maxBytes) break
      this.delete(oldest)
    }
  }

  delete (value: Value): void {
    if (value.base === null) return
    this.bytes -= valueBytes(value.base.entry)
    value.base = null
    this.#values.delete(value)
  }

  clear (): void {
    this.bytes = 0
    this.#values.clear()
  }
}

/** The newest value, as it is sent to somebody who holds every value as of `position`. */
export function entryFrom ({ entry, base }: Value, position: Id): Entry {
  if (base === null || isAfter(base.entry.id, position) || !isAfter(base.until, position)) return entry
  if (base.patch === undefined) base.patch = patchOf(base.entry, entry)
  return base.patch ?? entry
}
