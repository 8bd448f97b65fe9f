// NDJSON as it arrives: its lines in batches, with the numbers that an editor gives them.

import { isUtf8 } from 'node:buffer'

export interface Line {
  /** From 1. */
  readonly number: number
  readonly text: string
  /** Why it is not JSON; null if it is. */
  readonly fault: string | null
}

const LF = 0x0a
const BOM = '\ufeff'

/**
 * Batches of lines that are not empty, at most `most` in each. What has arrived together is handed on together and at once, so
 * that a slow publisher waits for no batch to fill; and nothing more is read before a batch is taken.
 */
export async function * batchesOf (input: AsyncIterable<Buffer>, most: number): AsyncGenerator<Line[]> {
  let unfinished: Buffer[] = []
  let number = 0
  let batch: Line[] = []
  const take = (bytes: Buffer): void => {
    number++
    const text = bytes.toString('utf8').replace(number === 1 ? BOM : '', '').trim()
    if (text !== '') batch.push({ number, text, fault: faultOf(bytes, text) })
  }
  for await (const chunk of input) {
    let start = 0
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      take(Buffer.concat([...unfinished, chunk.subarray(start, end)]))
      unfinished = []
      start = end + 1
      if (batch.length === most) {
        yield batch
        batch = []
      }
    }
    if (start < chunk.length) unfinished.push(chunk.subarray(start))
    if (batch.length > 0) yield batch
    batch = []
  }
  // The last line may have no end.
  take(Buffer.concat(unfinished))
  if (batch.length > 0) yield batch
}

function faultOf (bytes: Buffer, text: string): string | null {
  // Decoding replaces invalid bytes: subscribers would get data that nobody sent.
  if (!isUtf8(bytes)) return 'it is not UTF-8'
  try {
    JSON.parse(text)
    return null
  } catch (error) {
    return `it is not JSON: ${(error as Error).message}${text.startsWith('[') ? '. Each line is one event: `jq -c .[]` makes such lines of an array' : ''}`
  }
}
