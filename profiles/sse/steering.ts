// Joining and leaving rooms and changing the pace on an open stream, by POST: the body is a socket's `join`, `leave` or `pace`. A stream has one direction,
// and the request reaches any worker of the deployment: where the stream is not this one's it asks all of them.

import { make, MEMBERSHIP, readAction, refOf } from '../../src/app/membership.ts'
import type { Change } from '../../src/app/membership.ts'
import { MessageWindow } from '../../src/app/message-window.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Bound, Code } from '../../src/core/errors.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { grantsOf } from '../../src/core/grants.ts'
import type { GrantLists } from '../../src/core/grants.ts'
import { checkGranted } from '../../src/core/identity.ts'
import type { Identity } from '../../src/core/identity.ts'
import type { Session } from '../../src/core/session.ts'
import type { Join } from '../../src/core/subscription.ts'

const ORDER = 'change'
/**
 * Changes of streams of other workers that one caller may ask for in a second, and no more than MAX_EVENTS_PER_SECOND_PER_CLIENT:
 * each is an entry of the log for all to read.
 */
const MAX_FORWARDED = 100
/** Largest change, bytes: what other workers are asked for stays in the log. */
const MAX_CHANGE_BYTES = 64 * 1024

/** What is asked of all workers: an identity without its functions. */
interface Order {
  readonly session: string
  readonly change: Packed
  readonly identity: Omit<Identity, 'grants'> & { readonly grants: GrantLists | null }
}

/** A change with each list of types once: a hundred rooms may share a list. */
type Packed =
  | Exclude<Change, { action: 'join' }>
  | { readonly action: 'join', readonly joins: ReadonlyArray<readonly [room: string, list?: number]>, readonly lists: ReadonlyArray<readonly string[]>, readonly cursor: string | null, readonly patch?: boolean, readonly paceMs?: number | null }

/** What became of a change, as it comes from another worker. */
type Outcome = { readonly data: object } | { readonly refusal: { readonly code: Code, readonly message: string, readonly retryMs: number | undefined, readonly bound: Bound | undefined, readonly rooms: readonly string[] | undefined } }

/** The changes of one stream. */
interface Changes {
  /** The last one: one is made after the other. */
  last: Promise<unknown>
  readonly window: MessageWindow
}

export class Steering {
  readonly #gateway: Gateway
  readonly #streams = new Map<string, Session>()
  /** Most streams are never changed. */
  readonly #changes = new WeakMap<Session, Changes>()

  constructor (gateway: Gateway) {
    this.#gateway = gateway
    gateway.operator.onOrder(ORDER, async ({ session, change, identity }: Order): Promise<Outcome | null> => {
      const stream = this.#find(session, { ...identity, grants: grantsOf(identity.grants) })
      return stream === null ? null : await outcomeOf(async () => await this.#change(stream, unpack(change), { ...identity, grants: grantsOf(identity.grants) }))
    })
  }

  add (session: Session): void {
    this.#streams.set(session.id, session)
  }

  delete (session: Session): void {
    this.#streams.delete(session.id)
  }

  /**
   * Changes what a stream hears, or how often.
   * @returns the data of `joined`, `left` or `paced`
   * @throws Refusal BAD_MESSAGE, TOO_LARGE, SESSION_NOT_FOUND, RATE_LIMITED, STORE_UNAVAILABLE, and what `Session.join` throws
   */
  async steer (session: string, body: unknown, identity: Identity): Promise<object> {
    const change = read(body)
    const packed = pack(change)
    if (Buffer.byteLength(JSON.stringify(packed)) > MAX_CHANGE_BYTES) throw new Refusal('TOO_LARGE', `a change of a stream may hold ${MAX_CHANGE_BYTES} bytes; join or leave fewer rooms at once`)
    const stream = this.#find(session, identity)
    if (stream !== null) return await this.#change(stream, change, identity)
    if (change.action === 'join') checkGranted(identity, 'subscribe', change.joins.map(({ room }) => room))
    const outcome = await this.#ask({ session, change: packed, identity: { ...identity, grants: identity.grants.lists } })
    if (outcome === null) throw notFound()
    if ('data' in outcome) return outcome.data
    const { code, message, retryMs, bound, rooms } = outcome.refusal
    throw new Refusal(code, message, { retryMs, bound, rooms })
  }

  async #ask (order: Order): Promise<Outcome | null> {
    // To ask the group would cost as much as the order.
    const { count, resetMs } = this.#gateway.rates.steer.hitHere(order.identity.caller)
    const { maxEventsPerSecondPerClient: rate } = this.#gateway.limits
    const limit = rate > 0 ? Math.min(rate, MAX_FORWARDED) : MAX_FORWARDED
    if (count > limit) throw new Refusal('RATE_LIMITED', `${limit} changes a second of streams of other workers are accepted of a caller (MAX_EVENTS_PER_SECOND_PER_CLIENT, at most ${MAX_FORWARDED})`, { retryMs: resetMs, bound: 'messages' })
    return await this.#gateway.operator.askAll(ORDER, order) as Outcome | null
  }

