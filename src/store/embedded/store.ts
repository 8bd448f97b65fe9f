// The embedded store: the log in this process, on LevelDB, or in memory only with DATA_DIR `:memory:`.
//
// One gate: every change of the log waits in one queue, and one batch at a time is written. While the disk is busy (an fsync
// takes longer than everything else) more changes gather for the next batch: a thousand publishers pay for one fsync.
// If it pays, a batch waits a moment for more (group-commit.ts). A batch is planned in memory, written in one atomic
// step, and only then given to the follower and answered; until then its changes in memory can be undone. The follower
// therefore never sees anything that a power cut could take back.
//
// A failed write may be in LevelDB's log whole, in part or not at all. Anything written after a torn record would be
// dropped with it when the log is read again. The database is therefore closed, opened and read again before anything
// else is written: events that turn out to be there are delivered, and only then publishing continues.
//
// The file is longer than most because queue, batch and recovery share one state and one gate.

import { randomBytes } from 'node:crypto'
import { resolve as resolvePath } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { interruptible, LogClock } from '../../core/clock.ts'
import { Refusal } from '../../core/errors.ts'
import { Durations } from '../../core/figures/durations.ts'
import { compareIds, isAfter, millisOf, ORIGIN } from '../../core/id.ts'
import { many } from '../many.ts'
import { conflict, unavailable } from '../refusals.ts'
import { Backups } from './backup.ts'
import { Batch } from './batch.ts'
import { Damages } from './damages.ts'
import { freeBytes, openDisk, textOf } from './disk.ts'
import { GroupCommit } from './group-commit.ts'
import { EMPTY_LOG, lineageWith, readLog } from './stored-log.ts'
import { memoryDisk } from './memory.ts'
import { LogInMemory } from './log-in-memory.ts'
import { commandKey, expiredBy, keyOfExpiry, onceKey, SECRET_KEY } from './record.ts'
import type { Clock } from '../../core/clock.ts'
import type { Draft, Entry } from '../../core/event.ts'
import type { Id } from '../../core/id.ts'
import type { Logger } from '../../core/logger.ts'
import type { CommandRecord, DiskFigures, Follower, Image, Lineage, Once, Store } from '../../core/store.ts'
import type { Disk, Loaded } from './disk.ts'
import type { StoredLog } from './stored-log.ts'
import type { StoreLimits } from './log-in-memory.ts'
import type { Newest } from './witness.ts'

export interface EmbeddedOptions extends StoreLimits {
  /** A directory, which is created; `:memory:`: no disk. */
  readonly dataDir: string
  /** `fsync`: acknowledged events survive power loss; `process`: they survive a crash of the process only. */
  readonly durability: 'fsync' | 'process'
  readonly idempotencyTtlMs: number
  readonly clock: Clock
  readonly log: Logger
  /** Bytes of appends that may wait to be written; more are refused with OVERLOADED. Default 64 MiB. */
  readonly maxWaitingBytes?: number
  /** How long an append may wait for others when that pays (see group-commit.ts), ms. Default 10; 0: not at all. */
  readonly gatherMs?: number
}

/** @throws Error with a sentence for the operator if the directory cannot be used */
export async function openEmbeddedStore (options: EmbeddedOptions): Promise<Store> {
  const store = new EmbeddedStore(options)
  await store.open()
  return store
}

/** In place of a directory. */
export const MEMORY = ':memory:'
const UNLIMITED: StoreLimits = { historySize: 0, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0 }
/** A batch blocks the event loop while it is planned and delivered: this many bytes of small events for about 5 ms. */
const BATCH_BYTES = 256 * 1024
/** A tenth of the shortest tick; at 1,000 appends a second ten of them share a write. */
const GATHER_MS = 10
/** Approximate size of a draft besides its text. */
const DRAFT_BYTES = 100
/** Expired records deleted in one batch, for the same reason. */
const TIDY_MAX = 1000
const TIDY_MS = 1000
const MIN_PAUSE_MS = 100
const MAX_PAUSE_MS = 2000

interface ReadLog extends Loaded {
  readonly found: StoredLog
  readonly memory: LogInMemory
}

interface PendingWrite {
  readonly bytes: number
  /** The stored record that planning looks up. */
  readonly record: string | null
  /** Adds its part to the batch, or throws a refusal. @returns a function that answers the caller once the batch is durable */
  readonly plan: (batch: Batch) => () => void
  readonly refuse: (error: unknown) => void
}

