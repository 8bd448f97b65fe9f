// The store on Redis: the log in two streams that many workers append to and follow (see append.ts). This class makes all
// requests to Redis and limits how long they may take. Whether Redis can be used at all is decided in health.ts.

import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../../../../config/redis-url.ts'
import { pause, within } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Draft } from '../../../core/event.ts'
import { Durations } from '../../../core/figures/durations.ts'
import { ORIGIN } from '../../../core/id.ts'
import type { Id } from '../../../core/id.ts'
import type { Follower, CommandRecord, Once, Store } from '../../../core/store.ts'
import type { Logger } from '../../../core/logger.ts'
import { append } from './append.ts'
import type { CallReply } from './append.ts'
import { BLOCK_TIMEOUT_MS, connection, reasonOf } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import { argumentsOf } from './entry.ts'
import type { IntakeSource, WorkerNote } from './entry.ts'
import type { StoreListener } from './listener.ts'
import { LogReader } from './reader.ts'
import { Calls } from './calls.ts'
import type { AppendAnswer, AppendCondition, PendingAppend } from './calls.ts'
import { Health, isGeneral, isLost, isUnsent, wordsOf } from '../health.ts'
import { keysOf } from '../keys.ts'
import type { Keys } from '../keys.ts'
import { conflict, keysFull, unavailable } from '../../refusals.ts'
import { script } from '../scripts.ts'

export type { IntakeSource } from './entry.ts'

export interface RedisStoreOptions {
  readonly address: RedisAddress
  /** Prepended to every key, unchanged. */
  readonly prefix: string
  /** This process's name in the deployment. */
  readonly worker: string
  /** 0: no limit, here and in the next three. */
  readonly historySize: number
  readonly historyBytes: number
  readonly historyTtlMs: number
  readonly maxKeysPerRoom: number
  readonly idempotencyTtlMs: number
  readonly clock: Clock
  readonly log: Logger
  /** Bytes of appends that may be in flight; more are refused with OVERLOADED. Default 64 MiB. */
  readonly maxWaitingBytes?: number
  /** Bytes of the stream `log`, which serves only for following. Default 64 MiB. */
  readonly logBytes?: number
}

/** With this timeout publishers are answered within two seconds, whatever Redis does. */
export const TIMEOUT_MS = 1500
/** A durable append is answered after this even if its entries did not come back. */
const FOLLOW_MS = 400
/** Interval of checking whether a lost connection is back. */
const AGAIN_MS = 10
const LOG_BYTES = 64 * 1024 * 1024
const MAX_WAITING_BYTES = 64 * 1024 * 1024
/** Approximate size of a draft besides its text, and of an append besides its drafts. */
const DRAFT_BYTES = 200

/** Key: the command's record. Arguments: the record, ms it is kept. Returns the record that was there. */
const claim = script<[record: string], [record: string, ttlMs: number], string | null>('sbClaim', `
local before = redis.call('GET', KEYS[1])
if before then return before end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
`)

/** Another worker holds the lease of the intake: nothing was appended. */
export class LeaseLost extends Error {}

const SECRET_BYTES = 32

export class RedisStore implements Store {
  readonly name: string
  readonly keys: Keys
  readonly writes = new Durations()
  readonly #options: RedisStoreOptions
  readonly #client: RedisClient
  readonly #calls: Calls
  readonly #reader: LogReader
  readonly #health: Health
  #follower: Follower | null = null
  #waitingBytes = 0
  readonly #asked = new Set<Promise<unknown>>()
  #closing: Promise<void> | null = null
  readonly #listeners: StoreListener[] = []
  #lostAt = -Infinity
  /** The log's time as it was told last, ms, and when, by the monotonic clock. */
  #time = 0
  #toldAt = 0
  /** The deployment's secret as far as this process knows it, base64. */
  #secret = randomBytes(SECRET_BYTES).toString('base64')

