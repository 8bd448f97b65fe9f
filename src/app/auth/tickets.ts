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

export class Tickets {
  readonly #store: Pick<Store, 'secret' | 'claim'>
  #secret: Promise<Uint8Array> | null = null

  constructor (store: Pick<Store, 'secret' | 'claim'>) {
    this.#store = store
  }

  /** @throws Refusal STORE_UNAVAILABLE */
  async issue (claims: Claims): Promise<string> {
    return await this.#sign(claims, 'ticket', Math.min(claims.expiresAt, Date.now() + TICKET_SECONDS * 1000))
  }

  /** Uses a ticket up. @throws Refusal UNAUTHENTICATED, TICKET_USED, STORE_UNAVAILABLE */
  async redeem (ticket: string): Promise<Claims> {
    const { jti, ...payload } = await this.#verify(ticket, 'ticket')
    const earlier = await this.#store.claim(`ticket:${jti}`, { command: 'ticket', status: 'done', fingerprint: '', by: '' })
    if (earlier !== null) throw new Refusal('TICKET_USED', 'this ticket was used before: each works once; get another from POST /api/ticket')
    return claimsOf(payload)
  }

  /** The text of the cookie that lets a stream come back: it may hear what the ticket may, and nothing else. */
  async streamPass (claims: Claims): Promise<string> {
    const { subscribe = [] } = claims.grants.lists ?? {}
    return await this.#sign({ ...claims, grants: new PatternGrants({ subscribe }) }, 'stream', claims.expiresAt)
  }

  /** @throws Refusal UNAUTHENTICATED, STORE_UNAVAILABLE */
  async readStreamPass (text: string): Promise<Claims> {
    return claimsOf(await this.#verify(text, 'stream'))
  }

  async #sign ({ issuer, subject, grants, expiresAt }: Claims, use: Use, until: number): Promise<string> {
    return await new SignJWT({ of: { issuer, subject, grants: grants.lists ?? {}, expiresAt } })
      .setProtectedHeader({ alg: ALGORITHM })
      .setAudience(use)
      .setJti(randomBytes(12).toString('base64url'))
      .setExpirationTime(Math.floor(until / 1000))
      .sign(await this.#key())
  }

  async #verify (text: string, use: Use): Promise<Payload> {
    const key = await this.#key()
    try {
      return (await jwtVerify<Payload>(text, key, { algorithms: [ALGORITHM], audience: use, requiredClaims: ['exp', 'jti', 'of'] })).payload
    } catch {
      throw new Refusal('UNAUTHENTICATED', use === 'ticket'
        ? `this ticket is unknown or has expired: each works once, within ${TICKET_SECONDS} s; get another from POST /api/ticket`
        : 'the right to come back to this stream has expired; get a new ticket from POST /api/ticket')
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
