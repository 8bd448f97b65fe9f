// The end of connections that were told goodbye: they have a moment to go by themselves, then they are destroyed.

import { setTimeout } from 'node:timers/promises'

/** Time a client has to read its last message and close, ms. */
export const PARTING_MS = 1000
const POLL_MS = 10

/** Waits for ended connections to go, and destroys those that do not. A connection that goes removes itself from the set. */
export async function partFrom (connections: ReadonlySet<{ destroy (): void }>): Promise<void> {
  const until = performance.now() + PARTING_MS
  while (connections.size > 0 && performance.now() < until) await setTimeout(POLL_MS)
  for (const connection of connections) connection.destroy()
}
