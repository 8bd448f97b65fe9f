// How many members of a room hear a type. Every event asks for it, which is why it is counted and not looked up.

import type { Filter } from '../filter.ts'

export class Audience {
  #everything = 0
  /** Members that hear the type by name, less those that hear everything but it. */
  readonly #byType = new Map<string, number>()

  add (filter: Filter): void {
    this.#count(filter, 1)
  }

  delete (filter: Filter): void {
    this.#count(filter, -1)
  }

  of (type: string): number {
    return this.#everything + (this.#byType.get(type) ?? 0)
  }

  #count ({ types, inverted }: Filter, by: 1 | -1): void {
    if (inverted) this.#everything += by
    for (const type of types) {
      const count = (this.#byType.get(type) ?? 0) + (inverted ? -by : by)
      if (count === 0) this.#byType.delete(type)
      else this.#byType.set(type, count)
    }
  }
}
