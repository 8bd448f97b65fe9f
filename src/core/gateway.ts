// The gateway joins the parts of the core and is all that the layers above see of it. Its verbs are `publish` (and
// `take`, for events whose append is the caller's), `open`, `read`, `control` and `drain`; `start` begins its life.
// Sessions join and leave by themselves. `view` shows what there is; `operator` is what the built-in commands are made of.

import { randomBytes } from 'node:crypto'
import { LogClock, pause, secondOf } from './clock.ts'
import type { Clock } from './clock.ts'
import { Commands } from './command.ts'
import type { CommandRequest } from './command.ts'
import type { Connection } from './connection.ts'
import { Deadlines } from './deadlines.ts'
import { Departures } from './departures.ts'
import { Refusal } from './errors.ts'
import type { Code } from './errors.ts'
import { parseEvents, SYSTEM } from './event.ts'
import type { Draft, Entry } from './event.ts'
import { Expiry } from './expiry.ts'
import { countHeard, newCounters } from './figures/counters.ts'
import type { Counters } from './figures/counters.ts'
import { Durations } from './figures/durations.ts'
import { Latency } from './figures/latency.ts'
import { RefusalLog } from './figures/refusal-log.ts'
import { Troubles } from './figures/troubles.ts'
import { View } from './figures/view.ts'
import type { Group } from './group.ts'
import type { Id } from './id.ts'
import { checkGranted, PROGRAM } from './identity.ts'
import type { Identity } from './identity.ts'
import { Lifetimes } from './lifetimes.ts'
import type { Limits } from './limits.ts'
import type { Logger } from './logger.ts'
import { Occupancy } from './occupancy.ts'
import { Operator } from './operator.ts'
import { Places } from './places.ts'
import { Polls } from './polls.ts'
import type { ReadAnswer, ReadRequest } from './polls.ts'
import { Pulse } from './pulse.ts'
import { Rate } from './rate.ts'
import { Readiness } from './readiness.ts'
import { Reservations } from './reservations.ts'
import { Rooms } from './rooms.ts'
import { Session } from './session.ts'
import type { SessionContext } from './session.ts'
import { SharedBundles } from './shared-bundles.ts'
import { Stalls } from './stalls.ts'
import { StateBudget } from './state-bytes.ts'
import type { DiskFigures, Follower, Image, Lineage, Once, Store } from './store.ts'
import { Ticker } from './ticker.ts'
import type { Recipient } from './ticker.ts'
import { ValuePaces } from './value-pace.ts'

export interface GatewayOptions {
  readonly store: Store
  readonly group: Group
  readonly clock: Clock
  readonly limits: Limits
  /** Share of the event loop in use since the last call, 0 to 1. */
  readonly load: () => number
  readonly pingIntervalMs: number
  /** Clients are told to return after a second plus a random share of this. */
  readonly reconnectJitterMs: number
  readonly commandTimeoutMs: number
  /** Age at which a value ends, ms; 0 = never. */
  readonly stateTtlMs: number
  readonly stateTypes: ReadonlySet<string>
  readonly log: Pick<Logger, 'error' | 'warn' | 'info'>
}

const RETURN_AFTER_MS = 1000
/** Share of the ping interval between two heartbeats: a client that waits for just the interval must not wait in vain. */
const BEAT = 0.9
/** Refusals that concern a repeat as they concern everything else, or that come from the store itself. */
const NO_ANSWER: ReadonlySet<Code> = new Set<Code>(['UNAUTHENTICATED', 'FORBIDDEN', 'DRAINING', 'STORE_UNAVAILABLE', 'OVERLOADED', 'IDEMPOTENCY_CONFLICT'])
/** Between two checks whether publishes under way have ended. */
const LOOK_MS = 5

export interface PublishOptions {
  /** Makes a repeat return the ids of the first time. */
  readonly once?: Once | undefined
  /** Whose rights count. Default: the program around the gateway, which may publish everywhere. */
  readonly identity?: Identity
}

