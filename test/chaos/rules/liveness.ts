import { Hearing } from '../hearing.ts'
import type { ChainRecord, Recording } from '../recording.ts'
import type { Rule, Violation } from './rule.ts'

/** How long a chain was away each time: from the end of a connection that it did not end itself to the next one. Infinity: it did not come back. */
export function absences (chain: ChainRecord): { ms: number, since: number }[] {
  const found: { ms: number, since: number }[] = []
  let since: number | null = null
  for (const mark of chain.marks) {
    if (mark.f === 'close') since = mark.by === 'client' && mark.reason === undefined ? null : mark.t
    if (since === null || (mark.f !== 'connect' && mark.f !== 'read') || mark.type !== 'ok') continue
    found.push({ ms: mark.t - since, since })
    since = null
  }
  if (since !== null) found.push({ ms: Infinity, since })
  return found
}

/** Rooms whose end a chain must have got, and did not. Those it joins and leaves later do not count: it may be about to leave. */
function unfinished (recording: Recording, chain: ChainRecord): string[] {
  const hearing = new Hearing()
  const got = new Set<string>()
  let leftAt = Infinity
  let own: ReadonlySet<string> | null = null
  chain.walk(recording.events, {
    received: event => { if (recording.finals.get(event.room)?.id === event.id) got.add(event.room) },
    mark: mark => {
      hearing.take(mark)
      own ??= new Set(hearing.rooms.keys())
      leftAt = mark.f === 'close' && mark.by === 'client' ? mark.t : Infinity
    }
  })
  return [...recording.finals.values()].filter(({ room, value, t }) =>
    t < leftAt && !got.has(room) && own?.has(room) === true && hearing.hears({ room, event: recording.publishOf(value)?.event ?? 'final' })).map(({ room }) => room)
}

export const liveness: Rule = {
  number: 9,
  name: 'liveness',
  holds: 'When all is healed, every chain gets the last event of each of the rooms that it began with. Where the run sets limits, chains are back and publishing goes on within them.',
  * check (recording: Recording): Generator<Violation> {
    const { backMs = Infinity, publishAgainMs = Infinity } = recording.run?.limits ?? {}
    for (const chain of recording.chains.values()) {
      const rooms = unfinished(recording, chain)
      const at = { file: chain.file, number: 0 }
      if (rooms.length > 0) yield { what: `${chain.name} did not get the last event of ${rooms.join(', ')}`, count: rooms.length, chain: chain.name, at }
      const late = absences(chain).filter(({ ms }) => ms > backMs && ms < Infinity)
      if (late.length > 0) yield { what: `${chain.name} was away for ${Math.round(Math.max(...late.map(({ ms }) => ms)))} ms; it should be back within ${backMs}`, count: late.length, chain: chain.name, at }
    }
    if (publishAgainMs === Infinity) return
    for (const { fault, type, t, file, number } of recording.faults) {
      if (type !== 'stop') continue
      const next = recording.publishes.reduce((least, { okAt }) => okAt >= t && okAt < least ? okAt : least, Infinity)
      if (next - t > publishAgainMs) yield { what: `after ${fault} was healed ${next === Infinity ? 'no publish was acknowledged' : `the first publish was acknowledged after ${Math.round(next - t)} ms`}; ${publishAgainMs} are allowed`, count: 1, at: { file, number } }
    }
  }
}
