// Rights that end while they are used.

import { setTimeout as delay } from 'node:timers/promises'
import { request } from '../../process/harness.ts'
import { WireClient } from '../../wire/client.ts'
import { authHeaders } from '../auth.ts'
import type { Auth } from '../auth.ts'
import type { Fault } from '../fault.ts'

const [FIRST, SECOND] = ['the first secret that is long enough for HS256', 'the second secret that is long enough as well']

export function tokenExpiry (): Fault {
  let reason: string | null = null
  const auth: Auth = { secret: FIRST, lifeS: 6 }
  return {
    name: 'token-expiry',
    about: 'all tokens live for 6 s: streams and sockets end, and come back with new ones',
    needs: { reconnects: 'all', auth, env: { AUTH_JWT_SECRET: FIRST } },
    async start ({ deployment: { profile, port }, rooms }) {
      const client = await WireClient.open(profile, port, { rooms: rooms.slice(0, 1), headers: await authHeaders(auth) })
      await client.untilKind('bye').then(bye => { reason = (bye as unknown as { data: { reason: string } }).data.reason }, () => {})
      client.cut()
    },
    heal: async () => {},
    evidence: async () => reason === 'TOKEN_EXPIRED' ? 'TOKEN_EXPIRED was said' : null
  }
}

export function keyRotation (): Fault {
  const auth: Auth = { secret: FIRST, lifeS: 600 }
  const statuses: number[] = []
  return {
    name: 'key-rotation',
    about: 'restarted with a second key before the first, which still counts; then with the first alone',
    needs: { reconnects: 'all', auth, env: { AUTH_JWT_SECRET: FIRST } },
    async start ({ deployment }) {
      await deployment.stop()
      await deployment.start({ AUTH_JWT_SECRET: `${SECOND},${FIRST}` })
      for (const secret of [FIRST, SECOND]) statuses.push((await request(`${deployment.url}/api/rooms`, { headers: await authHeaders({ ...auth, secret }) })).status)
      await delay(1000)
    },
    async heal ({ deployment }) {
      await deployment.stop()
      await deployment.start()
      statuses.push((await request(`${deployment.url}/api/rooms`, { headers: await authHeaders({ ...auth, secret: SECOND }) })).status)
    },
    evidence: async () => statuses.join() === '200,200,401' ? 'both keys counted, then the first alone' : null
  }
}
