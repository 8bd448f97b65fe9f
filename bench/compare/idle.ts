// The cost of a connection that nothing is sent to.

import { Audience } from './audience.ts'
import type { Contender } from './contenders.ts'
import { ServerProcess } from '../process.ts'
import { Meter } from './rounds.ts'
import type { Round } from './rounds.ts'

/** Held before memory is looked at first: whatever a server makes but once is there by then. */
const FIRST = 500

export async function idle (contender: Contender, clients: number): Promise<Round> {
  const server = await ServerProcess.start(contender.command({}))
  try {
    const audience = await Audience.open({ port: server.port, opening: contender.opening, count: FIRST })
    const before = await server.settled()
    const meter = new Meter(server)
    await audience.more(clients - FIRST)
    const opening = meter.read()
    const after = await server.settled()
    const { lost } = audience
    audience.close()
    return {
      figures: { kbPerConnection: (after - before) / 1024 / (clients - FIRST), openedPerSecond: (clients - FIRST) / opening.ms * 1000 },
      // Memory does not depend on how fast they came.
      loadCpu: 0,
      others: null,
      faults: lost === 0 ? [] : [`${lost} connections lost`]
    }
  } finally {
    await server.stop()
  }
}
