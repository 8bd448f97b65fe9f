// A gateway over a real store without a disk, with a manual clock, and clients that keep what they were sent by message,
// as a page would: a test can cut them off behind any message.

import { redisAddress } from '../../config/redis-url.ts'
import type { Bundle, Connection, EndReason, Notice } from '../../src/core/connection.ts'
import type { Entry, Event } from '../../src/core/event.ts'
import { Gateway } from '../../src/core/gateway.ts'
import { systemClock } from '../../src/core/clock.ts'
import { trusted } from '../../src/core/identity.ts'
import type { Identity } from '../../src/core/identity.ts'
import { alone, newWorker } from '../../src/core/group.ts'
import type { GatewayOptions } from '../../src/core/gateway.ts'
import type { Limits } from '../../src/core/limits.ts'
import type { JoinResult, Session } from '../../src/core/session.ts'
import type { Follower, Image, Store } from '../../src/core/store.ts'
import type { Join } from '../../src/core/subscription.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { RedisStore } from '../../src/store/redis/log/store.ts'
import { ManualClock } from '../clock.ts'
import type { Received } from '../page.ts'

export const silent = { info () {}, warn () {}, error () {} }

export const LIMITS: Limits = {
  tickMs: 100,
  tickFloorMs: 100,
  maxEventsPerSecondPerClient: 0,
  maxQueuePerClient: 100,
  maxHttpBufferSize: 2_097_152,
  maxBundleBytes: 2_097_152,
  slowClientTimeoutMs: 30_000,
  maxRoomSize: 0,
  maxRoomSizePerCaller: 0,
  maxRooms: 0,
  maxRoomsPerClient: 100,
  stateBytes: 0,
  maxClients: 0,
  maxClientsPerIp: 0,
  maxClientsPerSubject: 0,
  controlRateLimit: 0,
  publishRateLimit: 0
}

export interface RigOptions {
  /** Uses a fresh log on this Redis in place of one in memory. */
  redis?: string
  limits?: Partial<Limits>
  historySize?: number
  historyTtlMs?: number
  gateway?: Partial<GatewayOptions>
}

export interface Rig {
  readonly clock: ManualClock
  readonly store: Store
  readonly gateway: Gateway
  publish (...events: object[]): Promise<string[]>
  connect (joins?: Join[], cursor?: string | null): Client
  /** The gateway's follower and its log, for a test to load another one. */
  reload (): { follower: Follower, image: Image & { readonly history: readonly Entry[] } }
  close (): Promise<void>
}

export async function rig (options: RigOptions = {}): Promise<Rig> {
  const clock = new ManualClock()
  const limits = {
    historySize: options.historySize ?? 100_000,
    historyTtlMs: options.historyTtlMs ?? 0,
    historyBytes: 0,
    maxKeysPerRoom: 0,
    idempotencyTtlMs: 3_600_000,
    log: silent
  }
  // A Redis server goes by real time. An append that waited for others would wait for a clock that stands still until it is answered.
  const store = options.redis === undefined
    ? await openEmbeddedStore({ ...limits, clock, dataDir: ':memory:', durability: 'process', gatherMs: 0 })
    : new RedisStore({ ...limits, clock: systemClock, address: redisAddress(options.redis), prefix: `${newWorker()}:`, worker: newWorker() })
  let follower: Follower | null = null
  let image: Image | null = null
  const history: Entry[] = []
  const watched: Store = {
    ...bound(store),
    follow: async given => {
      follower = given
      await store.follow({
        load: loaded => { image = loaded; given.load(loaded) },
        apply: (entries, floor) => { history.push(...entries.filter(({ key, deletion }) => key === null || deletion)); given.apply(entries, floor) },
        begin: lineage => given.begin(lineage),
        available: (yes, reason) => given.available(yes, reason)
      })
    }
  }
  const gateway = new Gateway({
    group: alone(),
    store: watched,
    clock,
    limits: { ...LIMITS, ...options.limits },
    load: () => 0,
    pingIntervalMs: 10_000,
    reconnectJitterMs: 0,
    commandTimeoutMs: 10_000,
    stateTtlMs: 0,
    stateTypes: new Set(),
    log: silent,
    ...options.gateway
  })
  await gateway.start()
  return {
    clock,
    store,
    gateway,
    publish: async (...events) => await gateway.publish(events),
    connect (joins = [{ room: '@public' }], cursor = null) {
      const client = new Client(gateway)
      client.join(joins, cursor)
      return client
    },
    reload: () => ({ follower: follower as unknown as Follower, image: { ...image as unknown as Image, history } }),
    close: async () => await store.close()
  }
}

function bound (store: Store): Omit<Store, 'follow'> {
  return {
    name: store.name,
    warnings: store.warnings,
    sync: async () => { await store.sync() },
    append: async (...args) => await store.append(...args),
    answered: async once => await store.answered(once),
    claim: async (...args) => await store.claim(...args),
    settle: async (...args) => { await store.settle(...args) },
    recall: async id => await store.recall(id),
    secret: async () => await store.secret(),
    close: async () => { await store.close() }
  }
}

/** A connection that takes everything, or nothing while `pending` is above 0. */
export class Client implements Connection {
  readonly format = 'objects'
  readonly received: Received[] = []
  readonly session: Session
  pending = 0
  /** Set: the next bundle fills the connection. */
  clogged = false
  pings = 0
  closed: EndReason | null = null

  constructor (gateway: Gateway, identity: Identity | string = 'test') {
    this.session = gateway.open(this, typeof identity === 'string' ? trusted(identity) : identity)
  }

  join (joins: Join[], cursor: string | null = null): JoinResult {
    const joined = this.session.enter(joins, cursor)
    this.received.push({ kind: 'joined', rooms: joins.map(({ room }) => room), ...joined })
    return joined
  }

  send (bundle: Bundle): number {
    const text = `[${bundle.entries.map(({ json }) => json).join()}]`
    this.received.push({ kind: 'bundle', events: JSON.parse(text) as Event[], cursor: bundle.cursor })
    if (this.clogged) this.pending = text.length
    return text.length
  }

  tell (notice: Notice): void {
    this.received.push(notice)
  }

  ping (cursor: string | null): void {
    this.pings++
    if (cursor !== null) this.received.push({ kind: 'position', cursor })
  }

  close (reason: EndReason): void {
    this.closed = reason
  }

  /** The system takes what the connection holds. */
  drain (): void {
    this.pending = 0
    this.session.drained()
  }

  get bundles (): Array<Extract<Received, { kind: 'bundle' }>> {
    return this.received.filter(message => message.kind === 'bundle')
  }

  get events (): Event[] {
    return this.bundles.flatMap(({ events }) => events)
  }

  kinds (): string[] {
    return this.received.map(({ kind }) => kind)
  }

  /** The last cursor among the first `count` messages. */
  cursorAfter (count = this.received.length): string | null {
    return this.received.slice(0, count).findLast(message => message.cursor !== null)?.cursor ?? null
  }
}
