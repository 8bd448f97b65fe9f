// Variants run in turn, several times: other load on the machine then affects all of them alike.

import { coreShare, coreTimes, pinned, SERVER_CORE } from '../cores.ts'
import { percent } from '../format.ts'
import type { ServerProcess } from '../process.ts'

/** By name; null where a variant has no such figure. */
type Figures = Readonly<Record<string, number | null>>

export interface Variant {
  readonly name: string
}

/** One measurement of one variant. */
export interface Round {
  readonly figures: Figures
  /** Share of its core that this process used. */
  readonly loadCpu: number
  /** Shares of the server's core used by other processes, or taken by the host; null if the system does not report it. */
  readonly others: number | null
  /** Lost connections and wrong values: must be zero. */
  readonly faults: readonly string[]
}

export interface Series {
  readonly variant: string
  readonly rounds: readonly Round[]
  /** Why measurements were thrown away, one entry each. */
  readonly thrown: readonly string[]
  /** Why there is none; null where there is. */
  readonly failed: string | null
}

/** Share of its core from which the load may have been what was measured. */
const LOAD_LIMIT = 0.9
/** Share of the server's core from which somebody else was measured too. */
const OTHERS_LIMIT = 0.1

export async function inTurn<V extends Variant> (variants: readonly V[], rounds: number, say: (line: string) => void, measure: (variant: V) => Promise<Round>): Promise<Series[]> {
  const series = new Map(variants.map(({ name }) => [name, { rounds: [] as Round[], thrown: [] as string[], failed: null as string | null }]))
  for (let round = 1; round <= rounds; round++) {
    for (const variant of variants) {
      const own = series.get(variant.name) as NonNullable<ReturnType<typeof series.get>>
      if (own.failed !== null) continue
      say(`round ${round} of ${rounds}: ${variant.name}`)
      try {
        const taken = await measure(variant)
        const why = taken.loadCpu > LOAD_LIMIT
          ? `the load had ${percent(taken.loadCpu)} of its core`
          : (taken.others ?? 0) > OTHERS_LIMIT ? `others had ${percent(taken.others as number)} of the server's core` : null
        if (why === null) own.rounds.push(taken)
        else own.thrown.push(why)
      } catch (error) {
        own.failed = (error as Error).message
      }
    }
  }
  return [...series].map(([variant, own]) => ({ variant, ...own }))
}

export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

function spreadOf (values: ReadonlyArray<number | null | undefined>): Spread | null {
  const sorted = values.filter(value => value != null && !Number.isNaN(value)).map(Number).sort((one, other) => one - other)
  if (sorted.length === 0) return null
  const middle = (sorted.length - 1) / 2
  const median = ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2
  return { median, least: sorted[0] as number, most: sorted.at(-1) as number }
}

export const figureOf = ({ rounds }: Series, name: string): Spread | null => spreadOf(rounds.map(({ figures }) => figures[name]))

/** How many times the other's figure this one's is: all rounds of one against all of the other. */
export function ratioOf (series: Series | undefined, base: Series | undefined, name: string): Spread | null {
  const other = base === undefined ? null : figureOf(base, name)
  const own = series === undefined ? null : figureOf(series, name)
  if (own === null || other === null) return null
  return { median: own.median / other.median, least: own.least / other.most, most: own.most / other.least }
}

/** CPU used between two readings: by the server, by this process, and by others on the server's core. */
export class Meter {
  readonly #server: ServerProcess
  readonly #at = performance.now()
  readonly #cpu: number
  readonly #load = process.cpuUsage()
  readonly #core = pinned ? coreTimes(SERVER_CORE) : null

  constructor (server: ServerProcess) {
    this.#server = server
    this.#cpu = server.cpuMs
  }

  read (): { ms: number, cpuMs: number, serverCpu: number, loadCpu: number, others: number | null } {
    const ms = performance.now() - this.#at
    const cpuMs = this.#server.cpuMs - this.#cpu
    const load = process.cpuUsage(this.#load)
    const core = coreShare(this.#core, pinned ? coreTimes(SERVER_CORE) : null)
    const serverCpu = cpuMs / ms
    return {
      ms,
      cpuMs,
      serverCpu,
      loadCpu: (load.user + load.system) / 1000 / ms,
      others: core === null ? null : Math.max(0, core.busy - serverCpu) + core.stolen
    }
  }
}
