// The end of connections after `bye`: clients have PARTING_MS to close them, then they are destroyed.

import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Time for a client to read its last message and close the connection, ms. */
export const PARTING_MS = 1000
const POLL_MS = 10
/** Time to read the last words of a stream before it breaks off, ms. */
const LAST_WORDS_MS = 100

/**
 * Ends a stream whose last words are on their way, without its last chunk: some clients take a proper end for the end of the
 * story, and never come back. The end waits a moment: who reads with fetch loses what he has not read yet when a body breaks
 * off (Streams Standard, ReadableStreamDefaultControllerError).
 */
export function breakOff (socket: Socket): void {
  setTimeout(() => socket.end(), LAST_WORDS_MS).unref()
  setTimeout(() => socket.destroy(), PARTING_MS).unref()
}

/** Waits until all ended connections are closed, and destroys the rest. A closed connection must remove itself from the set. */
export async function partFrom (connections: ReadonlySet<{ destroy (): void }>): Promise<void> {
  const until = performance.now() + PARTING_MS
  while (connections.size > 0 && performance.now() < until) await delay(POLL_MS)
  for (const connection of connections) connection.destroy()
}
