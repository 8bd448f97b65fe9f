// Commands that backends carry out, in any language. A backend declares a command in the hash `handlers` and reads
// `commands:<name>` with a consumer group: exactly one of several backends gets each command. This class hands commands
// over, in one step with the ledger's record: a repeat hands over nothing. answers.ts takes the answers, overdue.ts deals
// with commands that are not answered.

import type { CommandInfo, CommandJob, RemoteCommand } from '../../../core/command.ts'
import { pause } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import { NAME } from '../../../core/event.ts'
import type { Gateway } from '../../../core/gateway.ts'
import type { CommandRecord } from '../../../core/store.ts'
import type { Logger } from '../../../core/logger.ts'
import { Answers } from './answers.ts'
import { DEFAULT, parseDeclaration } from './declaration.ts'
import type { Check, Declaration } from './declaration.ts'
import type { RedisStore } from '../log/store.ts'
import { BACKENDS, WITH_ENTRY } from './command-record.ts'
import { keptMs, Overdue } from './overdue.ts'
import { isAnswer } from '../health.ts'
import { script } from '../scripts.ts'

export interface HandlersOptions {
  readonly worker: string
  readonly store: RedisStore
  readonly clock: Clock
  readonly idempotencyTtlMs: number
  /** Turns a JSON Schema into a check of arguments. @throws Error if it is not one */
  readonly compile: (schema: object) => Check
  readonly log: Pick<Logger, 'info' | 'warn'>
}

interface DeclarationEntry {
  readonly text: string
  /** Null if it is not valid. */
  readonly declaration: Declaration | null
  readonly problem: string
}

/** Commands of one name that may wait or be carried out at a time. */
export const MAX_WAITING = 10_000
/** Commands that backends may declare. */
const MAX_DECLARED = 1000
const SWEEP_MS = 1000
const SWEEPS_PER_TIDY = 60
/** After Redis was away, backends have this long to answer before they count as gone. */
const GRACE_MS = 2000
/** With this timeout a command is answered or refused within two seconds, whatever Redis does. */
const PERSIST_MS = 1500
const PAUSE_MS = 25

/**
 * Keys: the command's record, its stream. Arguments: the record, ms it is kept, maximum entries, then id, args, caller, subject.
 * If no process runs the command by its record (`by` is empty), it was handed over before.
 */
const dispatch = script<[record: string, stream: string], [record: string, ttlMs: number, limit: number, id: string, args: string, caller: string, subject: string], 'BEFORE' | 'FULL' | 'OK'>('sbDispatch', `${WITH_ENTRY}
local before = redis.call('GET', KEYS[1])
if before and string.find(before, '"by":""', 1, true) then return 'BEFORE' end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[2], '${BACKENDS}', '0', 'MKSTREAM') end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 'FULL' end
local entry = redis.call('XADD', KEYS[2], '*', 'id', ARGV[4], 'args', ARGV[5], 'caller', ARGV[6], 'attempt', '1', 'subject', ARGV[7])
redis.call('SET', KEYS[1], withEntry(ARGV[1], entry), 'PX', ARGV[2])
return 'OK'
`)

/** Key: the declarations. Argument: how many at most. Returns name and text in turn. */
const declarations = script<[handlers: string], [most: number], string[]>('sbDeclarations', `
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return redis.error_reply('ERR more than ' .. ARGV[1] .. ' commands are declared') end
return redis.call('HGETALL', KEYS[1])
`)

export class Handlers {
  readonly #options: HandlersOptions
  readonly #answers: Answers
  readonly #overdue: Overdue
  /** The declaration last read for each name. */
  readonly #read = new Map<string, DeclarationEntry>()
  /** The declarations that sweeping goes by. Includes those withdrawn or made invalid while commands are pending. */
  readonly #served = new Map<string, Declaration>()
  readonly #ignored = new Set<string>()
  #gateway: Pick<Gateway, 'commands' | 'counters'> | null = null
  #sweepAfter = 0
  #sweeps = 0
  #sweeping: Promise<void> = Promise.resolve()
  #stop = (): void => {}
  #closed = false
  /** The failure of sweeping last reported. */
  #reported = ''

