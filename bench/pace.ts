// A load on a fixed schedule.

import { setTimeout as delay } from 'node:timers/promises'

/**
 * Calls `turn` every `everyMs` during `ms`. The schedule does not depend on how long the last call took.
 * @returns the number of calls
 */
export async function paced (ms: number, everyMs: number, turn: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + ms
  let turns = 0
  for (let due = performance.now(); due < end; due += everyMs, turns++) {
    const wait = due - performance.now()
    if (wait > 0) await delay(wait)
    await turn()
  }
  return turns
}
