// Commands: one way in behind both doors, and a ledger of what became of them. Of an Idempotency-Key at most
// one execution is ever started within the ledger's time; whoever repeats it gets the first one's outcome,
// also from another process. Where the outcome was lost with the process that ran it, that is what is said.

import { createHash, randomBytes } from 'node:crypto'
import { pause, within } from './clock.ts'
import type { Clock } from './clock.ts'
import { Refusal } from './errors.ts'
import type { Group } from './group.ts'
import type { LedgerRecord, Store } from './store.ts'

/** What is told of a command to whoever may want to run it. */
export interface CommandInfo {
  /** One sentence. */
  readonly description?: string | undefined
  /** A JSON Schema of its arguments. */
  readonly schema?: object
}

export interface Command extends CommandInfo {
  /** @returns what is wrong with the arguments, in words; null where nothing is */
  check (args: unknown): string | null
  handler (args: never, context: CommandContext): unknown
}

/** A command that others carry out: whoever does settles its record. */
export interface RemoteCommand {
  check (args: unknown): string | null
  /**
   * Hands the command over, and `record` to the ledger in the same step. Does nothing where that was done before.
   * @throws Refusal where it was not handed over; with STORE_UNAVAILABLE it may have been
   */
  dispatch (job: Job, record: LedgerRecord): Promise<void>
}

export interface Job {
  readonly id: string
  readonly command: string
  readonly args: unknown
  readonly caller: string
}

/** Whose a command is. */
export type CommandSource = 'built-in' | 'module' | 'backend'

export interface CommandView extends CommandInfo {
  readonly name: string
  readonly source: CommandSource
}

/** Commands that are not registered here. */
export interface RemoteCommands {
  find (name: string): Promise<RemoteCommand | null>
  list (): ReadonlyArray<CommandInfo & { readonly name: string }>
}

/** What a handler is given besides its arguments. */
export interface CommandContext {
  readonly id: string
  readonly caller: string
  /** Publishes events. @returns their ids */
  publish (events: readonly unknown[]): Promise<string[]>
}

export interface Order {
  readonly command: unknown
  readonly args?: unknown
  readonly idempotencyKey?: string | undefined
  readonly caller: string
}

export interface Outcome {
  readonly id: string
  readonly command: string
  /** `unknown`: it was started, and what became of it was lost. */
  readonly status: 'running' | 'done' | 'failed' | 'unknown'
  readonly result?: unknown
  readonly error?: { readonly code: string, readonly message: string }
}

interface Entry extends Omit<Outcome, 'id'> {
  readonly fingerprint: string
  /** The process that runs it; empty where it was handed over. */
  readonly by: string
}

interface Running {
  readonly fingerprint: string
  readonly outcome: Promise<Outcome>
  readonly command: string
  /** Others carry it out, and whoever settles it need not be this process. */
  readonly isRemote: boolean
}

const MAX_UNKEPT = 10_000
/** Between two looks what became of a command that runs elsewhere, ms; growing from the first to the second. */
const FIRST_LOOK_MS = 50
const LAST_LOOK_MS = 1000
/** So many looks after a claim that failed. */
const WITHDRAW_LOOKS = 60
/** Largest record kept of a command without a key that was answered at once, in characters. */
const MAX_ASIDE = 4096

/** Longest Idempotency-Key, in characters. */
export const MAX_KEY = 200

export class Commands {
  readonly #store: Pick<Store, 'claim' | 'settle' | 'recall'>
  readonly #group: Pick<Group, 'worker' | 'isAlive'>
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #publish: (events: readonly unknown[]) => Promise<string[]>
  readonly #onError: (error: unknown, what: string) => void
  readonly #onBad: (outcome: Outcome) => void
  readonly #registry = new Map<string, Command & { readonly source: CommandSource }>()
  #remote: RemoteCommands = { find: async () => null, list: () => [] }
  /** Wakes who waits for a command that runs elsewhere. */
  readonly #waiting = new Map<string, () => void>()
  readonly #running = new Map<string, Running>()
  /** Outcomes that the store did not take, newest last: nothing is run again for want of a record. */
  readonly #unkept = new Map<string, Entry>()

  constructor (options: {
    store: Pick<Store, 'claim' | 'settle' | 'recall'>
    group: Pick<Group, 'worker' | 'isAlive'>
    clock: Clock
    /** Milliseconds after which the caller is told `running`. */
    timeoutMs: number
    publish: (events: readonly unknown[]) => Promise<string[]>
    /** Told of a handler's failure and of a ledger that could not be written. */
    onError: (error: unknown, what: string) => void
    /** Told of what came out as `failed` or `unknown`. */
    onBad?: (outcome: Outcome) => void
  }) {
    this.#store = options.store
    this.#group = options.group
    this.#clock = options.clock
    this.#timeoutMs = options.timeoutMs
    this.#publish = options.publish
    this.#onError = options.onError
    this.#onBad = options.onBad ?? (() => {})
  }

