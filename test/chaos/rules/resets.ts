import { Hearing } from '../hearing.ts'
import type { Reset } from '../history.ts'
import type { ChainRecord, LogEvent, Mark, Recording } from '../recording.ts'
import { Losses } from './lost.ts'
import type { Rule, Violation } from './rule.ts'

/** Facts and deletions of all rooms, by rank: what history counts. */
const historyOf = ({ events }: Recording): Int32Array =>
  Int32Array.from(events.filter(({ isReal, key, value }) => isReal && (key === null || value === null)).map(({ rank }) => rank)).sort()

const countAfter = (ranks: Int32Array, rank: number): number => ranks.length - (ranks.findLastIndex(other => other <= rank) + 1)

class Causes {
  readonly #recording: Recording
  readonly #history: Int32Array

  constructor (recording: Recording) {
    this.#recording = recording
    this.#history = historyOf(recording)
  }

  /** Whether history can have gone past a chain that last got this event: a chain may stand further ahead, never further back. */
  isTrimmed (last: LogEvent | null, at: number): boolean {
    const history = this.#recording.run?.history
    if (history === undefined) return false
    return countAfter(this.#history, last?.rank ?? -1) >= history.size || at - (last?.publish?.invokedAt ?? -Infinity) >= history.ttlMs
  }

  /** Takes a fault that may have caused the reset of a room: each may reset a room of a chain once. */
  takeFault ({ t, reason }: Reset, room: string, used: Set<string>): boolean {
    const index = this.#recording.faults.findIndex(({ type, causes, t: since }, number) => type === 'start' && since <= t && causes?.includes(reason) === true && !used.has(`${number} ${room}`))
    used.add(`${index} ${room}`)
    return index !== -1
  }
}

function atChain (recording: Recording, chain: ChainRecord, causes: Causes): Violation[] {
  const found: Violation[] = []
  const hearing = new Hearing()
  const used = new Set<string>()
  let last: LogEvent | null = null
  let isOtherSubscription = false
  const take = (mark: Mark, line: number): void => {
    const before = subscriptionOf(hearing)
    hearing.take(mark)
    if (mark.f === 'join' || mark.f === 'leave') isOtherSubscription = true
    if (mark.f === 'connect' && mark.type === 'invoke' && mark.cursor !== undefined) isOtherSubscription ||= subscriptionOf(hearing) !== before
    if (mark.f !== 'reset') return
    const hasCause = mark.reason === 'subscription'
      ? isOtherSubscription
      : (mark.reason === 'trimmed' && causes.isTrimmed(last, mark.t)) || (mark.rooms ?? ['']).every(room => causes.takeFault(mark, room, used))
    if (mark.reason === 'subscription') isOtherSubscription = false
    if (!hasCause) found.push({ what: `${chain.name} was reset (${mark.reason}), and nothing in the record caused it`, count: 1, chain: chain.name, at: { file: chain.file, number: line } })
  }
  chain.walk(recording.events, { mark: take, received: event => { if (event.isReal && (last === null || event.rank > last.rank)) last = event } })
  return found
}

const subscriptionOf = ({ rooms }: Hearing): string => JSON.stringify([...rooms].map(([room, types]) => [room, types === null ? null : [...types].sort()]).sort())

export const resets: Rule = {
  number: 4,
  name: 'resets are honest',
  holds: 'Every reset has a cause in the record: history too short, another subscription, or a fault that may cause it, once a chain. It admits no fewer facts than were missed.',
  * check (recording: Recording): Generator<Violation> {
    const causes = new Causes(recording)
    for (const chain of recording.chains.values()) {
      yield * atChain(recording, chain, causes)
      if (chain.marks.some(({ f }) => f === 'reset')) yield * new Losses(recording, chain).understated
    }
  }
}
