// What was written last, noted beside the database. LevelDB takes the end of its log for granted: where it is cut off, zeroed or
// deleted, the database is a consistent older one. The witness then knows better, and which values are no longer the
// newest (sums.ts). It is written over in place, after each write and without an fsync: it is never ahead of the
// database, and where power was lost it may be behind, or unreadable, and then says nothing.

import { statSync, write, writeSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { boundsText, parseBounds } from './record.ts'
import { Sums } from './sums.ts'
import type { FileHandle } from 'node:fs/promises'
import type { LogBounds } from './record.ts'

/** The log as the last write left it. */
export interface Newest {
  readonly epoch: string
  readonly bounds: LogBounds
  readonly sums: Sums
}

export const WITNESS_FILE = 'witness'

/** A checksum, the sums, and a line of text filled up with spaces. */
const SUMS_AT = 4
const TEXT_AT = SUMS_AT + Sums.BYTES
const LENGTH = TEXT_AT + 256

/** A note that took longer met a busy disk. For the next minute the event loop waits for none. */
const SLOW_MS = 10
const BACKGROUND_MS = 60_000

export async function readWitness (dir: string): Promise<Newest | null> {
  const bytes = await readFile(join(dir, WITNESS_FILE)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw error
  })
  if (bytes.length !== LENGTH || bytes.readUInt32LE(0) !== crc32(bytes.subarray(SUMS_AT))) return null
  const text = bytes.toString('latin1', TEXT_AT).trimEnd()
  const space = text.indexOf(' ')
  const bounds = parseBounds(text.slice(space + 1))
  return bounds === null ? null : { epoch: text.slice(0, space), bounds, sums: Sums.from(bytes.subarray(SUMS_AT, TEXT_AT)) }
}

export class Witness {
  readonly #path: string
  readonly #file: FileHandle
  readonly #inode: number
  readonly #bytes = Buffer.alloc(LENGTH)
  #written: Promise<void> = Promise.resolve()
  #backgroundUntil = -Infinity

  static async open (dir: string): Promise<Witness> {
    const path = join(dir, WITNESS_FILE)
    const file = await open(path, 'r+').catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return await open(path, 'w+')
      throw error
    })
    return new Witness(path, file, (await file.stat()).ino)
  }

  private constructor (path: string, file: FileHandle, inode: number) {
    this.#path = path
    this.#file = file
    this.#inode = inode
  }

  /** Whether the directory is still the one that was opened. A process writes on into files that were deleted under it. */
  get isInPlace (): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode
  }

  /** The last note. */
  get bytes (): Buffer {
    return this.#bytes
  }

  /** Resolves when the last note is written. One that cannot be is left out: the one before it stays true. */
  get written (): Promise<void> {
    return this.#written
  }

  /** Writes a note, or begins to. The one before must be written. */
  note ({ epoch, bounds, sums }: Newest): void {
    this.#bytes.set(sums.bytes, SUMS_AT)
    this.#bytes.fill(' ', TEXT_AT)
    this.#bytes.write(`${epoch} ${boundsText(bounds)}`, TEXT_AT, 'latin1')
    this.#bytes.writeUInt32LE(crc32(this.#bytes.subarray(SUMS_AT)), 0)
    const began = performance.now()
    if (began < this.#backgroundUntil) {
      this.#written = new Promise(resolve => write(this.#file.fd, this.#bytes, 0, LENGTH, 0, () => resolve()))
      return
    }
    // It goes to the system's memory only: 1.3 us of CPU. Having a thread do it takes 17.
    try {
      writeSync(this.#file.fd, this.#bytes, 0, LENGTH, 0)
    } catch {}
    if (performance.now() - began > SLOW_MS) this.#backgroundUntil = began + BACKGROUND_MS
  }

  async close (): Promise<void> {
    await this.#written
    await this.#file.close()
  }
}