interface TakeOptions extends PublishOptions {
  /** A drain waits for running commands, and what they publish is still taken. */
  readonly isFromCommand?: boolean
}

/** Puts accepted events into the log, all or none. @returns their ids, null for one that was there before */
export type AppendDrafts = (drafts: readonly Draft[]) => Promise<Array<Id | null>>

export class Gateway {
  readonly commands: Commands
  readonly operator: Operator
  readonly occupancy: Occupancy
  readonly rates: { readonly control: Rate, readonly publish: Rate, readonly ticket: Rate, readonly steer: Rate }
  readonly counters: Counters = newCounters()
  readonly latency: Latency
  /** Of accepted publishes, until they were durable: as a whole, and from their hand-over to the store. */
  readonly durations = { publish: new Durations(), append: new Durations() }
  readonly troubles: Troubles
  readonly view: View

  readonly #options: GatewayOptions
  readonly #rooms = new Rooms<Session>()
  readonly #sessions = new Set<Session>()
  readonly #ticker: Ticker<Recipient>
  readonly #shared: SharedBundles
  readonly #stalls: Stalls<Session>
  readonly #pulse: Pulse<Session>
  readonly #deadlines: Deadlines<Session>
  readonly #places = new Places(() => this.#limits)
  readonly #polls: Polls
  readonly #context: SessionContext
  readonly #expiry: Expiry
  readonly #lifetimes: Lifetimes
  readonly #readiness: Readiness
  readonly #reservations: Reservations
  readonly #stateBudget: StateBudget
  #limits: Limits
  #publishing = 0
  #drained: Promise<void> | null = null

