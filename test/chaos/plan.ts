// What a round of a chaos run consists of: by its seed, and nothing else.

import type { Auth } from './auth.ts'
import type { ChainPlan } from './chain.ts'
import type { Profile } from './history.ts'
import type { ProducerPlan } from './producer.ts'
import type { Random } from './random.ts'

export interface Ports {
  readonly gateway: number
  /** Where half of the clients connect; the gateway's own without a proxy. */
  readonly proxy: number
}

const ROOMS = 8
const PRODUCERS = 4
const OPS = 1e7

export const roomsOf = (round: number): string[] => Array.from({ length: ROOMS }, (_, index) => `round-${round}.${index}`)

/** Two thirds speak the wire themselves (one in eight of all reads without a stream), one third is our library. */
export function chainPlans (random: Random, count: number, profile: Profile, rooms: readonly string[], ports: Ports, auth?: Auth): ChainPlan[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = index % 8 === 7 ? 'read' : index % 3 === 2 ? 'library' : 'wire'
    const [first, second, third, extraRoom] = random.shuffled(rooms) as [string, string, string, string]
    return {
      name: `${kind}-${index}`,
      kind,
      port: index % 2 === 0 ? ports.gateway : ports.proxy,
      profile,
      rooms: [first, second, third].slice(0, kind === 'read' ? 1 : 1 + random.below(3)),
      compressed: random.chance(0.3),
      patch: random.chance(0.3),
      paceMs: random.chance(0.15) ? 300 + random.below(700) : 0,
      ...(auth === undefined ? {} : { auth }),
      ...(kind === 'wire' && random.chance(0.25) ? { extraRoom } : {})
    }
  })
}

/** They differ in pace, batches and size; one of them has no Idempotency-Keys. */
export function producerPlans (random: Random, rooms: readonly string[], port: number, auth?: Auth): ProducerPlan[] {
  return Array.from({ length: PRODUCERS }, (_, index) => ({
    name: `p${index}`,
    firstOp: 1 + index * OPS,
    seed: random.below(2 ** 32),
    port,
    rooms,
    gapMs: 20 + random.below(60),
    maxBatch: 1 + random.below(8),
    keyed: index !== 3,
    padding: random.pick([0, 120, 400]),
    ...(auth === undefined ? {} : { auth })
  }))
}
