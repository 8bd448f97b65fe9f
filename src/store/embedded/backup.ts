// A copy of the database while it is written to. Copying its files would not do: LevelDB renames, deletes and appends to them in
// a thread of its own, also while nobody writes. Instead the records are read as they were at one moment (an iterator keeps that
// view, and holds up no write) and written to a database of their own.
//
// Nobody says where: whoever may run the command cannot name a path. Copies lie in the data directory, and only the newest
// few of them.

import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { FORMAT, FORMAT_KEY } from './record.ts'
import { WITNESS_FILE } from './witness.ts'
import type { Logger } from '../../core/logger.ts'
import type { Backup } from '../../core/store.ts'

/** In the data directory. */
/** Mode of directories: they hold what was published, and the key that signs tickets. */
export const PRIVATE = 0o700
const BACKUPS = 'backups'
const KEPT = 3
/** A copy that is not complete. */
const PART = '.part'
/** What a complete copy is called. Anything else in the folder is somebody else's. */
const NAME = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z$/
const STEP_BYTES = 256 * 1024
const STEP_MAX = 1000

export interface BackupsOptions {
  readonly dir: string
  /** Milliseconds since 1970. */
  readonly wall: () => number
  /** Copies the database into `backups` under this name. @returns how many records there are */
  readonly copy: (name: string) => Promise<number>
  readonly log: Pick<Logger, 'info'>
}

/** One at a time. Who asks meanwhile gets the next: the one being made may lack what was acknowledged to him before he asked. */
export class Backups {
  readonly #options: BackupsOptions
  #making: Promise<Backup> | null = null
  /** Of all who wait; it has not begun. */
  #next: Promise<Backup> | null = null

  constructor (options: BackupsOptions) {
    this.#options = options
  }

  async make (): Promise<Backup> {
    if (this.#making === null && this.#next === null) return await this.#begin()
    return await (this.#next ??= Promise.allSettled([this.#making]).then(async () => {
      this.#next = null
      return await this.#begin()
    }))
  }

  async #begin (): Promise<Backup> {
    this.#making = this.#make().finally(() => { this.#making = null })
    return await this.#making
  }

  async #make (): Promise<Backup> {
    const { dir, wall, copy, log } = this.#options
    const backup = new Date(wall()).toISOString().replace(/[:.]/g, '-')
    const records = await copy(backup)
    log.info({ records }, `backed up to ${join(dir, BACKUPS, backup)}`)
    return { backup, records }
  }
}

/**
 * Copies the database as it is at the call.
 * @param witness the note of the last write then; it may be behind the database, never ahead of it
 * @returns how many records there are
 */
export async function copyDatabase (level: ClassicLevel, witness: Buffer, dir: string, name: string): Promise<number> {
  // Its view begins here, before anything is waited for.
  const iterator = level.iterator({ highWaterMarkBytes: STEP_BYTES })
  const note = Buffer.from(witness)
  const backups = join(dir, BACKUPS)
  const part = join(backups, name + PART)
  let records = 0
  try {
    await mkdir(backups, { recursive: true })
    await chmod(backups, PRIVATE)
    for (const left of await readdir(backups)) if (left.endsWith(PART) && NAME.test(left.slice(0, -PART.length))) await rm(join(backups, left), { recursive: true, force: true })
    const copy = new ClassicLevel(part, { createIfMissing: true, errorIfExists: true })
    await copy.open()
    await chmod(part, PRIVATE)
    try {
      for (let step = await iterator.nextv(STEP_MAX); step.length > 0; step = await iterator.nextv(STEP_MAX)) {
        const batch = copy.batch()
        for (const [key, text] of step) batch.put(key, text)
        await batch.write()
        records += step.length
      }
      // A synced write covers all of the log before it; LevelDB itself syncs what has left the log.
      await copy.put(FORMAT_KEY, String(FORMAT), { sync: true })
    } finally {
      await copy.close()
    }
    await writeFile(join(part, WITNESS_FILE), note, { flush: true })
    await rename(part, join(backups, name))
  } catch (error) {
    await rm(part, { recursive: true, force: true })
    throw error
  } finally {
    await iterator.close()
  }
  // After the clock was set back, the new one is not the last by its name.
  const others = (await readdir(backups)).filter(other => NAME.test(other) && other !== name).sort()
  for (const old of others.slice(0, 1 - KEPT)) await rm(join(backups, old), { recursive: true, force: true })
  return records
}