  /** Whether somebody else has a stream is nobody's business. */
  #find (id: string, identity: Identity): Session | null {
    const session = this.#streams.get(id)
    return session !== undefined && isSameCaller(session.identity, identity) ? session : null
  }

  async #change (session: Session, change: Change, identity: Identity): Promise<object> {
    const changes = this.#changesOf(session)
    this.#checkRate(changes)
    const done = changes.last.then(async () => {
      if (session.state === 'ended') throw notFound()
      const { data } = await make(change, session, identity)
      // In step with the events: a client cut right behind it comes back to what it hears now.
      session.tellPosition()
      return data
    })
    changes.last = done.catch(() => {})
    return await done
  }

  #changesOf (session: Session): Changes {
    let changes = this.#changes.get(session)
    if (changes === undefined) this.#changes.set(session, changes = { last: Promise.resolve(), window: new MessageWindow() })
    return changes
  }

  /** As many as messages of a socket. */
  #checkRate ({ window }: Changes): void {
    const limit = this.#gateway.limits.maxEventsPerSecondPerClient
    const now = performance.now()
    if (limit > 0 && window.count(now) > limit) {
      throw new Refusal('RATE_LIMITED', `${limit} changes of a stream are accepted in a second (MAX_EVENTS_PER_SECOND_PER_CLIENT)`, { retryMs: window.leftMs(now), bound: 'messages' })
    }
  }
}

/** Behind one address there may be many: of two tokens that name nobody only the same one, by all that they say, is the same caller. */
function isSameCaller (one: Identity, other: Identity): boolean {
  if (one.caller !== other.caller || one.isAuthenticated !== other.isAuthenticated || one.isAuthorized !== other.isAuthorized) return false
  if (one.issuer !== other.issuer || one.subject !== other.subject) return false
  // Whoever the program around the gateway does not name is told by the address.
  if (one.subject !== null || !one.isAuthenticated || one.isAuthorized) return true
  // A ticket has its token's rights and end; its cookie may hear what the token may.
  const heard = ({ grants }: Identity): string => JSON.stringify(grants.lists?.subscribe ?? [])
  return one.expiresAt === other.expiresAt && heard(one) === heard(other)
}

function pack (change: Change): Packed {
  if (change.action !== 'join') return change
  const lists = new Map<readonly string[], number>()
  const joins = change.joins.map(({ room, types }): [string, number?] => {
    if (types === undefined) return [room]
    if (!lists.has(types)) lists.set(types, lists.size)
    return [room, lists.get(types) as number]
  })
  // One message has one `patch`, for all of its rooms.
  return { ...change, joins, lists: [...lists.keys()], ...(change.joins[0]?.patch === true ? { patch: true } : {}) }
}

function unpack (change: Packed): Change {
  if (change.action !== 'join') return change
  const { joins, lists, patch, ...rest } = change
  const named = patch === undefined ? {} : { patch }
  return { ...rest, joins: joins.map(([room, list]): Join => list === undefined ? { room, ...named } : { room, types: lists[list] as readonly string[], ...named }) }
}

/** @throws Refusal BAD_MESSAGE, BAD_SUBSCRIPTION */
function read (body: unknown): Change {
  const { action, message } = readAction<{ readonly read: (typeof MEMBERSHIP)[keyof typeof MEMBERSHIP]['read'] }>(body, MEMBERSHIP)
  refOf(message)
  return action.read(message)
}

async function outcomeOf (act: () => Promise<object>): Promise<Outcome> {
  try {
    return { data: await act() }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { code, message, retryMs, bound, rooms } = error
    return { refusal: { code, message, retryMs, bound, rooms } }
  }
}

const notFound = (): Refusal => new Refusal('SESSION_NOT_FOUND', 'there is no such stream, or it is not yours: open one, and take `session` from its hello')
