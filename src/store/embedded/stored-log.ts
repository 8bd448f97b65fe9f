// The log as the disk holds it. Gaps in the ordinals of facts and deletions show what is missing. History with a hole must
// not pass for complete; it then begins after the hole.

import { randomBytes } from 'node:crypto'
import { compareIds, isAfter, latest, ORIGIN } from '../../core/id.ts'
import { DiskError } from './disk.ts'
import {
  EPOCHS_KEY, FORMAT, FORMAT_KEY, HEAD_KEY, historyAfter, historyKey, idBefore, parsePage, parseRecord, parseBounds, VALUES, valueKey
} from './record.ts'
import type { Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { Lineage } from '../../core/store.ts'
import type { Disk } from './disk.ts'
import type { Range, LogBounds } from './record.ts'

export interface StoredLog extends LogBounds {
  readonly epochs: Lineage['epochs']
  /** In id order. */
  readonly history: Entry[]
  /** In id order. */
  readonly values: Entry[]
  /** Facts and deletions that are missing. */
  readonly lost: number
  /** Facts and deletions before the last hole, which history no longer includes. */
  readonly leftOut: number
  /** The pages of history on the disk, including those before the last hole, each by its last id. */
  readonly pages: Id[]
}

export const EMPTY_LOG: StoredLog = { head: ORIGIN, floor: ORIGIN, ordinal: 0, trimmed: 0, epochs: [], history: [], values: [], lost: 0, leftOut: 0, pages: [] }

const MAX_EPOCHS = 1000
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
/** Records read at once if they are small. */
const STEP = 10_000

/** @throws Error if a newer Signalbox wrote it */
export async function readLog (disk: Disk): Promise<StoredLog> {
  const [format, bounds, epochs] = await disk.get([FORMAT_KEY, HEAD_KEY, EPOCHS_KEY])
  if (Number(format ?? 0) > FORMAT) {
    throw new DiskError(`the store was written by a newer Signalbox (format ${format}; this one knows ${FORMAT}): start that version, or set DATA_DIR to another directory`)
  }
  const known = bounds === undefined ? null : parseBounds(bounds)
  const { history, lost, leftOut, pages, floor, ordinal } = await readHistory(disk, known)
  const values: Entry[] = []
  for await (const step of steps(disk, VALUES)) {
    for (const [key, text] of step) {
      const entry = parseRecord(text)?.entry
      if (entry !== undefined && valueKey(entry) === key) values.push(entry)
    }
  }
  values.sort((a, b) => compareIds(a.id, b.id))
  const head = latest(latest(known?.head ?? ORIGIN, floor), latest(history.at(-1)?.id ?? ORIGIN, values.at(-1)?.id ?? ORIGIN))
  return { head, floor, ordinal, trimmed: ordinal - history.length, epochs: parseEpochs(epochs), history, values, lost, leftOut, pages }
}

async function readHistory (disk: Disk, known: LogBounds | null): Promise<Pick<StoredLog, 'history' | 'lost' | 'leftOut' | 'pages' | 'floor' | 'ordinal'>> {
  let history: Entry[] = []
  const pages: Id[] = []
  let lost = 0
  let leftOut = 0
  let floor = known?.floor ?? ORIGIN
  let ordinal = known?.trimmed ?? 0
  const leap = (to: number, newFloor: Id): void => {
    leftOut += history.length
    // Without the stored bounds it is unknown how many there were before the first.
    if (known !== null || history.length > 0) lost += to - ordinal
    history = []
    ordinal = to
    floor = newFloor
  }
  // Reading begins at the floor: before it LevelDB would have to skip everything that was trimmed.
  for await (const step of steps(disk, historyAfter(floor))) {
    for (const [key, text] of step) {
      const page = parsePage(text)
      const last = page?.at(-1)?.entry.id
      if (page === null || last === undefined || historyKey(last) !== key) continue
      pages.push(last)
      for (const record of page) {
        // The first page may be trimmed in part.
        if (!isAfter(record.entry.id, floor)) continue
        if (record.ordinal !== ordinal + 1) leap(record.ordinal - 1, idBefore(record.entry.id))
        ordinal = record.ordinal
        history.push(record.entry)
      }
    }
  }
  if (known !== null && known.ordinal > ordinal) leap(known.ordinal, known.head)
  return { history, lost, leftOut, pages, floor, ordinal }
}

async function * steps (disk: Disk, range: Range): AsyncGenerator<Array<[key: string, text: string]>> {
  let { from } = range
  while (true) {
    const step = await disk.read({ from, to: range.to }, STEP)
    const last = step.at(-1)
    if (last === undefined) return
    yield step
    from = `${last[0]}\0`
  }
}

function parseEpochs (text: string | undefined): Lineage['epochs'] {
  try {
    return text === undefined ? [] : JSON.parse(text) as Lineage['epochs']
  } catch {
    return []
  }
}

/** The epochs on the disk and a new one. Its name goes into cursors. */
export function lineageWith ({ epochs, head }: StoredLog): Lineage {
  const epoch = Array.from(randomBytes(10), byte => LETTERS[byte % LETTERS.length]).join('')
  return { epoch, epochs: [...epochs, { epoch, seam: head }].slice(-MAX_EPOCHS) }
}
