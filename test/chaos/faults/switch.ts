// The command `switch`: the other profile while the listening socket stays open, and back.

import { setTimeout as delay } from 'node:timers/promises'
import { request, until } from '../../process/harness.ts'
import type { Deployment } from '../deployment.ts'
import type { Fault } from '../fault.ts'
import type { Profile } from '../history.ts'

async function switchTo (deployment: Deployment, profile: Profile): Promise<string> {
  const { status, body } = await request(`${deployment.url}/api/control`, { json: { command: 'switch', args: { profile } } })
  // A switch that takes its time is answered before it is done.
  if (status !== 200 && status !== 202) throw new Error(`switch: ${status} ${JSON.stringify(body)}`)
  await until(`the profile is ${profile}`, async () => (await request(`${deployment.url}/api/profile`)).body.profile === profile)
  deployment.profile = profile
  return profile
}

export function switchProfile (): Fault {
  const profiles: string[] = []
  return {
    name: 'switch',
    about: 'the command switch to the other profile under load, and a while later back: no publish notices',
    needs: { reconnects: 'all' },
    async start ({ deployment }) {
      profiles.push(await switchTo(deployment, deployment.profile === 'SSE' ? 'WEBSOCKET' : 'SSE'))
      await delay(1500)
    },
    async heal ({ deployment }) {
      profiles.push(await switchTo(deployment, deployment.profile === 'SSE' ? 'WEBSOCKET' : 'SSE'))
    },
    evidence: async () => profiles.length === 2 ? `switched to ${profiles.join(', then ')}` : null
  }
}
