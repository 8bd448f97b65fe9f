// What the tests of the stores share: events to append, and a follower that keeps what it is told.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { draftOf, fieldOf, isHistory } from '../../src/core/event.ts'
import { isAfter, ORIGIN } from '../../src/core/id.ts'
import type { Draft, Entry } from '../../src/core/event.ts'
import type { Id } from '../../src/core/id.ts'
import type { CommandRecord, Follower, Image, Lineage, Store } from '../../src/core/store.ts'

/** The limits the contract speaks of; 0 for none. */
export interface ContractLimits {
  readonly historySize: number
  readonly historyTtlMs: number
  readonly historyBytes: number
  readonly maxKeysPerRoom: number
  readonly idempotencyTtlMs: number
}

/** How the contract suite gets at a store. */
export interface Harness {
  /** A store over an empty log, already followed. */
  open (limits?: Partial<ContractLimits>): Promise<Opened>
  /** Whether the log outlives the store, so that it can be opened again. */
  readonly lasts: boolean
  /** How many stores may be open at once, where time passes by itself; default 1. */
  readonly jobs?: number
}

export interface Opened {
  readonly store: Store
  readonly follower: Recorder
  /** Lets time pass. */
  pass (ms: number): Promise<void>
  /** Sets the wall clock back. */
  turnBack (ms: number): void
  /** The wall clock is ahead for a moment, in which the log gets an id. */
  wasAhead (ms: number): Promise<void>
  /** Closes the store and opens another over the same log, with the same clock. */
  reopen (limits?: Partial<ContractLimits>): Promise<Opened>
  /** The same, where what keeps the log is started anew too. */
  restart (): Promise<Opened>
  close (): Promise<void>
}

const TIMESTAMP = 1_700_000_000_000

export const fact = (data: unknown, room?: string): Draft =>
  draftOf({ type: 'note', room, data, timestamp: TIMESTAMP })

export const value = (key: string, data: unknown, room?: string): Draft =>
  draftOf({ type: 'gauge', room, key, data, timestamp: TIMESTAMP })

export const deletion = (key: string, room?: string, ends?: Id): Draft =>
  draftOf({ type: 'gauge', room, key, data: null, timestamp: TIMESTAMP, ...(ends === undefined ? {} : { ends }) })

export const dataOf = (entry: Entry | undefined): unknown => entry === undefined ? undefined : JSON.parse(entry.json).data

/** Follows as the gateway does: history and present values, as they follow from what it was told. */
export class Recorder implements Follower {
  lineage: Lineage = { epoch: '', epochs: [] }
  head: Id = ORIGIN
  floor: Id = ORIGIN
  /** As the last image had it. */
  systemFloor: Id = ORIGIN
  /** Facts and deletions above the floor. */
  history: Entry[] = []
  /** All entries it was told of one by one, in that order. */
  applied: Entry[] = []
  loads = 0
  /** What it was told of the store's state, newest last. */
  readonly states: Array<{ yes: boolean, reason: string | undefined }> = []
  readonly #values = new Map<string, Entry>()
  readonly #watchers = new Set<() => void>()

  /** Present values in id order. */
  get values (): Entry[] {
    return [...this.#values.values()].sort((a, b) => isAfter(a.id, b.id) ? 1 : -1)
  }

  load (image: Image): void {
    this.loads++
    this.lineage = image.lineage
    this.head = image.head
    this.floor = image.floor
    this.systemFloor = image.systemFloor
    this.history = [...image.history]
    this.#values.clear()
    for (const entry of image.values) this.#values.set(nameOf(entry), entry)
    this.#changed()
  }

  apply (entries: readonly Entry[], floor: Id): void {
    for (const entry of entries) {
      if (!isAfter(entry.id, this.head)) throw new Error(`${entry.id} came after ${this.head}`)
      this.head = entry.id
      this.applied.push(entry)
      if (isHistory(entry)) this.history.push(entry)
      if (entry.deletion) this.#values.delete(nameOf(entry))
      else if (entry.key !== null) this.#values.set(nameOf(entry), entry)
    }
    this.floor = floor
    this.history = this.history.filter(({ id }) => isAfter(id, floor))
    this.#changed()
  }

  begin (lineage: Lineage): void {
    this.lineage = lineage
    this.#changed()
  }

  available (yes: boolean, reason?: string): void {
    this.states.push({ yes, reason })
    this.#changed()
  }

  /** Waits until what it was told makes it so. */
  until (isSo: (follower: this) => boolean): Promise<void> {
    return new Promise(resolve => {
      const look = (): void => {
        if (!isSo(this)) return
        this.#watchers.delete(look)
        resolve()
      }
      this.#watchers.add(look)
      look()
    })
  }

  /** What must be the same after the store was opened again. */
  get image (): object {
    return { head: this.head, floor: this.floor, history: this.history, values: this.values }
  }

  #changed (): void {
    for (const look of this.#watchers) look()
  }
}

const nameOf = (entry: Entry): string => `${entry.room} ${fieldOf(entry)}`

/** The record of a command: of one that runs, or of one with this result. */
export const record = (result?: unknown): CommandRecord =>
  ({ command: 'move', fingerprint: 'x', by: 'w', ...(result === undefined ? { status: 'running' } : { status: 'done', result }) })

/** A directory that goes with the test. */
export async function tempDir (t: { teardown (clean: () => Promise<void>): void }): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-store-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return join(dir, 'data')
}
