// The log as the disk holds it. What is damaged is left out; what may be missing shows in three ways. Gaps in the ordinals of facts
// and deletions: history with a hole must not pass for complete, and begins after the hole. Values that do not add up: a newer
// one may be missing, so their group is left out. A witness that knows newer entries: the end of the log is cut off.
// After either of the last two no cursor of an earlier epoch can be resumed.

import { randomBytes } from 'node:crypto'
import { fieldOf } from '../../core/event.ts'
import { compareIds, isAfter, latest, ORIGIN } from '../../core/id.ts'
import {
  EPOCHS_KEY, FORMAT_KEY, HEAD_KEY, META, historyAfter, historyKey, idBefore, parsePage, parseRecord, parseBounds, VALUES, valueKey
} from './record.ts'
import { Sums } from './sums.ts'
import type { Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { Lineage } from '../../core/store.ts'
import type { Disk, DiskRecord, Loaded } from './disk.ts'
import type { Range, LogBounds } from './record.ts'
import type { Newest } from './witness.ts'

export interface StoredLog extends LogBounds, Loaded {
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
  /** Values left out: damaged, or perhaps not the newest of their keys. */
  readonly doubtful: number
  /** Whether the newest entries are missing. */
  readonly isCut: boolean
  /** Whether writes are missing without an event among them: records of Idempotency-Keys and commands. */
  readonly lacksRecords: boolean
  /** The keys of records that are damaged, or of values that are left out. */
  readonly spoilt: string[]
  /** Whether a cursor of an earlier epoch says what its client holds. */
  readonly isContinued: boolean
}

export const EMPTY_LOG: StoredLog = {
  head: ORIGIN,
  floor: ORIGIN,
  ordinal: 0,
  trimmed: 0,
  sum: null,
  time: 0,
  writes: 0,
  systemFloor: null,
  epochs: [],
  history: [],
  values: [],
  lost: 0,
  leftOut: 0,
  pages: [],
  doubtful: 0,
  isCut: false,
  lacksRecords: false,
  spoilt: [],
  isContinued: true,
  isWhole: null
}

const MAX_EPOCHS = 1000
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
/** Records read at once if they are small. */
const STEP = 10_000

/** @param newest what the witness knows */
export async function readLog (disk: Disk, newest: Newest | null): Promise<StoredLog> {
  const spoilt: string[] = []
  // Not by `get`: a damaged filter of LevelDB would hide them.
  const meta = new Map<string, string>()
  for await (const step of steps(disk, META)) {
    for (const [key, text, isIntact] of step) {
      if (isIntact) meta.set(key, text)
      else if (key !== FORMAT_KEY) spoilt.push(key)
    }
  }
  const stored = parseBounds(meta.get(HEAD_KEY) ?? '')
  const epochs = parseEpochs(meta.get(EPOCHS_KEY))
  const isAhead = newest !== null && isAfter(newest.bounds.head, stored?.head ?? ORIGIN)
  const known = isAhead ? newest.bounds : stored
  const { history, lost, leftOut, pages, floor, ordinal } = await readHistory(disk, known, spoilt)
  const { values, doubtful, agree } = await readValues(disk, known, newest, spoilt)
  const isCut = isAhead && (lost > 0 || !agree)
  const isContinued = agree && doubtful === 0 && !isCut && (newest === null || epochs.some(({ epoch }) => epoch === newest.epoch))
  const lacksRecords = newest !== null && !isAhead && newest.bounds.writes > (stored?.writes ?? 0)
  const head = latest(latest(known?.head ?? ORIGIN, floor), latest(history.at(-1)?.id ?? ORIGIN, values.at(-1)?.id ?? ORIGIN))
  return {
    head,
    floor,
    ordinal,
    trimmed: ordinal - history.length,
    sum: known?.sum ?? null,
    time: Math.max(known?.time ?? 0, newest?.bounds.time ?? 0),
    writes: Math.max(known?.writes ?? 0, newest?.bounds.writes ?? 0),
    systemFloor: known?.systemFloor ?? null,
    epochs,
    history,
    values,
    lost,
    leftOut,
    pages,
    doubtful,
    isCut,
    lacksRecords,
    spoilt,
    isContinued,
    isWhole: lost > 0 || spoilt.length > 0 || !isContinued || lacksRecords ? false : newest?.bounds.head === head ? true : null
  }
}

/** The values that are certain, how many are not, and whether all of them add up to what they should. */
async function readValues (disk: Disk, known: LogBounds | null, newest: Newest | null, spoilt: string[]): Promise<{ values: Entry[], doubtful: number, agree: boolean }> {
  const values: Entry[] = []
  const sums = new Sums()
  let doubtful = 0
  for await (const step of steps(disk, VALUES)) {
    for (const [key, text, isIntact] of step) {
      const entry = parseRecord(text)?.entry
      const isValue = entry !== undefined && valueKey(entry) === key
      // One that is damaged and yet shows its id vouches for the others of its group.
      if (isValue) sums.add(entry.room, fieldOf(entry), entry.id)
      if (isValue && isIntact) {
        values.push(entry)
      } else {
        doubtful++
        spoilt.push(key)
      }
    }
  }
  values.sort((a, b) => compareIds(a.id, b.id))
  const groups = newest !== null && known?.head === newest.bounds.head ? newest.sums : null
  const total = known === null ? 0 : known.sum ?? sums.total
  if (groups === null ? total === sums.total : groups.equals(sums)) return { values, doubtful, agree: true }
  const certain = groups === null ? [] : values.filter(({ room, type, key }) => groups.agrees(sums, room, fieldOf({ type, key })))
  const left = new Set(certain)
  for (const value of values) if (!left.has(value)) spoilt.push(valueKey(value))
  return { values: certain, doubtful: doubtful + values.length - certain.length, agree: false }
}

async function readHistory (disk: Disk, known: LogBounds | null, spoilt: string[]): Promise<Pick<StoredLog, 'history' | 'lost' | 'leftOut' | 'pages' | 'floor' | 'ordinal'>> {
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
    for (const [key, text, isIntact] of step) {
      const page = isIntact ? parsePage(text) : null
      const last = page?.at(-1)?.entry.id
      if (page === null || last === undefined || historyKey(last) !== key) {
        spoilt.push(key)
        continue
      }
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

async function * steps (disk: Disk, range: Range): AsyncGenerator<DiskRecord[]> {
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

/** The epochs on the disk, if they can be continued, and a new one. Its name goes into cursors. */
export function lineageWith ({ epochs, head, isContinued }: StoredLog): Lineage {
  const epoch = Array.from(randomBytes(10), byte => LETTERS[byte % LETTERS.length]).join('')
  return { epoch, epochs: [...isContinued ? epochs : [], { epoch, seam: head }].slice(-MAX_EPOCHS) }
}
