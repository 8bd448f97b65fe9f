// Tickets, for what cannot send headers: a native EventSource, a browser's WebSocket. A ticket stands in an address, where
// others may read it, so it works once and for half a minute. A stream that comes back to its old address is known by the
// cookie that its ticket was answered with. Both are signed by the gateway, and deflated: addresses and cookies are short.

import { randomBytes } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { CompactSign, compactVerify } from 'jose'
import type { Clock } from '../../core/clock.ts'
import { Refusal } from '../../core/errors.ts'
import { PatternGrants } from '../../core/grants.ts'
import type { GrantLists } from '../../core/grants.ts'
import type { Store } from '../../core/store.ts'
import type { Claims } from './tokens.ts'

const TICKET_SECONDS = 30

const ALGORITHM = 'HS256'
/** What a text of ours may be used for. */
type Use = 'ticket' | 'stream'

interface Payload {
  readonly use: Use
  readonly name: string
  /** ms since 1970. */
  readonly until: number
  /** The claims of the token behind it. */
  readonly of: { readonly issuer: string | null, readonly subject: string | null, readonly grants: GrantLists, readonly expiresAt: number }
}

/** The secret is asked for again after so long: a Redis that was emptied has lost it, and the workers must agree again on one. */
const SECRET_MS = 2000

/** The tickets one cookie stands for: a page may have several streams, and the browser keeps one cookie for all. */
const MAX_TICKETS = 20

/** Browsers silently drop a cookie of more than 4,096 bytes, its name and attributes among them. */
const MAX_PASS_CHARACTERS = 3840

export interface Ticket {
  readonly name: string
  readonly claims: Claims
}

/** What the cookie of a stream says. */
export interface Pass {
  readonly claims: Claims
  /** Names of the tickets that were used for it, newest first. */
  readonly tickets: readonly string[]
}

export interface TicketsOptions {
  readonly store: Pick<Store, 'secret' | 'claim' | 'recall'>
  readonly clock: Pick<Clock, 'now'>
  /** How long the store knows a ticket that was used. None lives longer. */
  readonly memorySeconds: number
}

export class Tickets {
  readonly #store: Pick<Store, 'secret' | 'claim' | 'recall'>
  readonly #clock: Pick<Clock, 'now'>
  readonly #lifeMs: number
  #secret: { readonly key: Promise<Uint8Array>, readonly at: number } | null = null

  constructor ({ store, clock, memorySeconds }: TicketsOptions) {
    this.#store = store
    this.#clock = clock
    this.#lifeMs = Math.min(TICKET_SECONDS, memorySeconds) * 1000
  }

  /** @returns the ticket, and the seconds it lives @throws Refusal STORE_UNAVAILABLE */
  async issue (claims: Claims): Promise<{ ticket: string, expiresIn: number }> {
    const now = Date.now()
    const until = Math.min(claims.expiresAt, now + this.#lifeMs)
    return { ticket: await this.#sign(claims, 'ticket', until, randomBytes(12).toString('base64url')), expiresIn: Math.floor((until - now) / 1000) }
  }

  /**
   * Reads a ticket that has not been used.
   * @param pass the cookie that came with it: it knows its own tickets longer than the store does
   * @throws Refusal UNAUTHENTICATED, TICKET_USED, STORE_UNAVAILABLE
   */
  async read (text: string, pass: Pass | null): Promise<Ticket> {
    const { name, claims, isOver } = await this.#read(text, 'ticket')
    if (pass?.tickets.includes(name) === true || await this.#store.recall(`ticket:${name}`) !== null) {
      throw pass === null && await this.writePass({ claims, tickets: [name] }) === null ? usedWithoutPass() : used()
    }
    if (isOver) throw unknown('ticket')
    return { name, claims }
  }

  /**
   * Uses a ticket up: of several who bring it at once, one gets through.
   * @param pass the cookie that came with it
   * @returns the pass that lets its stream come back
   * @throws Refusal TICKET_USED, STORE_UNAVAILABLE
   */
  async use ({ name, claims }: Ticket, pass: Pass | null): Promise<Pass> {
    if (await this.#store.claim(`ticket:${name}`, { command: 'ticket', status: 'done', fingerprint: '', by: '' }) !== null) throw used()
    const others = pass !== null && pass.claims.subject === claims.subject && pass.claims.issuer === claims.issuer ? pass.tickets : []
    return { claims, tickets: [name, ...others].slice(0, MAX_TICKETS) }
  }

  /**
   * The text of the cookie that lets a stream come back: it may hear what the ticket may, and nothing else.
   * @returns null where no browser would keep it
   */
  async writePass ({ claims, tickets }: Pass): Promise<string | null> {
    const { subscribe = [] } = claims.grants.lists ?? {}
    const text = await this.#sign({ ...claims, grants: new PatternGrants({ subscribe }) }, 'stream', claims.expiresAt, tickets.join(' '))
    return text.length > MAX_PASS_CHARACTERS ? null : text
  }

  /** @throws Refusal UNAUTHENTICATED, STORE_UNAVAILABLE */
  async readPass (text: string): Promise<Pass> {
    const { name, claims, isOver } = await this.#read(text, 'stream')
    if (isOver) throw unknown('stream')
    return { claims, tickets: name.split(' ') }
  }

  async #sign ({ issuer, subject, grants, expiresAt }: Claims, use: Use, until: number, name: string): Promise<string> {
    const payload: Payload = { use, name, until, of: { issuer, subject, grants: grants.lists ?? {}, expiresAt } }
    return await new CompactSign(deflateRawSync(JSON.stringify(payload))).setProtectedHeader({ alg: ALGORITHM }).sign(await this.#key())
  }

  /** @throws Refusal UNAUTHENTICATED for what is not ours; that its time is over is only said */
  async #read (text: string, use: Use): Promise<{ name: string, claims: Claims, isOver: boolean }> {
    const key = await this.#key()
    try {
      const { payload } = await compactVerify(text, key, { algorithms: [ALGORITHM] })
      const { use: actual, name, until, of: { grants, ...claims } } = JSON.parse(inflateRawSync(payload).toString()) as Payload
      if (actual !== use) throw unknown(use)
      return { name, claims: { ...claims, grants: new PatternGrants(grants) }, isOver: Date.now() >= until }
    } catch {
      throw unknown(use)
    }
  }

  async #key (): Promise<Uint8Array> {
    const known = this.#secret
    const now = this.#clock.now()
    if (known !== null && now - known.at < SECRET_MS) return await known.key
    // While the store is away, what it last said holds.
    const asked = this.#secret = { key: this.#store.secret().catch((error: unknown) => { if (known === null) throw error; return known.key }), at: now }
    try {
      return await asked.key
    } catch (error) {
      if (this.#secret === asked) this.#secret = null
      throw error
    }
  }
}

const used = (): Refusal => new Refusal('TICKET_USED', 'this ticket was used before: each works once; get another from POST /api/ticket')

const usedWithoutPass = (): Refusal => new Refusal('TICKET_USED', 'this ticket was used before: each works once; its token lists more rooms to subscribe to than fit in the cookie by which a stream comes back: grant patterns such as plant-*, or get another from POST /api/ticket for each connection')

const unknown = (use: Use): Refusal => new Refusal('UNAUTHENTICATED', use === 'ticket'
  ? `this ticket is unknown or has expired: each works once, within ${TICKET_SECONDS} s; get another from POST /api/ticket`
  : 'the right to come back to this stream has expired; get a new ticket from POST /api/ticket')
