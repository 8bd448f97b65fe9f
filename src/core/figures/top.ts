// The first few of many, without sorting the many.

export class Top<Item> {
  /** In order. */
  readonly items: Item[] = []
  readonly #count: number
  readonly #compare: (a: Item, b: Item) => number

  /** @param compare negative where `a` comes first; of equal items the one added first does */
  constructor (count: number, compare: (a: Item, b: Item) => number) {
    this.#count = count
    this.#compare = compare
  }

  add (item: Item): void {
    const { items } = this
    let at = items.length
    while (at > 0 && this.#compare(item, items[at - 1] as Item) < 0) at--
    if (at >= this.#count) return
    items.splice(at, 0, item)
    if (items.length > this.#count) items.pop()
  }
}
