// Whether Redis can be used, and what operators and publishers read when it cannot.
//
// Whatever fails first reports the trouble; from then on every request is refused without waiting. Only the probe ends
// it: an entry of our own must be written like an event and come back through the connection that follows the log. A
// replica, a full memory or a starved connection therefore does not pass for healthy.

import type { Clock } from '../../core/clock.ts'
import type { Id } from '../../core/id.ts'
import type { Logger } from '../../core/logger.ts'
import { reasonOf, replaceIfSilent, withoutAddresses } from './connect.ts'
import type { RedisClient } from './connect.ts'

export interface HealthOptions {
  /** Of the store, for the log. */
  readonly name: string
  /** The connection that commands go through. */
  readonly client: RedisClient
  readonly clock: Clock
  /** Writes an entry of our own to the log, and trims what earlier writes left to trim. @returns its id */
  readonly write: () => Promise<Id>
  /** The connection that follows the log. */
  readonly reader: {
    /** The newest entry read; null while the log is read as a whole. */
    readonly last: Id | null
    /** Whether an entry was read within `ms`. */
    passed (id: Id, ms: number): Promise<boolean>
    reconnect (): void
  }
  /** Redis cannot be used, and why; null when it can again. */
  readonly onChange: (trouble: string | null) => void
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>
}

const PROBE_MS = 2000
const PROBE_IN_TROUBLE_MS = 250
/** A probe that did not come back within this counts as lost. */
const RETURN_MS = 1500
/** A connection that is back within this counts as never lost. */
const GRACE_MS = 300

export class Health {
  /** What Redis is not configured to guarantee, as sentences. */
  warnings: readonly string[] = []
  readonly #options: HealthOptions
  #trouble: string | null
  /** The reasons logged since Redis could last be used: they may alternate. */
  readonly #reported = new Set<string>()
  #stopWatching = (): void => {}
  #ended = false

  constructor (options: HealthOptions) {
    this.#options = options
    this.#trouble = 'Redis has not answered yet'
    options.client.on('ready', () => { if (this.#trouble !== null && options.reader.last !== null) this.#watch(0) })
  }

  /** Why Redis cannot be used now; null while it can. */
  get trouble (): string | null {
    return this.#trouble
  }

  /** Probes once, then keeps probing. For a reader that has the log. */
  async start (): Promise<void> {
    await this.#probe()
    this.#watch()
  }

  /** Reports a failure. A connection that was just lost has a moment to come back. */
  fail (reason: string): void {
    if (this.#ended || reason === this.#trouble) return
    if (!LOST.test(reason)) return this.#setTrouble(reason)
    // If it does not come back, what ended it says more than that it is gone.
    if (this.#trouble === null && this.#options.reader.last !== null) this.#watch(GRACE_MS)
  }

  end (): void {
    this.#ended = true
    this.#stopWatching()
  }

  #setTrouble (cause: string): void {
    const { name, reader, onChange, log } = this.#options
    const reason = wordsOf(cause)
    if (reason === this.#trouble) return
    this.#trouble = reason
    if (!this.#reported.has(cause)) {
      this.#reported.add(cause)
      const words = LOST.test(cause) ? reason : `Redis: ${cause}`
      log.error({ store: name, reason: words }, `${name} cannot be used: ${words}. Publishing is refused until it can be used again`)
    }
    onChange(reason)
    if (reader.last !== null) this.#watch()
  }

  /** Probes after `ms`, and then regularly. */
  #watch (ms = this.#trouble === null ? PROBE_MS : PROBE_IN_TROUBLE_MS): void {
    this.#stopWatching()
    if (this.#ended) return
    this.#stopWatching = this.#options.clock.after(ms, () => {
      this.#probe().finally(() => this.#watch()).catch(() => {})
    })
  }

  async #probe (): Promise<void> {
    const { name, client, write, reader, onChange, log } = this.#options
    try {
      const id = await write()
      const before = reader.last
      // A reader that is still reading the log as a whole has nothing to compare with.
      if (before === null) return
      if (!await reader.passed(id, RETURN_MS)) {
        // A reader that makes progress is late, not broken.
        if (reader.last !== before && this.#trouble === null) return
        reader.reconnect()
        throw new Error('entries are written, but do not come back')
      }
    } catch (error) {
      const reason = reasonOf(error)
      replaceIfSilent(client, error)
      // By now a lost connection had its time to come back.
      return LOST.test(reason) && this.#trouble !== null ? undefined : this.#setTrouble(reason)
    }
    if (this.#trouble === null || this.#ended) return
    this.#trouble = null
    this.#reported.clear()
    await this.#inspect()
    log.info({ store: name }, `${name} can be used`)
    onChange(null)
  }

  async #inspect (): Promise<void> {
    const { name, client, log } = this.#options
    try {
      const info = await client.info()
      const is = (field: string): string | undefined => new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(info)?.[1]
      const warnings = []
      if (is('aof_enabled') === '0') warnings.push('Redis runs with appendonly no: acknowledged events may be lost when Redis ends')
      const policy = is('maxmemory_policy')
      if (policy !== undefined && policy !== 'noeviction' && is('maxmemory') !== '0') warnings.push(`Redis may evict keys (maxmemory-policy ${policy}): clients are reset when it evicts ours; set noeviction`)
      for (const warning of warnings) if (!this.warnings.includes(warning)) log.warn({ store: name }, warning)
      this.warnings = warnings
    } catch {
      // A user without the right to ask gets no warnings.
    }
  }
}

/** What ioredis, or the system, says of a command whose connection was lost, or that was not answered: it may have been carried out. */
const LOST = /^(Connection is closed|Stream isn't writeable|Reached the max retries|Command timed out|None of startup nodes|(read|write) E(CONNRESET|CONNABORTED|PIPE))/
/** What Redis answers to every command while it lasts. */
const GENERAL = /^(OOM|READONLY|NOAUTH|NOPERM|LOADING|MISCONF|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|BUSY|ERR DB index)/

/** Whether the connection was lost under a command, or the command was not answered. */
export const isLost = (error: unknown): boolean => LOST.test(reasonOf(error))
/** Whether a command never left this process. */
export const isUnsent = (error: unknown): boolean => reasonOf(error).startsWith('Stream isn\'t writeable')
/** Whether every command fails alike, whatever it asks. */
export const isGeneral = (error: unknown): boolean => GENERAL.test(reasonOf(error))
/** Whether a refusal of the store has Redis's answer to that one request: a key of another type, for example. */
export const isAnswer = (message: string): boolean => /\b(WRONGTYPE|ERR) /.test(message)
/** A reason for everybody, who need not know ioredis nor where Redis is. */
export const wordsOf = (reason: string): string => LOST.test(reason) ? 'Redis does not answer' : `Redis: ${withoutAddresses(reason)}`
