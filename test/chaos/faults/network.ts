// What a network does: between half of the clients and the gateway.

import { setTimeout as delay } from 'node:timers/promises'
import type { Fault, Rig } from '../fault.ts'
import type { Random } from '../random.ts'
import type { Harm, Toxic } from '../toxic.ts'

const proxyOf = ({ proxy }: Rig): Toxic => {
  if (proxy === null) throw new Error('there is no proxy')
  return proxy
}

/** Harms bytes while it lasts. */
function harm (name: string, about: string, harmBy: (random: Random) => Harm): () => Fault {
  return () => {
    let evidence: string | null = null
    return {
      name,
      about,
      needs: { proxy: true },
      async start (rig) {
        const proxy = proxyOf(rig)
        proxy.count()
        proxy.harm = harmBy(rig.random)
      },
      async heal (rig) {
        const proxy = proxyOf(rig)
        // Without traffic there is nothing to harm.
        for (let waits = 0; proxy.harmed + proxy.cut === 0 && waits < 100; waits++) await delay(50)
        proxy.heal()
        evidence = proxy.harmed + proxy.cut === 0 ? null : proxy.cut > 0 ? `${proxy.cut} connections cut` : `${proxy.harmed} bytes`
      },
      evidence: async () => evidence
    }
  }
}

export const latency = harm('latency', 'half of the clients are 100 to 500 ms away', random => ({ latencyMs: () => random.between(50, 250) }))
export const bandwidth = harm('bandwidth', 'half of the clients get 8 kB/s', () => ({ bytesPerSecond: 8000 }))
export const slices = harm('slices', 'to and from half of the clients bytes come 1 to 60 at a time', random => ({ slice: () => 1 + random.below(60) }))
export const cuts = harm('cuts', 'connections of half of the clients end after 1 to 6,000 bytes, wherever that is', random => ({ cutAfter: () => 1 + random.below(6000) }))
export const buffering = harm('buffering', 'a proxy holds bytes back until there are 8 kB', () => ({ buffer: 8192 }))

export function resets (): Fault {
  let count = 0
  return {
    name: 'resets',
    about: 'TCP resets of half of the connections, three times',
    needs: { proxy: true },
    async start (rig) {
      const proxy = proxyOf(rig)
      proxy.count()
      for (let times = 0; times < 3; times++) {
        proxy.reset()
        await delay(rig.random.between(50, 600))
      }
      count = proxy.cut
    },
    heal: async () => {},
    evidence: async () => count === 0 ? null : `${count} connections reset`
  }
}

export function blackHole (): Fault {
  let bytes = 0
  return {
    name: 'black-hole',
    about: 'to and from half of the clients no byte passes, and nothing is closed; then all of them do',
    needs: { proxy: true },
    async start (rig) {
      proxyOf(rig).count()
      proxyOf(rig).hang()
    },
    async heal (rig) {
      const proxy = proxyOf(rig)
      for (let waits = 0; proxy.harmed === 0 && waits < 100; waits++) await delay(50)
      bytes = proxy.harmed
      proxy.flow()
    },
    evidence: async () => bytes === 0 ? null : `${bytes} bytes held up`
  }
}

export function halfOpen (): Fault {
  let count = 0
  return {
    name: 'half-open',
    about: 'clients vanish and come back, and the gateway is not told of their old connections',
    needs: { proxy: true },
    async start (rig) {
      count = proxyOf(rig).halve(0.7, rig.random)
    },
    heal: async () => {},
    evidence: async () => count === 0 ? null : `${count} connections left half open`
  }
}

export function herd (): Fault {
  let count = 0
  return {
    name: 'herd',
    about: 'the proxy of half of the clients is down for a second, and all come back at once',
    needs: { proxy: true },
    async start (rig) {
      const proxy = proxyOf(rig)
      proxy.count()
      await proxy.down()
      count = proxy.cut
    },
    async heal (rig) {
      await proxyOf(rig).up()
    },
    evidence: async () => count === 0 ? null : `${count} connections lost at once`
  }
}
