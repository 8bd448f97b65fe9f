// Commands: a registry, and one way to run a command whichever door it came through. A command with an Idempotency-Key
// is claimed in the ledger (ledger.ts) before it runs; a repeat is answered with the outcome of the first.

import { createHash, randomBytes } from 'node:crypto'
import { within } from './clock.ts'
import type { Clock } from './clock.ts'
import { Refusal } from './errors.ts'
import type { Group } from './group.ts'
import { checkGranted, PROGRAM } from './identity.ts'
import type { Identity } from './identity.ts'
import { reasonOf } from './json.ts'
import { CommandLedger } from './ledger.ts'
import type { Outcome } from './ledger.ts'
import type { CommandRecord, Store } from './store.ts'

/** What clients can read of a command. */
export interface CommandInfo {
  /** One sentence. */
  readonly description?: string | undefined
  /** A JSON Schema of its arguments. */
  readonly schema?: object
}

export interface Command extends CommandInfo {
  /** It changes nothing: its Idempotency-Key is ignored, a repeat runs it again, and its result is not kept. */
  readonly readOnly?: boolean | undefined
  /** @returns what is wrong with the arguments, as a sentence; null where nothing is */
  check (args: unknown): string | null
  handler (args: never, context: CommandContext): unknown
}

/** A command that runs outside the gateway: the backend that runs it settles its record. */
export interface RemoteCommand {
  check (args: unknown): string | null
  /**
   * Hands the command over and writes `record` to the ledger, in one step. Does nothing where that was done before.
   * @throws Refusal where it was not handed over; with STORE_UNAVAILABLE it may have been
   */
  dispatch (job: CommandJob, record: CommandRecord): Promise<void>
}

export interface CommandJob {
  readonly id: string
  readonly command: string
  readonly args: unknown
  readonly identity: Identity
}

/** Where a command comes from. */
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
  /** Whom limits count for: issuer and subject of the token, else the address. */
  readonly caller: string
  readonly identity: Identity
  /** Publishes events. @param as whose rights count; default: the gateway's own, which may publish everywhere. @returns their ids */
  publish (events: readonly unknown[], as?: Identity): Promise<string[]>
}

/** A command as a client sends it. */
export interface CommandRequest {
  readonly command: unknown
  readonly args?: unknown
  readonly idempotencyKey?: string | undefined
  /** Default: the program around the gateway, which may run everything. */
  readonly identity?: Identity
}

export interface CommandsOptions {
  readonly store: Pick<Store, 'claim' | 'settle' | 'recall'>
  readonly group: Pick<Group, 'worker' | 'isAlive'>
  readonly clock: Clock
  /** Milliseconds after which the answer is `running`. */
  readonly timeoutMs: number
  readonly publish: CommandContext['publish']
  /** Called where a handler failed, and where the ledger could not be written. */
  readonly onError: (error: unknown, what: string) => void
  /** Called with outcomes that are `failed` or `unknown`. */
  readonly onBad?: (outcome: Outcome) => void
  /** Called when one of the gateway's own commands has ended, unless it changes nothing. */
  readonly onOperated?: (request: Pick<CommandJob, 'command' | 'args' | 'identity'>, outcome: Outcome) => void
}

type LocalCommand = Command & { readonly source: CommandSource }

/** A checked request. */
interface Task extends Omit<CommandJob, 'command'> {
  readonly name: string
  readonly command: LocalCommand | RemoteCommand
  readonly fingerprint: string
  /** It came with an Idempotency-Key. */
  readonly isKeyed: boolean
}

interface Execution {
  readonly task: Task
  readonly outcome: Promise<Outcome>
}

/** Largest result kept, in characters of its JSON; and of a command without a key that was answered in time. */
const MAX_RESULT = 65_536
const MAX_ASIDE = 4096
/** Longest message of a failure. */
const MAX_MESSAGE = 1000
/** Commands that may run at a time in this process. */
const MAX_RUNNING = 1000

/** A name longer than this is no command's. */
const MAX_NAME = 128

/** Longest Idempotency-Key, in characters. */
export const MAX_KEY = 200

