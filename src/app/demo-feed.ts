// This machine's own figures, published to the room `machine` as any backend would publish them: through
// `gateway.publish`, never around it. So a first look at the gateway shows real state, real facts, and what
// bundling makes of them. What a system does not offer is left out.
//
// Three steps: sources read figures (keyed, so the newest wins), the watch tells from them what is worth a
// sentence (a fact, type `notice`), the plugin publishes both in one go.

import { readFile, statfs } from 'node:fs/promises'
import os from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Gateway } from '../core/gateway.ts'

export interface DemoFeedOptions {
  readonly gateway: Gateway
  /** The disk this directory lies on is measured; default the working directory. */
  readonly dataDir?: string
}

/** One state of the machine, without its room. `data: null` where it is no more. */
export interface Figure {
  readonly type: string
  readonly key: string
  readonly data: Readonly<Record<string, unknown>> | null
}

/** Reads figures; `now` is monotonic ms. Keeps for itself what it needs to compare with. */
type Source = (now: number) => Figure[] | Promise<Figure[]>

const ROOM = 'machine'
const STEP_MS = 500
const LAG_RESOLUTION_MS = 10

/** A core that works this hard for so long is told of, and again when it is calm. */
const CORE_BUSY = { above: 90, below: 70, forMs: 3000 }
/** Load per core. */
const LOAD_HIGH = { above: 1, below: 0.7, forMs: 0 }
const MEMORY_STEP = 5
/** A figure that trembles around a step is told of once. */
const MEMORY_SLACK = 1

export default fp(async (app: FastifyInstance, { gateway, dataDir = '.' }: DemoFeedOptions) => {
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
  const sources: Array<{ everySteps: number, read: Source }> = [
    { everySteps: 1, read: cpu() },
    { everySteps: 1, read: memory },
    { everySteps: 2, read: ownProcess(lag) },
    { everySteps: 2, read: network() },
    { everySteps: 2, read: diskTraffic() },
    { everySteps: 4, read: load },
    { everySteps: 4, read: () => diskSpace(dataDir) },
    { everySteps: 10, read: host }
  ]
  const watch = new Watch()
  let step = 0
  let publishing = false
  let failing = false

  async function publishFigures (): Promise<void> {
    // A slow store makes the feed slower. A drain is no trouble: it ends the feed.
    if (publishing || gateway.trouble?.code === 'DRAINING') return
    publishing = true
    try {
      const now = performance.now()
      const due = sources.filter(({ everySteps }) => step % everySteps === 0)
      const first = step++ === 0
      const figures = (await Promise.all(due.map(({ read }) => read(now)))).flat()
      const notices = watch.look(figures, now)
      if (first) notices.unshift(`the feed of ${os.hostname()} began (process ${process.pid})`)
      await gateway.publish([
        ...figures.map(figure => ({ room: ROOM, ...figure })),
        ...notices.map(text => ({ room: ROOM, type: 'notice', data: { text } }))
      ])
      if (failing) app.log.info('the demo feed publishes again')
      failing = false
    } catch (err) {
      // These figures are lost, and no loss: the next ones are half a second away.
      if (!failing) app.log.warn({ err }, 'the demo feed cannot publish; it goes on trying')
      failing = true
    } finally {
      publishing = false
    }
  }

  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    lag.enable()
    timer = setInterval(publishFigures, STEP_MS).unref()
  })
  app.addHook('preClose', async () => {
    clearInterval(timer)
    lag.disable()
  })
}, { name: 'demo-feed' })

function cpu (): Source {
  let last: os.CpuInfo[] = []
  return () => {
    const cpus = os.cpus()
    const shares = cpus.map((core, index) => shareBusy(last[index]?.times, core.times))
    last = cpus
    const known = shares.filter(share => share !== null)
    if (known.length === 0) return []
    const total = known.reduce((sum, share) => sum + share, 0) / known.length
    return [
      { type: 'cpu', key: 'total', data: { percent: percent(total), cores: cpus.length } },
      ...shares.flatMap((share, index) => share === null ? [] : [{ type: 'cpu', key: `core-${index}`, data: { percent: percent(share) } }])
    ]
  }
}

function memory (): Figure[] {
  const totalBytes = os.totalmem()
  const freeBytes = os.freemem()
  const usedBytes = totalBytes - freeBytes
  return [{ type: 'memory', key: 'total', data: { totalBytes, usedBytes, freeBytes, percent: percent(usedBytes / totalBytes) } }]
}

function load (): Figure[] {
  // Windows has no such thing; there node says three zeros.
  if (process.platform === 'win32') return []
  const [one = 0, five = 0, fifteen = 0] = os.loadavg().map(value => round(value, 2))
  return [{ type: 'load', key: 'average', data: { one, five, fifteen, cores: os.cpus().length } }]
}

function host (): Figure[] {
  return [{
    type: 'host',
    key: 'this',
    data: {
      name: os.hostname(),
      system: `${os.type()} ${os.release()}`,
      processor: os.cpus()[0]?.model.trim() ?? os.arch(),
      uptimeSeconds: Math.round(os.uptime())
    }
  }]
}

