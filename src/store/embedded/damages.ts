// What was found damaged or missing, for the log, /readyz and /metrics. The warning outlasts restarts: as long as the files that
// were kept are there.

import { existsSync } from 'node:fs'
import { keptIn } from './kept-files.ts'
import type { Logger } from '../../core/logger.ts'
import type { StoredLog } from './stored-log.ts'

const MAX_WARNINGS = 20

export class Damages {
  /** Records, since the process started. */
  records = 0
  readonly #log: Logger
  readonly #found = new Set<string>()
  #kept: string[] = []

  constructor (log: Logger) {
    this.#log = log
  }

  /** As sentences. */
  get warnings (): readonly string[] {
    const kept = this.#kept.filter(dir => existsSync(dir))
    return [...this.#found, ...kept.map(dir => `the store was damaged; its files as they were are kept in ${dir}: delete that directory when you need it no longer`)]
  }

  /** After an opening. @param aside where the files are kept as they were */
  async opened (dir: string, { lost, leftOut, doubtful, isCut, lacksRecords, isContinued, spoilt }: StoredLog, aside: string | null): Promise<void> {
    this.#kept = await keptIn(dir)
    const what = [
      ...isCut ? ['the end of the log is cut off, and values may be missing with it'] : [],
      ...lacksRecords ? ['records of Idempotency-Keys or commands are missing from its end: requests that are repeated with them count as new'] : [],
      ...lost > 0 ? [`${lost === 1 ? '1 fact is' : `${lost} facts are`} missing; history begins after them, and clients that are not past them are reset`] : [],
      ...doubtful > 0 ? [`${doubtful} values are damaged or may not be the newest of their keys, and are left out`] : [],
      ...spoilt.length > doubtful && lost === 0 ? [`${spoilt.length - doubtful} other records are damaged`] : [],
      ...isContinued ? [] : ['all clients are reset']
    ]
    if (what.length === 0) return
    const others = lost === 0 ? spoilt.length - doubtful : 0
    this.report(Math.max(1, lost + doubtful + others), what.join('; '), { lost, leftOut, values: doubtful, ...(aside === null ? {} : { aside }) })
  }

  report (records: number, what: string, details: object = {}): void {
    this.records += records
    const sentence = `the store is damaged: ${what}`
    if (this.#found.size < MAX_WARNINGS) this.#found.add(sentence)
    this.#log.warn(details, sentence)
  }
}
