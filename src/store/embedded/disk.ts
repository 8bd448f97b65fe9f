// LevelDB under the embedded store. A damaged directory is repaired, or set aside if the repair fails: a damaged disk never
// keeps the gateway from starting. Problems that are not damage (in use, no permission, no space) are reported in a
// sentence and left alone: repairing or setting aside would make them worse.
//
// Facts about LevelDB 1.20 that this file rests on: a record torn at the end of its log is taken for a crash and silently
// dropped; a damaged one in the middle is dropped with a line in the file LOG; a log that cannot be read counts as empty, and is
// deleted; a missing CURRENT counts as "new" if creating is allowed, and everything old is deleted; repair archives a log
// even if it could not save it. Therefore all files are read or kept before LevelDB opens them (kept-files.ts).

import { access, constants, mkdir, readdir, readFile, rename, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { copyDatabase, PRIVATE } from './backup.ts'
import { checkReadable, KeptFiles, LEVELDB_FILE } from './kept-files.ts'
import { cutDisorderedLogs } from './logs.ts'
import { FORMAT, FORMAT_KEY } from './record.ts'
import { contentOf, isSealed, seal, unseal } from './seal.ts'
import { markDamagedBlocks } from './tables.ts'
import { readWitness, Witness } from './witness.ts'
import { Refusal } from '../../core/errors.ts'
import type { Range } from './record.ts'
import type { Newest } from './witness.ts'
import type { Logger } from '../../core/logger.ts'

export type Change =
  | { readonly type: 'put', readonly key: string, readonly value: string }
  | { readonly type: 'del', readonly key: string }

export type DiskRecord = readonly [key: string, value: string, isIntact: boolean]

/** What the store needs from a disk; `:memory:` implements it too. */
export interface Disk {
  /** Atomic. When it resolves, the changes are as durable as `sync` asks for. @param newest the log as they leave it */
  write (changes: Change[], newest: Newest): Promise<void>
  /** Null for a record that is damaged. */
  get (keys: string[]): Promise<Array<string | null | undefined>>
  /** The first records of a range, as many as fit comfortably in memory; empty at its end. */
  read (range: Range, limit: number): Promise<DiskRecord[]>
  /** @throws Error if the directory is no longer the one that was opened */
  check (): void
  /**
   * Copies the database as it is at the call into the directory's `backups`; the oldest ones there go.
   * @returns how many records were copied. @throws Refusal STORE_UNAVAILABLE where the disk has too little space
   */
  backUp (name: string): Promise<number>
  close (): Promise<void>
}

/** What was read from a disk. */
export interface Loaded {
  /** Whether all is there that was acknowledged; null if that cannot be told. */
  readonly isWhole: boolean | null
}

export interface Opened<T> {
  readonly disk: Disk
  readonly loaded: T
  /** Where the files are kept as they were, if something may be missing or the directory was repaired. */
  readonly aside: string | null
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
/** Records of an older format that are given their checksums in one write. */
const UPGRADE_MAX = 1000

/**
 * Opens the directory and reads it. Damage that `load` finds is repaired like damage that prevents opening.
 * @throws Error with a sentence for the operator
 */
export async function openDisk<T extends Loaded> (options: DiskOptions, load: (disk: Disk, newest: Newest | null) => Promise<T>): Promise<Opened<T>> {
  const { dir, since, log } = options
  const isRunning = since !== undefined
  const stamp = new Date(options.wall()).toISOString().replace(/[:.]/g, '-')
  const { newest, kept, found } = await prepare(dir).catch((error: unknown) => {
    throw new DiskError(obstacle(error, dir, isRunning) ?? `DATA_DIR ${dir} cannot be used: ${textOf(error)}`, { cause: error })
  })
  let damage: unknown = codeOf(since) === 'LEVEL_CORRUPTION' ? since : found
  for (const remedy of damage === null ? [null, repair, setAside] : [repair, setAside]) {
    try {
      const aside = remedy === null ? null : await remedy(options, damage, stamp)
      const { dropped, ...opened } = await openOnce(options, async disk => await load(disk, newest))
      const { isWhole } = opened.loaded
      if (isWhole === false || remedy === repair || (dropped && isWhole === null)) return { ...opened, aside: aside ?? await kept.keep(stamp, log) }
      await kept.drop()
      return { ...opened, aside }
    } catch (error) {
      if (error instanceof DiskError) throw error
      const why = obstacle(error, dir, isRunning)
      if (why !== null) throw new DiskError(why, { cause: error })
      if (!isDamage(error, remedy !== null)) throw error
      damage = error
    }
  }
  throw new DiskError(`DATA_DIR ${dir} cannot be opened, not even empty: ${textOf(damage)}`, { cause: damage })
}

/** The store cannot be used, and no repair would help; the message is for the operator. */
class DiskError extends Error {
  /** For programs; people have the sentence. */
  readonly code = codeOf(this.cause) === 'LEVEL_LOCKED' ? 'DATA_DIR_IN_USE' : 'DATA_DIR_UNUSABLE'
}

async function openOnce<T> ({ dir, log, sync }: DiskOptions, load: (disk: Disk) => Promise<T>): Promise<{ disk: Disk, loaded: T, dropped: boolean }> {
  const createIfMissing = !(await readdir(dir)).some(name => LEVELDB_FILE.test(name))
  const level = new ClassicLevel(dir, { createIfMissing })
  await level.open()
  let disk: Disk | null = null
  try {
    const dropped = await reportDropped(dir, log)
    await upgrade(level)
    disk = diskOf(dir, level, await Witness.open(dir), sync)
    return { disk, loaded: await load(disk), dropped }
  } catch (error) {
    await (disk ?? level).close()
    throw error
  }
}

function diskOf (dir: string, level: ClassicLevel, witness: Witness, sync: boolean): Disk {
  const check = (): void => {
    if (!witness.isInPlace) throw new Error(`DATA_DIR ${dir} was deleted or replaced while the gateway used it`)
  }
  return {
    check,
    async write (changes, newest) {
      check()
      // Chained: a batch given as an array takes ten times as long on the event loop.
      const batch = level.batch()
      for (const change of changes) {
        if (change.type === 'put') batch.put(change.key, seal(change.key, change.value))
        else batch.del(change.key)
      }
      // On a busy disk it is written while the publishers have their answers: a process that is killed then may leave the note before it.
      await witness.written
      await batch.write({ sync })
      witness.note(newest)
    },
    get: async keys => (await level.getMany(keys)).map((text, at) => text === undefined ? undefined : unseal(keys[at] as string, text)),
    async read ({ from, to }, limit) {
      const iterator = level.iterator({ gte: from, lt: to, highWaterMarkBytes: STEP_BYTES })
      try {
        return (await iterator.nextv(limit)).map(([key, text]) => {
          const value = unseal(key, text)
          return [key, value ?? contentOf(text), value !== null]
        })
      } finally {
        await iterator.close()
      }
    },
    async backUp (name) {
      check()
      const [used, free] = [await bytesIn(dir), await freeBytes(dir)]
      // A disk that a backup fills is one that nobody can publish to.
      if (free < 2 * used) throw new Refusal('STORE_UNAVAILABLE', `a backup takes up to ${used} bytes and must leave as many free, but the disk of DATA_DIR has ${free} left: free some and try again`)
      return await copyDatabase(level, witness.bytes, dir, name)
    },
    async close () {
      await witness.close()
      await level.close()
    }
  }
}

/** Gives the records of an older format their checksums. @throws DiskError for a newer format */
async function upgrade (level: ClassicLevel): Promise<void> {
  const stored = await level.get(FORMAT_KEY)
  const format = Number(stored)
  if (format > FORMAT) {
    throw new DiskError(`the store was written by a newer Signalbox (format ${format}; this one knows ${FORMAT}): start that version, or set DATA_DIR to another directory`)
  }
  if (format < FORMAT) {
    const iterator = level.iterator({ highWaterMarkBytes: STEP_BYTES })
    try {
      for (let step = await iterator.nextv(UPGRADE_MAX); step.length > 0; step = await iterator.nextv(UPGRADE_MAX)) {
        const batch = level.batch()
        for (const [key, text] of step) if (!isSealed(text) && key !== FORMAT_KEY) batch.put(key, seal(key, text))
        await batch.write()
      }
    } finally {
      await iterator.close()
    }
  }
  if (format !== FORMAT) await level.put(FORMAT_KEY, String(FORMAT), { sync: true })
}

/** Looks at the files before LevelDB does. */
async function prepare (dir: string): Promise<{ newest: Newest | null, kept: KeptFiles, found: string | null }> {
  await mkdir(dir, { recursive: true, mode: PRIVATE })
  await access(dir, constants.R_OK | constants.W_OK | constants.X_OK)
  await checkLock(dir)
  await checkReadable(dir)
  const newest = await readWitness(dir)
  const kept = await KeptFiles.of(dir)
  const found = [await checkCurrent(dir), await markDamagedBlocks(dir), await cutDisorderedLogs(dir)].filter(damage => damage !== null)
  return { newest, kept, found: found.length === 0 ? null : found.join('; ') }
}

/** LevelDB gives no reason where the name has a zero in it. @returns damage in words */
async function checkCurrent (dir: string): Promise<string | null> {
  const name = await readFile(join(dir, 'CURRENT'), 'latin1').catch(() => null)
  return name === null || /^MANIFEST-\d+\n$/.test(name) ? null : 'CURRENT names no MANIFEST'
}

/** LevelDB locks the directory before it finds that it must not open this one. */
async function checkLock (dir: string): Promise<void> {
  try {
    await new ClassicLevel(dir, { createIfMissing: false, errorIfExists: true }).open()
  } catch (error) {
    if (codeOf(error) === 'LEVEL_LOCKED') throw error
  }
}

/** Works on the files in place; those it began with are kept. */
async function repair ({ dir, log, since }: DiskOptions, damage: unknown): Promise<null> {
  const used = await bytesIn(dir)
  if (await freeBytes(dir) < used) {
    throw new DiskError(`DATA_DIR ${dir} is damaged (${textOf(damage)}) and its disk is too full to repair it: ${advice(`free ${used} bytes`, since !== undefined)}`)
  }
  log.warn({ dir, damage: textOf(damage) }, 'the store is damaged; repairing it')
  await ClassicLevel.repair(dir)
  await reportDropped(dir, log)
  log.warn({ dir }, 'the store was repaired; files that could not be used are kept in its directory "lost"')
  return null
}

/** A mount point cannot be renamed: its content then moves into a directory inside it. @returns where it is */
async function setAside ({ dir, log }: DiskOptions, damage: unknown, stamp: string): Promise<string> {
  let aside = `${dir}.damaged-${stamp}`
  try {
    await rename(dir, aside)
    await mkdir(dir, PRIVATE)
  } catch {
    aside = join(dir, `damaged-${stamp}`)
    const names = (await readdir(dir)).filter(name => name !== 'lost+found')
    await mkdir(aside, PRIVATE)
    for (const name of names) await rename(join(dir, name), join(aside, name))
  }
  log.error({ dir, aside, damage: textOf(damage) }, `the store could not be repaired: it was moved to ${aside}, and the gateway starts with an empty one`)
  return aside
}

/** LevelDB reports dropped records only in its file LOG, which it starts again at each opening. @returns whether there are any */
async function reportDropped (dir: string, log: Logger): Promise<boolean> {
  const text = await readFile(join(dir, 'LOG'), 'utf8').catch(() => '')
  const lines = text.split('\n').filter(line => /dropping \d+ bytes|ignoring|dropped:/i.test(line))
  if (lines.length === 0) return false
  const bytes = lines.reduce((sum, line) => sum + Number(/dropping (\d+) bytes/.exec(line)?.[1] ?? 0), 0)
  log.warn({ dir, bytes, lines: lines.slice(0, 10) }, 'the store dropped records that it could not read')
  return true
}

/** Space that this user may still take, in bytes. */
export async function freeBytes (dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}

async function bytesIn (dir: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(dir)) {
    // LevelDB deletes files meanwhile, in a thread of its own.
    const file = await stat(join(dir, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
    if (file?.isFile() === true) bytes += file.size
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
function obstacle (error: unknown, dir: string, isRunning: boolean): string | null {
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
    return `DATA_DIR ${dir} has no space left: ${advice('free some', isRunning)} (${text})`
  }
  if (/too many open files|input\/output error|i\/o error|cannot allocate/i.test(text)) {
    return `DATA_DIR ${dir} cannot be read just now (${text})`
  }
  return null
}

/** A gateway that runs tries again by itself. */
const advice = (what: string, isRunning: boolean): string => isRunning ? `${what}, and the gateway continues by itself` : `${what} and start again`

/** The original error: abstract-level wraps that of LevelDB. */
const innermost = (error: unknown): Error & { code?: unknown } =>
  error instanceof Error ? (error.cause instanceof Error ? innermost(error.cause) : error) : new Error(String(error))

const codeOf = (error: unknown): unknown => innermost(error).code
export const textOf = (error: unknown): string => innermost(error).message