async function diskSpace (dir: string): Promise<Figure[]> {
  const space = await statfs(dir).catch(() => null)
  if (space === null || space.blocks === 0) return []
  const usedBytes = (space.blocks - space.bfree) * space.bsize
  // What root keeps to itself is neither used nor free, so `df` leaves it out of the share too.
  const freeBytes = space.bavail * space.bsize
  return [{
    type: 'disk',
    key: 'data',
    data: { totalBytes: space.blocks * space.bsize, usedBytes, freeBytes, percent: percent(usedBytes / (usedBytes + freeBytes)) }
  }]
}

function diskTraffic (): Source {
  const rates = new Rates()
  return async now => {
    const disks = parseDiskStats(await readProc('/proc/diskstats'))
    return Object.entries(disks).flatMap(([key, { readBytes, writtenBytes }]) => {
      const perSecond = rates.next(key, [readBytes, writtenBytes], now)
      if (perSecond === null) return []
      const [readPerSecond, writtenPerSecond] = perSecond
      return [{ type: 'disk-traffic', key, data: { readPerSecond, writtenPerSecond } }]
    })
  }
}

/** The interfaces that are up, with rates where the system tells. */
function network (): Source {
  const rates = new Rates()
  let last: string[] = []
  return async now => {
    const counted = parseNetDev(await readProc('/proc/net/dev'))
    const up = Object.entries(os.networkInterfaces())
      .filter(([, addresses]) => addresses?.some(({ internal }) => !internal))
      .map(([name]) => name)
    const gone = last.filter(name => !up.includes(name))
    last = up
    for (const name of gone) rates.forget(name)
    return [
      ...up.map(key => {
        const counters = counted[key]
        const perSecond = counters === undefined ? null : rates.next(key, [counters.receivedBytes, counters.sentBytes], now)
        const [receivedPerSecond, sentPerSecond] = perSecond ?? []
        return { type: 'network', key, data: { receivedPerSecond, sentPerSecond } }
      }),
      ...gone.map(key => ({ type: 'network', key, data: null }))
    ]
  }
}

function ownProcess (lag: ReturnType<typeof monitorEventLoopDelay>): Source {
  let usage = process.cpuUsage()
  let at = performance.now()
  return now => {
    const { user, system } = process.cpuUsage(usage)
    const elapsedMs = now - at
    usage = process.cpuUsage()
    at = now
    const { rss, heapUsed, heapTotal } = process.memoryUsage()
    // An empty histogram, as right after a reset, says NaN.
    const lagMs = Math.max(0, lag.percentile(99) / 1e6 - LAG_RESOLUTION_MS) || 0
    lag.reset()
    return [{
      type: 'process',
      key: 'gateway',
      data: {
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapTotalBytes: heapTotal,
        cpuPercent: elapsedMs > 0 ? percent((user + system) / 1000 / elapsedMs) : 0,
        lagP99Ms: round(lagMs, 1),
        uptimeSeconds: Math.round(process.uptime())
      }
    }]
  }
}

/** Tells from the figures what is worth a sentence. */
export class Watch {
  readonly #cores = new Map<string, Threshold>()
  readonly #load = new Threshold(LOAD_HIGH)
  #memory: number | null = null
  /** Null until the interfaces have been seen once: those that were up already are no news. */
  #interfaces: Set<string> | null = null

  /** @returns sentences, none where nothing notable has changed */
  look (figures: readonly Figure[], now: number): string[] {
    const notices = figures.flatMap(({ type, key, data }) => {
      if (type === 'cpu' && data !== null && key !== 'total') return this.#core(key, data.percent as number, now)
      if (type === 'load' && data !== null) return this.#average(data as { one: number, cores: number }, now)
      if (type === 'memory' && data !== null) return this.#step(data.percent as number)
      if (type === 'network') return this.#interface(key, data !== null)
      return []
    })
    if (this.#interfaces === null && figures.length > 0) {
      this.#interfaces = new Set(figures.filter(({ type, data }) => type === 'network' && data !== null).map(({ key }) => key))
    }
    return notices
  }

  #core (key: string, value: number, now: number): string[] {
    const threshold = this.#cores.get(key) ?? new Threshold(CORE_BUSY)
    this.#cores.set(key, threshold)
    const name = key.replace('-', ' ')
    switch (threshold.next(value, now)) {
      case 'above': return [`${name} has been over ${CORE_BUSY.above} % busy for ${CORE_BUSY.forMs / 1000} s`]
      case 'below': return [`${name} is calm again (${value} %)`]
      default: return []
    }
  }

  #average ({ one, cores }: { one: number, cores: number }, now: number): string[] {
    switch (this.#load.next(one / Math.max(1, cores), now)) {
      case 'above': return [`load rose to ${one}: more work than the ${cores} cores can do at once`]
      case 'below': return [`load is down to ${one}`]
      default: return []
    }
  }

  #step (value: number): string[] {
    const last = this.#memory
    this.#memory = stepOf(value, last, MEMORY_STEP, MEMORY_SLACK)
    if (last === null || this.#memory === last) return []
    return this.#memory > last
      ? [`memory in use rose over ${this.#memory} %`]
      : [`memory in use fell below ${this.#memory + MEMORY_STEP} %`]
  }

  #interface (key: string, up: boolean): string[] {
    if (this.#interfaces === null || this.#interfaces.has(key) === up) return []
    if (up) this.#interfaces.add(key)
    else this.#interfaces.delete(key)
    return [`network ${key} is ${up ? 'up' : 'down'}`]
  }
}

