// LevelDB's tables, checked block by block before LevelDB opens them. It does not verify their checksums itself (classic-level
// has no option for that), and a changed key ends the process where tables are merged: keys out of order fail an assertion, at
// each start again. A damaged block is marked so that LevelDB knows it for one; its repair then keeps the others.
//
// A table is a row of blocks, each followed by a byte for its compression and a checksum, and a footer that names two of
// them: the index, which names the blocks with records, and a second one, which names the filter. One without a footer is left
// to LevelDB: a process that ended while it wrote a table leaves it so.

import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export const TABLE = /^\d+\.(ldb|sst)$/
const FOOTER_BYTES = 48
const MAGIC = Buffer.from('57fb808b247547db', 'hex')
const NO_COMPRESSION = 0
const SNAPPY = 1
/** As its kind of compression it makes a block, as its last byte a table one that LevelDB takes for damaged. */
const MARK = 0xff

interface Block {
  readonly at: number
  /** Without the five bytes behind it. */
  readonly size: number
}

/** Marks damaged blocks. @returns which tables lack records now, in words; null if none does */
export async function markDamagedBlocks (dir: string): Promise<string | null> {
  const damaged: string[] = []
  for (const name of await readdir(dir)) {
    if (!TABLE.test(name)) continue
    const path = join(dir, name)
    const bytes = await readFile(path)
    if (!bytes.subarray(-MAGIC.length).equals(MAGIC)) continue
    const found = check(bytes)
    if (found.marks.length > 0) {
      for (const at of found.marks) bytes[at] = MARK
      // A file of its own: the other name of this one keeps what was there.
      await writeFile(`${path}.marked`, bytes, { flush: true })
      await rename(`${path}.marked`, path)
    }
    if (found.lacks) damaged.push(name)
  }
  return damaged.length === 0 ? null : `damaged blocks in ${damaged.join(', ')}`
}

/** Where to mark the table, and whether records are missing then. */
function check (table: Buffer): { marks: number[], lacks: boolean } {
  const marks: number[] = []
  const isIntact = ({ at, size }: Block): boolean => {
    // This is read first: it fails for a size beyond the end.
    const stored = unmasked(table.readUInt32LE(at + size + 1))
    const isIntact = stored === crc32c(table, at, at + size + 1)
    if (!isIntact) marks.push(at + size)
    return isIntact
  }
  try {
    const footer = new Varints(table, table.length - FOOTER_BYTES)
    const meta = footer.block()
    const index = footer.block()
    // Without them the table does without its filter.
    if (isIntact(meta)) for (const block of blocksIn(table, meta)) isIntact(block)
    if (!isIntact(index)) return { marks, lacks: true }
    let lacks = false
    for (const block of blocksIn(table, index)) if (!isIntact(block)) lacks = true
    return { marks, lacks }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    // A footer or an index that names what is not there: none of it can be used.
    return { marks: [table.length - 1], lacks: true }
  }
}

/** The blocks that an index names. */
function blocksIn (table: Buffer, { at, size }: Block): Block[] {
  const stored = table.subarray(at, at + size)
  const kind = table[at + size]
  if (kind !== NO_COMPRESSION && kind !== SNAPPY) throw new RangeError('an unknown compression')
  const index = kind === SNAPPY ? unsnappy(stored) : stored
  const end = index.length - 4 * (index.readUInt32LE(index.length - 4) + 1)
  const blocks: Block[] = []
  const entries = new Varints(index, 0)
  while (entries.at < end) {
    entries.next()
    const keyBytes = entries.next()
    const valueBytes = entries.next()
    entries.at += keyBytes
    const next = entries.at + valueBytes
    blocks.push(entries.block())
    entries.at = next
  }
  return blocks
}

class Varints {
  readonly #bytes: Buffer
  at: number

  constructor (bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  /** @throws RangeError beyond the end */
  next (): number {
    let number = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.at++)
      number += (byte & 127) * scale
      if (byte < 128) return number
    }
  }

  block (): Block {
    return { at: this.next(), size: this.next() }
  }
}

/** @throws RangeError for what is not compressed so */
function unsnappy (bytes: Buffer): Buffer {
  const input = new Varints(bytes, 0)
  const output = Buffer.alloc(input.next())
  let end = 0
  while (input.at < bytes.length) {
    const tag = bytes.readUInt8(input.at++)
    const upper = tag >>> 2
    if ((tag & 3) === 0) {
      const more = upper < 60 ? 0 : upper - 59
      const size = (more === 0 ? upper : bytes.readUIntLE(input.at, more)) + 1
      input.at += more
      end += bytes.copy(output, end, input.at, input.at + size)
      input.at += size
    } else {
      const more = (tag & 3) === 3 ? 4 : tag & 3
      const offset = bytes.readUIntLE(input.at, more) + (more === 1 ? (tag >>> 5) << 8 : 0)
      input.at += more
      if (offset === 0 || offset > end) throw new RangeError('a copy from before the beginning')
      // It may overlap with what it copies to.
      for (let left = more === 1 ? (upper & 7) + 4 : upper + 1; left > 0; left--, end++) output.writeUInt8(output.readUInt8(end - offset), end)
    }
  }
  return output
}

/** LevelDB stores no checksum as it is. */
export const unmasked = (stored: number): number => {
  const rotated = (stored - 0xa282ead8) >>> 0
  return ((rotated >>> 17) | (rotated << 15)) >>> 0
}

/** For eight bytes at once, which is three times as fast as one by one. */
const TABLES = Array.from({ length: 8 }, () => new Int32Array(256)) as [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array]
for (let byte = 0; byte < 256; byte++) {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  TABLES[0][byte] = crc
}
for (let table = 1; table < 8; table++) {
  for (let byte = 0; byte < 256; byte++) {
    const crc = (TABLES[table - 1] as Int32Array)[byte] as number
    ;(TABLES[table] as Int32Array)[byte] = (crc >>> 8) ^ (TABLES[0][crc & 255] as number)
  }
}

export function crc32c (bytes: Buffer, from: number, to: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES
  let crc = -1
  let at = from
  for (; at + 8 <= to; at += 8) {
    crc ^= bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24
    crc = t7[crc & 255]! ^ t6[crc >>> 8 & 255]! ^ t5[crc >>> 16 & 255]! ^ t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^ t2[bytes[at + 5]!]! ^ t1[bytes[at + 6]!]! ^ t0[bytes[at + 7]!]!
  }
  for (; at < to; at++) crc = crc >>> 8 ^ t0[(crc ^ bytes[at]!) & 255]!
  return ~crc >>> 0
}