export class Commands {
  readonly #options: CommandsOptions
  readonly #ledger: CommandLedger
  readonly #registry = new Map<string, LocalCommand>()
  readonly #running = new Map<string, Execution>()
  #stopped = false
  #remote: RemoteCommands = { find: async () => null, list: () => [] }

  constructor (options: CommandsOptions) {
    this.#options = options
    const { store, group, clock, onError } = options
    this.#ledger = new CommandLedger({ store, group, clock, onError, isRunning: id => this.#running.has(id) })
  }

  /** The names of the registered commands. */
  get names (): string[] {
    return [...this.#registry.keys()].sort()
  }

  /** All commands, by name. */
  get list (): CommandView[] {
    const here = Array.from(this.#registry, ([name, { description, schema, source }]) => ({ name, description, schema: schema ?? {}, source }))
    const remote = this.#remote.list().filter(({ name }) => !this.#registry.has(name)).map(view => ({ ...view, source: 'backend' as const }))
    return [...here, ...remote].sort((a, b) => a.name < b.name ? -1 : 1)
  }

  register (name: string, command: Command, source: CommandSource = 'module'): void {
    this.#registry.set(name, { ...command, source })
  }

  /** Sets where commands that are not registered here are looked up. */
  useRemote (remote: RemoteCommands): void {
    this.#remote = remote
  }

  /** A command that runs elsewhere was settled: those that wait for it look at once. */
  recheck (id: string): void {
    this.#ledger.recheck(id)
  }

  /**
   * Runs a command, or finds its outcome where its key is known.
   * @throws Refusal BAD_COMMAND, UNAUTHENTICATED, FORBIDDEN, UNKNOWN_COMMAND, IDEMPOTENCY_CONFLICT, STORE_UNAVAILABLE, OVERLOADED, DRAINING, and what a
   *   built-in command refuses with
   */
  async run (request: CommandRequest): Promise<Outcome> {
    this.#checkStopped()
    let task: Task
    try {
      task = await this.#check(request)
    } catch (refusal) {
      return await this.#repeated(request, refusal)
    }
    const twin = this.#running.get(task.id)
    if (twin !== undefined) checkTwin(twin.task, task)
    return await this.#inTime(task.id, task.name, twin?.outcome ?? this.#start(task))
  }

  async #inTime (id: string, command: string, outcome: Promise<Outcome>): Promise<Outcome> {
    return await within<Outcome>(this.#options.clock, this.#options.timeoutMs, outcome, { id, command, status: 'running' })
  }

  /** A repeat gets its first answer, also where its command is no longer there, or would not take these arguments now. */
  async #repeated ({ command: name, args = {}, idempotencyKey, identity = PROGRAM }: CommandRequest, refusal: unknown): Promise<Outcome> {
    const isAboutCommand = refusal instanceof Refusal && (refusal.code === 'UNKNOWN_COMMAND' || refusal.code === 'BAD_COMMAND')
    if (!isAboutCommand || typeof name !== 'string' || idempotencyKey === undefined) throw refusal
    const id = digest(identity.caller, idempotencyKey)
    const twin = this.#running.get(id)
    const record = twin === undefined ? await this.#ledger.recordOf(id) : null
    const first = twin?.task ?? record
    if (first === null) throw refusal
    checkTwin(first, { fingerprint: digest(name, textOf(name, args)) })
    const outcome = twin?.outcome ?? this.#ledger.follow(id, record as CommandRecord).then(outcome => outcome ?? { id, command: name, status: 'unknown' as const })
    return await this.#inTime(id, name, outcome)
  }

  /** The outcome of a command; null for an id never seen, and for somebody else's. */
  async outcome (id: string, identity = PROGRAM): Promise<Outcome | null> {
    const task = this.#running.get(id)?.task
    if (task === undefined) return await this.#ledger.outcome(id, ownerOf(identity))
    return ownerOf(task.identity) === ownerOf(identity) ? { id, command: task.name, status: 'running' } : null
  }

  /** Takes no more commands, waits until none runs in this process any more, at most `ms`. @returns the names of those that still do */
  async stop (ms: number): Promise<string[]> {
    this.#stopped = true
    const until = this.#options.clock.now() + ms
    const here = (): Execution[] => [...this.#running.values()].filter(({ task }) => !('dispatch' in task.command))
    await within<unknown>(this.#options.clock, ms, Promise.allSettled(here().map(({ outcome }) => outcome)), null)
    // The last chance for outcomes that the store did not take.
    await within<unknown>(this.#options.clock, Math.max(0, until - this.#options.clock.now()), this.#ledger.store(), null)
    return here().map(({ task }) => task.name)
  }

  /** The store is about to close: commands that run elsewhere are followed no more. */
  close (): void {
    this.#ledger.stop()
  }

  #checkStopped (): void {
    if (this.#stopped) throw new Refusal('DRAINING', 'the gateway is shutting down; try again in a moment')
  }

  async #check ({ command: name, args = {}, idempotencyKey, identity = PROGRAM }: CommandRequest): Promise<Task> {
    if (typeof name !== 'string' || name === '') throw new Refusal('BAD_COMMAND', 'command must be the name of a command, for example {"command": "ping", "args": {}}')
    if (idempotencyKey !== undefined && (idempotencyKey.length < 1 || idempotencyKey.length > MAX_KEY)) {
      throw new Refusal('BAD_COMMAND', `an Idempotency-Key has 1 to ${MAX_KEY} characters`)
    }
    checkGranted(identity, 'control', [name.slice(0, MAX_NAME)])
    const command = this.#registry.get(name) ?? await this.#remote.find(name)
    if (command === null) {
      throw new Refusal('UNKNOWN_COMMAND', `there is no command ${JSON.stringify(name.slice(0, 60))}; there are ${this.list.map(({ name }) => name).join(', ')}`)
    }
    const problem = command.check(args)
    if (problem !== null) throw new Refusal('BAD_COMMAND', `${name}: ${problem}`)
    const fingerprint = digest(name, textOf(name, args))
    const isReadOnly = 'readOnly' in command && command.readOnly === true
    const keyed = idempotencyKey === undefined ? null : digest(identity.caller, idempotencyKey)
    // What changes nothing runs again with each repeat, but not under the key of another command.
    const other = isReadOnly && keyed !== null ? this.#running.get(keyed)?.task ?? await this.#ledger.recordOf(keyed) : null
    if (other !== null) checkTwin(other, { fingerprint })
    const id = keyed === null || isReadOnly ? randomBytes(16).toString('base64url') : keyed
    return { id, name, command, args, identity, fingerprint, isKeyed: keyed !== null && !isReadOnly }
  }

  #start (task: Task): Promise<Outcome> {
    // A drain may have begun since the request came.
    this.#checkStopped()
    if (this.#running.size >= MAX_RUNNING) throw new Refusal('OVERLOADED', `${MAX_RUNNING} commands are running; try again later`, { bound: 'commands' })
    const outcome = this.#claimAndRun(task)
    this.#running.set(task.id, { task, outcome })
    const forget = (): void => { this.#running.delete(task.id) }
    outcome.then(ended => {
      forget()
      if (ended.status === 'failed' || ended.status === 'unknown') this.#options.onBad?.(ended)
      const { name, command, args, identity } = task
      if ('source' in command && command.source === 'built-in' && command.readOnly !== true) this.#options.onOperated?.({ command: name, args, identity }, ended)
    }, forget)
    return outcome
  }

  async #claimAndRun (task: Task): Promise<Outcome> {
    const { id, name, command, identity, fingerprint, isKeyed } = task
    const owner = ownerOf(identity)
    const record: CommandRecord = { command: name, status: 'running', fingerprint, by: this.#options.group.worker, ...(owner === undefined ? {} : { owner }) }
    // A refusal is not recorded: where the one that was followed was refused meanwhile, it is our turn.
    for (let earlier = isKeyed ? await this.#ledger.claim(id, record) : null; earlier !== null; earlier = await this.#ledger.claim(id, record)) {
      checkTwin(earlier, task)
      const outcome = await this.#ledger.follow(id, earlier)
      if (outcome !== null) return outcome
    }
    if ('dispatch' in command) return await this.#dispatch(task, command, { ...record, by: '' })
    // Not waited for: commands that repair things must work while the store does not.
    if (!isKeyed) void this.#ledger.note(id, record)
    return await this.#handle(task, command, record)
  }

  async #dispatch ({ id, name, args, identity, isKeyed }: Task, command: RemoteCommand, record: CommandRecord): Promise<Outcome> {
    try {
      await command.dispatch({ id, command: name, args, identity }, record)
    } catch (error) {
      // Without the store it is not known whether it was handed over: then the record stays as it is.
      if (isKeyed && !(error instanceof Refusal && error.code === 'STORE_UNAVAILABLE')) await this.#ledger.settle(id, null)
      throw error
    }
    return await this.#ledger.follow(id, record) ?? { id, command: name, status: 'unknown' }
  }

  async #handle ({ id, name, args, identity, isKeyed }: Task, command: LocalCommand, record: CommandRecord): Promise<Outcome> {
    const { clock, timeoutMs, publish, onError } = this.#options
    const began = clock.now()
    let ended: CommandRecord
    let size = 0
    try {
      const result: unknown = await command.handler(args as never, { id, caller: identity.caller, identity, publish }) ?? null
      size = sizeOf(result)
      ended = { ...record, status: 'done', result }
    } catch (error) {
      // A built-in command that refuses has changed nothing: the same key may try again. Any other handler may have done
      // half of its work before a publish of its own was refused.
      if (error instanceof Refusal && command.source === 'built-in') {
        if (isKeyed) await this.#ledger.settle(id, null)
        throw error
      }
      const what = `command ${name} (${id}) failed`
      try {
        onError(error, what)
      } catch {
        // An error that throws when it is read cannot be logged as it is.
        onError(new Error(messageOf(error)), what)
      }
      ended = { ...record, status: 'failed', error: { code: 'COMMAND_FAILED', message: messageOf(error) } }
    }
    // A caller that got the result as the answer will not ask for it again.
    const isAnswered = !isKeyed && clock.now() - began < timeoutMs
    const isKept = size <= (isAnswered ? command.readOnly === true ? 0 : MAX_ASIDE : MAX_RESULT)
    const settled = this.#ledger.settle(id, isKept ? ended : { ...ended, result: undefined, resultOmitted: true })
    if (isKeyed) await settled
    return await this.#ledger.outcomeOf(id, ended)
  }
}

/** @throws Refusal BAD_COMMAND for what a program has and JSON has not: a BigInt, a circle */
function textOf (name: string, args: unknown): string {
  try {
    return JSON.stringify(args)
  } catch (error) {
    throw new Refusal('BAD_COMMAND', `${name}: args cannot be written as JSON: ${reasonOf(error)}`)
  }
}

/** Characters of a result as JSON. @throws TypeError where it cannot be sent */
function sizeOf (result: unknown): number {
  try {
    return JSON.stringify(result)?.length ?? 0
  } catch (error) {
    throw new TypeError(`it was carried out, but its result cannot be sent as JSON: ${messageOf(error)}`)
  }
}

/** What a handler threw may be anything. */
function messageOf (error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error).slice(0, MAX_MESSAGE)
  } catch {
    return 'it threw something that is no error'
  }
}

/** Who may ask for the outcome besides those who know the id: without a token anybody. */
const ownerOf = ({ caller, isAuthenticated }: Identity): string | undefined => isAuthenticated ? caller : undefined

function checkTwin (first: { readonly fingerprint: string }, second: { readonly fingerprint: string }): void {
  if (first.fingerprint !== second.fingerprint) throw new Refusal('IDEMPOTENCY_CONFLICT', 'this Idempotency-Key came with another command before; use a new key for a new command')
}

/** Every part ends in a NUL, which none of them can hold: no two lists of parts look alike. */
export const digest = (...parts: string[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('base64url').slice(0, 22)
}