class EmbeddedStore implements Store {
  readonly name: string
  readonly figures: DiskFigures | undefined
  readonly writes = new Durations()
  readonly backUp: Store['backUp']
  readonly #options: EmbeddedOptions
  readonly #logClock: LogClock
  readonly #maxWaitingBytes: number
  #disk: Disk = memoryDisk()
  #memory = new LogInMemory(EMPTY_LOG, { epoch: '', epochs: [] }, UNLIMITED, ORIGIN, 0)

  #follower: Follower | null = null
  /** The image for the follower. */
  #image: Image | null = null
  /** Entries appended since the image. */
  #early: Entry[] = []

  #waiting: PendingWrite[] = []
  #waitingBytes = 0
  readonly #groupCommit: GroupCommit
  readonly #damages: Damages
  #working: Promise<void> | null = null
  #untidy = false
  #stopTidying = (): void => {}
  /** Why nothing can be written now; null while it can. */
  #broken: string | null = null
  #wake = (): void => {}
  #closing: Promise<void> | null = null

  constructor (options: EmbeddedOptions) {
    this.#options = options
    this.#logClock = new LogClock(options.clock)
    this.#maxWaitingBytes = options.maxWaitingBytes ?? 64 * 1024 * 1024
    this.#damages = new Damages(options.log)
    this.#groupCommit = new GroupCommit(options.clock, options.gatherMs ?? GATHER_MS)
    this.figures = options.dataDir === MEMORY ? undefined : { damaged: () => this.#damages.records, freeBytes: async () => await freeBytes(options.dataDir) }
    const backups = new Backups({ dir: resolvePath(options.dataDir), wall: () => options.clock.wall(), log: options.log, copy: async name => await this.#disk.backUp(name) })
    this.backUp = options.dataDir === MEMORY ? undefined : async () => await backups.make()
    this.name = options.dataDir === MEMORY ? 'embedded store in memory' : `embedded store in ${resolvePath(options.dataDir)}`
  }

  get warnings (): readonly string[] {
    return this.#options.dataDir === MEMORY ? ['DATA_DIR is :memory:, so nothing outlives this process'] : this.#damages.warnings
  }

  async open (): Promise<void> {
    const { clock, log } = this.#options
    const begun = clock.now()
    const found = await this.#load(lineageWith)
    this.#image = this.#memory.imageOf(found)
    const facts = this.#memory.facts
    const values = found.values.length
    const ms = Math.round(clock.now() - begun)
    log.info({ facts, values, ms, epoch: this.#memory.lineage.epoch }, `${this.name}: ${many(facts, 'fact')} and ${many(values, 'value')} in ${ms} ms`)
    this.#tidyLater()
  }

  async follow (follower: Follower): Promise<void> {
    const image = this.#image
    if (image === null) throw new Error('a store has one follower')
    this.#follower = follower
    this.#image = null
    follower.load(image)
    if (this.#early.length > 0 || image.floor !== this.#memory.floor) follower.apply(this.#early, this.#memory.floor)
    this.#early = []
    if (this.#broken !== null) follower.available(false, this.#broken)
  }

  // No other process appends, and the follower gets an entry before its publisher is answered.
  async sync (): Promise<void> {}

  async append (drafts: readonly Draft[], once?: Once): Promise<Array<Id | null>> {
    const bytes = drafts.reduce((sum, { tail }) => sum + tail.length + DRAFT_BYTES, 0)
    // An append larger than the limit is accepted while nothing else waits.
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#maxWaitingBytes) {
      throw new Refusal('OVERLOADED', 'events are published faster than the disk can write them; try again later', { bound: 'appends' })
    }
    const record = once === undefined ? null : onceKey(once.key)
    return this.#ask(bytes, record, batch => {
      const before = once === undefined ? null : idsOf(batch, once)
      if (before !== null) return before
      const ids = drafts.map(draft => this.#memory.place(draft, batch))
      if (record !== null) batch.keep(record, { fingerprint: once?.fingerprint ?? '', ids }, this.#options.idempotencyTtlMs)
      return ids
    })
  }

  answered (once: Pick<Once, 'key'> & Partial<Once>): Promise<Array<Id | null> | null> {
    return this.#ask(0, onceKey(once.key), batch => idsOf(batch, once))
  }

  claim (id: string, record: CommandRecord): Promise<CommandRecord | null> {
    const key = commandKey(id)
    return this.#ask(JSON.stringify(record).length, key, batch => {
      const before = batch.commandOf(key)
      if (before === null) batch.keep(key, record, this.#options.idempotencyTtlMs)
      return before
    })
  }

  settle (id: string, record: CommandRecord | null): Promise<void> {
    const key = commandKey(id)
    return this.#ask(JSON.stringify(record).length, null, batch => {
      if (record === null) batch.forget(key)
      else batch.keep(key, record, this.#options.idempotencyTtlMs)
    })
  }

  recall (id: string): Promise<CommandRecord | null> {
    const key = commandKey(id)
    return this.#ask(0, key, batch => batch.commandOf(key))
  }

  async secret (): Promise<Uint8Array> {
    const text = await this.#ask(0, SECRET_KEY, batch => batch.keepFirst(SECRET_KEY, () => randomBytes(32).toString('base64')))
    return Buffer.from(text, 'base64')
  }

  close (): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async #end (): Promise<void> {
    this.#stopTidying()
    this.#groupCommit.end()
    this.#wake()
    await this.#working
    await this.#disk.close()
  }

  #ask<T> (bytes: number, record: string | null, plan: (batch: Batch) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== null) return reject(unavailable('the store is closed'))
      if (this.#broken !== null) return reject(unavailable(this.#broken))
      this.#waitingBytes += bytes
      this.#waiting.push({
        bytes,
        record,
        plan: batch => {
          const answer = plan(batch)
          return () => resolve(answer)
        },
        refuse: reject
      })
      this.#groupCommit.came(this.#waiting.length, this.#waitingBytes)
      this.#work()
    })
  }

  #work (): void {
    this.#working ??= this.#drain()
  }

  async #drain (): Promise<void> {
    // All changes requested in the same turn of the event loop share a batch, whichever sockets brought them. Beginning with the
    // first of them, as promises allow, makes two writes of them, and each costs some 400 us.
    await setImmediate()
    while (this.#waiting.length > 0 || (this.#untidy && this.#closing === null)) {
      if (this.#waiting.length > 0) await this.#groupCommit.wait(this.#waiting.length, this.#waitingBytes)
      await this.#turn()
      this.#groupCommit.wrote(this.#waiting.length > 0)
    }
    this.#working = null
  }

  /** Takes one batch from the queue to its answers. */
  async #turn (): Promise<void> {
    const writes = this.#take()
    const tidy = this.#untidy
    this.#untidy = false
    const answers: Array<() => void> = []
    const memory = this.#memory
    const { floor } = memory
    let batch: Batch
    try {
      const now = this.#logClock.now()
      const { history, records } = this.#ended
      if (tidy) this.#disk.check()
      const { texts, expiries } = await this.#recordsFor(writes, tidy ? records : null)
      batch = new Batch(memory.head, now, records, texts)
      batch.expire(expiries)
      for (const write of writes) this.#plan(write, batch, answers)
      const { changes } = batch
      if (memory.complete(batch, history)) await this.writes.time(this.#options.clock, async () => await this.#disk.write(changes, memory.planned))
      this.#untidy ||= expiries.length === TIDY_MAX || memory.due(history)
    } catch (error) {
      return this.#recover(writes, error)
    }
    memory.settle()
    this.#logClock.saw(memory.time)
    if (batch.entries.length > 0 || memory.floor !== floor) this.#tell(batch.entries)
    this.#waitingBytes -= bytesOf(writes)
    for (const answer of answers) answer()
  }

  #take (): PendingWrite[] {
    let end = 0
    for (let bytes = 0; end < this.#waiting.length && bytes < BATCH_BYTES; end++) bytes += (this.#waiting[end] as PendingWrite).bytes
    return this.#waiting.splice(0, end)
  }

  /** The stored records that the batch needs: those the writes look up, and those expired with `ended`. */
  async #recordsFor (writes: PendingWrite[], ended: number | null): Promise<{ texts: Map<string, string | null | undefined>, expiries: string[] }> {
    const expiries = ended === null ? [] : (await this.#disk.read(expiredBy(ended), TIDY_MAX)).map(([key]) => key)
    const keys = [...writes.flatMap(({ record }) => record ?? []), ...expiries.map(keyOfExpiry)]
    const found = keys.length === 0 ? [] : await this.#disk.get(keys)
    const damaged = found.filter(text => text === null).length
    if (damaged > 0) this.#damages.report(damaged, 'records of Idempotency-Keys or commands cannot be read: requests that are repeated with them count as new', { records: damaged })
    return { texts: new Map(keys.map((key, at) => [key, found[at]])), expiries }
  }

  #plan (write: PendingWrite, batch: Batch, answers: Array<() => void>): void {
    const { mark } = this.#memory
    const { length } = batch.entries
    try {
      answers.push(write.plan(batch))
    } catch (error) {
      this.#memory.retract(mark)
      batch.retract(length)
      write.refuse(error)
    }
  }

  #tell (entries: Entry[]): void {
    if (this.#follower === null) for (const entry of entries) this.#early.push(entry)
    else this.#follower.apply(entries, this.#memory.floor)
  }

  #tidyLater (): void {
    this.#stopTidying = this.#options.clock.after(TIDY_MS, () => {
      this.#untidy = true
      this.#work()
      this.#tidyLater()
    })
  }

  /** After a failed write: refuses everything, reopens the log until that works, and delivers what the disk holds. */
  async #recover (writes: PendingWrite[], error: unknown): Promise<void> {
    const { clock, log } = this.#options
    this.#memory.undo()
    this.#broken = textOf(error)
    log.error({ err: error, store: this.name }, 'the store cannot be written to; publishing is refused until it can')
    const refused = [...writes, ...this.#waiting.splice(0)]
    this.#waitingBytes = 0
    for (const write of refused) write.refuse(unavailable(this.#broken))
    this.#follower?.available(false, this.#broken)
    for (let pause = MIN_PAUSE_MS; this.#closing === null; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
      await this.#disk.close()
      const { over, end } = interruptible(clock, pause)
      this.#wake = end
      await over
      if (this.#closing !== null) return
      try {
        await this.#reopen(error)
        this.#broken = null
      } catch (again) {
        this.#broken = textOf(again)
        log.warn({ err: again, store: this.name }, 'the store still cannot be written to')
        continue
      }
      log.info({ store: this.name }, 'the store can be written to again')
      return this.#follower?.available(true)
    }
  }

  async #reopen (since: unknown): Promise<void> {
    const before = this.#memory
    let late: Entry[] = []
    const found = await this.#load(found => {
      late = [...found.history, ...found.values].filter(({ id }) => isAfter(id, before.head)).sort((a, b) => compareIds(a.id, b.id))
      const isWhole = found.epochs.at(-1)?.epoch === before.lineage.epoch && before.isWithin(found, late)
      return isWhole ? before.lineage : lineageWith(found)
    }, since)
    if (this.#follower === null) {
      this.#image = this.#memory.imageOf(found)
      this.#early = []
    } else if (this.#memory.lineage !== before.lineage) {
      this.#damages.report(1, 'it came back without events that had been acknowledged (damaged, or replaced while the gateway ran), and clients that have them are reset')
      this.#follower.load(this.#memory.imageOf(found))
    } else if (late.length > 0 || this.#memory.floor !== before.floor) {
      this.#follower.apply(late, this.#memory.floor)
    }
  }

  /** Opens the disk, reads it, and makes its content the log in memory; on the disk first. */
  async #load (lineageFor: (found: StoredLog) => Lineage, since?: unknown): Promise<StoredLog> {
    const { dataDir, durability, clock, log } = this.#options
    const { head } = this.#memory
    const load = async (disk: Disk, newest: Newest | null): Promise<ReadLog> => {
      const found = dataDir === MEMORY ? EMPTY_LOG : await readLog(disk, newest)
      this.#logClock.saw(Math.max(millisOf(found.head), found.time))
      const memory = new LogInMemory(found, lineageFor(found), this.#options, head, this.#ended.history)
      await disk.write(memory.changes(found), memory.planned)
      return { found, memory, isWhole: found.isWhole }
    }
    const { disk, loaded: { found, memory }, aside } = dataDir === MEMORY
      ? { disk: this.#disk, loaded: await load(this.#disk, null), aside: null }
      : await openDisk({ dir: resolvePath(dataDir), sync: durability === 'fsync', wall: () => clock.wall(), log, since }, load)
    this.#disk = disk
    this.#memory = memory
    if (dataDir !== MEMORY) await this.#damages.opened(resolvePath(dataDir), found, aside)
    return found
  }

  /** The ends of history and of records by now, as times of the log: the time from which facts are kept, the last expiry that is over. */
  get #ended (): { readonly history: number, readonly records: number } {
    const { historyTtlMs, idempotencyTtlMs } = this.#options
    return { history: this.#logClock.ago(historyTtlMs), records: this.#logClock.ago(idempotencyTtlMs) + idempotencyTtlMs }
  }
}

const bytesOf = (writes: PendingWrite[]): number => writes.reduce((sum, { bytes }) => sum + bytes, 0)

/** The ids an idempotency key was answered with; null where it is not known. @throws Refusal IDEMPOTENCY_CONFLICT */
function idsOf (batch: Batch, { key, fingerprint }: Pick<Once, 'key'> & Partial<Once>): Array<Id | null> | null {
  const before = batch.answerOf(onceKey(key))
  if (before === null) return null
  if (fingerprint !== undefined && before.fingerprint !== fingerprint) throw conflict()
  return [...before.ids]
}
