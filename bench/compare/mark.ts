// Every published event carries a mark in its data, by which any client finds it in whatever a server wraps around
// it: which key it belongs to, and the how-manieth value of that key it is.

export interface Mark {
  readonly key: number
  /** From 0. */
  readonly n: number
}

const MARK = '@m:'
const NEEDLE = Buffer.from(MARK)
const KEY_DIGITS = 3
const N_DIGITS = 9
const LENGTH = MARK.length + KEY_DIGITS + N_DIGITS

/** The text of an event of so many bytes. @param keyed whether the event names its key, as Signalbox would bundle by it */
export function eventText ({ key, n }: Mark, { bytes, room, keyed }: { bytes: number, room: string, keyed: boolean }): string {
  const mark = `${MARK}${String(key).padStart(KEY_DIGITS, '0')}${String(n).padStart(N_DIGITS, '0')}`
  const event = { type: 'metric', room, ...(keyed ? { key: `key-${key}` } : {}), data: { mark, padding: '' } }
  event.data.padding = 'x'.repeat(Math.max(0, bytes - JSON.stringify(event).length))
  return JSON.stringify(event)
}

interface Found {
  readonly marks: readonly Mark[]
  /** Bytes that need not be looked at again. */
  readonly used: number
}

/** Recent reads and the marks in them: clients in step get the same bytes. */
const recent: Array<{ readonly bytes: Buffer, readonly found: Found }> = []
const RECENT = 4

export function marksIn (bytes: Buffer): Found {
  for (const known of recent) if (known.bytes.length === bytes.length && known.bytes.equals(bytes)) return known.found
  const found = look(bytes)
  recent.unshift({ bytes: Buffer.from(bytes), found })
  if (recent.length > RECENT) recent.pop()
  return found
}

function look (bytes: Buffer): Found {
  const marks: Mark[] = []
  for (let from = 0; ;) {
    const at = bytes.indexOf(NEEDLE, from)
    if (at === -1) return { marks, used: Math.max(from, bytes.length - begun(bytes)) }
    if (at + LENGTH > bytes.length) return { marks, used: at }
    const keyAt = at + MARK.length
    marks.push({ key: number(bytes, keyAt, KEY_DIGITS), n: number(bytes, keyAt + KEY_DIGITS, N_DIGITS) })
    from = at + LENGTH
  }
}

/** Bytes at the end that may be the beginning of a mark. */
function begun (bytes: Buffer): number {
  for (let length = MARK.length - 1; length > 0; length--) {
    if (bytes.length >= length && bytes.subarray(bytes.length - length).equals(NEEDLE.subarray(0, length))) return length
  }
  return 0
}

function number (bytes: Buffer, at: number, digits: number): number {
  let value = 0
  for (let index = at; index < at + digits; index++) value = value * 10 + (bytes[index] as number) - 48
  return value
}
