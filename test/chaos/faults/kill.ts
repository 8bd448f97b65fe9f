// kill -9: of the whole gateway, of one worker, of the primary process.

import { until } from '../../process/harness.ts'
import { isRunning } from '../deployment.ts'
import type { Fault } from '../fault.ts'

export function none (): Fault {
  return { name: 'none', about: 'nothing happens', needs: { reconnects: 'none' }, start: async () => {}, heal: async () => {}, evidence: async () => 'nothing' }
}

export function kill (): Fault {
  let pids: number[] = []
  return {
    name: 'kill',
    about: 'kill -9 of all processes of the gateway; started again',
    needs: { reconnects: 'all' },
    async start ({ deployment }) {
      pids = [...new Set([deployment.server.pid, ...deployment.pids])]
      for (const pid of pids) process.kill(pid, 'SIGKILL')
      await deployment.kill9()
    },
    heal: async ({ deployment }) => await deployment.start(),
    evidence: async () => pids.some(isRunning) ? null : `pids ${pids.join()} are gone`
  }
}

export function killWorker (): Fault {
  let pid = 0
  return {
    name: 'kill-worker',
    about: 'kill -9 of one worker; the primary starts another',
    needs: { store: 'redis', workers: 2 },
    async start ({ deployment, random }) {
      pid = random.pick(deployment.pids)
      process.kill(pid, 'SIGKILL')
      await until('it is gone', () => !isRunning(pid))
    },
    heal: async ({ deployment }) => await until('another worker listens', () => deployment.pids.length === deployment.workers),
    evidence: async () => isRunning(pid) ? null : `worker ${pid} is gone`
  }
}

export function killPrimary (): Fault {
  let pid = 0
  return {
    name: 'kill-primary',
    about: 'kill -9 of the primary process; its workers end with it, and all are started again',
    needs: { store: 'redis', workers: 2, reconnects: 'all' },
    logs: /the primary is gone/,
    async start ({ deployment }) {
      pid = deployment.server.pid
      const workers = deployment.pids
      await deployment.kill9()
      await until('no worker outlives it', () => !workers.some(isRunning))
    },
    heal: async ({ deployment }) => await deployment.start(),
    evidence: async () => isRunning(pid) ? null : `primary ${pid} is gone`
  }
}
