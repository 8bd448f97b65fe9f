// The stream for publishers that must not lose anything: `XADD <prefix>ingest * event '<json>'`. An entry is the publisher's
// until it is pending in the group. From then on it is ours, until the step that appends its event deletes it.
//
// Entries are read under the lease, by a script that checks it. No entry becomes pending for a worker that is gone, and the
// next holder of the lease begins with what is pending and finds all unfinished entries there. All workers share one
// consumer: their names change with every start and would pile up.

import { pause, Wakeup } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Gateway } from '../../../core/gateway.ts'
import { ORIGIN } from '../../../core/id.ts'
import type { Id } from '../../../core/id.ts'
import type { Logger } from '../../../core/logger.ts'
import { admit, readEvent } from './admit.ts'
import type { Arrival, Term } from './admit.ts'
import { BLOCK_MS, BLOCK_TIMEOUT_MS, createGroup, reasonOf, replaceIfSilent } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import { INTAKE_GROUP } from '../keys.ts'
import { LeaseLost } from '../log/store.ts'
import type { RedisStore } from '../log/store.ts'
import { readEntries } from './ingest-entries.ts'
import type { IngestEntry, IngestPage } from './ingest-entries.ts'
import type { DeadLetters, DeadLetter } from './dead-letters.ts'

export interface IngestOptions {
  readonly store: RedisStore
  /** The connection of the intake. */
  readonly client: RedisClient
  readonly gateway: Gateway
  readonly deadLetters: DeadLetters
  readonly clock: Clock
  readonly log: Pick<Logger, 'warn'>
}

export interface IngestCounters {
  taken: number
  refused: number
}

/** Entries in one publish, and bytes after which no more are read for it. */
const BATCH = 200
const BATCH_BYTES = 1024 * 1024
/** Entries that may wait for their rooms; with more, reading stops. */
const MAX_WAITING = 10_000
/** Interval of checking whether rooms with waiting entries may continue. */
const LOOK_MS = 250
const FULL_MS = 1000
const AGAIN_MS = 500

export class Ingest {
  readonly wakeup: Wakeup
  readonly #options: IngestOptions
  readonly #counters: IngestCounters
  /** The connection that blocks until an entry comes: the others must not block. */
  readonly #blocking: RedisClient
  #listening = false
  /** Entries that wait for their room, by room, in order. */
  readonly #waiting = new Map<string, Id[]>()
  #waitingCount = 0
  /** Until then no entry for a room that does not exist is tried. */
  #fullUntil = -Infinity
  #isReported = false

  constructor (options: IngestOptions, counters: IngestCounters) {
    this.#options = options
    this.#counters = counters
    this.wakeup = new Wakeup(options.clock)
    this.#blocking = options.store.connect('ingest', BLOCK_TIMEOUT_MS, () => {})
  }

  /** Number of entries that wait for their room. */
  get waiting (): number {
    return this.#waitingCount
  }

