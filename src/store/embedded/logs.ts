// LevelDB's logs, looked at before LevelDB reads them. It verifies each record's checksum, but not their order: a stretch that
// stands there twice, as after a write that went to the wrong place, fails an assertion and ends the process, at each start
// again. Such a log is cut where its order ends. What that costs is known by the witness.
//
// A log is a row of blocks, and a batch is one record, or several where it crosses the end of a block. A record has a checksum, its
// length and its kind in front. A batch begins with its number and how many changes it has, each of which takes a number.

import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32c, unmasked } from './tables.ts'

const LOG = /^\d+\.log$/
const BLOCK_BYTES = 32 * 1024
const HEAD_BYTES = 7
const BATCH_HEAD_BYTES = 12
/** Kinds of records: a whole batch, the first part of one, the last. */
const FULL = 1
const FIRST = 2
const LAST = 4

/** Cuts logs whose order ends. @returns which, in words; null if none does */
export async function cutDisorderedLogs (dir: string): Promise<string | null> {
  const cut: string[] = []
  for (const name of await readdir(dir)) {
    if (!LOG.test(name)) continue
    const path = join(dir, name)
    const bytes = await readFile(path)
    const end = endOfOrder(bytes)
    if (end === null) continue
    // A file of its own: the other name of this one keeps what was there.
    await writeFile(`${path}.cut`, bytes.subarray(0, end), { flush: true })
    await rename(`${path}.cut`, path)
    cut.push(name)
  }
  return cut.length === 0 ? null : `batches out of order in ${cut.join(', ')}`
}

/** Where the first batch begins that is not newer than the one before it; null if there is none. */
function endOfOrder (log: Buffer): number | null {
  let next = 0n
  for (const { at, head } of batchesIn(log)) {
    if (head.length < BATCH_HEAD_BYTES) continue
    const number = head.readBigUInt64LE(0)
    if (number < next) return at
    next = number + BigInt(head.readUInt32LE(8))
  }
  return null
}

/** The batches that LevelDB would take, each by where it begins and its first bytes. */
function * batchesIn (log: Buffer): Generator<{ readonly at: number, readonly head: Buffer }> {
  let begun: { at: number, head: Buffer } | null = null
  for (let block = 0; block < log.length; block += BLOCK_BYTES) {
    const blockEnd = Math.min(block + BLOCK_BYTES, log.length)
    for (let at = block; at + HEAD_BYTES <= blockEnd;) {
      const end = at + HEAD_BYTES + log.readUInt16LE(at + 4)
      const kind = log.readUInt8(at + 6)
      // LevelDB passes over the rest of the block too.
      if (end > blockEnd || unmasked(log.readUInt32LE(at)) !== crc32c(log, at + 6, end)) {
        begun = null
        break
      }
      const content = log.subarray(at + HEAD_BYTES, end)
      if (kind === FULL || kind === FIRST) begun = { at, head: content.subarray(0, BATCH_HEAD_BYTES) }
      // The head of a batch may be parted by the end of a block.
      else if (begun !== null && begun.head.length < BATCH_HEAD_BYTES) begun = { at: begun.at, head: Buffer.concat([begun.head, content]) }
      if (begun !== null && (kind === FULL || kind === LAST)) {
        yield begun
        begun = null
      }
      at = end
    }
  }
}
