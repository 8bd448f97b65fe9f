// Clients never get the last descriptors of the process: the store needs some to open its files, and would fail while
// clients hold them all.

import { readdirSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { Refusal } from '../core/errors.ts'
import type { Troubles } from '../core/figures/troubles.ts'
import { answerBare } from './errors.ts'
import { fileLimit } from './file-limit.ts'

/** Kept for the store, for Redis and for the next version of whatever is open at the start. */
const KEPT = 64
/** Refused connections that still read their answer. Further ones are closed without. */
const MAX_PARTING = 16

/** Connections that the process may hold; Infinity where the system does not say. */
function maxConnections (): number {
  try {
    return Math.max(1, fileLimit() - KEPT - MAX_PARTING - readdirSync('/proc/self/fd').length)
  } catch {
    return Infinity
  }
}

/** Answers connections beyond the limit with 503, before anything of them is read. */
export function boundConnections (server: Server, troubles: Troubles, max = maxConnections()): void {
  if (max === Infinity) return
  const accept = server.listeners('connection') as Array<(socket: Socket) => void>
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    server.getConnections((_error, count) => {
      if (count <= max) {
        for (const listener of accept) listener.call(server, socket)
        return
      }
      const refusal = new Refusal('OVERLOADED', 'this process has no file descriptors left for more connections; try again in a moment', { bound: 'descriptors' })
      troubles.refused(refusal, socket.remoteAddress)
      if (count <= max + MAX_PARTING) answerBare(socket, '503 Service Unavailable', refusal)
      else socket.destroy()
    })
  })
}
