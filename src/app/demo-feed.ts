// This machine's own figures, published to the public feed as any backend would publish them: through
// `gateway.publish`, never around it. So a first look at the gateway shows real state, real facts, and what
// bundling makes of them. No room: whoever listens without parameters hears it, however many they are.
//
// Three steps: sources read figures (keyed, so the newest wins), the watch tells from them what is worth a
// sentence (a fact, type `notice`), the plugin publishes both in one go.

import os from 'node:os'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Gateway } from '../core/gateway.ts'
import { cpu, diskSpace, diskTraffic, host, loadAverage, memory, network, ownProcess } from './machine.ts'
import type { Measurement, Sensor } from './machine.ts'

export interface DemoFeedOptions {
  readonly gateway: Gateway
  /** The disk this directory lies on is measured; default the working directory. */
  readonly dataDir?: string
}

const STEP_MS = 500

/** A core that works this hard for so long is told of, and again when it is calm. */
const CORE_BUSY = { above: 90, below: 70, forMs: 3000 }
/** Load per core. */
const LOAD_HIGH = { above: 1, below: 0.7, forMs: 0 }
const MEMORY_STEP = 5
/** A figure that trembles around a step is told of once. */
const MEMORY_SLACK = 1

export default fp(async (app: FastifyInstance, { gateway, dataDir = '.' }: DemoFeedOptions) => {
  const sensors: Array<{ everySteps: number, read: Sensor }> = [
    { everySteps: 1, read: cpu() },
    { everySteps: 1, read: memory },
    { everySteps: 2, read: ownProcess() },
    { everySteps: 2, read: network() },
    { everySteps: 2, read: diskTraffic() },
    { everySteps: 4, read: loadAverage },
    { everySteps: 4, read: () => diskSpace(dataDir) },
    { everySteps: 10, read: host }
  ]
  const notices = new Notices()
  let step = 0
  let publishing = false
  let failing = false

  async function publishMeasurements (): Promise<void> {
    // A slow store makes the feed slower. A drain is no trouble: it ends the feed.
    if (publishing || gateway.notReady?.code === 'DRAINING') return
    publishing = true
    try {
      const now = performance.now()
      const due = sensors.filter(({ everySteps }) => step % everySteps === 0)
      const first = step++ === 0
      const measurements = (await Promise.all(due.map(async ({ read }) => await read(now)))).flat()
      const texts = notices.from(measurements, now)
      if (first) texts.unshift(`the feed of ${os.hostname()} began (process ${process.pid})`)
      await gateway.publish([
        ...measurements,
        ...texts.map(text => ({ type: 'notice', data: { text } }))
      ])
      if (failing) app.log.info('the demo feed publishes again')
      failing = false
    } catch (err) {
      // These figures are lost, and no loss: the next ones are half a second away.
      if (!failing) app.log.warn({ err }, 'the demo feed cannot publish; it goes on trying')
      failing = true
    } finally {
      publishing = false
    }
  }

  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    timer = setInterval(() => { void publishMeasurements() }, STEP_MS).unref()
  })
  app.addHook('preClose', async () => {
    clearInterval(timer)
  })
}, { name: 'demo-feed' })

/** Tells from the figures what is worth a sentence. */
export class Notices {
  readonly #cores = new Map<string, Threshold>()
  #load: Threshold | null = null
  #memory: number | null = null
  /** Null until the interfaces have been seen once: those that were up already are no news. */
  #interfaces: Set<string> | null = null

  /** @returns sentences, none where nothing notable has changed */
  from (measurements: readonly Measurement[], now: number): string[] {
    const texts = measurements.flatMap(({ type, key, data }) => {
      if (type === 'cpu' && data !== null && key !== 'total') return this.#core(key, data.percent as number, now)
      if (type === 'load' && data !== null) return this.#average(data as { one: number, cores: number }, now)
      if (type === 'memory' && data !== null) return this.#step(data.percent as number)
      if (type === 'network') return this.#interface(key, data !== null)
      return []
    })
    if (this.#interfaces === null && measurements.length > 0) {
      this.#interfaces = new Set(measurements.filter(({ type, data }) => type === 'network' && data !== null).map(({ key }) => key))
    }
    return texts
  }

  #core (key: string, value: number, now: number): string[] {
    const threshold = this.#cores.get(key) ?? new Threshold(CORE_BUSY)
    this.#cores.set(key, threshold)
    const name = key.replace('-', ' ')
    switch (threshold.next(value, now)) {
      case 'above': return [`${name} has been over ${CORE_BUSY.above} % busy for ${CORE_BUSY.forMs / 1000} s`]
      case 'below': return [`${name} is calm again (${value} %)`]
      default: return []
    }
  }

  #average ({ one, cores }: { one: number, cores: number }, now: number): string[] {
    const first = this.#load === null
    this.#load ??= new Threshold(LOAD_HIGH)
    const change = this.#load.next(one / Math.max(1, cores), now)
    // A load that was high already has not risen.
    if (first) return []
    switch (change) {
      case 'above': return [`load rose to ${one}: more work than the ${cores} cores can do at once`]
      case 'below': return [`load is down to ${one}`]
      default: return []
    }
  }

  #step (value: number): string[] {
    const last = this.#memory
    this.#memory = stepOf(value, last, MEMORY_STEP, MEMORY_SLACK)
    if (last === null || this.#memory === last) return []
    return this.#memory > last
      ? [`memory in use rose over ${this.#memory} %`]
      : [`memory in use fell below ${this.#memory + MEMORY_STEP} %`]
  }

  #interface (key: string, up: boolean): string[] {
    if (this.#interfaces === null || this.#interfaces.has(key) === up) return []
    if (up) this.#interfaces.add(key)
    else this.#interfaces.delete(key)
    return [`network ${key} is ${up ? 'up' : 'down'}`]
  }
}

/** A limit that is told of once it has been passed for a while, and again only after the value has come well back. */
export class Threshold {
  readonly #limits: { readonly above: number, readonly below: number, readonly forMs: number }
  #isAbove = false
  #since: number | null = null

  constructor (limits: { above: number, below: number, forMs: number }) {
    this.#limits = limits
  }

  /** @returns what has changed with this value; null for nothing */
  next (value: number, now: number): 'above' | 'below' | null {
    const { above, below, forMs } = this.#limits
    if (this.#isAbove) {
      if (value >= below) return null
      this.#isAbove = false
      this.#since = null
      return 'below'
    }
    this.#since = value > above ? this.#since ?? now : null
    if (this.#since === null || now - this.#since < forMs) return null
    this.#isAbove = true
    return 'above'
  }
}

/** The step a value stands on. It leaves the last one upwards at the next, downwards only with some slack below. */
export function stepOf (value: number, last: number | null, step: number, slack: number): number {
  const here = Math.floor(value / step) * step
  return last !== null && here < last && value >= last - slack ? last : here
}
