// `npm run validate`: measures, reports and judges, in one command.
//
//     options.ts    the command line       workloads.ts   what is published
//     deployed.ts   a server elsewhere     judge.ts       whether the targets are met
//     findings.ts   what was found         terminal.ts, report.ts, page.ts (rows.ts, plot.ts, markup.ts)   as it is shown

import { relative, resolve } from 'node:path'
import type { ProfileName } from '../../profiles/index.ts'
import { measure, serverFor } from '../measure.ts'
import type { Measurement, Setting } from '../measure.ts'
import type { ServerProcess } from '../process.ts'
import { LOAD_CORE, pinned, SERVER_CORE } from '../cores.ts'
import { percent } from '../format.ts'
import { CannotMeasure, findDeployed, measureDeployed } from './deployed.ts'
import { disturbed, judge, savedCpu } from './judge.ts'
import { BadOption, HELP, parseOptions } from './options.ts'
import type { Options } from './options.ts'
import { writeReports } from './report.ts'
import { summary, wrap } from './terminal.ts'
import { workload } from './workloads.ts'
import type { Named } from './workloads.ts'

/** Spent on a measurement beside its warm-up and its window: start, quiet, arrival, end. */
const OVERHEAD_MS = 1800
/** With --quick, how long a server works before it is measured: one just started spends a good part of its CPU on compiling. */
const WARM_MS = 2000
/** Of a whole run: what was disturbed is measured again only where it ends within that. */
const LIMIT_MS = 570_000
const INTERRUPTED = 130
const TICK = { SSE: 'MONITOR_TICK_MS', WEBSOCKET: 'FLUSH_INTERVAL_MS' } as const

interface Step {
  readonly name: string
  readonly ms: number
  readonly run: () => Promise<Measurement>
}

const startedAt = performance.now()
const interruption = new AbortController()
/** The measurement of a deployed server: an interruption waits until its room is tidied up. Servers started here end with this process. */
let visit = Promise.resolve()

process.once('SIGINT', () => {
  say('\ninterrupted')
  interruption.abort()
  const end = (): never => process.exit(INTERRUPTED)
  process.once('SIGINT', end)
  setTimeout(end, 5000)
  visit.then(end, end)
})

try {
  const options = parseOptions(process.argv.slice(2))
  if (options === null) console.log(HELP)
  else process.exitCode = await validate(options)
} catch (error) {
  if (interruption.signal.aborted) await new Promise(() => {})
  const plain = error instanceof BadOption || error instanceof CannotMeasure
  console.error(`validate: ${plain || !(error instanceof Error) ? String((error as Error).message) : `it could not be measured. ${error.message}`}`)
  process.exitCode = 2
}
// Requests still in flight are abandoned.
process.exit()

async function validate (options: Options): Promise<0 | 1 | 2> {
  const workloads = options.only.map(name => workload(name, options.load))
  const steps = options.url === null ? localSteps(options, workloads) : await deployedSteps(options, options.url, workloads)
  const measurements: Measurement[] = []
  for (const [index, step] of steps.entries()) {
    const rest = steps.slice(index).reduce((sum, { ms }) => sum + ms, 0)
    say(`[${String(index + 1).padStart(2)}/${steps.length}] ${step.name} … ${left(rest)}`)
    const measurement = await step.run()
    measurements.push(measurement)
    say(`        ${told(measurement, measurements)}`)
    const again = disturbed(measurement) && isWhole(measurement) && !options.quick
    if (!again || performance.now() - startedAt + rest > LIMIT_MS) continue
    say('        somebody else was busy on the server\'s core: once more')
    const second = await step.run()
    // A loss in the second run counts even if the machine was disturbed.
    const quieter = !isWhole(second) || disturbance(second) <= disturbance(measurement)
    if (quieter) measurements[measurements.length - 1] = second
    say(`        ${quieter ? told(second, measurements) : 'no quieter, so the first one stays'}`)
  }
  const rank = ({ workload }: Measurement): number => workloads.findIndex(({ name }) => name === workload)
  const verdict = judge(measurements, name => workloads.some(known => known.name === name && known.saves))
  const report = {
    ...options,
    at: new Date(),
    command: ['npm run validate', ...process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : []].join(' '),
    pinned,
    seconds: (performance.now() - startedAt) / 1000,
    workloads,
    // Each followed by what it is compared with, rather than in the order of measuring.
    measurements: measurements.toSorted((a, b) => rank(a) - rank(b) || a.profile.localeCompare(b.profile) || Number(b.coalesced) - Number(a.coalesced)),
    verdict
  }
  const files = writeReports(report, resolve(options.out))
  console.log(`\n${summary(report)}\n\n${relative('.', files.html)}, ${relative('.', files.json)}\n\n${wrap(verdict.sentence)}`)
  return verdict.code
}