  constructor (options: HandlersOptions) {
    const { store, clock, log } = options
    this.#options = options
    this.#answers = new Answers({
      ...options,
      onSettled: ids => this.#settled(ids),
      onDuplicate: (id, command) => {
        if (this.#gateway !== null) this.#gateway.counters.duplicates++
        log.warn({ id, command }, `command ${command} (${id}) was carried out more than once; the first answer counts`)
      }
    })
    this.#overdue = new Overdue(options)
    store.listen({
      onNote: ({ field, text }) => { if (field === 'settled') this.#recheck(text.split(' ')) },
      onUsable: () => { this.#sweepAfter = clock.now() + GRACE_MS }
    })
  }

  start (gateway: Pick<Gateway, 'commands' | 'counters'>): void {
    if (this.#closed) return
    this.#gateway = gateway
    gateway.commands.useRemote({ find: async name => await this.#find(name), list: () => this.#list() })
    this.#answers.start()
    this.#sweepSoon()
  }

  /** Stops reading answers; those that were taken are settled first. */
  async close (): Promise<void> {
    this.#closed = true
    this.#stop()
    await Promise.all([this.#answers.close(), this.#sweeping])
  }

  async #find (name: string): Promise<RemoteCommand | null> {
    const { store } = this.#options
    if (!NAME.test(name)) return null
    const text = await store.ask(async client => await client.hget(store.keys.handlers, name))
    if (text === null) return null
    const { declaration, problem } = this.#declarationOf(name, text)
    if (declaration === null) throw new Refusal('UNKNOWN_COMMAND', `the command ${name} cannot be used: its declaration in ${store.keys.handlers} is not valid: ${problem}`)
    return { check: declaration.check, dispatch: async (job, record) => await this.#dispatch(job, record, declaration.timeoutMs) }
  }

  /** The commands declared at the last sweep, which is each second. */
  #list (): Array<CommandInfo & { name: string }> {
    return [...this.#read].flatMap(([name, { declaration }]) => declaration === null ? [] : [{ name, description: declaration.description, schema: declaration.schema ?? {} }])
  }

  #declarationOf (name: string, text: string): DeclarationEntry {
    const { compile, log, store } = this.#options
    const known = this.#read.get(name)
    if (known?.text === text) return known
    let read: DeclarationEntry
    try {
      read = { text, declaration: parseDeclaration(text, compile), problem: '' }
    } catch (error) {
      read = { text, declaration: null, problem: (error as Error).message }
      if (known?.problem !== read.problem) log.warn({ command: name, problem: read.problem }, `the command ${name} cannot be used: its declaration in ${store.keys.handlers} is not valid: ${read.problem}`)
    }
    this.#read.set(name, read)
    this.#served.set(name, read.declaration ?? this.#served.get(name) ?? DEFAULT)
    return read
  }

  async #dispatch ({ id, command, args, identity }: CommandJob, record: CommandRecord, timeoutMs: number): Promise<void> {
    const { store, idempotencyTtlMs } = this.#options
    const { keys } = store
    const reply = await this.#persist(async () => await store.ask(async client => await dispatch(
      client, [keys.command(id), keys.commands(command)], [JSON.stringify(record), keptMs(idempotencyTtlMs, timeoutMs), MAX_WAITING, id, JSON.stringify(args), identity.caller, identity.subject ?? ''])))
    if (reply === 'FULL') throw new Refusal('OVERLOADED', `${MAX_WAITING} commands ${command} wait for their backends; try again later`, { bound: 'commands' })
  }

  /** Repeats a request whose connection was lost: it may or may not have taken effect, and repeating it is safe. */
  async #persist<T> (act: () => Promise<T>): Promise<T> {
    const { clock } = this.#options
    const until = clock.now() + PERSIST_MS
    for (;;) {
      try {
        return await act()
      } catch (error) {
        if (this.#closed || clock.now() > until) throw error
        await pause(clock, PAUSE_MS)
      }
    }
  }

  #sweepSoon (): void {
    const { clock, log, store } = this.#options
    this.#stop = clock.after(SWEEP_MS, () => {
      this.#sweeping = this.#sweep()
        .then(() => { this.#reported = '' }, (error: Error) => {
          // That Redis is away the store has reported.
          if (error.message === this.#reported || (error instanceof Refusal && !isAnswer(error.message))) return
          this.#reported = error.message
          log.warn({ err: error }, `commands of backends cannot be checked: ${store.keys.handlers}, ${store.keys.results} or one of ${store.keys.commands('*')} cannot be used: ${error.message}`)
        })
        .then(() => { if (!this.#closed) this.#sweepSoon() })
    })
  }

  async #sweep (): Promise<void> {
    const { store, clock } = this.#options
    if (store.trouble !== null || clock.now() < this.#sweepAfter) return
    const texts = await store.ask(async client => await declarations(client, [store.keys.handlers], [MAX_DECLARED]))
    const declared = new Map(texts.flatMap((name, at) => at % 2 === 0 ? [[name, texts[at + 1] as string] as const] : []))
    for (const name of this.#read.keys()) if (!declared.has(name)) this.#read.delete(name)
    for (const [name, text] of declared) if (this.#isOurs(name)) this.#declarationOf(name, text)
    await Promise.all(Array.from(this.#served, async ([name, declaration]) => {
      const { settled, holds } = await this.#overdue.look(name, declaration)
      if (settled.length > 0) this.#settled(settled)
      if (!holds && !this.#read.has(name)) this.#served.delete(name)
    }))
    if (++this.#sweeps % SWEEPS_PER_TIDY === 0) await this.#overdue.tidy(this.#served.keys())
  }

  /** Whether backends may serve a command of this name. */
  #isOurs (name: string): boolean {
    const isTaken = this.#gateway?.commands.names.includes(name) === true
    if (!isTaken && NAME.test(name)) return true
    if (!this.#ignored.has(name) && this.#ignored.size < MAX_DECLARED) {
      this.#ignored.add(name)
      const why = isTaken ? 'the gateway has its own command of this name' : 'it cannot be a command\'s name'
      this.#options.log.warn({ command: name.slice(0, 200) }, `the command ${name.slice(0, 200)} that a backend declares is ignored: ${why}`)
    }
    return false
  }

  #settled (ids: readonly string[]): void {
    this.#recheck(ids)
    // A worker that misses the note looks for itself, within a second.
    this.#options.store.note('settled', ids.join(' ')).catch(() => {})
  }

  #recheck (ids: readonly string[]): void {
    for (const id of ids) this.#gateway?.commands.recheck(id)
  }
}
