// Several faults at once, at most one of a kind: each comes and goes by itself.

import { setTimeout as delay } from 'node:timers/promises'
import type { Fault, MakeFault } from '../fault.ts'

/** @param kinds faults that do not go together; of none of them everybody would be told */
const mix = (name: string, about: string, kinds: ReadonlyArray<readonly MakeFault[]>, needs: Fault['needs']) => (): Fault => {
  const parts: Array<{ name: string, evidence: string | null }> = []
  return {
    name,
    about,
    needs,
    logs: /redis|the primary is gone|OOM|memory|store/i,
    async start (rig) {
      const { random } = rig
      const chosen = random.shuffled(kinds).slice(0, 1 + random.below(kinds.length)).map(kind => random.pick(kind)())
      await Promise.all(chosen.map(async fault => {
        const own = { ...rig, random: random.fork() }
        await delay(own.random.between(0, rig.holdMs))
        try {
          await fault.start(own)
          await delay(own.random.between(0.5, 1) * rig.holdMs)
        } finally {
          await fault.heal(own)
        }
        parts.push({ name: fault.name, evidence: await fault.evidence(own) })
      }))
    },
    heal: async () => {},
    evidence: async () => parts.length > 0 && parts.every(({ evidence }) => evidence !== null) ? parts.map(({ name, evidence }) => `${name}: ${evidence}`).join('; ') : null
  }
}

export interface Kinds {
  readonly processes: readonly MakeFault[]
  /** What a process survives, besides pauses and the network: of these one at a time. */
  readonly survived: readonly MakeFault[]
  readonly pauses: readonly MakeFault[]
  readonly networks: readonly MakeFault[]
  readonly workers: readonly MakeFault[]
  readonly redis: readonly MakeFault[]
}

/** What a round leaves ends within minutes, so that a process that lives for hours keeps as much as one that lives for minutes. */
const SHORT_LIVED = { STATE_TTL: 120, HISTORY_TTL: 60, IDEMPOTENCY_TTL: 120 }

export const mixes = ({ processes, survived, pauses, networks, workers, redis }: Kinds): readonly MakeFault[] => [
  mix('mixed', 'one to three of the faults above at once, on the embedded store', [[...processes, ...pauses], networks], { store: 'embedded', proxy: true }),
  mix('mixed-redis', 'the same on Redis, with its own faults', [workers, networks, redis], { store: 'redis', workers: 2, proxy: true }),
  mix('mixed-alive', 'one to three at once of those that no process ends by, `switch` among them', [survived, pauses, networks], { store: 'embedded', proxy: true, env: { ...SHORT_LIVED, SLOW_CLIENT_TIMEOUT: 3 } })
]
