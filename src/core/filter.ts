// A filter names types of events: those of a list, or all but those. It is kept as a set and its sign, which makes
// adding and removing subscriptions plain set algebra.

export interface Filter {
  readonly types: ReadonlySet<string>
  /** True: every type but `types`. */
  readonly inverted: boolean
}

export const ALL: Filter = { types: new Set(), inverted: true }
export const NONE: Filter = { types: new Set(), inverted: false }

export const only = (types: Iterable<string>): Filter => ({ types: new Set(types), inverted: false })
export const allBut = (types: Iterable<string>): Filter => ({ types: new Set(types), inverted: true })

export const matches = (filter: Filter, type: string): boolean => filter.types.has(type) !== filter.inverted
export const isNone = (filter: Filter): boolean => !filter.inverted && filter.types.size === 0
export const isAll = (filter: Filter): boolean => filter.inverted && filter.types.size === 0

const complement = (filter: Filter): Filter => ({ types: filter.types, inverted: !filter.inverted })

export function intersect (a: Filter, b: Filter): Filter {
  if (a.inverted && b.inverted) return allBut([...a.types, ...b.types])
  const [list, other] = a.inverted ? [b, a] : [a, b]
  return only([...list.types].filter(type => matches(other, type)))
}

export const unite = (a: Filter, b: Filter): Filter => complement(intersect(complement(a), complement(b)))
export const without = (a: Filter, b: Filter): Filter => intersect(a, complement(b))
