// Answers of backends, from the stream `results` into the records of their commands. One worker takes each answer; the
// answers of a worker that is gone are taken over by another. The first answer to a command counts. An answer to another
// entry of the command means that it was carried out twice: that is counted and reported. An answer to the same entry is
// the same answer sent again, by a backend that did not know whether it had arrived.

import { pause } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Refusal } from '../../../core/errors.ts'
import type { Id } from '../../../core/id.ts'
import { readJson } from '../../../core/json.ts'
import type { Logger } from '../../../core/logger.ts'
import { BLOCK_MS, BLOCK_TIMEOUT_MS, createGroup, reasonOf, replaceIfSilent } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import type { RedisStore } from '../log/store.ts'
import { isLost } from '../health.ts'
import { script } from '../scripts.ts'
import { BACKENDS, failed, isOpen, recordOf, settledRecord, WORKERS } from './command-record.ts'
import type { CommandEnding } from './command-record.ts'

export interface AnswersOptions {
  readonly worker: string
  readonly store: RedisStore
  readonly clock: Clock
  readonly idempotencyTtlMs: number
  /** These commands have an outcome now. */
  readonly onSettled: (ids: readonly string[]) => void
  /** A command was carried out more than once. */
  readonly onDuplicate: (id: string, command: string) => void
  readonly log: Pick<Logger, 'info' | 'warn'>
}

/** An entry of `results`; without fields if it was deleted. */
type ResultEntry = readonly [entry: Id, fields: readonly string[] | null]

const PAGE = 64
const PAUSE_MS = 200
/** An answer that a worker took and did not settle within this is taken over. */
const RECLAIM_MS = 5000
const STRAY_LOG_MS = 10_000
/** Largest result of a command, bytes. */
const MAX_RESULT = 1024 * 1024
const MAX_ERROR = 2000
const ENTRY = /^\d{1,20}-\d{1,20}$/

/**
 * Keys: results, the command's record, its stream. Arguments: the answer's entry, the record as it was read ('': none),
 * the new record ('': unchanged), ms it is kept, the entry of the command that is finished ('': none).
 * Returns CHANGED if the record has changed since, GONE if another worker has settled the answer.
 */
const settle = script<[results: string, record: string, stream: string], [answer: Id, before: string, after: string, ttlMs: number, entry: string], 'CHANGED' | 'GONE' | 'OK'>('sbAnswer', `
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then return 'CHANGED' end
if redis.call('XACK', KEYS[1], '${WORKERS}', ARGV[1]) == 0 then return 'GONE' end
redis.call('XDEL', KEYS[1], ARGV[1])
if ARGV[5] ~= '' then
  redis.call('XACK', KEYS[3], '${BACKENDS}', ARGV[5])
  redis.call('XDEL', KEYS[3], ARGV[5])
end
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
return 'OK'
`)

export class Answers {
  readonly #options: AnswersOptions
  readonly #client: RedisClient
  #closed = false
  #running: Promise<void> = Promise.resolve()
  #reclaimedAt = 0
  #strays = 0
  /** The failure of reading last reported. */
  #reported = ''
  #strayReportedAt = -Infinity

  constructor (options: AnswersOptions) {
    this.#options = options
    const { store } = options
    this.#client = store.connect('results', BLOCK_TIMEOUT_MS)
  }

  start (): void {
    this.#client.connect().catch(() => {})
    this.#running = this.#run()
  }

  /** Answers that were taken are settled first. */
  async close (): Promise<void> {
    this.#closed = true
    // A blocking read would delay this. An answer that it still brings is taken over by another worker.
    this.#client.disconnect()
    await this.#running
  }

