// The whole log, for a worker that has nothing yet. It is read in pages while others write: the pages may hold entries newer
// than the point where reading began. The log is followed from there at the same time, and the image is complete once it was
// followed to the newest id found.

import { fieldOf, isHistory } from '../../../core/event.ts'
import type { Entry } from '../../../core/event.ts'
import { compareIds, isAfter, latest } from '../../../core/id.ts'
import type { Id } from '../../../core/id.ts'
import type { Image, Lineage } from '../../../core/store.ts'
import type { RedisClient } from '../connect.ts'
import { entryOf, factOf, logEntryOf, valueOf } from './entry.ts'
import type { StreamEntry } from './entry.ts'
import type { Keys } from '../keys.ts'

export interface LogTip {
  readonly epoch: string
  /** The last entry of `log`, and the newest event. */
  readonly last: Id
  readonly newest: Id
  readonly floor: Id
}

/** Entries in one answer of Redis, which blocks everyone while it builds it: an entry may have megabytes. */
const PAGE = 100
/** Those of `log` are read as when following: faster than they are written. */
const LOG_PAGE = 1000

export interface ImageSource {
  readonly client: RedisClient
  readonly keys: Keys
  /** Called now and then: how many of how many events were read. */
  readonly onProgress: (read: number, total: number) => void
  /** A value or fact that Signalbox did not write: it is left out. */
  readonly onSpoilt: (where: string) => void
}

/** @returns the image, and the entry of `log` to follow from; null if the log was trimmed or reopened meanwhile: try again */
export async function readImage ({ client, keys, onProgress, onSpoilt }: ImageSource, { epoch, last: start, newest, floor: first }: LogTip): Promise<{ image: Image, last: Id } | null> {
  const lineage = await readLineage(client, keys, epoch)
  if (lineage === null) return null
  const total = await client.hlen(keys.state) + await client.xlen(keys.facts)
  // An earlier version did not write it.
  let systemFloor = await client.hget(keys.meta, 'systemFloor') ?? newest
  let read = 0
  // Deletions too, until the end: a page read before one may still hold the value it ends.
  const newestOf = new Map<string, Entry>()
  const put = (entry: Entry): void => {
    const name = `${entry.room}\0${fieldOf(entry)}`
    const before = newestOf.get(name)
    if (before === undefined || isAfter(entry.id, before.id)) newestOf.set(name, entry)
  }
  const history: Entry[] = []
  const recent: Entry[] = []

  // The log is followed page by page beside everything else: it is short, and would be trimmed under a reader that comes late.
  let last = start
  let head = newest
  let floor = first
  /** @returns false if it was trimmed or reopened; null at its end */
  const follow = async (): Promise<boolean | null> => {
    const page = await client.xrange(keys.log, `(${last}`, '+', 'COUNT', LOG_PAGE) as unknown as StreamEntry[]
    for (const raw of page) {
      const { id, after, epoch: of, floor: then, field, text } = logEntryOf(raw)
      if (after !== last || of !== epoch) return false
      last = id
      floor = then
      const entry = field === 'event' ? entryOf(id, text) : null
      if (entry === null) continue
      head = id
      if (entry.key !== null) put(entry)
      if (isHistory(entry)) recent.push(entry)
      else if (entry.deletion) systemFloor = latest(systemFloor, entry.id)
    }
    return page.length === 0 ? null : true
  }

  let found = start
  for (let cursor = ''; cursor !== '0';) {
    const [[next, pairs], isWhole] = await Promise.all([client.hscan(keys.state, cursor === '' ? 0 : cursor, 'COUNT', PAGE), follow()])
    if (isWhole === false) return null
    cursor = next
    for (let at = 0; at < pairs.length; at += 2) {
      const entry = valueOf(pairs[at] as string, pairs[at + 1] as string)
      if (entry === null) {
        onSpoilt(`the field ${pairs[at]} of ${keys.state}`)
        continue
      }
      put(entry)
      found = latest(found, entry.id)
    }
    onProgress(read += pairs.length / 2, total)
  }
  for (let from = first, isMore = true; isMore;) {
    const [page, isWhole] = await Promise.all([client.xrange(keys.facts, `(${from}`, start, 'COUNT', PAGE) as unknown as Promise<StreamEntry[]>, follow()])
    if (isWhole === false) return null
    for (const [id, [, text = '']] of page) {
      from = id
      const entry = factOf(id, text)
      if (entry === null) onSpoilt(`the entry ${id} of ${keys.facts}`)
      else history.push(entry)
    }
    onProgress(read += page.length, total)
    isMore = page.length === PAGE
  }
  // A value may be newer than the log was, when its page was read.
  while (isAfter(found, last)) if (await follow() !== true) return null

  const image = {
    lineage,
    head,
    floor,
    systemFloor,
    history: [...history, ...recent].filter(({ id }) => isAfter(id, floor)),
    values: [...newestOf.values()].filter(({ deletion }) => !deletion).sort((a, b) => compareIds(a.id, b.id))
  }
  return { image, last }
}

/** The epochs up to this one; null if it is not among them. */
export async function readLineage (client: RedisClient, keys: Keys, epoch: string): Promise<Lineage | null> {
  const epochs = (await client.lrange(keys.epochs, 0, -1)).map(text => {
    const [name = '', seam = ''] = text.split(' ')
    return { epoch: name, seam }
  })
  const index = epochs.findIndex(of => of.epoch === epoch)
  return index < 0 ? null : { epoch, epochs: epochs.slice(0, index + 1) }
}
