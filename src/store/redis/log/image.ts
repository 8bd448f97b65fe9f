// The whole log, for a worker that has nothing yet. It is read in pages while others write: the pages may hold entries newer
// than the point where reading began. The image is complete once the log was followed from there to the newest id found.

import { fieldOf } from '../../../core/event.ts'
import type { Entry } from '../../../core/event.ts'
import { compareIds, isAfter, latest } from '../../../core/id.ts'
import type { Id } from '../../../core/id.ts'
import type { Image, Lineage } from '../../../core/store.ts'
import type { RedisClient } from '../connect.ts'
import { entryOf, logEntryOf, valueOf } from './entry.ts'
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

/** @returns the image, and the entry of `log` to follow from; null if the log was trimmed or reopened meanwhile: try again */
export async function readImage (client: RedisClient, keys: Keys, { epoch, last: start, newest, floor: first }: LogTip): Promise<{ image: Image, last: Id } | null> {
  const lineage = await readLineage(client, keys, epoch)
  if (lineage === null) return null
  const values = new Map<string, Entry>()
  const nameOf = (entry: Entry): string => `${entry.room}\0${fieldOf(entry)}`
  const put = (entry: Entry): void => {
    const before = values.get(nameOf(entry))
    if (before === undefined || isAfter(entry.id, before.id)) values.set(nameOf(entry), entry)
  }
  let found = start
  for (let cursor = ''; cursor !== '0';) {
    const [next, pairs] = await client.hscan(keys.state, cursor === '' ? 0 : cursor, 'COUNT', PAGE)
    cursor = next
    for (let at = 1; at < pairs.length; at += 2) {
      const entry = valueOf(pairs[at] as string)
      if (entry === null) continue
      put(entry)
      found = latest(found, entry.id)
    }
  }
  const history: Entry[] = []
  for (let last = first; ;) {
    const page = await client.xrange(keys.facts, `(${last}`, '+', 'COUNT', PAGE) as unknown as StreamEntry[]
    for (const [id, [, text = '']] of page) {
      last = id
      const entry = entryOf(id, text)
      if (entry !== null) history.push(entry)
    }
    if (page.length < PAGE) break
  }
  found = latest(found, history.at(-1)?.id ?? start)

  let last = start
  let head = newest
  let floor = first
  while (isAfter(found, last)) {
    const page = await client.xrange(keys.log, `(${last}`, '+', 'COUNT', PAGE) as unknown as StreamEntry[]
    if (page.length === 0) return null
    for (const raw of page) {
      const { id, after, epoch: of, floor: then, field, text } = logEntryOf(raw)
      if (after !== last || of !== epoch) return null
      last = id
      floor = then
      const entry = field === 'event' ? entryOf(id, text) : null
      if (entry === null) continue
      head = id
      const kept = history.at(-1)
      if ((entry.key === null || entry.deletion) && (kept === undefined || isAfter(id, kept.id))) history.push(entry)
      if (!entry.deletion) {
        if (entry.key !== null) put(entry)
      } else if (isAfter(id, values.get(nameOf(entry))?.id ?? id)) {
        values.delete(nameOf(entry))
      }
    }
  }
  const image = {
    lineage,
    head,
    floor,
    history: history.filter(({ id }) => isAfter(id, floor)),
    values: [...values.values()].sort((a, b) => compareIds(a.id, b.id))
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
