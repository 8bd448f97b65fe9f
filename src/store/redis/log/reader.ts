// Follows the log from the last entry read, over its own connection, and never skips: each entry names the one before it.
// If entries were trimmed, deleted, or lost in a fail-over meanwhile, the first entry that comes shows it, and the log is
// read as a whole again. An epoch that ends without loss costs nothing but the new epoch's name.

import { pause } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Entry } from '../../../core/event.ts'
import { compareIds } from '../../../core/id.ts'
import type { Id } from '../../../core/id.ts'
import type { Follower } from '../../../core/store.ts'
import type { Logger } from '../../../core/logger.ts'
import { many } from '../../many.ts'
import { BLOCK_MS, reasonOf, replaceIfSilent } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import { entryOf, logEntryOf } from './entry.ts'
import type { IntakeSource, StreamEntry, WorkerNote } from './entry.ts'
import { readImage, readLineage } from './image.ts'
import type { LogTip } from './image.ts'
import type { Keys } from '../keys.ts'

export interface LogReaderOptions {
  /** Used by nothing else: reads block it. */
  readonly client: RedisClient
  readonly keys: Keys
  readonly clock: Clock
  /** Writes an entry to the log. @returns where the log ends then */
  readonly tip: () => Promise<LogTip>
  /** A note of any worker was read. */
  readonly onNote: (note: WorkerNote) => void
  /** An event that came in through Redis is in the log. */
  readonly onTakenIn: (source: IntakeSource) => void
  /** The log was read as a whole. */
  readonly onLoad: () => void
  /** Nothing can be read now, and why. */
  readonly onTrouble: (reason: string) => void
  readonly log: Pick<Logger, 'info' | 'warn'>
}

const PAGE = 1000
const PAUSE_MS = 200

export class LogReader {
  readonly #options: LogReaderOptions
  readonly #client: RedisClient
  /** The newest entry read; null: the log must be read as a whole. */
  #last: Id | null = null
  #epoch = ''
  #closed = false
  #waiting: Array<{ id: Id, resolve: (passed: boolean) => void }> = []
  #loaded = (): void => {}
  #progress: string | null = null
  #warning: string | null = null

  constructor (options: LogReaderOptions) {
    this.#options = options
    this.#client = options.client
  }

