// Clients that read nothing, and clients that read a little: what is bulky is published to a room of theirs, and cannot leave the gateway.

import { setTimeout as delay } from 'node:timers/promises'
import { request, until } from '../../process/harness.ts'
import { WireClient } from '../../wire/client.ts'
import type { Fault, Rig } from '../fault.ts'

const READERS = 8
/** Together more than the system's buffers of a connection hold. */
const BULK = 24
const MEGABYTE = 'x'.repeat(1_000_000)
const SLOW_S = 3

async function openReaders ({ deployment, rooms }: Rig, read: (client: WireClient) => void): Promise<WireClient[]> {
  const room = `${rooms[0]}.bulk`
  const clients = await Promise.all(Array.from({ length: READERS }, async () => await WireClient.open(deployment.profile, deployment.port, { rooms: [room], onMessage: () => {} })))
  // The gateway may stand still as they come.
  await Promise.all(clients.map(async client => await client.until(() => client.head !== '' || client.closed)))
  await delay(200)
  for (const client of clients) {
    client.socket.pause()
    read(client)
  }
  for (let n = 0; n < BULK; n++) {
    const { status } = await request(`${deployment.url}/api/events`, { json: { type: 'bulk', room, data: MEGABYTE } })
    if (status !== 202) throw new Error(`a bulky event got ${status}`)
  }
  return clients
}

/** How many of them the gateway still has: over WebSocket they answer no ping either. */
const left = async ({ deployment, rooms }: Rig): Promise<number> =>
  (await request(`${deployment.url}/api/rooms?prefix=${rooms[0]}.bulk`)).body.rooms[0]?.members ?? 0

export function zeroReaders (): Fault {
  let clients: WireClient[] = []
  let before = 0
  let after = Infinity
  return {
    name: 'zero-readers',
    about: '8 clients read nothing of 24 MB: they are ended, and the others see nothing of it',
    needs: { reconnects: 'none', env: { SLOW_CLIENT_TIMEOUT: SLOW_S } },
    async start (rig) {
      clients = await openReaders(rig, () => {})
      before = clients.filter(({ head }) => /^HTTP\/1.1 (200|101) /.test(head)).length
    },
    async heal (rig) {
      await until('all that read nothing are ended', async () => (after = await left(rig)) === 0)
      for (const client of clients) client.cut()
    },
    evidence: async () => before > 0 && after === 0 ? `${before} clients that read nothing were ended` : null
  }
}

export function dripReaders (): Fault {
  let clients: WireClient[] = []
  const timers: NodeJS.Timeout[] = []
  let bytes = 0
  return {
    name: 'drip-readers',
    about: '8 clients take 24 MB in sips; the others see nothing of it',
    needs: { reconnects: 'none', env: { SLOW_CLIENT_TIMEOUT: SLOW_S } },
    async start (rig) {
      clients = await openReaders(rig, ({ socket }) => {
        socket.on('data', data => {
          bytes += data.length
          socket.pause()
        })
        timers.push(setInterval(() => socket.resume(), 400))
      })
      await delay(4000)
    },
    async heal () {
      for (const timer of timers) clearInterval(timer)
      for (const client of clients) client.cut()
    },
    evidence: async () => bytes > 0 && bytes < READERS * BULK * MEGABYTE.length ? `${bytes} of ${READERS * BULK * MEGABYTE.length} bytes were read` : null
  }
}
