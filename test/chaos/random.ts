// Random choices that a seed repeats.

export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to below 1 (mulberry32). */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  between (low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  /** A whole number from 0 to below `limit`. */
  below (limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance (share: number): boolean {
    return this.next() < share
  }

  pick<Item> (items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item
  }

  /** In a random order. */
  shuffled<Item> (items: readonly Item[]): Item[] {
    const left = [...items]
    return Array.from(items, () => left.splice(this.below(left.length), 1)[0] as Item)
  }

  /** A source of its own, so that what one part draws does not shift what another gets. */
  fork (): Random {
    return new Random(this.below(2 ** 32))
  }
}
