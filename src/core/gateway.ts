// The gateway joins the parts of the core and is all that the floors above see of it. Five verbs:
// `publish`, `open`, `join`, `control`, `drain`; `start` begins its life. The rest is what the built-in commands are
// made of (`tune`, `pause`, `clear`, `disconnect`, `report`), here because it touches what only this class
// holds together, and a read-only view. `orderAll` is how a command reaches all processes of the deployment.

import { randomBytes } from 'node:crypto'
import { pause, secondOf } from './clock.ts'
import type { Clock } from './clock.ts'
import { Commands } from './command.ts'
import type { Connection } from './connection.ts'
import { newCounters } from './figures/counters.ts'
import type { Counters } from './figures/counters.ts'
import { Refusal } from './errors.ts'
import { draftOf, parseEvent, PUBLIC, SYSTEM } from './event.ts'
import type { Draft, Entry } from './event.ts'
import { Expiry } from './expiry.ts'
import type { Group } from './group.ts'
import { millisOf } from './id.ts'
import type { Id } from './id.ts'
import { Latency } from './figures/latency.ts'
import type { Limits } from './limits.ts'
import { Pulse } from './pulse.ts'
import { Places } from './reservations.ts'
import { Rate } from './rate.ts'
import { PAUSED, Rooms } from './rooms.ts'
import type { Room } from './room.ts'
import { Session } from './session.ts'
import type { Hub, Joined } from './session.ts'
import { SharedBundles } from './shared-bundles.ts'
import { Stalls } from './stalls.ts'
import type { Join } from './subscription.ts'
import type { Follower, Image, Lineage, Once, Store } from './store.ts'
import { Ticker } from './ticker.ts'
import { Troubles } from './figures/troubles.ts'
import { View } from './figures/view.ts'

export interface GatewayOptions {
  readonly store: Store
  readonly group: Group
  readonly clock: Clock
  readonly limits: Limits
  /** Share of the event loop in use since the last call, 0 to 1. */
  readonly load: () => number
  readonly pingIntervalMs: number
  /** A returning client comes back after a second and its share of this. */
  readonly reconnectJitterMs: number
  readonly commandTimeoutMs: number
  /** Age at which a value ends, ms; 0 = never. */
  readonly stateTtlMs: number
  readonly stateTypes: ReadonlySet<string>
  readonly log: { error (details: object, message: string): void, warn (details: object, message: string): void }
}

/** Most events in one publish. */
export const MAX_BATCH = 1000
const RETURN_AFTER_MS = 1000
/** Between two looks whether what was being published has arrived. */
const LOOK_MS = 5
/** Sessions ended in one turn of a drain. */
const DRAIN_SLICE = 200

/** Puts accepted events into the log; see `Gateway.take`. */
export type Append = (drafts: readonly Draft[]) => Promise<Array<Id | null>>

/** Whom to disconnect: a session by its id, or all that joined a room. */
export interface Target {
  readonly session?: string
  readonly room?: string
}

/** A value of the room `@system`. */
export interface Report {
  readonly type: string
  readonly key: string
  /** Null takes it away. */
  readonly data: unknown
}

export class Gateway {
  readonly commands: Commands
  readonly rates: { readonly control: Rate, readonly publish: Rate }
  readonly counters: Counters = newCounters()
  readonly latency: Latency
  readonly troubles: Troubles
  readonly view: View

  readonly #options: GatewayOptions
  readonly #rooms = new Rooms<Session>()
  readonly #sessions = new Set<Session>()
  readonly #perCaller = new Map<string, number>()
  readonly #ticker: Ticker<Session>
  readonly #stalls: Stalls<Session>
  readonly #pulse: Pulse<Session>
  readonly #hub: Hub
  readonly #expiry: Expiry
  readonly #places: Places
  readonly #orders = new Map<string, (args: never) => unknown>()
  /** Rooms that a publish on its way is about to make. */
  readonly #arriving = new Map<string, number>()
  #limits: Limits
  #state: 'starting' | 'open' | 'draining' = 'starting'
  #storeTrouble: string | null = null
  #publishing = 0
  #drained: Promise<void> | null = null

