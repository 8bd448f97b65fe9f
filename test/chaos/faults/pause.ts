// Processes that stand still: for long, and again and again for a moment.

import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { isRunning } from '../deployment.ts'
import type { Fault } from '../fault.ts'

const isStopped = (pid: number): boolean => /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))

async function freeze (pid: number): Promise<boolean> {
  process.kill(pid, 'SIGSTOP')
  for (let waits = 0; waits < 100 && !isStopped(pid); waits++) await delay(10)
  return isStopped(pid)
}

export function stop (): Fault {
  let pid = 0
  let isFrozen = false
  return {
    name: 'stop',
    about: 'SIGSTOP of the process, or of one worker, for 3 to 9 s; then SIGCONT',
    needs: {},
    async start ({ deployment, random }) {
      pid = random.pick(deployment.pids)
      isFrozen = await freeze(pid)
      await delay(random.between(3000, 9000))
    },
    // The primary may have replaced a worker that answered nothing.
    heal: async () => { if (isRunning(pid)) process.kill(pid, 'SIGCONT') },
    evidence: async () => isFrozen ? `pid ${pid} stood still` : null
  }
}

export function stall (): Fault {
  let times = 0
  return {
    name: 'stall',
    about: 'the event loops of all processes stall three times for 0.3 to 2 s; nobody may be cut for that',
    needs: { reconnects: 'none' },
    async start ({ deployment, random }) {
      for (let round = 0; round < 3; round++) {
        const frozen = await Promise.all(deployment.pids.map(freeze))
        await delay(random.between(300, 2000))
        for (const pid of deployment.pids) process.kill(pid, 'SIGCONT')
        if (frozen.every(Boolean)) times++
        await delay(random.between(100, 500))
      }
    },
    heal: async () => {},
    evidence: async () => times === 3 ? 'stalled 3 times' : null
  }
}