  async #run (): Promise<void> {
    const { store, worker, clock, log } = this.#options
    const { results } = store.keys
    // Whether this worker may hold answers that it has not settled.
    let inHand = false
    while (!this.#closed) {
      try {
        if (this.#client.status !== 'ready') {
          await pause(clock, PAUSE_MS / 10)
          continue
        }
        await this.#reclaim()
        const reply = await this.#client.xreadgroup('GROUP', WORKERS, worker, 'COUNT', PAGE, 'BLOCK', BLOCK_MS, 'STREAMS', results, inHand ? '0' : '>') as Array<[string, ResultEntry[]]> | null
        const entries = reply?.[0]?.[1] ?? []
        inHand &&= entries.length > 0
        if (await this.#take(entries)) continue
        inHand = true
        await pause(clock, PAUSE_MS)
      } catch (error) {
        if (this.#closed) return
        inHand = true
        const failure: unknown = reasonOf(error).startsWith('NOGROUP') ? await createGroup(this.#client, results, WORKERS).then(() => null, (why: unknown) => why) : error
        if (failure === null) continue
        const reason = reasonOf(failure)
        replaceIfSilent(this.#client, failure)
        if (!isLost(failure) && store.trouble === null && reason !== this.#reported) {
          this.#reported = reason
          log.warn({ reason }, `answers of backends cannot be read from ${results}: ${reason}`)
        }
        await pause(clock, PAUSE_MS)
      }
    }
  }

  /** Takes over answers that other workers have not settled. */
  async #reclaim (): Promise<void> {
    const { store, worker, clock } = this.#options
    const now = clock.now()
    if (now - this.#reclaimedAt < RECLAIM_MS / 5) return
    this.#reclaimedAt = now
    const [, left] = await this.#client.xautoclaim(store.keys.results, WORKERS, worker, RECLAIM_MS, '0', 'COUNT', PAGE) as [string, Array<ResultEntry | null>]
    await this.#take(left.filter(entry => entry !== null))
  }

  /** @returns whether all were settled */
  async #take (entries: readonly ResultEntry[]): Promise<boolean> {
    const settled = await Promise.allSettled(entries.map(async entry => await this.#settle(entry)))
    const ids = settled.map(one => one.status === 'fulfilled' ? one.value : null).filter(id => id !== null)
    if (ids.length > 0) this.#options.onSettled(ids)
    return settled.every(({ status }) => status === 'fulfilled')
  }

  /** @returns the command's id if this answer is its outcome */
  async #settle ([answer, fields]: ResultEntry): Promise<string | null> {
    const { store, idempotencyTtlMs, log, onDuplicate } = this.#options
    const { keys } = store
    const said = fieldsIn(fields ?? [])
    const { id = '', entry = '' } = said
    const recordKey = keys.command(id)
    for (;;) {
      const before = await store.ask(async client => await client.get(recordKey))
      const record = recordOf(before)
      // An outcome that was believed lost has arrived after all.
      const settles = record !== null && (isOpen(record) || record.status === 'unknown')
      const after = settles ? settledRecord(record, { ...outcomeOf(said), ...(ENTRY.test(entry) ? { entry } : {}) }) : ''
      const reply = await store.ask(async client => await settle(
        client, [keys.results, recordKey, keys.commands(record?.command ?? '')], [answer, before ?? '', after, idempotencyTtlMs, settles ? record.entry ?? '' : '']))
      if (reply === 'CHANGED') continue
      if (reply === 'GONE') return null
      if (record === null) this.#stray(id)
      else if (!settles && entry !== record.entry) onDuplicate(id, record.command)
      else if (settles && !isOpen(record)) log.info({ id, command: record.command }, `command ${record.command} (${id}) was answered late; its status was unknown until now`)
      return settles ? id : null
    }
  }

  #stray (id: string): void {
    const { clock, log } = this.#options
    this.#strays++
    const now = clock.now()
    if (now - this.#strayReportedAt < STRAY_LOG_MS) return
    this.#strayReportedAt = now
    log.warn({ id: id.slice(0, 100), strays: this.#strays }, 'a backend answered a command that is not known, or not any more: the answer is dropped')
  }
}

interface ResultFields {
  readonly id?: string
  readonly entry?: string
  readonly result?: string
  readonly error?: string
}

const fieldsIn = (fields: readonly string[]): ResultFields =>
  Object.fromEntries(fields.flatMap((name, at) => at % 2 === 0 ? [[name, fields[at + 1]]] : [])) as ResultFields

function outcomeOf ({ result, error }: ResultFields): CommandEnding {
  if (error !== undefined) return failed(error.slice(0, MAX_ERROR))
  if (result === undefined) return failed('the backend answered with neither result nor error')
  if (Buffer.byteLength(result) > MAX_RESULT) return failed(`the backend's result is larger than the ${MAX_RESULT} bytes it may have; it was dropped`)
  try {
    return { status: 'done', result: readJson(result, 'COMMAND_FAILED') }
  } catch (refusal) {
    return failed(`the backend's result could not be read (${(refusal as Refusal).message}); it was dropped`)
  }
}
