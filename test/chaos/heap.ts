// What a process that lives for hours keeps: measured after each round of a soak, and judged at its end.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../process/harness.ts'
import type { Env } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'

const PRELOAD = new URL('heap.mjs', import.meta.url).href
const LIMIT_MB_PER_HOUR = 1
/** The heap finds its size, and what a round leaves ends, within this share of a soak. */
const WARM_UP = 1 / 3
const SPANS = 8
/** What was closed a moment ago is let go of. */
const QUIET_MS = 2000

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

  async read (pid: number): Promise<HeapReading> {
    await delay(QUIET_MS)
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

/**
 * By how much what is kept grew once the process had warmed up: the slope of the line of least squares through the least reading of
 * each span. The least, because megabytes that a round published are still in the history for a while after it.
 */
export function growthOf (readings: readonly HeapReading[]): Growth {
  const [first] = readings
  const last = readings.at(-1)
  if (first === undefined || last === undefined) throw new Error('the heap was never read')
  const since = first.at + WARM_UP * (last.at - first.at)
  const spanOf = ({ at }: HeapReading): number => Math.min(SPANS - 1, Math.floor((at - since) / (last.at - since) * SPANS))
  const spans = Array.from({ length: SPANS }, (_, span) => readings.filter(reading => reading.at >= since && spanOf(reading) === span)).filter(({ length }) => length > 0)
  const points = spans.map(span => span.reduce((least, reading) => reading.bytes < least.bytes ? reading : least)).map(({ at, bytes }) => ({ hour: (at - first.at) / 3_600_000, mb: bytes / 1e6 }))
  const mean = (of: (point: typeof points[number]) => number): number => points.reduce((sum, point) => sum + of(point), 0) / points.length
  const [hour, mb] = [mean(point => point.hour), mean(point => point.mb)]
  const slope = mean(point => (point.hour - hour) * (point.mb - mb)) / mean(point => (point.hour - hour) ** 2)
  const isWithin = slope < LIMIT_MB_PER_HOUR
  return {
    isWithin,
    text: `heap after garbage collection, MB: ${(first.bytes / 1e6).toFixed(1)} after the first round; least of each ${SPANS}th of the last ${((last.at - since) / 3_600_000).toFixed(1)} h: ${points.map(point => point.mb.toFixed(1)).join(', ')}. ${slope.toFixed(2)} MB an hour, ${isWithin ? 'within' : 'NOT within'} the limit of ${LIMIT_MB_PER_HOUR}`
  }
}