  constructor (options: RedisStoreOptions) {
    const { worker, clock, log } = options
    this.#options = options
    this.keys = keysOf(options.prefix)
    this.name = `Redis at ${options.address.shown}`
    this.#client = this.connect('commands', TIMEOUT_MS)
    this.#client.on('close', () => { this.#lostAt = clock.now() })
    this.#calls = new Calls({ clock, timeoutMs: TIMEOUT_MS, send: async appends => await this.#send(appends) })
    this.#reader = new LogReader({
      client: this.connect('follow', BLOCK_TIMEOUT_MS),
      keys: this.keys,
      clock,
      tip: async () => {
        const { epoch, last, newest, floor } = await this.#append([], { field: 'probe', text: worker })
        return { epoch, last, newest, floor }
      },
      onNote: note => { for (const listener of this.#listeners) listener.onNote?.(note) },
      onTakenIn: source => { for (const listener of this.#listeners) listener.onTakenIn?.(source) },
      onLoad: () => { for (const listener of this.#listeners) listener.onLoad?.() },
      onTrouble: reason => this.#health.fail(reason),
      log
    })
    this.#health = new Health({
      name: this.name,
      client: this.#client,
      clock,
      reader: this.#reader,
      write: async () => {
        let reply: CallReply
        // One step trims a limited number.
        do reply = await this.#append([], { field: 'probe', text: worker }); while (reply.hasMore)
        return reply.last
      },
      onChange: trouble => {
        if (trouble !== null) return this.#follower?.available(false, trouble)
        this.#follower?.available(true)
        for (const listener of this.#listeners) listener.onUsable?.()
      },
      log
    })
  }

  /** Why Redis cannot be used now; null while it can. */
  get trouble (): string | null {
    return this.#health.trouble
  }

  /** When the connection for commands was last lost, by the monotonic clock. */
  get lostAt (): number {
    return this.#lostAt
  }

  get warnings (): readonly string[] {
    const { warning } = this.#reader
    return [...this.#health.warnings, ...(warning === null ? [] : [warning]), ...this.#listeners.flatMap(({ warnings }) => warnings?.() ?? [])]
  }

  get progress (): string | null {
    return this.#reader.progress
  }

  listen (listener: StoreListener): void {
    this.#listeners.push(listener)
  }

  /**
   * A separate connection for one part of this process.
   * @param onError called with its failures; by default they count as the store's
   */
  connect (part: string, commandTimeoutMs: number, onError = (reason: string): void => this.#health.fail(reason)): RedisClient {
    const { address, worker } = this.#options
    return connection({ address, name: `signalbox:${part}:${worker}`, commandTimeoutMs, onError })
  }

  async follow (follower: Follower): Promise<void> {
    if (this.#follower !== null) throw new Error('a store has one follower')
    this.#follower = follower
    if (this.trouble !== null) follower.available(false, this.trouble)
    this.#client.connect().catch(() => {})
    await this.#reader.start(follower)
    if (this.#closing === null) await this.#health.start()
  }

  async sync (): Promise<void> {
    const [head] = await this.ask(async client => await client.hmget(this.keys.meta, 'head'))
    if (head != null && !await this.#reader.passed(head, TIMEOUT_MS)) throw unavailable('its entries do not arrive')
  }

  async append (drafts: readonly Draft[], once?: Once): Promise<Array<Id | null>> {
    return await this.#appendBounded(drafts, { once }, once !== undefined)
  }

  async answered ({ key, fingerprint }: Pick<Once, 'key'> & Partial<Once>): Promise<Array<Id | null> | null> {
    const text = await this.ask(async client => await client.get(this.keys.once(key)))
    if (text === null) return null
    const words = text.split(' ')
    return fingerprint === undefined ? idsOf(words.slice(1)) : answerOf(words, { key, fingerprint })
  }

  /**
   * Appends what came in through Redis, and acknowledges it in the same step, if this worker still holds the lease.
   * @param token the content of the lease while this worker holds it
   * @param sources where each event came from, in the order of the drafts
   * @returns the events' ids; null for an entry of `ingest` that was appended before
   * @throws LeaseLost, and what `append` throws
   */
  async appendUnderLease (drafts: readonly Draft[], sources: readonly IntakeSource[], token: string): Promise<Array<Id | null>> {
    // An entry of `ingest` is appended once, however often that is tried.
    return await this.#appendBounded(drafts, { lease: { token, sources } }, sources.every(source => source.startsWith('i')))
  }

  async #appendBounded (drafts: readonly Draft[], condition: AppendCondition, isRepeatable: boolean): Promise<Array<Id | null>> {
    const bytes = drafts.reduce((sum, { tail }) => sum + tail.length + DRAFT_BYTES, DRAFT_BYTES)
    const { maxWaitingBytes = MAX_WAITING_BYTES } = this.#options
    this.#checkOpen()
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > maxWaitingBytes) {
      throw new Refusal('OVERLOADED', 'events are published faster than Redis takes them; try again later', { bound: 'appends' })
    }
    this.#waitingBytes += bytes
    try {
      return await this.#ended(this.#appendAndFollow({ drafts, bytes, ...condition }, isRepeatable))
    } finally {
      this.#waitingBytes -= bytes
    }
  }

  /** Sends a message to all workers, this one too, through the log. @throws Refusal STORE_UNAVAILABLE */
  async note (field: WorkerNote['field'], text: string): Promise<void> {
    await this.#guarded(async () => await this.#append([], { field, text }))
  }

  async claim (id: string, record: CommandRecord): Promise<CommandRecord | null> {
    const before = await this.ask(async client => await claim(client, [this.keys.command(id)], [JSON.stringify(record), this.#options.idempotencyTtlMs]))
    return before === null ? null : JSON.parse(before) as CommandRecord
  }

  async settle (id: string, record: CommandRecord | null): Promise<void> {
    const key = this.keys.command(id)
    await this.ask(async client => {
      if (record === null) await client.del(key)
      else await client.set(key, JSON.stringify(record), 'PX', this.#options.idempotencyTtlMs)
    })
  }

  async recall (id: string): Promise<CommandRecord | null> {
    const text = await this.ask(async client => await client.get(this.keys.command(id)))
    return text === null ? null : JSON.parse(text) as CommandRecord
  }

  async secret (): Promise<Uint8Array> {
    const text = await this.ask(async client => {
      // A Redis that was emptied gets back the one that was in use.
      await client.setnx(this.keys.secret, this.#secret)
      return await client.get(this.keys.secret)
    })
    const secret = Buffer.from(text ?? this.#secret, 'base64')
    if (secret.length < SECRET_BYTES) throw new Refusal('STORE_UNAVAILABLE', `the key ${this.keys.secret} of Redis does not hold what this gateway wrote there: delete it, and it is made anew`)
    this.#secret = text ?? this.#secret
    return secret
  }

  /** Runs a request to Redis. @throws Refusal STORE_UNAVAILABLE */
  async ask<T> (question: (client: RedisClient) => Promise<T>): Promise<T> {
    return await this.#guarded(async () => await question(this.#client))
  }

  close (): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async #end (): Promise<void> {
    this.#health.end()
    await Promise.allSettled(this.#asked)
    this.#reader.close()
    this.#client.disconnect()
  }

  async #appendAndFollow (append: PendingAppend, isRepeatable: boolean): Promise<Array<Id | null>> {
    const { text, followed } = await this.#persist(append, isRepeatable)
    await followed
    const [kind, ...rest] = text.split(' ')
    switch (kind) {
      case 'OK': return idsOf(rest)
      case 'ONCE': return answerOf(rest, append.once as Once)
      case 'FENCED': throw new LeaseLost()
      default: throw keysFull(rest[0] ?? '')
    }
  }

  /** Repeats an append that the connection was lost under, if it is safe to repeat or was never sent, within the time of one try. */
  async #persist (append: PendingAppend, repeatable: boolean): Promise<AppendAnswer> {
    const { clock } = this.#options
    const until = clock.now() + TIMEOUT_MS
    const act = (): Promise<AppendAnswer> => this.#calls.append(append)
    const again = async (): Promise<AppendAnswer> => {
      const answer = await within(clock, until - clock.now(), act(), null)
      if (answer === null) throw new Error('Command timed out')
      return answer
    }
    for (let attempt = act; ; attempt = again) {
      try {
        return await attempt()
      } catch (error) {
        if (!(repeatable && isLost(error)) && !isUnsent(error)) throw this.#failed(error)
        do {
          if (clock.now() > until || this.#closing !== null) throw this.#failed(error)
          await pause(clock, AGAIN_MS)
        } while (this.#client.status !== 'ready')
      }
    }
  }

  /** One call for many appends. */
  async #send (appends: readonly PendingAppend[]): Promise<readonly AppendAnswer[]> {
    const { last, answers } = await this.#append(appends)
    const followed = this.#reader.passed(last, FOLLOW_MS)
    return answers.map(text => ({ text, followed }))
  }

  async #append (appends: readonly PendingAppend[], note?: WorkerNote): Promise<CallReply> {
    const { meta, epochs, log, facts, state, rooms, intake, ingest, occupancy, once: nameOf } = this.keys
    const { maxKeysPerRoom, historySize, historyBytes, historyTtlMs, idempotencyTtlMs, logBytes = LOG_BYTES, clock } = this.#options
    const keys = [meta, epochs, log, facts, state, rooms, intake, ingest, occupancy]
    const args = [newEpoch(), this.#reader.last ?? ORIGIN, maxKeysPerRoom, historySize, historyBytes, historyTtlMs, logBytes, idempotencyTtlMs, note?.text ?? '', note?.field ?? 'probe', this.#time === 0 ? 0 : Math.floor(this.#time + clock.now() - this.#toldAt)]
    for (const { drafts, once, lease } of appends) {
      if (once !== undefined) keys.push(nameOf(once.key))
      const events = drafts.flatMap((draft, at) => lease === undefined ? argumentsOf(draft) : [...argumentsOf(draft), lease.sources[at] ?? ''])
      args.push(events.length, once === undefined ? '' : digestOf(once), lease?.token ?? '', ...events)
    }
    const reply = await this.writes.time(clock, async () => await append(this.#client, keys, args))
    if (reply.time > 0) [this.#time, this.#toldAt] = [reply.time, clock.now()]
    return reply
  }

  async #guarded<T> (act: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    return await this.#ended((async () => {
      try {
        return await act()
      } catch (error) {
        // An error with one key concerns the part that uses it, not the store as a whole.
        if (error instanceof Error && !isLost(error) && !isGeneral(error)) throw unavailable(wordsOf(reasonOf(error)))
        throw this.#failed(error)
      }
    })())
  }

  /** Requests in flight are completed before the store closes. */
  async #ended<T> (promise: Promise<T>): Promise<T> {
    this.#asked.add(promise)
    try {
      return await promise
    } finally {
      this.#asked.delete(promise)
    }
  }

  #checkOpen (): void {
    if (this.#closing !== null) throw unavailable('the store is closed')
    if (this.trouble !== null) throw unavailable(this.trouble)
  }

  #failed (error: unknown): unknown {
    if (error instanceof Refusal || error instanceof LeaseLost) return error
    const reason = reasonOf(error)
    this.#health.fail(reason)
    return unavailable(wordsOf(reason))
  }
}

const newEpoch = (): string => randomBytes(9).toString('hex').slice(0, 12)

/** @param words the record of an idempotency key. @throws Refusal IDEMPOTENCY_CONFLICT */
function answerOf ([digest, ...ids]: readonly string[], once: Once): Array<Id | null> {
  if (digest !== digestOf(once)) throw conflict()
  return idsOf(ids)
}

const idsOf = (words: readonly string[]): Array<Id | null> => words[0] === '' ? [] : words.map(id => id === '-' ? null : id)

const digestOf = ({ fingerprint }: Once): string => `=${encodeURIComponent(fingerprint)}`
