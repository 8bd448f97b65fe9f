// A checksum in front of each record: `#<checksum> <text>`. LevelDB's own are verified for its log, and for tables when they are
// opened (tables.ts); what it reads later it does not verify. The checksum covers the key too, as a damaged key gives the
// text to another name.

import { crc32 } from 'node:zlib'

/** No text of formats 1 and 2, which had no checksums, begins like this. */
const MARK = '#'

/** One call for both: two cost 0.15 us more. */
const checksum = (key: string, text: string): string => String(crc32(key + text))

/** An empty text says nothing that could be damaged. */
export const seal = (key: string, text: string): string => text === '' ? '' : `${MARK}${checksum(key, text)} ${text}`

export const isSealed = (stored: string): boolean => stored === '' || stored.startsWith(MARK)

/** @returns null if the record is damaged */
export function unseal (key: string, stored: string): string | null {
  if (stored === '') return ''
  const text = contentOf(stored)
  return stored.startsWith(MARK) && stored.slice(MARK.length, stored.length - text.length - 1) === checksum(key, text) ? text : null
}

/** The text of a record, unverified. */
export const contentOf = (stored: string): string => stored.slice(stored.indexOf(' ') + 1)
