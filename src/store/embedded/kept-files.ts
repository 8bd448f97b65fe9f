// The files of a LevelDB directory as they are before it is opened, by a second name each: LevelDB and its repair delete what
// they have read, also what they could not read. Names cost no space; only what was damaged or repaired is kept.

import { copyFile, constants, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TABLE } from './tables.ts'
import { WITNESS_FILE } from './witness.ts'
import type { Logger } from '../../core/logger.ts'

export const LEVELDB_FILE = /^(MANIFEST-\d+|\d+\.(log|ldb|sst))$/
const NEEDED = new RegExp(`${LEVELDB_FILE.source}|^CURRENT$`)
/** Read to their end by LevelDB, and taken for empty where that fails. */
const READ_WHOLE = /^(MANIFEST-\d+|\d+\.log)$/
/** In the directory while it is being opened. One that a killed process left is added to. */
const OPENING = 'opening'
const KEPT = 'damaged-'

/** Directories with kept files, of this start and earlier ones. */
export const keptIn = async (dir: string): Promise<string[]> =>
  (await readdir(dir)).filter(name => name.startsWith(KEPT)).map(name => join(dir, name))

/** @throws Error for a file that cannot be read */
export async function checkReadable (dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (!NEEDED.test(name)) continue
    try {
      const file = await open(join(dir, name))
      try {
        const bytes = Buffer.alloc(READ_WHOLE.test(name) ? 256 * 1024 : 1)
        while ((await file.read(bytes)).bytesRead === bytes.length && bytes.length > 1);
      } finally {
        await file.close()
      }
    } catch (error) {
      // Not as its cause: an error of reading does not say which file.
      throw new Error(`${name}: ${(error as Error).message}`)
    }
  }
}

export class KeptFiles {
  readonly #dir: string

  static async of (dir: string): Promise<KeptFiles> {
    const opening = join(dir, OPENING)
    await mkdir(opening, { recursive: true })
    for (const name of await readdir(dir)) {
      const from = join(dir, name)
      const to = join(opening, name)
      // The witness is written over in place.
      if (name === WITNESS_FILE) {
        await copyFile(from, to)
      } else if (NEEDED.test(name)) {
        await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
          // A file system without links: what LevelDB deletes while it opens is the log, of some MB.
          if (error.code !== 'EEXIST' && error.code !== 'ENOENT' && !TABLE.test(name)) await copyFile(from, to, constants.COPYFILE_FICLONE)
        })
      }
    }
    return new KeptFiles(dir)
  }

  private constructor (dir: string) {
    this.#dir = dir
  }

  /** @returns where they are from now on */
  async keep (stamp: string, log: Logger): Promise<string> {
    const aside = join(this.#dir, KEPT + stamp)
    await rename(join(this.#dir, OPENING), aside)
    log.warn({ aside }, `the files of the store are kept as they were in ${aside}`)
    return aside
  }

  async drop (): Promise<void> {
    await rm(join(this.#dir, OPENING), { recursive: true, force: true })
  }
}
