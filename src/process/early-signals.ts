// Signals before anything is there to drain. Elsewhere they end a process by themselves, but for process 1 of a container the kernel
// drops those that nobody listens to: it would go on, and be killed when the container's patience is over.

import os from 'node:os'

const SIGNALS = ['SIGTERM', 'SIGINT'] as const

const end = (signal: NodeJS.Signals): never => process.exit(128 + os.constants.signals[signal])

/** From now on they end process 1 as they would end any other. */
export function endOnEarlySignals (): void {
  if (process.pid === 1) for (const signal of SIGNALS) process.on(signal, end)
}

/** From now on they are somebody else's. */
export function leaveSignals (): void {
  for (const signal of SIGNALS) process.off(signal, end)
}
