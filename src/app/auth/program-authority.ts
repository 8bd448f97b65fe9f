// Who asks, by the program around the gateway: it knows its users already, by a session or a header of its own.

import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import { Refusal } from '../../core/errors.ts'
import { PatternGrants, RIGHTS } from '../../core/grants.ts'
import type { Identity } from '../../core/identity.ts'
import { callerOf } from '../caller.ts'
import { checkCookieOrigin } from '../origin.ts'
import type { Authority } from './authority.ts'
import type { Authorize, Grants } from './authorize.ts'
import { ticketIn } from './credentials.ts'
import { FailedAttempts } from './failed-attempts.ts'
import type { Tickets } from './tickets.ts'

export interface ProgramAuthorityOptions {
  readonly authorize: Authorize
  /** For a WebSocket of a browser, which sends cookies and no other header. */
  readonly tickets: Tickets
  readonly clock: Clock
  /** Origins of other sites whose pages may use the gateway. */
  readonly corsOrigins: readonly string[]
  readonly log: Pick<FastifyBaseLogger, 'error'>
}

const FIELDS: readonly string[] = [...RIGHTS, 'subject', 'expiresAt']
/** In a ticket: the rights do not end. The last millisecond that a Date has. */
const FOREVER = 8.64e15

export class ProgramAuthority implements Authority {
  readonly isOpen = false
  readonly warning = null
  readonly #options: ProgramAuthorityOptions
  readonly #failed: FailedAttempts

  constructor (options: ProgramAuthorityOptions) {
    this.#options = options
    this.#failed = new FailedAttempts(options.clock)
  }

  async start (): Promise<void> {}

  async identify (request: FastifyRequest, _reply: FastifyReply, acceptsTicket: boolean): Promise<Identity> {
    const ticket = acceptsTicket ? ticketIn(request) : undefined
    const unknown = ticket === undefined ? null : await this.#takeTicket(ticket, request)
    if (unknown !== null && !(unknown instanceof Refusal)) return unknown
    const identity = await this.#ask(request)
    if (identity === null) throw unknown ?? new Refusal('UNAUTHENTICATED', 'this server does not know who asks: sign in, and try again')
    if (identity.expiresAt !== null && identity.expiresAt <= Date.now()) throw new Refusal('UNAUTHENTICATED', 'the rights of this caller have ended: sign in again')
    // It may have gone by a cookie.
    if (request.headers.cookie !== undefined && request.headers.authorization === undefined) checkCookieOrigin(request, this.#options.corsOrigins)
    return identity
  }

  async ticketFor ({ issuer, subject, grants, expiresAt }: Identity): Promise<{ ticket: string, expiresIn: number }> {
    return await this.#options.tickets.issue({ issuer, subject, grants, expiresAt: expiresAt ?? FOREVER })
  }

  /**
   * The rights of a ticket. An EventSource comes back with one that was used, and the program may have a `ticket` of its own in its
   * addresses: then it says who asks, each time anew, as for all else.
   * @returns why the ticket does not count, where it does not
   */
  async #takeTicket (text: string, request: FastifyRequest): Promise<Identity | Refusal> {
    const { tickets } = this.#options
    const address = callerOf(request)
    try {
      const ticket = await this.#failed.verify(address, () => request.raw.socket.destroyed, async () => await tickets.read(text, null))
      request.useTicket = async () => { await tickets.use(ticket, null) }
      const { subject, grants, expiresAt } = ticket.claims
      return known(address, subject, grants, expiresAt === FOREVER ? null : expiresAt)
    } catch (error) {
      if (error instanceof Refusal && error.statusCode === 401) return error
      throw error
    }
  }

  async #ask (request: FastifyRequest): Promise<Identity | null> {
    try {
      const grants = await this.#options.authorize(request.raw)
      return grants === null ? null : identityOf(grants, callerOf(request))
    } catch (error) {
      const { statusCode, message } = error as { readonly statusCode?: unknown, readonly message?: unknown }
      if (statusCode === 401 || statusCode === 403) throw new Refusal(statusCode === 401 ? 'UNAUTHENTICATED' : 'FORBIDDEN', String(message))
      this.#options.log.error({ err: error }, 'authorize failed: the request was refused')
      throw new Refusal('KEYS_UNAVAILABLE', 'it cannot be found out now who asks; try again in a moment')
    }
  }
}

/** @throws TypeError for what is no grants: a misspelt right would otherwise be silently refused */
function identityOf (grants: Grants, address: string): Identity {
  if (typeof grants !== 'object' || Array.isArray(grants)) throw new TypeError('authorize must return null, or an object such as { subscribe: ["plant-*"], publish: [], control: [] }')
  const unknown = Object.keys(grants).filter(name => !FIELDS.includes(name))
  if (unknown.length > 0) throw new TypeError(`authorize returned ${unknown.join(', ')}; grants have ${FIELDS.join(', ')}`)
  for (const right of RIGHTS) {
    const patterns: unknown = grants[right] ?? []
    if (!Array.isArray(patterns) || !patterns.every(pattern => typeof pattern === 'string')) throw new TypeError(`authorize returned a ${right} that is no array of strings`)
  }
  const subject = grants.subject ?? null
  if (subject !== null && (typeof subject !== 'string' || subject === '')) throw new TypeError('authorize returned a subject that is no text')
  const expiresAt = grants.expiresAt === undefined || grants.expiresAt === null ? null : Number(grants.expiresAt)
  if (Number.isNaN(expiresAt)) throw new TypeError('authorize returned an expiresAt that is no date and no number of milliseconds')
  return known(address, subject, new PatternGrants(Object.fromEntries(RIGHTS.map(right => [right, grants[right] ?? []]))), expiresAt)
}

/** Somebody the program knows. An address has no space. */
const known = (address: string, subject: string | null, grants: Identity['grants'], expiresAt: number | null): Identity =>
  ({ caller: subject === null ? address : ` ${subject}`, address, issuer: null, subject, isAuthenticated: true, isAuthorized: true, grants, expiresAt })