  /** Resolves when the log has been handed over as a whole. */
  async start (follower: Follower): Promise<void> {
    const loaded = new Promise<void>(resolve => { this.#loaded = resolve })
    this.#client.connect().catch(() => {})
    void this.#run(follower)
    await loaded
  }

  /** The newest entry read; null while the log must be read as a whole. */
  get last (): Id | null {
    return this.#last
  }

  /** How far the log was read as a whole, in words; null if it is not being read. */
  get progress (): string | null {
    return this.#progress
  }

  /** What could not be read, in words. */
  get warning (): string | null {
    return this.#warning
  }

  /** Waits until an entry was read. @returns whether it was, within `ms` */
  passed (id: Id, ms: number): Promise<boolean> {
    if (this.#hasPassed(id)) return Promise.resolve(true)
    return new Promise(resolve => {
      const waiter = {
        id,
        resolve: (passed: boolean) => {
          cancel()
          resolve(passed)
        }
      }
      const cancel = this.#options.clock.after(ms, () => {
        this.#waiting = this.#waiting.filter(other => other !== waiter)
        resolve(false)
      })
      this.#waiting.push(waiter)
    })
  }

  /** Replaces a connection on which nothing arrives any more. */
  reconnect (): void {
    this.#client.disconnect(true)
  }

  close (): void {
    this.#closed = true
    this.#client.disconnect()
    for (const { resolve } of this.#waiting.splice(0)) resolve(false)
    this.#loaded()
  }

  async #run (follower: Follower): Promise<void> {
    const { keys, clock, onTrouble } = this.#options
    while (!this.#closed) {
      try {
        if (this.#client.status !== 'ready') {
          await pause(clock, PAUSE_MS / 10)
        } else if (this.#last === null) {
          await this.#load(follower)
        } else {
          const reply = await this.#client.xread('COUNT', PAGE, 'BLOCK', BLOCK_MS, 'STREAMS', keys.log, this.#last)
          if (reply !== null && !this.#closed) await this.#take((reply[0] as [string, StreamEntry[]])[1], follower)
        }
      } catch (error) {
        if (this.#closed) return
        onTrouble(reasonOf(error))
        replaceIfSilent(this.#client, error)
        await pause(clock, PAUSE_MS)
      }
    }
  }

  async #load (follower: Follower): Promise<void> {
    const { keys, clock, tip, onLoad, log } = this.#options
    const begun = clock.now()
    const spoilt: string[] = []
    const read = await readImage({
      client: this.#client,
      keys,
      onProgress: (read, total) => { this.#progress = `the log is being read: ${read} of about ${total} events` },
      onSpoilt: where => spoilt.push(where)
    }, await tip())
    if (this.#closed) return
    this.#progress = null
    if (read === null) {
      log.info({}, 'the log changed while it was being read; reading it again')
      await pause(clock, PAUSE_MS)
      return
    }
    const { image, last } = read
    follower.load(image)
    this.#epoch = image.lineage.epoch
    this.#last = last
    const facts = [...image.history].length
    const values = [...image.values].length
    this.#warning = spoilt.length === 0 ? null : `${spoilt.length} values and facts that are not Signalbox's were left out, the first is ${spoilt[0]?.slice(0, 200)}: delete it, or publish its key again`
    if (this.#warning !== null) log.warn({ spoilt: spoilt.slice(0, 10) }, this.#warning)
    onLoad()
    log.info({ facts, values, ms: Math.round(clock.now() - begun), epoch: this.#epoch }, `the log was read: ${many(facts, 'fact')} and ${many(values, 'value')}`)
    this.#release()
    this.#loaded()
  }

  async #take (page: readonly StreamEntry[], follower: Follower): Promise<void> {
    const { keys, onNote, onTakenIn, log } = this.#options
    let entries: Entry[] = []
    let floor: Id | null = null
    const flush = (): void => {
      if (floor !== null) follower.apply(entries, floor)
      entries = []
      floor = null
      this.#release()
    }
    for (const raw of page) {
      const { id, after, epoch, floor: then, field, text, source } = logEntryOf(raw)
      if (after !== this.#last) {
        flush()
        log.warn({ last: this.#last, next: id, after }, 'entries of the log are missing after the last one read: reading it as a whole')
        this.#last = null
        return
      }
      if (epoch !== this.#epoch) {
        flush()
        const lineage = await readLineage(this.#client, keys, epoch)
        // The log no longer knows this worker's epoch: its copy of the log is not valid any more.
        if (lineage === null || !lineage.epochs.some(({ epoch }) => epoch === this.#epoch)) {
          log.warn({ epoch }, 'the log was started again: reading it as a whole')
          this.#last = null
          return
        }
        follower.begin(lineage)
        this.#epoch = epoch
        log.info({ epoch, seam: after }, 'another Redis server, or the same one restarted; nothing was lost')
      }
      this.#last = id
      floor = then
      if (field !== 'event') {
        flush()
        onNote({ field, text } as WorkerNote)
        continue
      }
      const entry = entryOf(id, text)
      if (entry === null) log.warn({ id }, 'an entry of the log was not written by Signalbox, and is skipped')
      else entries.push(entry)
      if (source !== undefined) onTakenIn(source as IntakeSource)
    }
    flush()
  }

  #hasPassed (id: Id): boolean {
    return this.#last !== null && compareIds(id, this.#last) <= 0
  }

  #release (): void {
    if (this.#waiting.length === 0) return
    const passed = this.#waiting.filter(({ id }) => this.#hasPassed(id))
    if (passed.length === 0) return
    this.#waiting = this.#waiting.filter(({ id }) => !this.#hasPassed(id))
    for (const { resolve } of passed) resolve(true)
  }
}