  get names (): string[] {
    return [...this.#registry.keys()].sort()
  }

  /** All there are, by name. */
  get list (): CommandView[] {
    const here = Array.from(this.#registry, ([name, { description, schema, source }]) => ({ name, description, schema: schema ?? {}, source }))
    const elsewhere = this.#remote.list().filter(({ name }) => !this.#registry.has(name)).map(view => ({ ...view, source: 'backend' as const }))
    return [...here, ...elsewhere].sort((a, b) => a.name < b.name ? -1 : 1)
  }

  register (name: string, command: Command, source: CommandSource = 'module'): void {
    this.#registry.set(name, { ...command, source })
  }

  /** Where commands that are not registered here are looked for. */
  useRemote (remote: RemoteCommands): void {
    this.#remote = remote
  }

  /** Something became of a command that runs elsewhere: whoever waits for it looks at once. */
  news (id: string): void {
    this.#waiting.get(id)?.()
  }

  /**
   * Runs a command, or finds out what became of it where its key is known.
   * @throws Refusal BAD_COMMAND, UNKNOWN_COMMAND, IDEMPOTENCY_CONFLICT, STORE_UNAVAILABLE, and what the handler refuses with
   */
  async run (order: Order): Promise<Outcome> {
    const { name, command, args } = await this.#check(order)
    const { idempotencyKey, caller } = order
    const id = idempotencyKey === undefined ? randomBytes(16).toString('base64url') : digest(caller, idempotencyKey)
    const fingerprint = digest(name, JSON.stringify(args))
    const twin = this.#running.get(id)
    if (twin !== undefined) {
      checkTwin(twin.fingerprint, fingerprint)
      return await within<Outcome>(this.#clock, this.#timeoutMs, twin.outcome, { id, command: name, status: 'running' })
    }
    const outcome = this.#start({ id, name, command, args, caller, fingerprint, ledger: idempotencyKey !== undefined })
    this.#running.set(id, { fingerprint, outcome, command: name, isRemote: 'dispatch' in command })
    const forget = (): void => { this.#running.delete(id) }
    outcome.then(ended => {
      forget()
      if (ended.status === 'failed' || ended.status === 'unknown') this.#onBad(ended)
    }, forget)
    return await within<Outcome>(this.#clock, this.#timeoutMs, outcome, { id, command: name, status: 'running' })
  }

  /** What became of a command; null for an id never seen. */
  async outcome (id: string): Promise<Outcome | null> {
    const running = this.#running.get(id)
    if (running !== undefined) return { id, command: running.command, status: 'running' }
    const entry = this.#unkept.get(id) ?? await this.#store.recall(id) as Entry | null
    return entry === null ? null : await this.#outcomeOf(id, entry)
  }

  /** Waits until nothing runs in this process any more, at most `ms`. @returns the names of those that still do */
  async idle (ms: number): Promise<string[]> {
    const here = (): Running[] => [...this.#running.values()].filter(({ isRemote }) => !isRemote)
    await within<unknown>(this.#clock, ms, Promise.allSettled(here().map(({ outcome }) => outcome)), null)
    return here().map(({ command }) => command)
  }

  async #check ({ command: name, args = {}, idempotencyKey }: Order): Promise<{ name: string, command: Command | RemoteCommand, args: unknown }> {
    if (typeof name !== 'string' || name === '') throw new Refusal('BAD_COMMAND', 'command must be the name of a command, for example {"command": "ping", "args": {}}')
    if (idempotencyKey !== undefined && (idempotencyKey.length < 1 || idempotencyKey.length > MAX_KEY)) {
      throw new Refusal('BAD_COMMAND', `an Idempotency-Key has 1 to ${MAX_KEY} characters`)
    }
    const command = this.#registry.get(name) ?? await this.#remote.find(name)
    if (command === null) {
      throw new Refusal('UNKNOWN_COMMAND', `there is no command ${JSON.stringify(name.slice(0, 60))}; there are ${this.names.join(', ')}`)
    }
    const problem = command.check(args)
    if (problem !== null) throw new Refusal('BAD_COMMAND', `${name}: ${problem}`)
    return { name, command, args }
  }

  async #start (job: { id: string, name: string, command: Command | RemoteCommand, args: unknown, caller: string, fingerprint: string, ledger: boolean }): Promise<Outcome> {
    const { id, name, command, args, caller, fingerprint, ledger } = job
    const started: Entry = { command: name, status: 'running', fingerprint, by: this.#group.worker }
    const claim = async (): Promise<Entry | null> => await this.#store.claim(id, started as unknown as LedgerRecord) as Entry | null
    if (ledger) {
      for (;;) {
        const earlier = this.#unkept.get(id) ?? await claim().catch(error => {
          // It may be kept all the same, or yet be: nobody else must take it for one that runs.
          void this.#withdraw(id)
          throw error
        })
        // Our own record of something that does not run is of a claim that failed and was kept nevertheless: it never started.
        if (earlier === null || (earlier.status === 'running' && earlier.by === this.#group.worker)) break
        checkTwin(earlier.fingerprint, fingerprint)
        const outcome = await this.#follow(id, earlier)
        if (outcome !== null) return outcome
        // It was refused meanwhile, which is not remembered: now it is our turn.
      }
    }
    if ('dispatch' in command) {
      const handed: Entry = { ...started, by: '' }
      try {
        await command.dispatch({ id, command: name, args, caller }, handed as unknown as LedgerRecord)
      } catch (error) {
        // Without the store nobody knows whether it was handed over: then the record stays as it is.
        if (ledger && !(error instanceof Refusal && error.code === 'STORE_UNAVAILABLE')) await this.#settle(id, null)
        throw error
      }
      return await this.#follow(id, handed) ?? { id, command: name, status: 'unknown' }
    }
    if (!ledger) {
      // Without a key nobody can ask for it twice. The record only answers GET /api/control/:id, and is not
      // waited for: commands that mend things must work while the store does not.
      claim().catch(error => this.#onError(error, `command ${name} (${id}) could not be recorded`))
    }
    let ended: Entry
    const began = this.#clock.now()
    try {
      const result = await command.handler(args as never, { id, caller, publish: this.#publish })
      ended = { ...started, status: 'done', result: result ?? null }
    } catch (error) {
      if (error instanceof Refusal) {
        // A refusal has changed nothing, so it is not remembered: the same key may try again.
        if (ledger) await this.#settle(id, null)
        throw error
      }
      this.#onError(error, `command ${name} (${id}) failed`)
      ended = { ...started, status: 'failed', error: { code: 'COMMAND_FAILED', message: error instanceof Error ? error.message : String(error) } }
    }
    if (ledger) await this.#settle(id, ended)
    // Who got a large result as the answer will not ask for it again, and the disk need not keep it.
    else if (this.#clock.now() - began < this.#timeoutMs && JSON.stringify(ended).length > MAX_ASIDE) void this.#settle(id, { ...ended, result: undefined })
    else void this.#settle(id, ended)
    return await this.#outcomeOf(id, ended)
  }

  /** Takes back the claim of a command that was never started. */
  async #withdraw (id: string): Promise<void> {
    for (let look = 0; look < WITHDRAW_LOOKS; look++) {
      await pause(this.#clock, LAST_LOOK_MS)
      if (this.#running.has(id)) return
      const record = await this.#store.recall(id).catch(() => undefined) as Entry | null | undefined
      // Away still, or not there yet: what was sent before the store went away may arrive after it is back.
      if (record === undefined || record === null) continue
      if (record.status === 'running' && record.by === this.#group.worker && !this.#running.has(id)) await this.#settle(id, null)
      return
    }
  }

  async #settle (id: string, entry: Entry | null): Promise<void> {
    try {
      await this.#store.settle(id, entry as unknown as LedgerRecord | null)
    } catch (error) {
      this.#onError(error, `the outcome of command ${id} could not be kept`)
      if (entry === null) return
      this.#unkept.set(id, entry)
      if (this.#unkept.size > MAX_UNKEPT) this.#unkept.delete(this.#unkept.keys().next().value as string)
    }
  }

  /** Waits until something has become of a command that runs elsewhere. @returns null where its record is gone */
  async #follow (id: string, entry: Entry): Promise<Outcome | null> {
    for (let ms = FIRST_LOOK_MS; ; ms = Math.min(2 * ms, LAST_LOOK_MS)) {
      const outcome = await this.#outcomeOf(id, entry).catch(() => null)
      if (outcome !== null && outcome.status !== 'running') return outcome
      const news = new Promise<void>(resolve => { this.#waiting.set(id, resolve) })
      await within(this.#clock, ms, news, undefined)
      this.#waiting.delete(id)
      // Where the ledger cannot be read just now, what it said last still holds.
      const now = await this.#store.recall(id).catch(() => entry) as Entry | null
      if (now === null) return null
      entry = now
    }
  }

  async #outcomeOf (id: string, { command, status, result, error, by }: Entry): Promise<Outcome> {
    // Where the process that ran it is gone, what became of it is not known.
    const isLost = status === 'running' && by !== '' && by !== this.#group.worker && !await this.#group.isAlive(by)
    return {
      id,
      command,
      status: isLost ? 'unknown' : status,
      ...(result === undefined ? {} : { result }),
      ...(error === undefined ? {} : { error })
    }
  }
}

function checkTwin (theirs: string, ours: string): void {
  if (theirs !== ours) throw new Refusal('IDEMPOTENCY_CONFLICT', 'this Idempotency-Key came with another command before; use a new key for a new command')
}

/** Every part ends in a NUL, which none of them can hold: no two lists of parts look alike. */
export const digest = (...parts: string[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('base64url').slice(0, 22)
}
