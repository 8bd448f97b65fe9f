// The command line of `npm run validate`.

import { parseArgs } from 'node:util'
import { wrap } from './terminal.ts'
import { NAMES, workload } from './workloads.ts'
import type { Name } from './workloads.ts'

export interface Options {
  readonly quick: boolean
  readonly only: readonly Name[]
  readonly url: string | null
  readonly metrics: string | undefined
  readonly viewers: number
  readonly load: number
  readonly warmUpMs: number
  readonly windowMs: number
  readonly out: string
}

/** The command line is wrong; the message is a sentence. */
export class BadOption extends Error {}

const VIEWERS = { local: 100, deployed: 40 }
/** A deployed server has other work to do. */
const LOAD = { local: 1, deployed: 0.2 }
const SECONDS = { full: 20, quick: 1.2 }

/** @returns null where help is asked for. @throws BadOption */
export function parseOptions (args: readonly string[]): Options | null {
  const { values } = parse(args)
  if (values.help === true) return null
  const quick = values.quick === true
  const where = values.url === undefined ? 'local' : 'deployed'
  const window = number('--window', values.window, quick ? SECONDS.quick : SECONDS.full, 0.2, 120) * 1000
  const only = values.only?.split(',').map(name => name.trim()) ?? NAMES
  const isName = (name: string): name is Name => NAMES.some(known => known === name)
  if (!only.every(isName)) throw new BadOption(`--only takes ${NAMES.join(', ')}, with commas between them.`)
  if (values.metrics !== undefined && where === 'local') throw new BadOption('--metrics says where the figures of the server of --url are.')
  return {
    quick,
    only,
    url: values.url === undefined ? null : address('--url', values.url),
    metrics: values.metrics === undefined ? undefined : address('--metrics', values.metrics),
    viewers: number('--viewers', values.viewers, VIEWERS[where], 1, 2000, true),
    load: number('--load', values.load, LOAD[where], 0.01, 20),
    warmUpMs: Math.min(2000, window / 3),
    windowMs: window,
    out: values.out ?? 'reports'
  }
}

function parse (args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        only: { type: 'string' },
        url: { type: 'string' },
        metrics: { type: 'string' },
        viewers: { type: 'string' },
        load: { type: 'string' },
        window: { type: 'string' },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h' }
      }
    })
  } catch (error) {
    throw new BadOption(`${(error as Error).message} (--help tells what there is)`)
  }
}

function number (name: string, text: string | undefined, usual: number, least: number, most: number, whole = false): number {
  const value = text === undefined ? usual : Number(text)
  if (text?.trim() === '' || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) throw new BadOption(`${name} takes a ${whole ? 'whole ' : ''}number from ${least} to ${most}.`)
  return value
}

function address (name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !/^https?:$/.test(url.protocol)) throw new BadOption(`${name} takes an address such as https://signalbox.example`)
  if (url.username !== '' || url.password !== '') throw new BadOption(`${name} takes no user and password: they would appear in the report.`)
  return url.href.replace(/[/?#]+$/, '')
}

export const HELP = `signalbox validate [options]          in a checkout: npm run validate -- [options]

${wrap('Measures Signalbox against its targets. The same work is delivered unbundled (each event at once), by the profile SSE and by the profile WEBSOCKET. Measured are latency, event-loop lag, server CPU, messages, bytes and backlog, and whether events were lost, came twice or are not the newest value. Writes reports/validation.html and reports/validation.json.')}

  --quick            takes a minute (otherwise seven to ten); for an impression
  --only a,b         only these workloads:
${NAMES.map(name => wrap(`${name}: ${workload(name, 1).what}`, 75).replace(/^/gm, ' '.repeat(25))).join('\n')}
  --url <address>    measures a deployed server from here instead, over the profile it runs. Publishes
                     to a new room and deletes the room's values at the end
  --metrics <address> where the /metrics of that server are, if not at <url>/metrics
  --viewers <n>      viewers in the room (${VIEWERS.local}; with --url ${VIEWERS.deployed}, because MAX_ROOM_SIZE is 50)
  --load <factor>    multiplies events per second, except in sparse (${LOAD.local}; with --url ${LOAD.deployed})
  --window <seconds> how long each measurement lasts (${SECONDS.full}; with --quick ${SECONDS.quick})
  --out <folder>     where the reports go (reports)

Examples:
  signalbox validate --quick
  signalbox validate --url https://signalbox.example

Exit code: 0 all targets met, 1 a target was missed, 2 not measured, or the machine was too busy to judge,
130 interrupted.`