  constructor (options: GatewayOptions) {
    this.#options = options
    this.#limits = options.limits
    const { clock, store, group } = options
    const limits = (): Limits => this.#limits
    const logClock = new LogClock(clock)
    const departures = new Departures(clock)
    this.latency = new Latency(clock)
    this.troubles = new Troubles(clock, new RefusalLog(clock, options.log))
    this.#readiness = new Readiness({
      store,
      logClock,
      returnAfterMs: () => this.returnAfterMs(),
      onTrouble: (code, text) => this.#noteStore(code, text),
      log: options.log
    })
    this.#ticker = new Ticker({ clock, limits, load: options.load, onServed: ms => { this.counters.servingMs += ms } })
    this.#shared = new SharedBundles(this.#ticker)
    this.#pulse = new Pulse({ clock, intervalMs: options.pingIntervalMs * BEAT })
    this.#deadlines = new Deadlines({ clock, onDue: session => session.close('TOKEN_EXPIRED', this.returnAfterMs()) })
    this.#stalls = new Stalls({
      clock,
      limitMs: () => this.#limits.slowClientTimeoutMs,
      onSlow: session => {
        this.counters.slow++
        session.close('SLOW', this.returnAfterMs())
      }
    })
    this.#polls = new Polls({ clock, limits, rooms: this.#rooms, ticker: this.#ticker, places: this.#places, counters: this.counters, sync: async () => await store.sync() })
    const rate = (name: string): Rate => new Rate(name, clock, group)
    this.rates = { control: rate('control'), publish: rate('publish'), ticket: rate('ticket'), steer: rate('steer') }
    this.view = new View({ clock, logClock, group, rooms: this.#rooms, sessions: this.#sessions, stalls: this.#stalls, polls: this.#polls })
    this.#reservations = new Reservations({ clock, group, rooms: this.#rooms, limits, onChanged: rooms => this.occupancy.changed(rooms) })
    this.occupancy = new Occupancy({
      clock,
      group,
      rooms: this.#rooms,
      countOf: room => this.#reservations.countOf(room),
      append: async drafts => await this.#counted(async () => await store.append(drafts)),
      returnMs: RETURN_AFTER_MS + options.reconnectJitterMs,
      onError: (err, what) => options.log.warn({ err }, what)
    })
    this.#stateBudget = new StateBudget({ clock, rooms: this.#rooms, limits })
    this.commands = new Commands({
      store,
      group,
      clock,
      timeoutMs: options.commandTimeoutMs,
      // A drain waits for running commands, and what they publish is still taken.
      publish: (events, as = PROGRAM) => this.#publish(events, { identity: as, isFromCommand: true }),
      onError: (err, what) => options.log.error({ err }, what),
      onBad: ({ command, status, error }) => {
        if (status === 'failed') this.troubles.note('COMMAND_FAILED', `${command}: ${error?.message}`)
        else this.troubles.note('COMMAND_UNKNOWN', `${command}: it was started, and its outcome was lost`)
      },
      onOperated: ({ command, args, identity: { subject, address } }, { id, status, result }) => {
        // Events say for themselves where they come from.
        if (command !== 'publish') options.log.info({ command, args, result, id, subject, address }, `${subject ?? address} ran ${command}: ${status}`)
      }
    })
    const ending = {
      clock,
      rooms: this.#rooms,
      end: async (values: readonly Entry[]) => await this.operator.deleteValues(values),
      onError: (err: unknown) => options.log.warn({ err }, 'expired values could not be deleted; they will be tried again')
    }
    this.#expiry = new Expiry({ ...ending, ageMs: options.stateTtlMs })
    this.#lifetimes = new Lifetimes({ ...ending, logClock })
    this.operator = new Operator({
      clock,
      logClock,
      group,
      rooms: this.#rooms,
      sessions: this.#sessions,
      departures,
      polls: this.#polls,
      reservations: this.#reservations,
      append: async drafts => await this.#counted(async () => await store.append(drafts)),
      answered: async once => await store.answered(once),
      onTune: limits => {
        this.#limits = limits
        this.#ticker.retune()
      },
      returnAfterMs: () => this.returnAfterMs()
    })
    this.#context = {
      clock,
      rooms: this.#rooms,
      reservations: this.#reservations,
      ticker: this.#ticker,
      paces: new ValuePaces(clock),
      stalls: this.#stalls,
      shared: this.#shared,
      departures,
      counters: this.counters,
      latency: this.latency,
      get limits () { return limits() },
      sync: async () => await store.sync(),
      fail: (session, err) => {
        options.log.error({ err, session: session.id }, 'a session failed and was ended')
        this.troubles.note('INTERNAL', 'a session failed and was ended; the log says why')
        session.close('DISCONNECTED', this.returnAfterMs())
      },
      forget: session => this.#forget(session),
      reschedule: (session, before, at) => {
        if (before !== null) this.#deadlines.delete(session, before)
        this.#deadlines.add(session, at)
      }
    }
  }

  /** Takes the log in and follows it. Until then everything is refused. */
  async start (): Promise<void> {
    const follower: Follower = {
      load: image => this.#load(image),
      apply: (entries, floor) => this.#apply(entries, floor),
      begin: lineage => this.#begin(lineage),
      available: (yes, reason) => this.#readiness.setStoreTrouble(yes ? null : reason ?? 'the store cannot be reached')
    }
    await this.#options.store.follow(follower)
    // A drain may have begun meanwhile.
    if (this.#readiness.stage === 'starting') this.#readiness.stage = 'open'
    this.occupancy.start()
    await Promise.all([this.#expiry.start(), this.#lifetimes.start()])
  }

  /**
   * Publishes events, all or none; resolves when they are durable.
   * @param events as they came, not yet parsed
   * @throws Refusal
   */
  publish (events: readonly unknown[], options: PublishOptions = {}): Promise<string[]> {
    const publishing = this.#publish(events, options)
    const { once } = options
    return once === undefined ? publishing : publishing.catch(async error => await this.#firstAnswer(error, once))
  }

  /** A repeat gets its first answer, whatever its room or its limits have come to since. @throws `error` where there was none */
  async #firstAnswer (error: unknown, once: Once): Promise<string[]> {
    if (!(error instanceof Refusal) || NO_ANSWER.has(error.code)) throw error
    const ids = await this.#options.store.answered(once)
    if (ids === null) throw error
    return ids as string[]
  }

  /**
   * Publishes events that come with a way of their own into the log; see `publish`.
   * @param append puts them there
   * @returns their ids, null for one that was there before
   * @throws Refusal, and what `append` throws
   */
  async take (events: readonly unknown[], append: AppendDrafts): Promise<Array<Id | null>> {
    return await this.#take(events, append, {})
  }

  #publish (events: readonly unknown[], options: TakeOptions): Promise<string[]> {
    return this.#take(events, drafts => this.#options.store.append(drafts, options.once), options) as Promise<string[]>
  }

  async #take (events: readonly unknown[], append: AppendDrafts, { identity = PROGRAM, isFromCommand = false }: TakeOptions): Promise<Array<Id | null>> {
    const { clock } = this.#options
    const begun = clock.now()
    const drafts = parseEvents(events, { now: clock.wall(), maxBytes: this.#limits.maxHttpBufferSize, stateTypes: this.#options.stateTypes })
    if (!isFromCommand || this.#readiness.stage !== 'draining') this.#readiness.check()
    const named = new Set(drafts.map(draft => draft.room))
    checkGranted(identity, 'publish', named)
    this.#checkPaused(named)
    const bytes = this.#stateBudget.reserve(drafts, room => identity.grants.allow('publish', room) || identity.grants.allow('subscribe', room))
    let opening: readonly string[] = []
    this.#publishing++
    try {
      opening = this.#reservations.open(named)
      const handed = clock.now()
      const ids = await append(drafts)
      const now = clock.now()
      this.durations.append.record(now - handed)
      this.durations.publish.record(now - begun)
      return ids
    } finally {
      this.#publishing--
      this.#reservations.opened(opening)
      this.#stateBudget.release(bytes)
    }
  }

  /**
   * Checks that `open` would open a session now, for a transport that can refuse only before it has a connection.
   * @throws Refusal as `open`
   */
  checkOpen (identity: Identity): void {
    this.#readiness.check()
    this.#places.check(identity)
  }

  /**
   * Opens a session over a connection. It hears nothing until it joins.
   * @throws Refusal DRAINING, OVERLOADED (MAX_CLIENTS), RATE_LIMITED (MAX_CLIENTS_PER_IP, MAX_CLIENTS_PER_SUBJECT)
   */
  open (connection: Connection, identity: Identity): Session {
    this.checkOpen(identity)
    this.#places.take(identity)
    const session = new Session(this.#context, randomBytes(9).toString('base64url'), identity, connection)
    this.#sessions.add(session)
    this.#pulse.add(session)
    if (identity.expiresAt !== null) this.#deadlines.add(session, identity.expiresAt)
    this.counters.opened++
    return session
  }

  /**
   * Reads once, without a session; waits for something new where that is asked for. See `Polls.read` for what it throws,
   * besides DRAINING.
   */
  async read (request: ReadRequest): Promise<ReadAnswer> {
    this.#readiness.check()
    return await this.#polls.read(request, request.identity ?? PROGRAM)
  }

  /** Runs a command; see `Commands.run`. The callers of both doors end here. Refused while draining. */
  async control (request: CommandRequest): ReturnType<Commands['run']> {
    return await this.commands.run(request)
  }

  /**
   * Refuses new requests, completes those under way, sends each client its pending events and the reason, and ends all
   * sessions. Resolves when all are ended. Idempotent.
   * @param patienceMs how long running commands are waited for; the outcome of one that takes longer will be `unknown`
   */
  drain (patienceMs = 0): Promise<void> {
    this.#drained ??= this.#drain(patienceMs)
    return this.#drained
  }

  async #drain (patienceMs: number): Promise<void> {
    this.#readiness.stage = 'draining'
    this.#expiry.stop()
    this.#lifetimes.stop()
    this.occupancy.stop()
    const left = await this.commands.stop(patienceMs)
    this.#readiness.stage = 'drained'
    while (this.#publishing > 0) await pause(this.#options.clock, LOOK_MS)
    if (left.length > 0) this.#options.log.warn({ commands: left }, 'these commands are still running; the drain goes on without them')
    await this.#polls.drain()
    await this.operator.end(this.#sessions, 'DRAINING')
    this.#ticker.stop()
    this.#stalls.stop()
    this.#pulse.stop()
    this.#deadlines.stop()
  }

  /** Milliseconds after which a client should return. Random: clients must not all return at once. */
  returnAfterMs (): number {
    return Math.round(RETURN_AFTER_MS + Math.random() * this.#options.reconnectJitterMs)
  }

  get limits (): Limits {
    return this.#limits
  }

  /** Why new work is refused; null while it is accepted. */
  get notReady (): Readiness['notReady'] {
    return this.#readiness.notReady
  }

  /** Warnings for the operator, though all is well. */
  get warnings (): readonly string[] {
    return this.#readiness.warnings
  }

  /** Whether the store can be used, also in a drain. */
  get isStoreUp (): boolean {
    return this.#readiness.isStoreUp
  }

  get disk (): DiskFigures | undefined {
    return this.#options.store.figures
  }

  /** See `Store.writes`. */
  get writes (): Durations | undefined {
    return this.#options.store.writes
  }

  get tickMs (): number {
    return this.#ticker.lengthMs
  }

  /** At the start, and again where the log has lost entries it had given out: sessions that were sent those begin again. */
  #load (image: Image): void {
    const { epoch } = this.#rooms.lineage
    for (const session of this.#sessions) session.settle()
    this.#polls.settle()
    this.#rooms.load(image)
    this.#shared.clear()
    this.#readiness.saw(this.#rooms.head)
    this.#lifetimes.load()
    for (const session of this.#sessions) session.relocate(epoch)
    this.#polls.relocate(epoch)
    this.occupancy.loaded()
  }

  #begin (lineage: Lineage): void {
    // An idle session stands at the head, which belongs to the epoch that ends here.
    for (const session of this.#sessions) session.settle()
    this.#polls.settle()
    this.#rooms.lineage = lineage
  }

  #noteStore (code: 'STORE_UNAVAILABLE' | 'STORE_AVAILABLE', text: string): void {
    this.troubles.note(code, text)
    if (code === 'STORE_AVAILABLE') this.occupancy.available()
  }

  // Nothing waits from here to `connection.send`: order needs no lock.
  #apply (entries: readonly Entry[], floor: Id): void {
    const second = secondOf(this.#options.clock)
    for (const entry of entries) {
      const room = this.#rooms.open(entry.room)
      room.count(second)
      if (entry.room !== SYSTEM) countHeard(this.counters, entry, room.audience.of(entry.type))
      if (this.#limits.tickMs === 0) this.#ticker.newTick()
      try {
        const { head } = this.#rooms
        this.#rooms.apply(entry)
        this.#lifetimes.saw(entry)
        if (entry.room === SYSTEM) this.occupancy.saw(entry)
        if (this.#polls.waiting > 0) this.#polls.heard(entry, head)
      } catch (err) {
        // A failure of ours must not stop the store, nor keep the entries behind this one from anybody.
        this.#options.log.error({ err, id: entry.id }, 'an entry of the log could not be taken in')
        this.troubles.note('INTERNAL', 'an entry of the log could not be taken in; the log says why')
      }
    }
    this.#rooms.trim(floor)
    this.#readiness.saw(this.#rooms.head)
  }

  #checkPaused (rooms: ReadonlySet<string>): void {
    for (const name of rooms) {
      if (this.#rooms.get(name)?.paused === true) {
        throw new Refusal('ROOM_PAUSED', `publishing to room ${name} is paused; the command resume ends that`)
      }
    }
  }

  /** A drain waits for it. */
  async #counted<T> (publishing: () => Promise<T>): Promise<T> {
    this.#publishing++
    try {
      return await publishing()
    } finally {
      this.#publishing--
    }
  }

  #forget (session: Session): void {
    if (!this.#sessions.delete(session)) return
    this.#pulse.delete(session)
    this.#stalls.delete(session)
    this.#places.give(session.identity)
    if (session.expiresAt !== null) this.#deadlines.delete(session, session.expiresAt)
  }
}
