// Texts of the command line as values. Texts that cannot be one are told apart before anything is sent.

import { InvalidArgumentError } from 'commander'

const UNITS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 }

/** `1h`, `30m`, or seconds. @returns seconds */
export function seconds (text: string): number {
  const [, number, unit = ''] = /^(\d{1,10})([smhd]?)$/.exec(text.trim()) ?? []
  const value = Number(number) * (UNITS[unit] as number)
  if (!(value > 0)) throw new InvalidArgumentError('It takes a time such as 90 (seconds), 30m, 1h or 7d.')
  return value
}

/** Names with commas between them; the option may be repeated. */
export function names (text: string, before: readonly string[] = []): readonly string[] {
  const list = text.split(',').map(name => name.trim())
  if (list.includes('')) throw new InvalidArgumentError('It takes names with commas between them.')
  return [...before, ...list]
}

/** @returns the text itself: numbers keep the digits that they have */
export function json (text: string): string {
  try {
    JSON.parse(text)
    return text
  } catch (error) {
    throw new InvalidArgumentError(`It is not JSON: ${(error as Error).message}. A text has quotes of its own: '"hello"'`)
  }
}

/** The id of an event. */
export function eventId (text: string): string {
  if (!/^\d+-\d+$/.test(text)) throw new InvalidArgumentError("It takes an event's id, such as 1763770000000-0.")
  return text
}

export function jsonObject (text: string): object {
  const value: unknown = JSON.parse(json(text))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new InvalidArgumentError("It takes a JSON object, such as '{\"room\": \"plant-1\"}'.")
  return value
}

/** The name of a profile, in any case. */
export function profile (text: string): string {
  const name = text.toUpperCase()
  if (name !== 'SSE' && name !== 'WEBSOCKET') throw new InvalidArgumentError('It takes SSE or WEBSOCKET.')
  return name
}
