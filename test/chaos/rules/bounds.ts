import type { Recording } from '../recording.ts'
import type { Rule, Violation } from './rule.ts'

/** What counts the present clients, and must be as before the first of them once the last one has left. */
const PRESENT = ['signalbox_sessions', 'signalbox_waiting_reads', 'signalbox_stalled_sessions']

function * counters (recording: Recording): Generator<Violation> {
  const start = recording.metrics.find(({ at }) => at === 'start')?.values
  const end = recording.metrics.find(({ at }) => at === 'end')?.values
  if (start === undefined || end === undefined) return
  for (const name of PRESENT) {
    const [before, after] = [start[name] ?? 0, end[name] ?? 0]
    if (after > before) yield { what: `${name} is ${after} after the last client has left; it was ${before} before the first one came`, count: after - before }
  }
  // A process that ended took its last counts along.
  if (recording.faults.length > 0) return
  const chains = [...recording.chains.values()]
  if (chains.some(({ marks }) => marks.some(({ f }) => f === 'read'))) return
  const grown = (name: string): number | null => end[name] === undefined ? null : end[name] - (start[name] ?? 0)
  const delivered = grown('signalbox_delivered_events_total')
  const received = chains.reduce((sum, chain) => sum + chain.received, 0)
  if (delivered !== null && delivered < received) yield { what: `signalbox_delivered_events_total grew by ${delivered}; clients received ${received} events`, count: received - delivered }
  const resets = grown('signalbox_resets_total')
  const seen = chains.reduce((sum, { marks }) => sum + marks.filter(({ f }) => f === 'reset').length, 0)
  if (resets !== null && resets < seen) yield { what: `signalbox_resets_total grew by ${resets}; clients got ${seen} resets`, count: seen - resets }
}

export const bounds: Rule = {
  number: 10,
  name: 'bounds',
  holds: 'No process grows beyond the memory that the run allows, the counts of present clients return to where they began, and the gateway counts at least what clients saw.',
  * check (recording: Recording): Generator<Violation> {
    const limit = recording.run?.limits?.rssBytes ?? Infinity
    const worst = new Map<string, number>()
    for (const { process, rssBytes } of recording.samples) worst.set(process, Math.max(rssBytes, worst.get(process) ?? 0))
    for (const [process, bytes] of worst) {
      if (bytes > limit) yield { what: `${process} had ${Math.round(bytes / 2 ** 20)} MiB; ${Math.round(limit / 2 ** 20)} are allowed`, count: 1 }
    }
    yield * counters(recording)
  }
}
