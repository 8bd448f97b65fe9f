// The end of connections after `bye`: clients have PARTING_MS to close them, then they are destroyed.

import { setTimeout } from 'node:timers/promises'

/** Time for a client to read its last message and close the connection, ms. */
export const PARTING_MS = 1000
const POLL_MS = 10

/** Waits until all ended connections are closed, and destroys the rest. A closed connection must remove itself from the set. */
export async function partFrom (connections: ReadonlySet<{ destroy (): void }>): Promise<void> {
  const until = performance.now() + PARTING_MS
  while (connections.size > 0 && performance.now() < until) await setTimeout(POLL_MS)
  for (const connection of connections) connection.destroy()
}
