// Pins servers to one core and the load to another, if there are two, and reads how busy each core is with any process:
// a neighbour on the server's core spoils a run.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

export const SERVER_CORE = 0
export const LOAD_CORE = 1
/** Server and load each have a core to themselves. */
export const pinned = pinLoad()

export interface CoreTimes {
  /** All but idle and stolen, and stolen by the host, in units of 10 ms. */
  readonly busy: number
  readonly stolen: number
  readonly total: number
}

/** @param core null: all of them together. @returns null if the system does not report it */
export function coreTimes (core: number | null): CoreTimes | null {
  try {
    const line = new RegExp(`^cpu${core ?? ''} +(.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? ''
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, stolen = 0] = line.split(' ').map(Number)
    const busy = user + nice + system + irq + softirq
    return { busy, stolen, total: busy + idle + iowait + stolen }
  } catch {
    return null
  }
}

/** Share of a core in use, and share taken by the host, between two looks. */
export function coreShare (before: CoreTimes | null, after: CoreTimes | null): { busy: number, stolen: number } | null {
  if (before === null || after === null || after.total === before.total) return null
  const total = after.total - before.total
  return { busy: (after.busy - before.busy) / total, stolen: (after.stolen - before.stolen) / total }
}

/** Moves all threads of this process to their core. @returns whether that was possible */
function pinLoad (): boolean {
  if (availableParallelism() < 2) return false
  try {
    execFileSync('taskset', ['-a', '-c', '-p', String(LOAD_CORE), String(process.pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
