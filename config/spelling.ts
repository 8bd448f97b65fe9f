// Warnings about misspelt settings, which nothing would read. Names that resemble a setting are reported. In the
// environment, which other programs share, false warnings must be rare (AWS_PROFILE is two letters from APP_PROFILE). `.env`
// belongs to the gateway: there every unknown name is reported, and guesses may be less certain.

import { NAMES, isName, type SettingName } from './schema.ts'

/** Names of settings below this length (HOST, PORT, WORKERS) resemble too many names of other programs. */
const LONG = 8
const PREFIX = /^signalbox_*/i

/** The setting that a variable of the environment probably means, if a warning is justified. */
export function suspect (name: string, value: string): SettingName | undefined {
  if (isName(name)) return undefined
  const bare = name.replace(PREFIX, '')
  // Kubernetes sets <SERVICE>_PORT=tcp://… in every container beside a service of that name.
  if (bare !== name && value.includes('://')) return undefined
  return closest(bare, (length) => length >= LONG ? Math.floor(length / 7) : bare === name ? -1 : 0, NAMES)
}

/** The setting that a name in `.env` or in `tune` probably means. */
export function guess (name: string): SettingName | undefined {
  return guessAmong(NAMES, name)
}

/** The one of `candidates` that a name probably means. */
export function guessAmong<Name extends string> (candidates: readonly Name[], name: string): Name | undefined {
  return closest(name.replace(PREFIX, ''), (length) => length < LONG ? 1 : 2, candidates)
}

/** The candidate with the fewest edits; at most the number tolerated for a name of its length. */
function closest<Name extends string> (name: string, tolerated: (length: number) => number, candidates: readonly Name[]): Name | undefined {
  const letters = plain(name)
  let best: Name | undefined
  let fewest = Infinity
  for (const candidate of candidates) {
    const wanted = plain(candidate)
    const most = tolerated(candidate.length)
    if (Math.abs(wanted.length - letters.length) > most) continue
    const edits = distance(letters, wanted)
    if (edits <= most && edits < fewest) {
      best = candidate
      fewest = edits
    }
  }
  return best
}

function plain (name: string): string {
  return name.replaceAll('_', '').toUpperCase()
}

/** Damerau-Levenshtein: letters added, lost, changed, or swapped with their neighbour (each part of the text once). */
function distance (a: string, b: string): number {
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1
      let edits = Math.min(at(above, j) + 1, at(row, j - 1) + 1, at(above, j - 1) + change)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) edits = Math.min(edits, at(before, j - 2) + 1)
      row.push(edits)
    }
    before = above
    above = row
  }
  return at(above, b.length)
}

function at (row: readonly number[], index: number): number {
  return row[index] ?? Infinity
}
