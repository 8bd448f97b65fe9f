// The log as memory holds it: which keys are present, the ids in history, and where both end. Planning a batch changes it;
// `settle` commits that once the disk has the batch, `undo` rolls it back.

import { fieldOf, isHistory, SYSTEM } from '../../core/event.ts'
import { isAfter, latest } from '../../core/id.ts'
import { keysFull } from '../refusals.ts'
import { HistoryQueue } from './history.ts'
import { RoomKeys } from './room-keys.ts'
import { EPOCHS_KEY, HEAD_KEY, historyKey, pagesOf, boundsText } from './record.ts'
import type { Draft, Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { Image, Lineage } from '../../core/store.ts'
import type { Batch } from './batch.ts'
import type { Change } from './disk.ts'
import type { HistoryLimits } from './history.ts'
import type { StoredLog } from './stored-log.ts'
import type { LogBounds } from './record.ts'
import type { Newest } from './witness.ts'

export interface StoreLimits extends HistoryLimits {
  /** 0: no limit. */
  readonly maxKeysPerRoom: number
}

/** Entries trimmed in one batch beyond those it adds: trimming must not block the event loop either. */
const TRIM_MAX = 1000

export class LogInMemory {
  readonly lineage: Lineage
  readonly #keys: RoomKeys
  readonly #history: HistoryQueue
  #bounds: LogBounds
  #planned: LogBounds

  /**
   * @param head the newest id given so far, if that is newer than what the disk holds
   * @param ended milliseconds since 1970: history from before is too old, and left out
   */
  constructor (found: StoredLog, lineage: Lineage, limits: StoreLimits, head: Id, ended: number) {
    this.lineage = lineage
    this.#keys = new RoomKeys(limits.maxKeysPerRoom)
    this.#history = new HistoryQueue(limits)
    for (const { room, type, key, id } of found.values) this.#keys.set(room, fieldOf({ type, key }), id)
    const ends = new Set(found.pages)
    for (const { id, size } of found.history) this.#history.push(id, size, ends.has(id))
    const trimmed = this.#history.trim(ended)
    const newest = latest(head, found.head)
    this.#bounds = this.#planned = {
      head: newest,
      floor: trimmed.last ?? found.floor,
      ordinal: found.ordinal,
      trimmed: found.ordinal - this.#history.size,
      sum: this.#keys.sums.total,
      time: found.time,
      writes: found.writes,
      systemFloor: found.systemFloor ?? newest
    }
    this.settle()
  }

  get head (): Id { return this.#bounds.head }
  get floor (): Id { return this.#bounds.floor }
  get time (): number { return this.#bounds.time }
  get facts (): number { return this.#history.size }

  /** What the disk holds once it has the change that is planned. */
  get planned (): Newest {
    return { epoch: this.lineage.epoch, bounds: this.#planned, sums: this.#keys.sums }
  }

  /** The changes that bring the disk to this state. */
  changes (found: StoredLog): Change[] {
    const gone = found.pages.filter(last => !isAfter(last, this.floor))
    return [
      { type: 'put', key: EPOCHS_KEY, value: JSON.stringify(this.lineage.epochs) },
      ...[...gone.map(historyKey), ...found.spoilt].map(key => ({ type: 'del', key }) as const),
      { type: 'put', key: HEAD_KEY, value: boundsText(this.#bounds) }
    ]
  }

  imageOf (found: StoredLog): Image {
    const { lineage, head, floor } = this
    return { lineage, head, floor, systemFloor: this.#bounds.systemFloor ?? head, history: found.history.filter(({ id }) => isAfter(id, floor)), values: found.values }
  }

  /** Whether the disk holds everything that is here; `late` are the entries it has besides. */
  isWithin (found: StoredLog, late: readonly Entry[]): boolean {
    if (isAfter(this.head, found.head)) return false
    const nameOf = (room: string, field: string): string => `${room} ${field}`
    const renewed = new Set(late.map(entry => nameOf(entry.room, fieldOf(entry))))
    const ids = new Set([...found.history, ...found.values].map(({ id }) => id))
    for (const [room, field, id] of this.#keys) {
      if (!ids.has(id) && !renewed.has(nameOf(room, field))) return false
    }
    for (const id of this.#history) {
      if (isAfter(id, found.floor) && !ids.has(id)) return false
    }
    return true
  }

  /**
   * Gives the draft its id and its place.
   * @returns null for a deletion whose value is no longer the current one, and for a value that is only for a key without one
   * @throws Refusal KEYS_FULL
   */
  place (draft: Draft, batch: Batch): Id | null {
    const { room, key, deletion, ends, ifAbsent } = draft
    if (key !== null) {
      const field = fieldOf(draft)
      const present = this.#keys.get(room, field)
      if (ends !== undefined && present !== ends) return null
      if (ifAbsent === true && present !== undefined) return null
      if (!deletion && present === undefined && this.#keys.full(room)) {
        throw keysFull(room)
      }
      this.#keys.set(room, field, deletion ? undefined : batch.next)
    }
    return batch.add(draft).id
  }

  /** A point that `retract` can go back to. */
  get mark (): number { return this.#keys.mark }

  retract (mark: number): void { this.#keys.undo(mark) }

  /**
   * Adds the batch's events to the log, and to the batch the writes that follow from them.
   * @param ended milliseconds since 1970: history from before is too old
   * @returns whether there is anything to write
   */
  complete (batch: Batch, ended: number): boolean {
    let { ordinal } = this.#bounds
    for (const page of pagesOf(batch.entries.filter(isHistory))) {
      batch.putPage(page, ordinal + 1)
      const last = page.at(-1)
      for (const entry of page) this.#history.push(entry.id, entry.size, entry === last)
      ordinal += page.length
    }
    batch.putValues()
    const trimmed = this.#history.trim(ended, TRIM_MAX + 2 * batch.entries.length)
    for (const last of trimmed.pages) batch.deletePage(last)
    this.#planned = {
      head: batch.entries.at(-1)?.id ?? this.head,
      floor: trimmed.last ?? this.floor,
      ordinal,
      trimmed: ordinal - this.#history.size,
      sum: this.#keys.sums.total,
      time: batch.isDated ? batch.now : this.time,
      writes: this.#bounds.writes + 1,
      systemFloor: batch.entries.findLast(({ room, deletion }) => deletion && room === SYSTEM)?.id ?? this.#bounds.systemFloor
    }
    if (batch.empty && trimmed.last === null) return false
    batch.put(HEAD_KEY, boundsText(this.#planned))
    return true
  }

  /** Whether there is more to trim. */
  due (ended: number): boolean {
    return this.#history.due(ended)
  }

  settle (): void {
    this.#keys.settle()
    this.#history.settle()
    this.#bounds = this.#planned
  }

  undo (): void {
    this.#keys.undo(0)
    this.#history.undo()
    this.#planned = this.#bounds
  }
}
