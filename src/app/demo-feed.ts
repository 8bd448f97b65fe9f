// Publishes measurements of this machine to the public feed, through `gateway.publish` as any backend would. A first look
// at the gateway then shows real state, real facts and the effect of bundling. The events have no room: every client that
// connects without parameters gets them, and MAX_ROOM_SIZE does not apply.
//
// Three steps: sensors read measurements (keyed: the newest wins); `Notices` finds notable changes in them (facts of type
// `notice`); the plugin publishes both in one call.

import os from 'node:os'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Gateway } from '../core/gateway.ts'
import { cpu, diskSpace, diskTraffic, host, loadAverage, memory, network, ownProcess } from './machine.ts'
import type { Measurement, Sensor } from './machine.ts'

interface DemoFeedOptions {
  readonly gateway: Gateway
  /** A directory on the disk to measure. Default: the working directory. */
  readonly dataDir?: string
}

const STEP_MS = 500
/** A gateway that is started without the feed later does not show this machine's figures of then as the newest. */
const TTL_S = 60

/** Percent. A notice is published after a core is above the limit for this long, and another when it is below the lower one. */
const CORE_BUSY = { above: 90, below: 70, forMs: 3000 }
/** Load per core. */
const LOAD_HIGH = { above: 1, below: 0.7, forMs: 0 }
const MEMORY_STEP = 5
/** A value that varies by less than this around a step causes only one notice. */
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
    // With a slow store the feed skips steps. A drain is not a failure: it ends the feed.
    if (publishing || gateway.notReady?.code === 'DRAINING') return
    publishing = true
    try {
      const now = performance.now()
      const due = sensors.filter(({ everySteps }) => step % everySteps === 0)
      const first = step++ === 0
      const measurements = (await Promise.all(due.map(async ({ read }) => await read(now)))).flat()
      const texts = notices.from(measurements, now)
      if (first) texts.unshift(`the feed of ${os.hostname()} started (process ${process.pid})`)
      await gateway.publish([
        ...measurements.map(measurement => measurement.data === null ? measurement : { ...measurement, ttl: TTL_S }),
        ...texts.map(text => ({ type: 'notice', data: { text } }))
      ])
      if (failing) app.log.info('the demo feed is publishing again')
      failing = false
    } catch (err) {
      // These measurements are dropped: the next ones follow in half a second.
      if (!failing) app.log.warn({ err }, 'the demo feed cannot publish; it keeps trying')
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

/** Finds changes worth a notice in the measurements. */
export class Notices {
  readonly #cores = new Map<string, Threshold>()
  #load: Threshold | null = null
  #memory: number | null = null
  /** Null before the first measurement: interfaces that were up from the start are not reported. */
  #interfaces: Set<string> | null = null

  /** @returns texts of notices, empty if nothing notable changed */
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
    // A load that was high from the start has not risen.
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

/** A limit with hysteresis: reports a value above it once it has lasted for `forMs`, and again only after the value was below the lower limit. */
export class Threshold {
  readonly #limits: { readonly above: number, readonly below: number, readonly forMs: number }
  #isAbove = false
  #since: number | null = null

  constructor (limits: { above: number, below: number, forMs: number }) {
    this.#limits = limits
  }

  /** @returns the limit this value passed; null if none */
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

/** A value rounded down to a step. It rises at the next step, and falls only when it is more than `slack` below the last one. */
export function stepOf (value: number, last: number | null, step: number, slack: number): number {
  const here = Math.floor(value / step) * step
  return last !== null && here < last && value >= last - slack ? last : here
}
