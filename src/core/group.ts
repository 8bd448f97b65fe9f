// What the processes of a deployment share besides the log: who is alive, how many sit in which room, how often
// somebody has asked, and what all are to do. One process without others is a deployment too, and shares with
// nobody; so there is one way through the gateway, not two.
//
// What is shared here bounds things, it is no promise to clients: where the others cannot be reached, each process
// goes by what it knows itself.

import { randomBytes } from 'node:crypto'

export interface Group {
  /** This process's name, another one with every start. */
  readonly worker: string

  /** Who carries out what is asked of all. Called once, before anything is asked. */
  onOrder (run: OrderHandler): void

  /**
   * Asks all processes, this one too, to do something, behind everything the log held when it was asked.
   * @returns their answers; who is gone or too slow is missing
   * @throws Refusal STORE_UNAVAILABLE where the others cannot be told; nobody does it then
   */
  orderAll (name: string, args: unknown): Promise<unknown[]>

  /** Whether a process still runs; one that froze counts as gone after a while. */
  isAlive (worker: string): Promise<boolean>

  /**
   * Declares how many members this process has in rooms, one newcomer among them, unless a room would then have more
   * than its limit over all processes.
   * @param counts by room, the newcomer included
   * @returns how many each room has over all processes now; null where nothing was declared because those are full
   */
  enter (counts: ReadonlyMap<string, number>, limit: number): Promise<EnterResult>

  /** Declares how many members this process has in rooms now. Not waited for. */
  declare (counts: ReadonlyMap<string, number>): void

  /** Members in the other processes, by room: of these rooms, or of all that have any. Nothing where they cannot be asked. */
  membersElsewhere (rooms?: readonly string[]): Promise<ReadonlyMap<string, number>>

  /**
   * Counts a request over all processes.
   * @returns which one of its second it is; null where that cannot be known just now
   */
  hit (limit: string, caller: string): Promise<Hit | null>
}

export type OrderHandler = (name: string, args: unknown) => unknown

export interface EnterResult {
  /** Members of each room over all processes, by room; of all but this one where `full` names any. */
  readonly totals: ReadonlyMap<string, number>
  readonly full: readonly string[]
}

export interface Hit {
  /** Requests in this window, this one included. */
  readonly count: number
  /** Milliseconds until the window ends. */
  readonly resetMs: number
}

/** Names from a start of a process: no two are alike. */
export const newWorker = (): string => randomBytes(9).toString('base64url')

/** A process without others. */
export function alone (): Group {
  const worker = newWorker()
  let run: OrderHandler = () => {}
  return {
    worker,
    onOrder (given) { run = given },
    orderAll: async (name, args) => [await run(name, args)],
    isAlive: async name => name === worker,
    enter: async (counts, limit) => ({ totals: counts, full: fullOf(counts, limit) }),
    declare () {},
    membersElsewhere: async () => new Map(),
    hit: async () => null
  }
}

/** The rooms with more members than they may have. The gateway's own have no limit. */
export function fullOf (totals: ReadonlyMap<string, number>, limit: number): string[] {
  return limit === 0 ? [] : [...totals].filter(([room, count]) => !room.startsWith('@') && count > limit).map(([room]) => room)
}