/** A limit that is told of once it has been passed for a while, and again only after the value has come well back. */
export class Threshold {
  readonly #limits: { readonly above: number, readonly below: number, readonly forMs: number }
  #isAbove = false
  #since: number | null = null

  constructor (limits: { above: number, below: number, forMs: number }) {
    this.#limits = limits
  }

  /** @returns what has changed with this value; null for nothing */
  next (value: number, now: number): 'above' | 'below' | null {
    const { above, below, forMs } = this.#limits
    if (this.#isAbove) {
      if (value >= below) return null
      this.#isAbove = false
      this.#since = null
      return 'below'
    }
    this.#since = value > above ? this.#since ?? now : null
    if (this.#since === null || now - this.#since < forMs) return null
    this.#isAbove = true
    return 'above'
  }
}

/** Counters that only rise, as rates per second. */
export class Rates {
  readonly #last = new Map<string, { readonly at: number, readonly counters: readonly number[] }>()

  /** @returns whole numbers per second; null the first time, and where a counter began anew */
  next (name: string, counters: readonly number[], now: number): number[] | null {
    const last = this.#last.get(name)
    this.#last.set(name, { at: now, counters })
    if (last === undefined || now <= last.at) return null
    const rises = counters.map((counter, index) => counter - (last.counters[index] ?? counter))
    return rises.some(rise => rise < 0) ? null : rises.map(rise => Math.round(rise * 1000 / (now - last.at)))
  }

  forget (name: string): void {
    this.#last.delete(name)
  }
}

/** The step a value stands on. It leaves the last one upwards at the next, downwards only with some slack below. */
export function stepOf (value: number, last: number | null, step: number, slack: number): number {
  const here = Math.floor(value / step) * step
  return last !== null && here < last && value >= last - slack ? last : here
}

type CpuTimes = os.CpuInfo['times']

/** Share of the time between two readings that a core was busy, 0 to 1; null where no time has passed. */
export function shareBusy (before: CpuTimes | undefined, after: CpuTimes): number | null {
  if (before === undefined) return null
  const passed = sum(after) - sum(before)
  // A virtual machine's idle time is known to step back a little.
  return passed <= 0 ? null : Math.min(1, Math.max(0, 1 - (after.idle - before.idle) / passed))
}

const sum = ({ user, nice, sys, idle, irq }: CpuTimes): number => user + nice + sys + idle + irq

/** Bytes by interface, from the text of /proc/net/dev: `name: received, 7 more, sent, 7 more`. */
export function parseNetDev (text: string): Record<string, { receivedBytes: number, sentBytes: number }> {
  return Object.fromEntries(text.split('\n').flatMap(line => {
    const [, name, fields = ''] = /^\s*(\S+):\s*(\d.*)$/.exec(line) ?? []
    if (name === undefined) return []
    const numbers = fields.split(/\s+/).map(Number)
    return [[name, { receivedBytes: numbers[0] ?? 0, sentBytes: numbers[8] ?? 0 }]]
  }))
}

/** The kernel counts in these, whatever the disk's own sectors are (Documentation/admin-guide/iostats.rst). */
const SECTOR_BYTES = 512
/** What lies on other disks or in memory would be counted twice, or is no disk. */
const NO_DISK = /^(loop|ram|zram|dm-|md|sr|fd)\d/

/** Bytes by whole disk, from the text of /proc/diskstats. */
export function parseDiskStats (text: string): Record<string, { readBytes: number, writtenBytes: number }> {
  const rows = text.split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(([, , name = '']) => name !== '' && !NO_DISK.test(name))
  const names = new Set(rows.map(([, , name]) => name))
  // sda1 is a part of sda, nvme0n1p1 one of nvme0n1.
  const isPart = (name: string): boolean => [/\d+$/, /p\d+$/].some(end => end.test(name) && names.has(name.replace(end, '')))
  return Object.fromEntries(rows
    .filter(([, , name = '']) => !isPart(name))
    .map(([, , name = '', , , read, , , , written]) => [name, { readBytes: Number(read) * SECTOR_BYTES, writtenBytes: Number(written) * SECTOR_BYTES }]))
}

/** The text of a file that only Linux has; empty elsewhere. */
const readProc = async (path: string): Promise<string> => await readFile(path, 'utf8').catch(() => '')

const percent = (share: number): number => round(share * 100, 1)

function round (value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
