// Event ids have the form of a Redis Stream entry id, `<ms>-<n>`: two decimal numbers without leading zeros, ordered
// first by ms, then by n. They stay text everywhere, the same in log, cursor and client, and are compared without being
// parsed.

/** The id of an event: `<milliseconds>-<counter>`. */
export type Id = string

/** Before every event. */
export const ORIGIN: Id = '0-0'

export const ID = /^(0|[1-9]\d{0,15})-(0|[1-9]\d{0,19})$/

export const isId = (text: string): boolean => ID.test(text)

/** Negative where `a` comes before `b`, 0 where they are the same, positive where `a` comes after. */
export function compareIds (a: Id, b: Id): number {
  if (a === b) return 0
  const dashA = a.indexOf('-')
  const dashB = b.indexOf('-')
  // Without leading zeros the longer number is the larger one, and among equally long ones text order is numeric order.
  if (dashA !== dashB) return dashA - dashB
  if (a.length === b.length) return a < b ? -1 : 1
  const msA = a.slice(0, dashA)
  const msB = b.slice(0, dashB)
  if (msA !== msB) return msA < msB ? -1 : 1
  return a.length - b.length
}

export const isAfter = (a: Id, b: Id): boolean => compareIds(a, b) > 0

export const latest = (a: Id, b: Id): Id => compareIds(a, b) >= 0 ? a : b

/** When an id was given, ms since 1970. */
export const millisOf = (id: Id): number => Number(id.slice(0, id.indexOf('-')))