  constructor (options: GatewayOptions) {
    this.#options = options
    this.#limits = options.limits
    const { clock, store, group } = options
    const limits = (): Limits => this.#limits
    this.latency = new Latency(clock)
    this.troubles = new Troubles(clock)
    this.#ticker = new Ticker({ clock, limits, load: options.load, onServed: ms => { this.counters.servingMs += ms } })
    this.#pulse = new Pulse({ clock, intervalMs: options.pingIntervalMs })
    this.#stalls = new Stalls({ clock, limitMs: () => this.#limits.slowMs, onSlow: session => this.#endSlow(session) })
    this.rates = { control: new Rate('control', clock, group), publish: new Rate('publish', clock, group) }
    this.view = new View({ clock, group, rooms: this.#rooms, sessions: this.#sessions, stalls: this.#stalls })
    this.#places = new Places({
      clock,
      group,
      members: room => this.#rooms.get(room)?.members.size ?? 0,
      limit: () => this.#limits.roomSize
    })
    this.commands = new Commands({
      store,
      group,
      clock,
      timeoutMs: options.commandTimeoutMs,
      publish: events => this.publish(events),
      onError: (err, what) => options.log.error({ err }, what),
      onBad: ({ command, status, error }) => {
        if (status === 'failed') this.troubles.note('COMMAND_FAILED', `${command}: ${error?.message}`)
        else this.troubles.note('COMMAND_UNKNOWN', `${command}: it was started, and its outcome was lost`)
      }
    })
    this.#expiry = new Expiry({
      clock,
      ageMs: options.stateTtlMs,
      rooms: this.#rooms,
      end: async values => await this.#delete(values),
      onError: err => options.log.warn({ err }, 'values that ran out could not be deleted yet')
    })
    this.#hub = {
      clock,
      rooms: this.#rooms,
      ticker: this.#ticker,
      shared: new SharedBundles(this.#ticker),
      counters: this.counters,
      latency: this.latency,
      get limits () { return limits() },
      stall: session => this.#stalls.add(session),
      unstall: session => this.#stalls.delete(session),
      moved: rooms => this.#places.changed(rooms),
      fail: (session, err) => {
        options.log.error({ err, session: session.id }, 'a session failed and is ended')
        this.troubles.note('INTERNAL', 'a session failed and was ended; the log says why')
        session.close('DISCONNECTED', this.returnAfterMs())
      },
      forget: session => this.#forget(session)
    }
    this.onOrder('arrive', () => {})
    this.onOrder('disconnect', (target: Target) => this.#disconnect(target))
    group.onOrder((name, args) => this.#orders.get(name)?.(args as never))
  }

  /** Takes the log in and follows it. Until then everything is refused. */
  async start (): Promise<void> {
    const follower: Follower = {
      load: image => this.#load(image),
      apply: (entries, floor) => this.#apply(entries, floor),
      begin: lineage => this.#begin(lineage),
      available: (yes, reason) => this.#setTrouble(yes ? null : reason ?? 'the store cannot be reached')
    }
    await this.#options.store.follow(follower)
    this.#state = 'open'
    await this.#expiry.start()
  }

  /**
   * Publishes events, all or none; resolves when they are durable.
   * @param events as they came, not yet parsed
   * @param once makes a repeat return the ids of the first time
   * @throws Refusal
   */
  async publish (events: readonly unknown[], once?: Once): Promise<string[]> {
    return await this.take(events, async drafts => await this.#options.store.append(drafts, once)) as string[]
  }

  /**
   * Publishes events that come with a way of their own into the log; see `publish`.
   * @param append puts them there, all or none. @returns their ids, null for one that was there before
   * @throws Refusal, and what `append` throws
   */
  async take (events: readonly unknown[], append: Append): Promise<Array<Id | null>> {
    if (!Array.isArray(events)) throw new TypeError('publish takes an array of events')
    if (events.length === 0 || events.length > MAX_BATCH) {
      throw new Refusal('BAD_EVENT', `a publish holds 1 to ${MAX_BATCH} events; this one has ${events.length}`)
    }
    const rules = { now: this.#options.clock.wall(), maxBytes: this.#limits.bundleBytes, stateTypes: this.#options.stateTypes }
    const drafts = events.map((event, index) => {
      try {
        return parseEvent(event, rules)
      } catch (error) {
        throw error instanceof Refusal && events.length > 1 ? new Refusal(error.code, `event ${index + 1} of ${events.length}: ${error.message}`) : error
      }
    })
    this.#checkOpen()
    const named = new Set(drafts.map(draft => draft.room))
    this.#checkPaused(named)
    const arriving = this.#arrive(named)
    try {
      return await this.#counted(async () => await append(drafts))
    } finally {
      this.#leaveArriving(arriving)
    }
  }

  /**
   * Opens a session over a connection. It hears nothing until it joins.
   * @throws Refusal DRAINING, OVERLOADED (MAX_CLIENTS), RATE_LIMITED (MAX_CLIENTS_PER_IP)
   */
  open (connection: Connection, caller: string): Session {
    this.#checkOpen()
    const { clients, clientsPerAddress } = this.#limits
    const mine = this.#perCaller.get(caller) ?? 0
    if (clients > 0 && this.#sessions.size >= clients) {
      throw new Refusal('OVERLOADED', `all ${clients} connections are taken (MAX_CLIENTS); try again later`)
    }
    if (clientsPerAddress > 0 && mine >= clientsPerAddress) {
      throw new Refusal('RATE_LIMITED', `an address may hold ${clientsPerAddress} connections (MAX_CLIENTS_PER_IP)`)
    }
    const session = new Session(this.#hub, randomBytes(9).toString('base64url'), caller, connection)
    this.#sessions.add(session)
    this.#perCaller.set(caller, mine + 1)
    this.#pulse.add(session)
    this.counters.opened++
    return session
  }

  /**
   * Adds to what a session hears, once it is known what its cursor means and that the rooms have a place.
   * @param cursor where to go on from, as the client brought it; counts in the first join only
   * @throws Refusal BAD_SUBSCRIPTION, ROOM_FULL, ROOMS_FULL, STORE_UNAVAILABLE; nothing was joined then
   */
  async join (session: Session, joins: readonly Join[], cursor: string | null = null): Promise<Joined & { readonly members: Record<string, number> }> {
    const entering = session.entering(joins)
    // Another process may have told the client more than this one has heard of yet.
    if (cursor !== null && session.isBeyond(cursor)) await this.#options.store.sync()
    const { totals, settle } = await this.#places.take(entering)
    try {
      const joined = session.join(joins, cursor)
      const members = joins.map(({ room }) => [room, totals.get(room) ?? this.#rooms.get(room)?.members.size ?? 0])
      return { ...joined, members: Object.fromEntries(members) }
    } finally {
      settle()
    }
  }

  /** Runs a command; see `Commands.run`. The callers of both doors end here. */
  async control (order: Parameters<Commands['run']>[0]): ReturnType<Commands['run']> {
    return await this.commands.run(order)
  }

  /**
   * Refuses what is new, lets what is on its way arrive, sends everybody what is owed and the word that
   * ends it. Resolves when all sessions are ended. Idempotent.
   * @param patienceMs how long running commands are waited for; what becomes of one that takes longer will be `unknown`
   */
  drain (patienceMs = 0): Promise<void> {
    this.#drained ??= this.#drain(patienceMs)
    return this.#drained
  }

  async #drain (patienceMs: number): Promise<void> {
    this.#state = 'draining'
    this.#expiry.stop()
    while (this.#publishing > 0) await pause(this.#options.clock, LOOK_MS)
    const left = await this.commands.idle(patienceMs)
    if (left.length > 0) this.#options.log.warn({ commands: left }, 'these commands still run and are not waited for any longer')
    const sessions = [...this.#sessions]
    for (const [index, session] of sessions.entries()) {
      session.flush()
      session.close('DRAINING', this.returnAfterMs())
      if (index % DRAIN_SLICE === DRAIN_SLICE - 1) await this.#turn()
    }
    this.#ticker.stop()
    this.#stalls.stop()
    this.#pulse.stop()
  }

  tune (limits: Limits): void {
    this.#limits = limits
    this.#ticker.retune()
  }

  /** Pauses or resumes publishing to a room: an event of the gateway's own, so that it outlives a restart. */
  async pause (room: string, paused: boolean): Promise<void> {
    if (paused) this.#leaveArriving(this.#arrive(new Set([room])))
    await this.report([{ type: PAUSED, key: room, data: paused ? { since: this.#options.clock.wall() } : null }])
    // Whoever is answered finds it so on every process.
    await this.orderAll('arrive')
  }

  /** Says how this process does what all are asked to do; see `orderAll`. */
  onOrder<Args> (name: string, run: (args: Args) => unknown): void {
    this.#orders.set(name, run)
  }

  /**
   * Asks all processes of the deployment, this one too, to do something.
   * @returns what they answered; those that are gone are missing
   * @throws Refusal STORE_UNAVAILABLE
   */
  async orderAll (name: string, args: unknown = null): Promise<unknown[]> {
    return await this.#options.group.orderAll(name, args)
  }

  /** Publishes what the gateway says of itself, in one step. */
  async report (reports: readonly Report[]): Promise<void> {
    const timestamp = this.#options.clock.wall()
    await this.#append(reports.map(({ type, key, data }) => draftOf({ type, room: SYSTEM, key, data, timestamp })))
  }

  /** When `report` last said something under one of these types: by key; wall-clock ms. */
  reported (types: readonly string[]): Map<string, number> {
    const room = this.#rooms.get(SYSTEM)
    // In id order: the newest of each key counts.
    const entries = room === undefined ? [] : [...valuesOf(room)].filter(({ type }) => types.includes(type))
    return new Map(entries.map(({ key, id }) => [key as string, millisOf(id)]))
  }

  /** Whether a process of the deployment, named as its group names it, still runs. */
  async isAlive (worker: string): Promise<boolean> {
    return await this.#options.group.isAlive(worker)
  }

  /** Deletes the present values of a room, or those of one type or key. @returns how many */
  async clear (name: string, type?: string, key?: string): Promise<number> {
    const room = this.#rooms.get(name)
    if (room === undefined) return 0
    return await this.#delete([...valuesOf(room)].filter(entry =>
      (type === undefined || entry.type === type) && (key === undefined || entry.key === key) && !isSwitch(entry)))
  }

  /** Ends one session, or all that joined a room, on whichever process. @returns how many */
  async disconnect (target: Target): Promise<number> {
    const counts = await this.orderAll('disconnect', target)
    return counts.reduce<number>((sum, count) => sum + Number(count), 0)
  }

  /** Milliseconds after which this client, rather than all at once, should come back. */
  returnAfterMs (): number {
    return Math.round(RETURN_AFTER_MS + Math.random() * this.#options.reconnectJitterMs)
  }

  get limits (): Limits {
    return this.#limits
  }

  /** Why nothing new is taken in just now; null while all is well. */
  get notReady (): { code: 'DRAINING' | 'STORE_UNAVAILABLE', reason: string } | null {
    if (this.#state === 'draining') return { code: 'DRAINING', reason: 'the gateway is shutting down' }
    if (this.#state === 'starting') return { code: 'STORE_UNAVAILABLE', reason: this.#storeTrouble ?? 'the log is being read' }
    return this.#storeTrouble === null ? null : { code: 'STORE_UNAVAILABLE', reason: this.#storeTrouble }
  }

  /** What the operator should know though all is well. */
  get warnings (): readonly string[] {
    return this.#options.store.warnings
  }

  get tickMs (): number {
    return this.#ticker.lengthMs
  }

  /** At the start; and later where the log has lost what it had given out: sessions that had got it begin again. */
  #load (image: Image): void {
    const { epoch } = this.#rooms.lineage
    for (const session of this.#sessions) session.settle()
    this.#rooms.load(image)
    for (const session of this.#sessions) session.relocate(epoch)
  }

  #begin (lineage: Lineage): void {
    // Where an idle session stands is at the head, which lies in the epoch that ends here.
    for (const session of this.#sessions) session.settle()
    this.#rooms.lineage = lineage
  }

  #setTrouble (reason: string | null): void {
    // That it is still so is no news, nor that all is well at the start.
    if (reason !== null && reason !== this.#storeTrouble) this.troubles.note('STORE_UNAVAILABLE', reason)
    if (reason === null && this.#storeTrouble !== null) this.troubles.note('STORE_AVAILABLE', 'the store can be written to again')
    this.#storeTrouble = reason
  }

  // From here to `connection.send` nothing waits, so order needs no lock.
  #apply (entries: readonly Entry[], floor: Id): void {
    const second = secondOf(this.#options.clock)
    for (const entry of entries) {
      const room = this.#rooms.open(entry.room)
      room.count(second)
      if (entry.room !== SYSTEM) {
        this.counters.events++
        this.counters.owed += room.audience.of(entry.type)
      }
      if (this.#limits.tickMs === 0) this.#ticker.next()
      this.#rooms.apply(entry)
    }
    this.#rooms.trim(floor)
  }

  #checkOpen (): void {
    const { notReady } = this
    if (this.#state !== 'open' && notReady !== null) {
      throw new Refusal(notReady.code, `${notReady.reason}; try again in a moment`, this.returnAfterMs())
    }
  }

  #checkPaused (rooms: ReadonlySet<string>): void {
    for (const name of rooms) {
      if (this.#rooms.get(name)?.paused === true) {
        throw new Refusal('ROOM_PAUSED', `publishing to room ${name} is paused; the command resume ends that`)
      }
    }
  }

  /** Makes sure that the rooms of a publish may exist, and holds their places while it is on its way. */
  #arrive (rooms: ReadonlySet<string>): string[] {
    const fresh = [...rooms].filter(room => room !== PUBLIC && this.#rooms.get(room) === undefined)
    const opening = fresh.filter(room => !this.#arriving.has(room)).length
    const limit = this.#limits.rooms
    if (limit > 0 && opening > 0 && this.#rooms.named + this.#arriving.size + opening > limit) {
      throw new Refusal('ROOMS_FULL', `${limit} rooms may exist (MAX_ROOMS), and this would open ${opening} more; use an existing room or try again later`)
    }
    for (const room of fresh) this.#arriving.set(room, (this.#arriving.get(room) ?? 0) + 1)
    return fresh
  }

  #leaveArriving (rooms: readonly string[]): void {
    for (const room of rooms) {
      const left = (this.#arriving.get(room) ?? 1) - 1
      if (left === 0) this.#arriving.delete(room)
      else this.#arriving.set(room, left)
    }
  }

  async #append (drafts: readonly Draft[]): Promise<Array<Id | null>> {
    return await this.#counted(async () => await this.#options.store.append(drafts))
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

  /** Publishes the deletions of these values. Each names the id it ends, so a newer value is left alone. */
  async #delete (entries: readonly Entry[]): Promise<number> {
    let removed = 0
    const timestamp = this.#options.clock.wall()
    for (let start = 0; start < entries.length; start += MAX_BATCH) {
      const ids = await this.#append(entries.slice(start, start + MAX_BATCH).map(({ type, room, key, id }) =>
        draftOf({ type, room, key: key as string, data: null, timestamp, ends: id })))
      removed += ids.filter(id => id !== null).length
    }
    return removed
  }

  #disconnect (target: Target): number {
    const ended = [...this.#sessions].filter(session =>
      (target.session !== undefined && session.id === target.session) || (target.room !== undefined && session.subscription.rooms.has(target.room)))
    for (const session of ended) session.close('DISCONNECTED', this.returnAfterMs())
    return ended.length
  }

  #endSlow (session: Session): void {
    this.counters.slow++
    session.close('SLOW', this.returnAfterMs())
  }

  #forget (session: Session): void {
    if (!this.#sessions.delete(session)) return
    this.#pulse.delete(session)
    this.#stalls.delete(session)
    const left = (this.#perCaller.get(session.caller) ?? 1) - 1
    if (left === 0) this.#perCaller.delete(session.caller)
    else this.#perCaller.set(session.caller, left)
  }

  #turn (): Promise<void> {
    return new Promise(resolve => this.#options.clock.soon(resolve))
  }
}

function * valuesOf (room: Room<Session>): Generator<Entry> {
  for (let value = room.oldestValue; value !== null; value = value.newer) yield value.entry
}

const isSwitch = (entry: Entry): boolean => entry.room === SYSTEM && entry.type === PAUSED
