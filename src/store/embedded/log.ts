// The log as it is found on the disk. What is missing in it is noticed by the ordinals of facts and deletions: history
// with a hole must not be passed off as whole, so it then begins behind the hole.

import { compareIds, latest, ORIGIN } from '../../core/id.ts'
import { Unusable } from './disk.ts'
import {
  EPOCHS_KEY, FORMAT, FORMAT_KEY, HEAD_KEY, historyAfter, historyKey, idBefore, parseRecord, parseStanding, VALUES, valueKey
} from './record.ts'
import type { Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { Lineage } from '../../core/store.ts'
import type { Disk } from './disk.ts'
import type { Range, Standing } from './record.ts'

export interface Log extends Standing {
  readonly epochs: Lineage['epochs']
  /** In id order. */
  readonly history: Entry[]
  /** In id order. */
  readonly values: Entry[]
  /** Facts and deletions that should be there and are not. */
  readonly lost: number
  /** Facts and deletions before the last hole: still on the disk, no longer history. */
  readonly stranded: Id[]
}

export const EMPTY_LOG: Log = { head: ORIGIN, floor: ORIGIN, ordinal: 0, trimmed: 0, epochs: [], history: [], values: [], lost: 0, stranded: [] }

const PAGE = 10_000

/** @throws Error where a newer Signalbox wrote it */
export async function readLog (disk: Disk): Promise<Log> {
  const [format, standing, epochs] = await disk.get([FORMAT_KEY, HEAD_KEY, EPOCHS_KEY])
  if (Number(format ?? 0) > FORMAT) {
    throw new Unusable(`the store was written by a newer Signalbox (format ${format}; this one knows ${FORMAT}): start that version, or set DATA_DIR to another directory`)
  }
  const known = standing === undefined ? null : parseStanding(standing)
  const { history, lost, stranded, floor, ordinal } = await readHistory(disk, known)
  const values: Entry[] = []
  for await (const page of pages(disk, VALUES)) {
    for (const [key, text] of page) {
      const entry = parseRecord(text)?.entry
      if (entry !== undefined && valueKey(entry) === key) values.push(entry)
    }
  }
  values.sort((a, b) => compareIds(a.id, b.id))
  const head = latest(latest(known?.head ?? ORIGIN, floor), latest(history.at(-1)?.id ?? ORIGIN, values.at(-1)?.id ?? ORIGIN))
  return { head, floor, ordinal, trimmed: ordinal - history.length, epochs: parseEpochs(epochs), history, values, lost, stranded }
}

async function readHistory (disk: Disk, known: Standing | null): Promise<Pick<Log, 'history' | 'lost' | 'stranded' | 'floor' | 'ordinal'>> {
  let history: Entry[] = []
  const stranded: Id[] = []
  let lost = 0
  let floor = known?.floor ?? ORIGIN
  let ordinal = known?.trimmed ?? 0
  const leap = (to: number, newFloor: Id): void => {
    for (const { id } of history) stranded.push(id)
    // Without the standing nobody knows how many there were before the first.
    if (known !== null || history.length > 0) lost += to - ordinal
    history = []
    ordinal = to
    floor = newFloor
  }
  // Reading begins at the floor: LevelDB would have to walk over all that was trimmed.
  for await (const page of pages(disk, historyAfter(floor))) {
    for (const [key, text] of page) {
      const record = parseRecord(text)
      if (record === null || historyKey(record.entry.id) !== key) continue
      if (record.ordinal !== ordinal + 1) leap(record.ordinal - 1, idBefore(record.entry.id))
      ordinal = record.ordinal
      history.push(record.entry)
    }
  }
  if (known !== null && known.ordinal > ordinal) leap(known.ordinal, known.head)
  return { history, lost, stranded, floor, ordinal }
}

async function * pages (disk: Disk, range: Range): AsyncGenerator<Array<[key: string, text: string]>> {
  let { from } = range
  while (true) {
    const page = await disk.read({ from, to: range.to }, PAGE)
    const last = page.at(-1)
    if (last === undefined) return
    yield page
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