  /** Takes in until the term is over. @throws LeaseLost, Refusal */
  async run (term: Term): Promise<void> {
    const { client } = this.#options
    if (this.#blocking.status === 'wait') this.#blocking.connect().catch(() => {})
    try {
      while (!term.over) {
        try {
          await this.#follow(term)
        } catch (error) {
          if (error instanceof LeaseLost || error instanceof Refusal) throw error
          this.#report(reasonOf(error))
          replaceIfSilent(client, error)
          await this.wakeup.wait(AGAIN_MS)
        }
      }
    } finally {
      this.#forget()
    }
  }

  close (): void {
    this.#blocking.disconnect()
  }

  async #follow (term: Term): Promise<void> {
    const { client, store, clock, log } = this.#options
    this.#forget()
    await createGroup(client, store.keys.ingest, INTAKE_GROUP)
    // First the pending entries, oldest first; then new ones.
    let from: string = ORIGIN
    let full = false
    while (!term.over) {
      await this.#resume(term)
      if (this.#waitingCount >= MAX_WAITING) {
        if (!full) log.warn({ waiting: this.#waitingCount }, `${this.#waitingCount} entries of ${store.keys.ingest} wait for rooms that are paused: no more are read until one is resumed`)
        full = true
        await pause(clock, LOOK_MS)
        continue
      }
      full = false
      const { entries, next } = await this.#read(term, from)
      this.#isReported = false
      await this.#take(entries, term)
      if (from !== '>') from = next === ORIGIN ? '>' : next
      else if (entries.length === 0) await this.#waitForEntry(next)
    }
  }

  /** Waits until an entry comes after this one, or waiting rooms are due for a check. */
  async #waitForEntry (last: Id): Promise<void> {
    const { store, clock } = this.#options
    if (!this.#listening) {
      this.#listening = true
      this.#blocking.xread('COUNT', 1, 'BLOCK', BLOCK_MS, 'STREAMS', store.keys.ingest, last).then(found => {
        this.#listening = false
        if (found !== null) this.wakeup.wake()
      }, error => {
        this.#listening = false
        replaceIfSilent(this.#blocking, error)
        clock.after(LOOK_MS, () => this.wakeup.wake())
      })
    }
    await this.wakeup.wait(this.#waitingCount > 0 ? LOOK_MS : BLOCK_MS)
  }

  async #take (entries: readonly IngestEntry[], term: Term): Promise<void> {
    if (entries.length === 0) return
    const { gateway, store, clock, deadLetters } = this.#options
    const arrivals: Array<Arrival & { readonly id: Id, readonly text: string }> = []
    const refusedEvents: DeadLetter[] = []
    for (const { id, text, flaw } of entries) {
      try {
        if (flaw !== null) throw flaw
        arrivals.push({ source: `i${id}`, ...readEvent(text), id, text })
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        refusedEvents.push({ from: { entry: id }, text, why: error })
      }
    }
    await admit(arrivals, {
      gateway,
      store,
      clock,
      term,
      holdBack: ({ id, room }) => {
        if (!this.#waiting.has(room) && gateway.view.room(room)?.paused !== true) return false
        this.#wait(room, id)
        return true
      },
      onTaken: (_, ids) => { this.#counters.taken += ids.filter(id => id !== null).length },
      onRefused: ({ id, room, text }, why) => {
        if (why.code === 'ROOMS_FULL') this.#fullUntil = clock.now() + FULL_MS
        if (why.code === 'ROOMS_FULL' || why.code === 'ROOM_PAUSED') this.#wait(room, id)
        else refusedEvents.push({ from: { entry: id }, text, why })
      }
    })
    await deadLetters.setAside(refusedEvents, term.token)
    this.#counters.refused += refusedEvents.length
  }

  /** Takes in waiting entries of rooms that may continue, before anything newer. */
  async #resume (term: Term): Promise<void> {
    const { gateway, clock } = this.#options
    for (const room of [...this.#waiting.keys()]) {
      const known = gateway.view.room(room)
      if (known?.paused === true || (known === undefined && clock.now() < this.#fullUntil)) continue
      const ids = this.#waiting.get(room) as Id[]
      this.#waiting.delete(room)
      this.#waitingCount -= ids.length
      for (let done = 0; done < ids.length;) {
        // A single entry shows whether the others would be refused.
        const { entries, next } = await this.#read(term, '=', ids.slice(done, done === 0 ? 1 : done + BATCH))
        done += Number(next)
        await this.#take(entries, term)
        if (!this.#waiting.has(room)) continue
        for (const id of ids.slice(done)) this.#wait(room, id)
        break
      }
    }
  }

  #wait (room: string, id: Id): void {
    const ids = this.#waiting.get(room)
    if (ids === undefined) this.#waiting.set(room, [id])
    else ids.push(id)
    this.#waitingCount++
  }

  #forget (): void {
    this.#waiting.clear()
    this.#waitingCount = 0
  }

  async #read ({ token }: Term, from: string, ids: readonly Id[] = []): Promise<IngestPage> {
    const { client, store: { keys }, gateway } = this.#options
    return await readEntries(client, keys, { token, from, ids, most: BATCH, mostBytes: BATCH_BYTES, largest: gateway.limits.maxHttpBufferSize })
  }

  #report (reason: string): void {
    if (this.#isReported) return
    this.#isReported = true
    const { log, store } = this.#options
    log.warn({ reason }, `${store.keys.ingest} cannot be read now: ${reason}`)
  }
}
