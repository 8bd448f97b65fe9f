// How many members of a room hear a type. Every event asks for it, which is why it is counted and not looked up.

import { isAll, matches } from '../filter.ts'
import type { Filter } from '../filter.ts'

/** Filters that are looked through. A connection may bring a hundred rooms of its own and a hundred types for each: counted by type, each room would take 4 KB. */
const FEW = 4
const NO_FILTERS: readonly Filter[] = []

export class Audience {
  #everything = 0
  #few: readonly Filter[] = NO_FILTERS
  /** Of all other filters: members that hear the type by name, less those that hear everything but it. */
  #byType: Map<string, number> | null = null

  add (filter: Filter): void {
    if (isAll(filter)) this.#everything++
    else if (this.#few.length < FEW) this.#few = [...this.#few, filter]
    else this.#count(filter, 1)
  }

  delete (filter: Filter): void {
    const index = this.#few.indexOf(filter)
    if (isAll(filter)) this.#everything--
    else if (index !== -1) this.#few = this.#few.toSpliced(index, 1)
    else this.#count(filter, -1)
  }

  of (type: string): number {
    let count = this.#everything + (this.#byType?.get(type) ?? 0)
    for (const filter of this.#few) if (matches(filter, type)) count++
    return count
  }

  #count ({ types, inverted }: Filter, by: 1 | -1): void {
    if (inverted) this.#everything += by
    this.#byType ??= new Map()
    for (const type of types) {
      const count = (this.#byType.get(type) ?? 0) + (inverted ? -by : by)
      if (count === 0) this.#byType.delete(type)
      else this.#byType.set(type, count)
    }
  }
}
