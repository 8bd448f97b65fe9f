// LevelDB under the embedded store. A damaged directory is repaired, or set aside if the repair fails: a damaged disk never
// keeps the gateway from starting. Problems that are not damage (in use, no permission, no space) are reported in a
// sentence and left alone: repairing or setting aside would make them worse.
//
// Facts about LevelDB 1.20 that this file rests on: a record torn at the end of its log is taken for a crash and silently
// dropped; a damaged one in the middle is dropped with a line in the file LOG; a missing CURRENT counts as "new" if
// creating is allowed, and everything old is deleted; repair archives a log even if it could not save it.

import { access, constants, mkdir, readdir, readFile, rename, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import type { Range } from './record.ts'
import type { Logger } from '../../core/logger.ts'

export type Change =
  | { readonly type: 'put', readonly key: string, readonly value: string }
  | { readonly type: 'del', readonly key: string }

/** What the store needs from a disk; `:memory:` implements it too. */
export interface Disk {
  /** Atomic. When it resolves, the changes are as durable as `sync` asks for. */
  write (changes: Change[]): Promise<void>
  get (keys: string[]): Promise<Array<string | undefined>>
  /** The first records of a range, as many as fit comfortably in memory; empty at its end. */
  read (range: Range, limit: number): Promise<Array<[key: string, value: string]>>
  close (): Promise<void>
}

export interface DiskOptions {
  readonly dir: string
  /** One fsync per write. */
  readonly sync: boolean
  /** Milliseconds since 1970, for the name of a directory set aside. */
  readonly wall: () => number
  readonly log: Logger
  /** The error that closed it before. If that was damage, the directory is repaired before it is opened. */
  readonly since?: unknown
}

/** Bytes read at once. */
const STEP_BYTES = 1024 * 1024
const LEVELDB_FILE = /^(MANIFEST-\d+|\d+\.(log|ldb|sst))$/

/**
 * Opens the directory and reads it. Damage that `load` finds is repaired like damage that prevents opening.
 * @throws Error with a sentence for the operator
 */
export async function openDisk<T> (options: DiskOptions, load: (disk: Disk) => Promise<T>): Promise<{ disk: Disk, loaded: T }> {
  const { dir, since } = options
  await prepare(dir)
  let damage: unknown = codeOf(since) === 'LEVEL_CORRUPTION' ? since : null
  for (const remedy of damage === null ? [null, repair, setAside] : [repair, setAside]) {
    try {
      if (remedy !== null) await remedy(options, damage)
      return await openOnce(options, load)
    } catch (error) {
      if (error instanceof DiskError) throw error
      const why = obstacle(error, dir)
      if (why !== null) throw new DiskError(why, { cause: error })
      if (!isDamage(error, remedy !== null)) throw error
      damage = error
    }
  }
  throw new DiskError(`DATA_DIR ${dir} cannot be opened, not even empty: ${textOf(damage)}`, { cause: damage })
}

/** The store cannot be used, and no repair would help; the message is for the operator. */
export class DiskError extends Error {}

async function openOnce<T> (options: DiskOptions, load: (disk: Disk) => Promise<T>): Promise<{ disk: Disk, loaded: T }> {
  const { dir, log } = options
  const createIfMissing = !(await readdir(dir)).some(name => LEVELDB_FILE.test(name))
  const level = new ClassicLevel(dir, { createIfMissing })
  await level.open()
  await reportDropped(dir, log)
  const disk = diskOf(level, options.sync)
  try {
    return { disk, loaded: await load(disk) }
  } catch (error) {
    await disk.close()
    throw error
  }
}

function diskOf (level: ClassicLevel, sync: boolean): Disk {
  return {
    write (changes) {
      // Chained: a batch given as an array takes ten times as long on the event loop.
      const batch = level.batch()
      for (const change of changes) {
        if (change.type === 'put') batch.put(change.key, change.value)
        else batch.del(change.key)
      }
      return batch.write({ sync })
    },
    get: keys => level.getMany(keys),
    async read ({ from, to }, limit) {
      const iterator = level.iterator({ gte: from, lt: to, highWaterMarkBytes: STEP_BYTES })
      try {
        return await iterator.nextv(limit)
      } finally {
        await iterator.close()
      }
    },
    close: () => level.close()
  }
}

async function prepare (dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true })
    await access(dir, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new DiskError(obstacle(error, dir) ?? `DATA_DIR ${dir} cannot be used: ${textOf(error)}`, { cause: error })
  }
}

