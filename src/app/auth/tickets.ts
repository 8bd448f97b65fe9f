// Tickets, for what cannot send headers: a native EventSource, a browser's WebSocket. A ticket stands in an address, where
// others may read it, so it works once and for half a minute. A stream that comes back to its old address is known by the
// cookie that its ticket was answered with. Both are tokens of the gateway's own.

import { randomBytes } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import type { JWTPayload } from 'jose'
import { Refusal } from '../../core/errors.ts'
import { PatternGrants } from '../../core/grants.ts'
import type { GrantLists } from '../../core/grants.ts'
import type { Store } from '../../core/store.ts'
import type { Claims } from './tokens.ts'

export const TICKET_SECONDS = 30

const ALGORITHM = 'HS256'
/** What a text of ours may be used for. */
type Use = 'ticket' | 'stream'

/** The claims of the token behind it, beside the registered ones. */
interface Payload extends JWTPayload {
  readonly of: { readonly issuer: string | null, readonly subject: string | null, readonly grants: GrantLists, readonly expiresAt: number }
}

/** The tickets one cookie stands for: a page may have several streams, and the browser keeps one cookie for all. */
const MAX_TICKETS = 20

/** What the cookie of a stream says. */
export interface Pass {
  readonly claims: Claims
  /** Names of the tickets that were used for it, newest first. */
  readonly tickets: readonly string[]
}

export class Tickets {
  readonly #store: Pick<Store, 'secret' | 'claim' | 'recall'>
  #secret: Promise<Uint8Array> | null = null

  constructor (store: Pick<Store, 'secret' | 'claim' | 'recall'>) {
    this.#store = store
  }

  /** @throws Refusal STORE_UNAVAILABLE */
  async issue (claims: Claims): Promise<string> {
    return await this.#sign(claims, 'ticket', Math.min(claims.expiresAt, Date.now() + TICKET_SECONDS * 1000), randomBytes(12).toString('base64url'))
  }

  /**
   * Uses a ticket up.
   * @param pass the cookie that came with it: it knows its own tickets longer than the store does
   * @returns its claims, and the pass that lets its stream come back
   * @throws Refusal UNAUTHENTICATED, TICKET_USED, STORE_UNAVAILABLE
   */
  async redeem (ticket: string, pass: Pass | null): Promise<Pass> {
    const { name, claims, isOver } = await this.#read(ticket, 'ticket')
    const isUsed = pass?.tickets.includes(name) === true || (isOver
      ? await this.#store.recall(`ticket:${name}`) !== null
      : await this.#store.claim(`ticket:${name}`, { command: 'ticket', status: 'done', fingerprint: '', by: '' }) !== null)
    if (isUsed) throw new Refusal('TICKET_USED', 'this ticket was used before: each works once; get another from POST /api/ticket')
    if (isOver) throw unknown('ticket')
    const others = pass !== null && pass.claims.subject === claims.subject && pass.claims.issuer === claims.issuer ? pass.tickets : []
    return { claims, tickets: [name, ...others].slice(0, MAX_TICKETS) }
  }

  /** The text of the cookie that lets a stream come back: it may hear what the ticket may, and nothing else. */
  async writePass ({ claims, tickets }: Pass): Promise<string> {
    const { subscribe = [] } = claims.grants.lists ?? {}
    return await this.#sign({ ...claims, grants: new PatternGrants({ subscribe }) }, 'stream', claims.expiresAt, tickets.join(' '))
  }

  /** @throws Refusal UNAUTHENTICATED, STORE_UNAVAILABLE */
  async readPass (text: string): Promise<Pass> {
    const { name, claims, isOver } = await this.#read(text, 'stream')
    if (isOver) throw unknown('stream')
    return { claims, tickets: name.split(' ') }
  }

  async #sign ({ issuer, subject, grants, expiresAt }: Claims, use: Use, until: number, name: string): Promise<string> {
    return await new SignJWT({ of: { issuer, subject, grants: grants.lists ?? {}, expiresAt } })
      .setProtectedHeader({ alg: ALGORITHM })
      .setAudience(use)
      .setJti(name)
      .setExpirationTime(Math.ceil(until / 1000))
      .sign(await this.#key())
  }

  /** @throws Refusal UNAUTHENTICATED for what is not ours; that its time is over is only said */
  async #read (text: string, use: Use): Promise<{ name: string, claims: Claims, isOver: boolean }> {
    const key = await this.#key()
    try {
      const { payload } = await jwtVerify<Payload>(text, key, { algorithms: [ALGORITHM], audience: use, requiredClaims: ['exp', 'jti', 'of'], currentDate: new Date(0) })
      const claims = claimsOf(payload)
      return { name: String(payload.jti), claims, isOver: Date.now() >= Math.min(Number(payload.exp) * 1000, claims.expiresAt) }
    } catch {
      throw unknown(use)
    }
  }

  async #key (): Promise<Uint8Array> {
    this.#secret ??= this.#store.secret()
    try {
      return await this.#secret
    } catch (error) {
      this.#secret = null
      throw error
    }
  }
}

const claimsOf = ({ of: { grants, ...claims } }: Payload): Claims => ({ ...claims, grants: new PatternGrants(grants) })

const unknown = (use: Use): Refusal => new Refusal('UNAUTHENTICATED', use === 'ticket'
  ? `this ticket is unknown or has expired: each works once, within ${TICKET_SECONDS} s; get another from POST /api/ticket`
  : 'the right to come back to this stream has expired; get a new ticket from POST /api/ticket')
