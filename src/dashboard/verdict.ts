// One sentence on the whole gateway, in three levels: well, look at it, broken. The worst comes first.

import { many } from './format.ts'

export type Level = 'well' | 'look' | 'broken' | 'unknown'

export interface Condition {
  /** Why its figures are not current; null where they are. */
  readonly fault: string | null
  /** No figures have come yet. */
  readonly isWaiting: boolean
  /** Names of the figures that are over their targets. */
  readonly missed: readonly string[]
  readonly stalled: number
  /** Of the last minute. */
  readonly refusals: number
  readonly errors: number
  readonly hasWarnings: boolean
}

/** A scanner or a typing mistake is no reason to look. In a minute. */
const MANY_REFUSALS = 10

export function verdictOf ({ fault, isWaiting, missed, stalled, refusals, errors, hasWarnings }: Condition): readonly [level: Level, text: string] {
  if (fault !== null) return ['broken', fault]
  if (isWaiting) return ['unknown', 'Waiting for the first figures']
  const reasons = [
    missed.length === 0 ? '' : `Over target: ${missed.join(', ')}`,
    errors === 0 ? '' : `${many(errors, 'error')} in the last minute`,
    stalled === 0 ? '' : `${many(stalled, 'session')} stalled`,
    refusals < MANY_REFUSALS ? '' : `${many(refusals, 'refusal')} in the last minute`,
    hasWarnings ? 'Ready, with warnings' : ''
  ].filter(text => text !== '')
  return reasons.length === 0 ? ['well', 'All well'] : ['look', reasons.join(' · ')]
}
