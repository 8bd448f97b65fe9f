// Recent refusals and failures, for the dashboard: a short list in which repetitions are counted, and counts by code
// since the process started.

import type { Clock } from '../clock.ts'
import { BOUNDS } from '../errors.ts'
import type { Bound, Code, Refusal } from '../errors.ts'
import type { RefusalLog } from './refusal-log.ts'

export interface Trouble {
  /** The last time, ms since 1970. */
  readonly at: number
  readonly code: string
  readonly message: string
  readonly count: number
}

/** Of the last minute. */
export interface TroubleCounts {
  /** Requests and messages that were refused, but for strays. */
  readonly refusals: number
  /** Failures of the gateway, of its store or of commands. */
  readonly errors: number
}

const MAX_KEPT = 20
/** A minute is counted in steps of ten seconds. */
const STEP_MS = 10_000
const STEPS = 6
const MAX_MESSAGE = 200
/** Listed, and nothing to worry about. */
const NEWS: ReadonlySet<string> = new Set(['STORE_AVAILABLE', 'ORIGIN_NOT_LISTED'])
/** Counted but not listed: requests for paths and commands that do not exist, of which there are always some. */
const UNLISTED: ReadonlySet<Code> = new Set<Code>(['NOT_FOUND'])

export class Troubles {
  /** Refusals by code. */
  readonly refusals: Partial<Record<Code, number>> = {}
  /** What ran into each bound: requests and messages refused, connections ended. */
  readonly bounds = Object.fromEntries(BOUNDS.map(bound => [bound, 0])) as Record<Bound, number>

  readonly #clock: Pick<Clock, 'wall'>
  /** The latest last. */
  readonly #recent = new Map<string, Trouble>()

  readonly #log: RefusalLog | null
  /** By number of the step, the latest last. */
  readonly #steps = new Map<number, { refusals: number, errors: number }>()

  /** @param log where refusals are logged; by default nowhere */
  constructor (clock: Pick<Clock, 'wall'>, log: RefusalLog | null = null) {
    this.#clock = clock
    this.#log = log
  }

  /** Counts a refusal, lists it, and logs it. @param address of who was refused */
  refused ({ code, message, bound }: Refusal, address?: string): void {
    this.refusals[code] = (this.refusals[code] ?? 0) + 1
    if (bound !== undefined) this.bounds[bound]++
    if (UNLISTED.has(code)) return
    this.#count(code === 'INTERNAL' ? 'errors' : 'refusals')
    this.#list(code, message)
    const line = tidy(message)
    this.#log?.add(code, line, kindOf(code, line), address)
  }

  /** Lists a failure. */
  note (code: string, text: string): void {
    if (!NEWS.has(code)) this.#count('errors')
    this.#list(code, text)
  }

  get lastMinute (): TroubleCounts {
    const now = this.#step
    const counts = { refusals: 0, errors: 0 }
    for (const [step, { refusals, errors }] of this.#steps) {
      if (step <= now - STEPS) continue
      counts.refusals += refusals
      counts.errors += errors
    }
    return counts
  }

  get #step (): number {
    return Math.floor(this.#clock.wall() / STEP_MS)
  }

  #count (what: keyof TroubleCounts): void {
    const now = this.#step
    const counts = this.#steps.get(now) ?? { refusals: 0, errors: 0 }
    counts[what]++
    this.#steps.set(now, counts)
    for (const step of this.#steps.keys()) if (step <= now - STEPS || step > now) this.#steps.delete(step)
  }

  #list (code: string, text: string): void {
    const message = tidy(text)
    const key = kindOf(code, message)
    const count = (this.#recent.get(key)?.count ?? 0) + 1
    this.#recent.delete(key)
    this.#recent.set(key, { at: this.#clock.wall(), code, message, count })
    if (this.#recent.size > MAX_KEPT) this.#recent.delete(this.#recent.keys().next().value as string)
  }

  /** The latest first. */
  get recent (): Trouble[] {
    return [...this.#recent.values()].reverse()
  }
}

/** The time to wait differs from one refusal to the next; the trouble is the same. */
const kindOf = (code: string, message: string): string => `${code} ${message.replace(/\b\d+ ms\b/g, 'ms')}`

/** Its first line, cut short, without the credentials a URL may hold. */
function tidy (text: string): string {
  const line = (text.split('\n', 1)[0] as string).replace(/(:\/\/)[^\s/]*@/g, '$1***@')
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE - 1)}…` : line
}
