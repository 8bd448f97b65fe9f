// Ends that an operator asks for: a graceful restart, and the way to the other profile and back.

import { setTimeout as delay } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { Profile } from '../history.ts'

export function restart (): Fault {
  const codes: Array<number | null> = []
  return {
    name: 'restart',
    about: 'SIGTERM under load; started again when it has drained',
    needs: { reconnects: 'all' },
    async start ({ deployment }) {
      codes.push(await deployment.stop('SIGTERM'))
    },
    heal: async ({ deployment }) => await deployment.start(),
    evidence: async () => codes.every(code => code === 0) ? 'exit code 0' : null
  }
}

const other = (profile: Profile): Profile => profile === 'SSE' ? 'WEBSOCKET' : 'SSE'

/** @param signal how each of the two ends */
const rollBack = (name: string, about: string, signal: NodeJS.Signals) => (): Fault => {
  const profiles: Profile[] = []
  return {
    name,
    about,
    needs: { reconnects: 'all' },
    async start ({ deployment }) {
      await deployment.stop(signal)
      deployment.profile = other(deployment.profile)
      await deployment.start()
      profiles.push(deployment.profile)
      await deployment.ready()
      await delay(1000)
    },
    async heal ({ deployment }) {
      await deployment.stop(signal)
      deployment.profile = other(deployment.profile)
      await deployment.start()
      profiles.push(deployment.profile)
    },
    evidence: async () => profiles.length === 2 ? `restarted as ${profiles.join(', then ')}` : null
  }
}

export const rollback = rollBack('rollback', 'restarted with the other APP_PROFILE, and a while later with the first', 'SIGTERM')
export const crashRollback = rollBack('crash-rollback', 'the same by kill -9', 'SIGKILL')
