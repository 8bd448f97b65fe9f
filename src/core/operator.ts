// What the built-in commands and the gateway's own reports are made of: it changes a running gateway and orders things
// done in all processes of the deployment. `orderAll` is how a command reaches all of them.

import type { Clock, LogClock } from './clock.ts'
import type { EndReason } from './connection.ts'
import { draftOf, MAX_BATCH, SYSTEM } from './event.ts'
import type { Draft, Entry } from './event.ts'
import type { Group } from './group.ts'
import { millisOf } from './id.ts'
import type { Id } from './id.ts'
import type { Limits } from './limits.ts'
import type { Polls } from './polls.ts'
import type { Reservations } from './reservations.ts'
import type { Room } from './room.ts'
import { PAUSED } from './rooms.ts'
import type { Rooms } from './rooms.ts'
import type { Session } from './session.ts'

/** Whom to disconnect: a session by its id, all that joined a room, or all of a token's subject. */
export interface DisconnectTarget {
  readonly session?: string
  readonly room?: string
  readonly subject?: string
}

/** A value of the room `@system`. */
export interface SystemReport {
  readonly type: string
  readonly key: string
  /** Null takes it away. */
  readonly data: unknown
}

export interface OperatorOptions {
  readonly clock: Pick<Clock, 'wall' | 'soon'>
  readonly logClock: Pick<LogClock, 'now'>
  readonly group: Pick<Group, 'onOrder' | 'orderAll' | 'askAll' | 'isAlive'>
  readonly rooms: Pick<Rooms<Session>, 'get'>
  readonly sessions: ReadonlySet<Session>
  readonly polls: Pick<Polls, 'endOf'>
  readonly reservations: Reservations
  readonly append: (drafts: readonly Draft[]) => Promise<Array<Id | null>>
  readonly onTune: (limits: Limits) => void
  readonly returnAfterMs: () => number
}

/** Sessions ended in one turn of the event loop. */
const END_SLICE = 200

export class Operator {
  readonly #options: OperatorOptions
  readonly #orders = new Map<string, (args: never) => unknown>()

  constructor (options: OperatorOptions) {
    this.#options = options
    this.onOrder('arrive', () => {})
    this.onOrder('disconnect', (target: DisconnectTarget) => this.#disconnect(target))
    options.group.onOrder((name, args) => this.#orders.get(name)?.(args as never))
  }

  /** Changes the limits of this process. They apply at once, also to sessions that wait for a tick. */
  tune (limits: Limits): void {
    this.#options.onTune(limits)
  }

  /** Pauses or resumes publishing to a room. It is written to the log as an event of `@system`, and outlives a restart. */
  async pause (room: string, paused: boolean): Promise<void> {
    const { clock, reservations } = this.#options
    // A paused room counts for MAX_ROOMS, also one that did not exist.
    const opening = paused ? reservations.open(new Set([room])) : []
    try {
      await this.report([{ type: PAUSED, key: room, data: paused ? { since: clock.wall() } : null }])
    } finally {
      reservations.opened(opening)
    }
    // By the time this is answered every process has read it.
    await this.orderAll('arrive')
  }

  /** Sets how this process carries out an order to all; see `orderAll`. */
  onOrder<Args> (name: string, run: (args: Args) => unknown): void {
    this.#orders.set(name, run)
  }

  /**
   * Has all processes of the deployment, this one too, carry out an order.
   * @returns their answers; processes that are gone or too slow are missing
   * @throws Refusal STORE_UNAVAILABLE
   */
  async orderAll (name: string, args: unknown = null): Promise<unknown[]> {
    return await this.#options.group.orderAll(name, args)
  }

  /** As `orderAll`, for an order that concerns one process. @returns the first answer that is not null; null where there is none */
  async askAll (name: string, args: unknown): Promise<unknown> {
    return await this.#options.group.askAll(name, args)
  }

  /** Publishes figures of the gateway in `@system`, in one step. */
  async report (reports: readonly SystemReport[]): Promise<void> {
    const timestamp = this.#options.clock.wall()
    await this.#options.append(reports.map(({ type, key, data }) => draftOf({ type, room: SYSTEM, key, data, timestamp })))
  }

  /** How long ago each key was last reported under one of these types, by any process, ms. */
  reported (types: readonly string[]): Map<string, number> {
    const room = this.#options.rooms.get(SYSTEM)
    // In id order: the newest of each key counts.
    const entries = room === undefined ? [] : [...valuesOf(room)].filter(({ type }) => types.includes(type))
    const now = this.#options.logClock.now()
    return new Map(entries.map(({ key, id }) => [key as string, now - millisOf(id)]))
  }

  /** Whether a process of the deployment still runs. @param worker its name in the group */
  async isAlive (worker: string): Promise<boolean> {
    return await this.#options.group.isAlive(worker)
  }

  /** Deletes the present values of a room, or those of one type or key. @returns how many */
  async clear (name: string, type?: string, key?: string): Promise<number> {
    const room = this.#options.rooms.get(name)
    if (room === undefined) return 0
    return await this.deleteValues([...valuesOf(room)].filter(entry =>
      (type === undefined || entry.type === type) && (key === undefined || entry.key === key) && !isSwitch(entry)))
  }

  /** Publishes the deletions of these values. Each names the id it ends: a newer value is left alone. @returns how many were deleted */
  async deleteValues (entries: readonly Entry[]): Promise<number> {
    let removed = 0
    const timestamp = this.#options.clock.wall()
    for (let start = 0; start < entries.length; start += MAX_BATCH) {
      const ids = await this.#options.append(entries.slice(start, start + MAX_BATCH).map(({ type, room, key, id }) =>
        draftOf({ type, room, key: key as string, data: null, timestamp, ends: id })))
      removed += ids.filter(id => id !== null).length
    }
    return removed
  }

  /** Ends one session, all that joined a room, or all of a subject, in whichever process. @returns how many */
  async disconnect (target: DisconnectTarget): Promise<number> {
    const counts = await this.orderAll('disconnect', target)
    return counts.reduce<number>((sum, count) => sum + Number(count), 0)
  }

  /** The sessions of this process. */
  get sessions (): ReadonlySet<Session> {
    return this.#options.sessions
  }

  /** Ends sessions of this process: each is sent what is pending, the reason, and when to return. Some in each turn of the event loop. */
  async end (sessions: Iterable<Session>, reason: EndReason): Promise<void> {
    const { clock, returnAfterMs } = this.#options
    for (const [index, session] of [...sessions].entries()) {
      session.flush()
      session.close(reason, returnAfterMs())
      if (index % END_SLICE === END_SLICE - 1) await new Promise<void>(resolve => clock.soon(resolve))
    }
  }

  #disconnect (target: DisconnectTarget): number {
    const ended = [...this.#options.sessions].filter(({ id, identity, subscription }) =>
      (target.session !== undefined && id === target.session) ||
      (target.room !== undefined && subscription.rooms.has(target.room)) ||
      (target.subject !== undefined && identity.subject === target.subject))
    for (const session of ended) session.close('DISCONNECTED', this.#options.returnAfterMs())
    return ended.length + (target.subject === undefined ? 0 : this.#options.polls.endOf(target.subject))
  }
}

function * valuesOf (room: Room<unknown>): Generator<Entry> {
  for (let value = room.oldestValue; value !== null; value = value.newer) yield value.entry
}

/** Clearing `@system` must not resume paused rooms. */
const isSwitch = (entry: Entry): boolean => entry.room === SYSTEM && entry.type === PAUSED
