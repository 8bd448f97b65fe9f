// Who asks. One way for both profiles and every route: an authority makes an identity of a request, before anything else
// looks at it. Where the gateway is open it trusts everybody; else it goes by tokens.

import { createHash, timingSafeEqual } from 'node:crypto'
import { stringifySetCookie } from 'cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import { Refusal } from '../../core/errors.ts'
import { PatternGrants } from '../../core/grants.ts'
import type { Grants } from '../../core/grants.ts'
import { trusted } from '../../core/identity.ts'
import type { Identity } from '../../core/identity.ts'
import { callerOf } from '../caller.ts'
import { mountOf } from '../mount.ts'
import { checkCookieOrigin } from '../origin.ts'
import { bearerOf, credentialsOf, TICKET_COOKIE } from './credentials.ts'
import { FailedAttempts } from './failed-attempts.ts'
import type { Tickets } from './tickets.ts'
import type { Claims, Tokens } from './tokens.ts'

export interface Authority {
  /** Whether everybody may do everything. */
  readonly isOpen: boolean
  /** Fetches what it needs. Never fails. */
  start (): Promise<void>
  /** For the operator, though all is well. */
  readonly warning: string | null
  /**
   * @param acceptsTicket a ticket in the query counts; `request.useTicket` then uses it up, and gives the answer a cookie
   * @throws Refusal UNAUTHENTICATED, TICKET_USED, FORBIDDEN, RATE_LIMITED, BAD_REQUEST, KEYS_UNAVAILABLE, STORE_UNAVAILABLE
   */
  identify (request: FastifyRequest, reply: FastifyReply, acceptsTicket: boolean): Identity | Promise<Identity>
  /** A ticket with the rights of an identity, and the seconds it lives. @throws Refusal UNAUTHENTICATED, STORE_UNAVAILABLE */
  ticketFor (identity: Identity): Promise<{ ticket: string, expiresIn: number }>
}

export const open: Authority = {
  isOpen: true,
  start: async () => {},
  warning: null,
  identify: request => trusted(callerOf(request)),
  ticketFor: async () => { throw new Refusal('NOT_FOUND', 'this gateway is open: it needs no tickets') }
}

export interface TokenAuthorityOptions {
  readonly tokens: Tokens
  readonly tickets: Tickets
  /** Patterns of what everybody may hear, without a token. */
  readonly anonymousSubscribe: readonly string[]
  /** Origins of other sites whose pages may use the gateway. */
  readonly corsOrigins: readonly string[]
  readonly clock: Clock
}

export class TokenAuthority implements Authority {
  readonly isOpen = false
  readonly #options: TokenAuthorityOptions
  readonly #anonymous: Grants
  readonly #failed: FailedAttempts

  constructor (options: TokenAuthorityOptions) {
    this.#options = options
    this.#failed = new FailedAttempts(options.clock)
    this.#anonymous = new PatternGrants({ subscribe: options.anonymousSubscribe })
  }

  async start (): Promise<void> {
    await this.#options.tokens.load()
  }

  get warning (): string | null {
    return this.#options.tokens.warning
  }

  identify (request: FastifyRequest, reply: FastifyReply, acceptsTicket: boolean): Identity | Promise<Identity> {
    const bearer = bearerOf(request)
    const known = bearer === undefined ? null : this.#options.tokens.recall(bearer)
    return known === null ? this.#find(request, reply, acceptsTicket) : identityOf(known, callerOf(request))
  }

  async #find (request: FastifyRequest, reply: FastifyReply, acceptsTicket: boolean): Promise<Identity> {
    const address = callerOf(request)
    const { bearer, ticket, tokenCookie, ticketCookie } = credentialsOf(request)
    const { tokens, tickets } = this.#options
    const verified = async <T>(verify: () => Promise<T>): Promise<T> => await this.#failed.verify(address, () => request.raw.socket.destroyed, verify)
    const claimsOf = async (token: string): Promise<Claims> => tokens.recall(token) ?? await verified(async () => await tokens.verify(token))
    if (bearer !== undefined) return identityOf(await claimsOf(bearer), address)
    if (acceptsTicket && ticket !== undefined) return identityOf(await verified(async () => await this.#readTicket(ticket, ticketCookie, request, reply)), address)
    if (tokenCookie === undefined && ticketCookie === undefined) return this.#anybody(address)
    const claims = tokenCookie !== undefined ? await claimsOf(tokenCookie) : await verified(async () => (await tickets.readPass(ticketCookie as string)).claims)
    checkCookieOrigin(request, this.#options.corsOrigins)
    return identityOf(claims, address)
  }

  async ticketFor ({ isAuthenticated, issuer, subject, grants, expiresAt }: Identity): Promise<{ ticket: string, expiresIn: number }> {
    if (!isAuthenticated || expiresAt === null) throw new Refusal('UNAUTHENTICATED', 'a ticket is given for a token: send Authorization: Bearer <token>')
    return await this.#options.tickets.issue({ issuer, subject, grants, expiresAt })
  }

  #anybody (address: string): Identity {
    if (this.#options.anonymousSubscribe.length === 0) {
      throw new Refusal('UNAUTHENTICATED', 'this gateway needs a token: send Authorization: Bearer <token>, or a ticket from POST /api/ticket')
    }
    return { caller: address, address, issuer: null, subject: null, isAuthenticated: false, grants: this.#anonymous, expiresAt: null }
  }

  async #readTicket (text: string, cookie: string | undefined, request: FastifyRequest, reply: FastifyReply): Promise<Claims> {
    const { tickets } = this.#options
    const pass = cookie === undefined ? null : await tickets.readPass(cookie).catch(nullIfUnauthenticated)
    try {
      const ticket = await tickets.read(text, pass)
      request.useTicket = async () => {
        const renewed = await tickets.use(ticket, pass)
        const cookieText = await tickets.writePass(renewed)
        if (cookieText === null) return
        reply.header('Set-Cookie', stringifySetCookie(TICKET_COOKIE, cookieText, {
          path: `${mountOf(request.raw)}/api/events`,
          httpOnly: true,
          maxAge: Math.max(0, Math.floor((renewed.claims.expiresAt - Date.now()) / 1000)),
          // A page of another site gets its cookie back over https only: browsers ask for that.
          ...(request.protocol === 'https' ? { sameSite: 'none', secure: true } : { sameSite: 'lax' })
        }))
      }
      return ticket.claims
    } catch (error) {
      // A native EventSource comes back to its old address.
      if (!(error instanceof Refusal && error.code === 'TICKET_USED') || pass === null) throw error
      checkCookieOrigin(request, this.#options.corsOrigins)
      return pass.claims
    }
  }
}

function nullIfUnauthenticated (error: unknown): null {
  if (error instanceof Refusal && error.statusCode === 401) return null
  throw error
}

function identityOf ({ issuer, subject, grants, expiresAt }: Claims, address: string): Identity {
  // No address begins like this, and no other issuer and subject give the same.
  const caller = subject === null ? address : JSON.stringify([issuer, subject])
  return { caller, address, issuer, subject, isAuthenticated: true, grants, expiresAt }
}

/** Compares in a time that tells nothing of how much is right. */
export function isSame (given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
