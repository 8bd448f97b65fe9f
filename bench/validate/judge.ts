// Whether the targets are met. Lost, repeated or stale events count even on a disturbed machine; figures that need a quiet
// machine count only if it was quiet.

import { percent } from '../format.ts'
import type { Measurement } from '../measure.ts'

export const TARGETS = { p95Ms: 150, lagP99Ms: 30, cpuSaved: 0.3, backlogSeconds: 60 } as const

/** Above this share of its core the load itself may have been measured. */
const LOAD_LIMIT = 0.85
/** Above this share of the server's core other processes were measured too. */
const OTHERS_LIMIT = 0.1
/** Above this share of all cores, where the server's own is not known, something waited for a core. */
const CROWD_LIMIT = 0.9
/** A window shorter than this, in seconds, tells a share of CPU only to within this much. */
const SHORT_SECONDS = 5
const SHORT_ERROR = 0.15
/** Requests that start later than this (p95, ms) had to wait for earlier answers: the server did not keep up. */
const LATE_LIMIT_MS = 50

interface Miss {
  readonly of: string
  /** What was missed, as a clause. */
  readonly what: string
  /** Why another run may give another result, as a clause; null: it is certain. */
  readonly doubt: string | null
}

export interface Verdict {
  /** The process's exit code: 0 all met, 1 missed, 2 cannot be judged. */
  readonly code: 0 | 1 | 2
  readonly sentence: string
  readonly misses: readonly Miss[]
  /** Notes that a reader needs to judge the figures. */
  readonly caveats: readonly string[]
}

/** @param saves whether bundling has anything to save in that workload */
export function judge (measurements: readonly Measurement[], saves: (workload: string) => boolean): Verdict {
  const misses = measurements.flatMap(measurement => missesOf(measurement, saves(measurement.workload) ? plainOf(measurement, measurements) : undefined))
  const unknown = measurements.some(({ serverCpu }) => serverCpu === null)
  const caveats = [
    ...measurements.flatMap(caveatsOf),
    ...unknown ? ['The server\'s figures are not available: event-loop lag, CPU and backlog are not judged. --metrics gives the address of /metrics.'] : []
  ]
  const told = (which: readonly Miss[]): string => which.map(({ of, what }) => `${of}: ${what}`).join('; ')
  const certain = misses.filter(({ doubt }) => doubt === null)
  const verdict = (code: 0 | 1 | 2, sentence: string): Verdict => ({ code, sentence, misses, caveats })
  if (certain.length > 0) return verdict(1, `MISSED. ${told(certain)}.`)
  if (misses.length > 0) return verdict(2, `NOT MEASURED: ${[...new Set(misses.map(({ doubt }) => doubt))].join(', and ')}. ${told(misses)}. ${misses.some(({ doubt }) => doubt === BUSY) ? 'Run it again when nothing else is busy.' : 'Run it without --quick.'}`)
  if (measurements.length === 0) return verdict(2, 'NOT MEASURED: there is nothing to judge.')
  if (unknown) return verdict(2, 'NOT MEASURED in full: latency is met and nothing lost, but the server\'s own figures are not available.')
  return verdict(0, `MET. ${praise(measurements, saves)}`)
}

/** By how much the targets are met. */
function praise (measurements: readonly Measurement[], saves: (workload: string) => boolean): string {
  const coalesced = measurements.filter(({ coalesced }) => coalesced)
  const most = (figure: (of: Measurement) => number | null): number => Math.max(...coalesced.map(of => figure(of) ?? 0))
  const saved = coalesced.flatMap(of => saves(of.workload) ? savedCpu(of, measurements) ?? [] : [])
  return [
    `In ${coalesced.length} measurement${coalesced.length === 1 ? '' : 's'} p95 was at most ${most(({ latency }) => latency?.p95 ?? null).toFixed(0)} ms`,
    `event-loop lag p99 ${most(({ lagP99Ms }) => lagP99Ms).toFixed(1)} ms`,
    `backlog ${most(({ backlogSeconds }) => backlogSeconds).toFixed(1)} s`,
    ...saved.length === 0 ? [] : [`CPU at least ${percent(Math.min(...saved))} less than unbundled`]
  ].join(', ') + '; nothing was lost, came twice or was stale.'
}

/** The same work with each event sent at once, over the same transport. */
export const plainOf = ({ profile, workload, coalesced }: Measurement, measurements: readonly Measurement[]): Measurement | undefined => coalesced
  ? measurements.find(other => !other.coalesced && other.profile === profile && other.workload === workload)
  : undefined

/** Server CPU for an event published, in seconds. */
export const cpuPerEvent = ({ serverCpu, published }: Measurement): number | null => serverCpu === null || published === 0 ? null : serverCpu / published