function localSteps ({ quick, viewers, load, warmUpMs, windowMs }: Options, workloads: readonly Named[]): Step[] {
  say(pinned ? `server on core ${SERVER_CORE}, publishers and viewers on core ${LOAD_CORE}` : 'fewer than two cores, or no taskset: server and load share cores')
  const deliveries = (['SSE', 'WEBSOCKET'] as readonly ProfileName[]).flatMap(profile => [{ profile, coalesced: false }, { profile, coalesced: true }])
  const settingOf = (profile: ProfileName, coalesced: boolean, workload: Named): Setting => ({
    profile,
    workload,
    warmUp: workload.warmUp,
    viewers,
    warmUpMs,
    windowMs: windowMs * workload.longer,
    settings: coalesced ? {} : { [TICK[profile]]: 0 },
    coalesced
  })
  // With --quick one server for each way of delivery: it is warm for all its measurements, and ends with this process.
  const warm = new Map<string, ServerProcess>()
  const warmServer = async (setting: Setting): Promise<ServerProcess> => {
    const way = `${setting.profile} ${setting.coalesced}`
    const server = warm.get(way) ?? await serverFor(setting)
    if (!warm.has(way)) await measure({ ...setting, warmUp: workload('mix', load).sources, warmUpMs: WARM_MS, windowMs: WARM_MS / 10, server })
    warm.set(way, server)
    return server
  }
  // Workloads that are not judged are left out to stay within a minute.
  return workloads.flatMap((workload, index) => deliveries.filter(({ coalesced }) => coalesced || workload.saves || !quick).map(({ profile, coalesced }) => {
    const setting = settingOf(profile, coalesced, workload)
    return {
      name: `${workload.name}, ${profile}${coalesced ? '' : ', each event at once'}`,
      ms: warmUpMs + setting.windowMs + OVERHEAD_MS + (quick && index === 0 ? WARM_MS : 0),
      run: async () => await measure(quick ? { ...setting, server: await warmServer(setting) } : setting)
    }
  }))
}

async function deployedSteps ({ metrics, viewers, warmUpMs, windowMs }: Options, url: string, workloads: readonly Named[]): Promise<Step[]> {
  const deployed = await findDeployed(url, metrics)
  say(`${deployed.base} runs the profile ${deployed.profile}${deployed.metrics === null ? '; its /metrics cannot be read from here' : ''}`)
  return workloads.map(workload => ({
    name: `${workload.name}, ${deployed.profile}`,
    ms: warmUpMs + windowMs * workload.longer + OVERHEAD_MS,
    async run () {
      const measurement = measureDeployed(deployed, {
        workload,
        viewers,
        warmUpMs,
        windowMs: windowMs * workload.longer,
        room: `validate-${Math.random().toString(36).slice(2, 12)}`,
        signal: interruption.signal
      })
      visit = measurement.then(() => {}, () => {})
      return await measurement
    }
  }))
}

function told (measurement: Measurement, measurements: readonly Measurement[]): string {
  const { latency, serverCpu, messages, wrongs } = measurement
  const saved = savedCpu(measurement, measurements)
  const wrong = Object.entries(wrongs).filter(([, count]) => count > 0).map(([name, count]) => `${count} ${name}`)
  return [
    latency === null ? 'nothing arrived' : `p95 ${latency.p95.toFixed(latency.p95 < 10 ? 1 : 0)} ms`,
    ...serverCpu === null ? [] : [`CPU ${percent(serverCpu)}${saved === null ? '' : `, ${percent(Math.abs(saved))} ${saved < 0 ? 'more' : 'less'} an event than at once`}`],
    `${Math.round(messages).toLocaleString('en')} messages/s`,
    wrong.length === 0 ? 'nothing lost' : wrong.join(', ')
  ].join(', ')
}

function isWhole ({ wrongs, troubles }: Measurement): boolean {
  return troubles.length === 0 && Object.values(wrongs).every(count => count === 0)
}

function disturbance ({ others, stolen }: Measurement): number {
  return Math.max(others ?? 0, stolen ?? 0)
}

function left (ms: number): string {
  return ms < 90_000 ? `${Math.ceil(ms / 1000)} s left` : `${Math.ceil(ms / 60_000)} min left`
}

/** Progress: on stderr, so that what is found can be kept by itself. */
function say (line: string): void {
  console.error(line)
}
