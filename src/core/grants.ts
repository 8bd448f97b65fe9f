// What a caller may hear, publish and run: patterns of names, in which `*` stands for any run of characters.

import { PUBLIC } from './event.ts'

export type Right = 'subscribe' | 'publish' | 'control'

export const RIGHTS: readonly Right[] = ['subscribe', 'publish', 'control']

/** Patterns by right; a right that is absent allows nothing. */
export type GrantLists = Readonly<Partial<Record<Right, readonly string[]>>>

export interface Grants {
  /** The patterns; null where everything is allowed. */
  readonly lists: GrantLists | null
  /** @param name of a room (`@public` for the public feed), or of a command */
  allow (right: Right, name: string): boolean
}

export const EVERYTHING: Grants = { lists: null, allow: () => true }

export class PatternGrants implements Grants {
  readonly lists: GrantLists
  readonly #matchers: ReadonlyMap<Right, Matcher>

  constructor (lists: GrantLists) {
    this.lists = lists
    this.#matchers = new Map(RIGHTS.map(right => [right, new Matcher(lists[right] ?? [])]))
  }

  allow (right: Right, name: string): boolean {
    return (this.#matchers.get(right) as Matcher).matches(name)
  }
}

/** The grants that lists are of; null: everything. */
export const grantsOf = (lists: GrantLists | null): Grants => lists === null ? EVERYTHING : new PatternGrants(lists)

class Matcher {
  readonly #names = new Set<string>()
  readonly #patterns: Pattern[] = []

  constructor (patterns: readonly string[]) {
    for (const pattern of patterns) {
      if (pattern.includes('*')) this.#patterns.push(patternOf(pattern))
      else this.#names.add(pattern)
      if (pattern === '*') this.#names.add(PUBLIC)
    }
  }

  matches (name: string): boolean {
    if (this.#names.has(name)) return true
    // The gateway's own names are granted one by one, never by a pattern that was meant for rooms.
    return !name.startsWith('@') && this.#patterns.some(pattern => matches(name, pattern))
  }
}

/** The texts around its stars: the first begins the name, the last ends it, those between follow one another. */
interface Pattern {
  readonly first: string
  readonly between: readonly string[]
  readonly last: string
}

function patternOf (pattern: string): Pattern {
  const texts = pattern.split('*')
  return { first: texts[0] as string, between: texts.slice(1, -1), last: texts.at(-1) as string }
}

/** Each text is looked for once, from left to right. */
function matches (name: string, { first, between, last }: Pattern): boolean {
  if (!name.startsWith(first)) return false
  let from = first.length
  for (const text of between) {
    const at = name.indexOf(text, from)
    if (at === -1) return false
    from = at + text.length
  }
  return name.length - last.length >= from && name.endsWith(last)
}