/** Share of unbundled delivery's CPU for an event published; null where there is nothing to compare with. */
export function savedCpu (measurement: Measurement, measurements: readonly Measurement[]): number | null {
  const plain = plainOf(measurement, measurements)
  const [less, more] = [cpuPerEvent(measurement), plain === undefined ? null : cpuPerEvent(plain)]
  return less === null || more === null ? null : 1 - less / more
}

/** Whether requests could start when they were due. */
const keptUp = ({ late }: Measurement): boolean => late === null || late.p95 <= LATE_LIMIT_MS

const BUSY = 'the machine was not quiet enough to judge'

/** Somebody else was on the server's core, or on all. */
export const disturbed = ({ others, stolen, crowd }: Measurement): boolean => Math.max(others ?? 0, stolen ?? 0) > OTHERS_LIMIT || (crowd ?? 0) > CROWD_LIMIT

export const nameOf = ({ profile, workload, coalesced }: Measurement): string => `${workload}, ${profile}${coalesced ? '' : ' at once'}`

/** @param plain what its CPU is judged against; undefined: nothing */
function missesOf (measurement: Measurement, plain: Measurement | undefined): Miss[] {
  const { coalesced, latency, lagP99Ms, backlogSeconds, wrongs, troubles } = measurement
  const of = nameOf(measurement)
  const wrong = [
    ...wrongs.lost > 0 ? [`${wrongs.lost} lost`] : [],
    ...wrongs.twice > 0 ? [`${wrongs.twice} came twice`] : [],
    ...wrongs.disorder > 0 ? [`${wrongs.disorder} out of order`] : [],
    ...wrongs.stale > 0 ? [`${wrongs.stale} last values wrong`] : [],
    ...new Set(troubles)
  ].map(what => ({ of, what, doubt: null }))
  // Without bundling there is no target but that everything arrives.
  if (!coalesced) return wrong
  const doubtOf = (of: Measurement): string | null => disturbed(of) || of.loadCpu > LOAD_LIMIT ? BUSY : null
  const doubt = doubtOf(measurement)
  const saved = plain === undefined ? null : savedCpu(measurement, [plain])
  const beyond = (value: number | null, limit: number, what: (value: number) => string): Miss[] =>
    value !== null && value >= limit ? [{ of, what: what(value), doubt }] : []
  return [
    ...wrong,
    ...latency === null ? [{ of, what: 'nothing arrived', doubt: null }] : [],
    ...beyond(latency?.p95 ?? null, TARGETS.p95Ms, value => `p95 ${value.toFixed(0)} ms, not below ${TARGETS.p95Ms}`),
    ...beyond(lagP99Ms, TARGETS.lagP99Ms, value => `event-loop lag p99 ${value.toFixed(1)} ms, not below ${TARGETS.lagP99Ms}`),
    ...beyond(backlogSeconds, TARGETS.backlogSeconds, value => `backlog ${value.toFixed(0)} s, not below ${TARGETS.backlogSeconds}`),
    ...saved !== null && saved < TARGETS.cpuSaved
      ? [{
          of,
          what: `CPU ${percent(saved)} less than at once, not ${percent(TARGETS.cpuSaved)}`,
          doubt: doubt ?? (plain !== undefined && disturbed(plain) ? BUSY : measurement.seconds < SHORT_SECONDS && saved > TARGETS.cpuSaved - SHORT_ERROR ? `a window of ${measurement.seconds.toFixed(1)} s is too short to tell` : null)
        }]
      : []
  ]
}

function caveatsOf (measurement: Measurement): string[] {
  const { loadCpu, others, stolen, crowd, offered, published, late, coalesced } = measurement
  const of = nameOf(measurement)
  return [
    ...loadCpu > LOAD_LIMIT ? [`${of}: publishers and viewers used ${percent(loadCpu)} of their core, so they may be what was measured.`] : [],
    ...(others ?? 0) > OTHERS_LIMIT ? [`${of}: others used ${percent(others as number)} of the server's core.`] : [],
    ...(stolen ?? 0) > OTHERS_LIMIT ? [`${of}: the host took ${percent(stolen as number)} of ${crowd === null ? 'the server\'s core' : 'this machine'}.`] : [],
    ...(crowd ?? 0) > CROWD_LIMIT ? [`${of}: this machine was busy to ${percent(crowd as number)}.`] : [],
    ...keptUp(measurement)
      ? []
      : [`${of}: requests waited at their publishers for earlier answers (p95 ${Math.round(late?.p95 ?? 0)} ms, not in its latency); ${Math.round(published)} of ${Math.round(offered)} events/s were taken${coalesced ? '' : ', and its CPU counts for those'}.`]
  ]
}
