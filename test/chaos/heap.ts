// What a process that lives for hours keeps: read now and then between the rounds of a soak, and judged at its end.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'

const PRELOAD = new URL('heap.mjs', import.meta.url).href
const LIMIT_MB_PER_HOUR = 1
/** The heap finds its size within this share of a soak. */
const WARM_UP = 1 / 3
const EVERY_MS = 900_000
/** What has run out is looked for now and then: so much later, at the latest, it is gone. */
const GONE = 1.1

export interface HeapReading {
  /** Monotonic ms. */
  readonly at: number
  /** After garbage collection. */
  readonly bytes: number
}

/** Reads the heap of a gateway that runs with its environment. */
export class HeapGauge {
  readonly readings: HeapReading[] = []
  readonly #file: string

  constructor (t: Test) {
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-heap-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    this.#file = join(folder, 'bytes')
  }

  readonly plant = (env: Env): Env => ({ ...env, NODE_OPTIONS: [env.NODE_OPTIONS, `--import=${PRELOAD}`].filter(option => option !== undefined).join(' '), CHAOS_HEAP: this.#file })

  /** A quarter of an hour has gone by since the last reading, or there was none. */
  get isDue (): boolean {
    return performance.now() >= (this.readings.at(-1)?.at ?? -Infinity) + EVERY_MS
  }

  /** @param keptMs so long the gateway keeps what a round brought: megabytes of it are none of its growth */
  async read (pid: number, keptMs: number): Promise<HeapReading> {
    await delay(GONE * keptMs)
    rmSync(this.#file, { force: true })
    process.kill(pid, 'SIGURG')
    let bytes = 0
    await until('the gateway says how large its heap is', () => {
      try {
        bytes = Number(readFileSync(this.#file, 'utf8'))
      } catch {}
      return bytes > 0
    })
    const reading = { at: performance.now(), bytes }
    this.readings.push(reading)
    return reading
  }
}

export interface Growth {
  readonly isWithin: boolean
  /** One line. */
  readonly text: string
}

/** By how much the heap grew once the process had warmed up: the slope of the line of least squares. */
export function growthOf (readings: readonly HeapReading[]): Growth {
  const [first] = readings
  const last = readings.at(-1)
  if (first === undefined || last === undefined) throw new Error('the heap was never read')
  const points = readings.filter(({ at }) => at >= first.at + WARM_UP * (last.at - first.at)).map(({ at, bytes }) => ({ hour: (at - first.at) / 3_600_000, mb: bytes / 1e6 }))
  const mean = (of: (point: typeof points[number]) => number): number => points.reduce((sum, point) => sum + of(point), 0) / points.length
  const [hour, mb] = [mean(point => point.hour), mean(point => point.mb)]
  const slope = mean(point => (point.hour - hour) * (point.mb - mb)) / mean(point => (point.hour - hour) ** 2)
  const isWithin = slope < LIMIT_MB_PER_HOUR
  return {
    isWithin,
    text: `heap after garbage collection, MB: ${readings.map(({ bytes }) => (bytes / 1e6).toFixed(1)).join(', ')}. After a third of the time it grew by ${slope.toFixed(2)} MB an hour, ${isWithin ? 'within' : 'NOT within'} the limit of ${LIMIT_MB_PER_HOUR}`
  }
}
