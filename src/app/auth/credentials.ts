// Where a request carries what says who asks.

import { parseCookie } from 'cookie'
import type { FastifyRequest } from 'fastify'
import { Refusal } from '../../core/errors.ts'
import { timesNamed } from '../headers.ts'

const TOKEN_COOKIE = 'signalbox_token'
export const TICKET_COOKIE = 'signalbox_ticket'

export interface Credentials {
  /** Of the header. Wins over the cookies. */
  readonly bearer: string | undefined
  /** Of the query. */
  readonly ticket: string | undefined
  readonly tokenCookie: string | undefined
  readonly ticketCookie: string | undefined
}

/** @throws Refusal BAD_REQUEST for two headers, UNAUTHENTICATED for one of another scheme */
export function credentialsOf (request: FastifyRequest): Credentials {
  const cookies = parseCookie(request.headers.cookie ?? '')
  return {
    bearer: bearerOf(request),
    ticket: ticketIn(request),
    tokenCookie: cookies[TOKEN_COOKIE],
    ticketCookie: cookies[TICKET_COOKIE]
  }
}

export function ticketIn ({ query }: FastifyRequest): string | undefined {
  const { ticket } = query as Record<string, unknown>
  return ticket === undefined ? undefined : String(ticket)
}

/** The token of the header Authorization (RFC 6750, 2.1). */
export function bearerOf ({ raw }: FastifyRequest): string | undefined {
  // Of several headers Node keeps the first: another reader on the way may have kept the last.
  if (timesNamed('authorization', raw.rawHeaders) > 1) throw new Refusal('BAD_REQUEST', 'a request may have one header Authorization')
  const { authorization } = raw.headers
  if (authorization === undefined) return undefined
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization) ?? []
  if (token === undefined) throw new Refusal('UNAUTHENTICATED', 'Authorization must be "Bearer <token>"')
  return token
}
