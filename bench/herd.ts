// All clients come back at once, each with what it missed still to get.

import { setTimeout as delay } from 'node:timers/promises'
import { Audience } from './compare/audience.ts'
import type { Opening } from './compare/audience.ts'
import { returning } from './compare/herd.ts'
import type { Lag, ServerProcess } from './process.ts'

export interface HerdOptions {
  readonly server: ServerProcess
  readonly opening: Opening
  /** Where they stood. */
  readonly cursor: string
  readonly clients: number
  /** Events published since. */
  readonly missed: number
  /** They come spread over this time, and who is refused comes again a second later. */
  readonly withinMs: number
  readonly limitMs: number
  readonly localAddress: (index: number) => string
}

export interface Return {
  /** When each had all it missed, ms after the first came, the earliest first; Infinity for those that had not by then. */
  readonly backAfter: readonly number[]
  readonly lag: Lag | null
  /** Refused, and tried again. */
  readonly retried: number
  /** Events that clients lack, and that they got besides. */
  readonly lost: number
  readonly twice: number
}

const RETRY_MS = 1000

export async function comeBack ({ server, opening, cursor, clients, missed, withinMs, limitMs, localAddress }: HerdOptions): Promise<Return> {
  const missing = new Int32Array(clients).fill(missed)
  const backAfter: number[] = []
  await server.lag()
  const cameAt = performance.now()
  const audience = Audience.begin({
    port: server.port,
    localAddress,
    opening: returning(opening, cursor),
    count: clients,
    withinMs,
    retryMs: RETRY_MS,
    onMarks: (viewer, marks, at) => {
      const before = missing[viewer] as number
      missing[viewer] = before - marks.length
      if (before > 0 && before <= marks.length) backAfter.push(at - cameAt)
    }
  })
  while (backAfter.length < clients && performance.now() - cameAt < limitMs) await delay(20)
  const lag = await server.lag()
  audience.close()
  const sum = (of: (left: number) => number): number => missing.reduce((total, left) => total + Math.max(0, of(left)), 0)
  return {
    backAfter: [...backAfter, ...Array.from({ length: clients - backAfter.length }, () => Infinity)],
    lag,
    retried: audience.retried,
    lost: sum(left => left),
    twice: sum(left => -left)
  }
}

/** When this share of them was back, ms. */
export const backBy = ({ backAfter }: Return, share: number): number => backAfter[Math.max(0, Math.ceil(share * backAfter.length) - 1)] ?? Infinity
