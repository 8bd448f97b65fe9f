// A load at its own pace.

import { setTimeout as delay } from 'node:timers/promises'

/**
 * Through so many ms, has a turn every so often. When one is due does not depend on how long the last one took.
 * @returns how many there were
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