async function repair ({ dir, log }: DiskOptions, damage: unknown): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  const used = await bytesIn(dir)
  if (bavail * bsize < used) {
    throw new DiskError(`DATA_DIR ${dir} is damaged (${textOf(damage)}) and its disk is too full to repair it: free ${used} bytes and start again`)
  }
  log.warn({ dir, damage: textOf(damage) }, 'the store is damaged; repairing it')
  await ClassicLevel.repair(dir)
  await reportDropped(dir, log)
  log.warn({ dir }, 'the store was repaired; files that could not be used are kept in its directory "lost"')
}

/** A mount point cannot be renamed: its content then moves into a directory inside it. */
async function setAside ({ dir, wall, log }: DiskOptions, damage: unknown): Promise<void> {
  const stamp = new Date(wall()).toISOString().replace(/[:.]/g, '-')
  let aside = `${dir}.damaged-${stamp}`
  try {
    await rename(dir, aside)
    await mkdir(dir)
  } catch {
    aside = join(dir, `damaged-${stamp}`)
    const names = (await readdir(dir)).filter(name => name !== 'lost+found')
    await mkdir(aside)
    for (const name of names) await rename(join(dir, name), join(aside, name))
  }
  log.error({ dir, aside, damage: textOf(damage) }, `the store could not be repaired: it was moved to ${aside}, and the gateway starts with an empty one`)
}

/** LevelDB reports dropped records only in its file LOG, which it starts again at each opening. */
async function reportDropped (dir: string, log: Logger): Promise<void> {
  const text = await readFile(join(dir, 'LOG'), 'utf8').catch(() => '')
  const lines = text.split('\n').filter(line => /dropping \d+ bytes|ignoring|dropped:/i.test(line))
  if (lines.length === 0) return
  const bytes = lines.reduce((sum, line) => sum + Number(/dropping (\d+) bytes/.exec(line)?.[1] ?? 0), 0)
  log.warn({ dir, bytes, lines: lines.slice(0, 10) }, 'the store dropped records that it could not read')
}

async function bytesIn (dir: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(dir)) {
    const file = await stat(join(dir, name))
    if (file.isFile()) bytes += file.size
  }
  return bytes
}

/** After a repair any error of LevelDB is damage. Before, only what it calls corruption, a missing file, or an unreadable table. */
function isDamage (error: unknown, repaired: boolean): boolean {
  const code = String(codeOf(error))
  return code === 'LEVEL_CORRUPTION' || (repaired && code.startsWith('LEVEL_')) ||
    /does not exist|no such file|cannot find|\.(ldb|sst): /i.test(textOf(error))
}

/** @returns a sentence if the cause lies outside the data, else null */
function obstacle (error: unknown, dir: string): string | null {
  const text = textOf(error)
  const code = codeOf(error)
  if (code === 'LEVEL_LOCKED') {
    return `DATA_DIR ${dir} is in use by another running Signalbox: stop that one, or give this one a DATA_DIR of its own`
  }
  if (code === 'EEXIST' || code === 'ENOTDIR' || /not a directory/i.test(text)) {
    return `DATA_DIR ${dir} is no directory, or lies below a file: set DATA_DIR to a directory`
  }
  if (/permission denied|operation not permitted|read-only file system|access is denied/i.test(text)) {
    return `DATA_DIR ${dir} cannot be written: give the user who runs Signalbox the right to, or set DATA_DIR to another directory (${text})`
  }
  if (/no space left|quota exceeded|file too large|not enough space/i.test(text)) {
    return `DATA_DIR ${dir} has no space left: free some and start again (${text})`
  }
  if (/too many open files|input\/output error|cannot allocate/i.test(text)) {
    return `DATA_DIR ${dir} cannot be read just now (${text})`
  }
  return null
}

/** The original error: abstract-level wraps that of LevelDB. */
const innermost = (error: unknown): Error & { code?: unknown } =>
  error instanceof Error ? (error.cause instanceof Error ? innermost(error.cause) : error) : new Error(String(error))

const codeOf = (error: unknown): unknown => innermost(error).code
export const textOf = (error: unknown): string => innermost(error).message
