// Measurements of this machine: sensors that read node:os and, on Linux, /proc. Measurements that a system does not offer
// are left out.

import { readFile, statfs } from 'node:fs/promises'
import os from 'node:os'

/** One state of the machine, as a backend would publish it. `data: null`: it no longer exists. */
export interface Measurement {
  readonly type: string
  readonly key: string
  readonly data: Readonly<Record<string, unknown>> | null
}

/** Reads measurements; `now` is monotonic ms. A sensor keeps earlier values itself if it needs them. */
export type Sensor = (now: number) => Measurement[] | Promise<Measurement[]>

export function cpu (): Sensor {
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

export function memory (): Measurement[] {
  const totalBytes = os.totalmem()
  const freeBytes = os.freemem()
  const usedBytes = totalBytes - freeBytes
  return [{ type: 'memory', key: 'total', data: { totalBytes, usedBytes, freeBytes, percent: percent(usedBytes / totalBytes) } }]
}

export function loadAverage (): Measurement[] {
  // Windows has no load average; Node returns three zeros there.
  if (process.platform === 'win32') return []
  const [one = 0, five = 0, fifteen = 0] = os.loadavg().map(value => round(value, 2))
  return [{ type: 'load', key: 'average', data: { one, five, fifteen, cores: os.cpus().length } }]
}

export function host (): Measurement[] {
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

export async function diskSpace (dir: string): Promise<Measurement[]> {
  const space = await statfs(dir).catch(() => null)
  if (space === null || space.blocks === 0) return []
  const usedBytes = (space.blocks - space.bfree) * space.bsize
  // Blocks reserved for root are neither used nor free; `df` leaves them out of the share too.
  const freeBytes = space.bavail * space.bsize
  return [{
    type: 'disk',
    key: 'data',
    data: { totalBytes: space.blocks * space.bsize, usedBytes, freeBytes, percent: percent(usedBytes / (usedBytes + freeBytes)) }
  }]
}

export function diskTraffic (): Sensor {
  const rates = new CounterRates()
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

/** The interfaces that are up, with rates if the system offers them. */
export function network (): Sensor {
  const rates = new CounterRates()
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

/** The process of the gateway. Its event-loop lag is part of the gateway's own metrics. */
export function ownProcess (): Sensor {
  let usage = process.cpuUsage()
  let at = performance.now()
  return now => {
    const { user, system } = process.cpuUsage(usage)
    const elapsedMs = now - at
    usage = process.cpuUsage()
    at = now
    const { rss, heapUsed, heapTotal } = process.memoryUsage()
    return [{
      type: 'process',
      key: 'gateway',
      data: {
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapTotalBytes: heapTotal,
        cpuPercent: elapsedMs > 0 ? percent((user + system) / 1000 / elapsedMs) : 0,
        uptimeSeconds: Math.round(process.uptime())
      }
    }]
  }
}

/** Counters that only rise, as rates per second. */
export class CounterRates {
  readonly #last = new Map<string, { readonly at: number, readonly counters: readonly number[] }>()

  /** @returns whole numbers per second; null the first time, and after a counter was reset */
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

type CpuTimes = os.CpuInfo['times']

/** Share of the time between two measurements that a core was busy, 0 to 1; null if no time has passed. */
export function shareBusy (before: CpuTimes | undefined, after: CpuTimes): number | null {
  if (before === undefined) return null
  const passed = sum(after) - sum(before)
  // On virtual machines idle time may go back a little.
  return passed <= 0 ? null : Math.min(1, Math.max(0, 1 - (after.idle - before.idle) / passed))
}

const sum = ({ user, nice, sys, idle, irq }: CpuTimes): number => user + nice + sys + idle + irq

/** Bytes by interface, from the text of /proc/net/dev. A line is `name: received, 7 more, sent, 7 more`. */
export function parseNetDev (text: string): Record<string, { receivedBytes: number, sentBytes: number }> {
  return Object.fromEntries(text.split('\n').flatMap(line => {
    const [, name, fields = ''] = /^\s*(\S+):\s*(\d.*)$/.exec(line) ?? []
    if (name === undefined) return []
    const numbers = fields.split(/\s+/).map(Number)
    return [[name, { receivedBytes: numbers[0] ?? 0, sentBytes: numbers[8] ?? 0 }]]
  }))
}

/** The kernel's unit, independent of the disk's own sector size (Documentation/admin-guide/iostats.rst). */
const SECTOR_BYTES = 512
/** Devices on top of other disks, which would be counted twice, and devices that are not disks. */
const NO_DISK = /^(loop|ram|zram|dm-|md|sr|fd)\d/

/** Bytes by whole disk, from the text of /proc/diskstats. */
export function parseDiskStats (text: string): Record<string, { readBytes: number, writtenBytes: number }> {
  const rows = text.split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(([, , name = '']) => name !== '' && !NO_DISK.test(name))
  const names = new Set(rows.map(([, , name]) => name))
  // sda1 is a partition of sda, nvme0n1p1 of nvme0n1.
  const isPartition = (name: string): boolean => [/\d+$/, /p\d+$/].some(end => end.test(name) && names.has(name.replace(end, '')))
  return Object.fromEntries(rows
    .filter(([, , name = '']) => !isPartition(name))
    .map(([, , name = '', , , read, , , , written]) => [name, { readBytes: Number(read) * SECTOR_BYTES, writtenBytes: Number(written) * SECTOR_BYTES }]))
}

/** The text of a file that exists on Linux only; empty elsewhere. */
const readProc = async (path: string): Promise<string> => await readFile(path, 'utf8').catch(() => '')

const percent = (share: number): number => round(share * 100, 1)

function round (value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
