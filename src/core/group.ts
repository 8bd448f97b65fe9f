// What the processes of a deployment share besides the log: which processes are alive, members by room, request counts,
// and orders to all. A single process is a deployment too (`alone`): the gateway has one code path for both.
//
// What is shared here serves limits and is no promise to clients: while the group cannot be reached, each process goes
// by its own counts.

import { randomBytes } from 'node:crypto'

export interface Group {
  /** This process's name, a new one with every start. */
  readonly worker: string

  /** Sets what carries out orders to all in this process. Called once, before the first order. */
  onOrder (run: OrderHandler): void

  /**
   * Has all processes, this one too, carry out an order, each after it has read everything the log held at the call.
   * @returns their answers; processes that are gone or too slow are missing
   * @throws Refusal STORE_UNAVAILABLE where the order cannot be sent; no process carries it out then
   */
  orderAll (name: string, args: unknown): Promise<unknown[]>

  /**
   * Has all processes carry out an order that concerns one of them, as `orderAll` does; the others answer null.
   * @returns the first answer that is not null, without waiting for further ones; null where there is none
   * @throws Refusal STORE_UNAVAILABLE, also where some have not answered in time and the others answered null
   */
  askAll (name: string, args: unknown): Promise<unknown>

  /** Whether a process still runs; a frozen one counts as gone after a while. */
  isAlive (worker: string): Promise<boolean>

  /**
   * Declares how many members this process has in rooms, one newcomer included. Declares nothing where a room would
   * then have more than its limit over all processes.
   * @param counts by room, the newcomer included
   * @returns the members over all processes, and the rooms that are full
   */
  enter (counts: ReadonlyMap<string, number>, limit: number): Promise<EnterResult>

  /** Declares how many members this process has in rooms now. Not waited for. */
  declare (counts: ReadonlyMap<string, number>): void

  /** Members in the other processes, by room: of these rooms, or of all that have any. Empty while the group cannot be asked. */
  membersElsewhere (rooms?: readonly string[]): Promise<ReadonlyMap<string, number>>

  /**
   * Whether rooms have had no member in the other processes, and lost none in any, for a time.
   * @param quietMs that time, 10 s at most
   * @returns ms that are left of it, 0 where it is over; rooms with members elsewhere are missing. Null while the group cannot be asked
   */
  quietElsewhere (rooms: readonly string[], quietMs: number): Promise<ReadonlyMap<string, number> | null>

  /**
   * Calls this when a process has gone that may have had members, and every minute or so: whoever noticed it may itself
   * have ended before it acted. A process without others never calls it.
   */
  onGone (run: () => void): void

  /**
   * Counts a request over all processes.
   * @returns null while the group cannot be asked
   */
  hit (limit: string, caller: string): Promise<Hit | null>
}

export type OrderHandler = (name: string, args: unknown) => unknown

export interface EnterResult {
  /** Members by room over all processes; over the other processes where `full` names any. */
  readonly totals: ReadonlyMap<string, number>
  readonly full: readonly string[]
}

export interface Hit {
  /** Requests in this window, this one included. */
  readonly count: number
  /** Milliseconds until the window ends. */
  readonly resetMs: number
}

/** A name for a process; no two starts have the same. */
export const newWorker = (): string => randomBytes(9).toString('base64url')

/** A deployment of one process. */
export function alone (): Group {
  const worker = newWorker()
  let run: OrderHandler = () => {}
  return {
    worker,
    onOrder (given) { run = given },
    orderAll: async (name, args) => [await run(name, args)],
    askAll: async (name, args) => await run(name, args) ?? null,
    isAlive: async name => name === worker,
    enter: async (counts, limit) => ({ totals: counts, full: fullOf(counts, limit) }),
    declare () {},
    membersElsewhere: async () => new Map(),
    quietElsewhere: async rooms => new Map(rooms.map(room => [room, 0])),
    onGone () {},
    hit: async () => null
  }
}

/** The rooms with more members than the limit. The gateway's own rooms (`@`) have none. */
export function fullOf (totals: ReadonlyMap<string, number>, limit: number): string[] {
  return limit === 0 ? [] : [...totals].filter(([room, count]) => !room.startsWith('@') && count > limit).map(([room]) => room)
}
