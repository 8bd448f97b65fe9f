import type { Recording } from '../recording.ts'
import type { Rule, Violation } from './rule.ts'

const LEAST_RECEIVED = 1000

export const substance: Rule = {
  number: 12,
  name: 'substance',
  holds: 'The run says something: enough events were received, every room was ended, the fault really hit, and chains really came back. Otherwise the verdict is unknown.',
  * check (recording: Recording): Generator<Violation> {
    const { run, faults, finals } = recording
    if (run === null) return yield { what: 'the record has no line about the run', count: 1 }
    const chains = [...recording.chains.values()]
    const received = chains.reduce((sum, chain) => sum + chain.received, 0)
    const least = run.expect?.received ?? LEAST_RECEIVED
    if (received < least) yield { what: `only ${received} events were received; ${least} are needed`, count: 1 }
    const rooms = new Set(recording.publishes.filter(({ outcome }) => outcome === 'ok').map(({ room }) => room))
    const open = [...rooms].filter(room => !finals.has(room))
    if (open.length > 0) yield { what: `${open.length === 1 ? 'a room' : `${open.length} rooms`} had no last event: ${open.slice(0, 3).join(', ')}`, count: open.length }
    if (run.fault === 'none') return
    const started = faults.filter(({ type }) => type === 'start')
    if (started.length === 0) yield { what: `the fault ${run.fault} never began`, count: 1 }
    for (const { fault, t } of started) {
      const hit = faults.some(other => other.fault === fault && other.t >= t && other.evidence !== undefined && other.evidence !== null && other.evidence !== false)
      if (!hit) yield { what: `nothing shows that ${fault} hit`, count: 1 }
    }
    const expected = run.expect?.reconnects ?? 'all'
    const since = started[0]?.t ?? Infinity
    const stayed = chains.filter(({ marks }) => {
      const [first, second] = marks.filter(mark => (mark.f === 'connect' || mark.f === 'read') && mark.type === 'ok')
      // Who came when it had begun has nothing to come back from.
      return second === undefined && (first === undefined || first.t < since)
    })
    if (expected === 'all' && stayed.length > 0) yield { what: `${stayed.length} of ${chains.length} chains never had to come back, ${stayed[0]?.name} for one`, count: stayed.length }
    if (expected === 'some' && stayed.length === chains.length) yield { what: 'no chain had to come back', count: 1 }
  }
}
