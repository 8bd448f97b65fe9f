// The caller of a request, for rate limits, idempotency and connections per address.

import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'

/** The client address. Of IPv6 only the /64 counts: a single household or host can use any address in it. */
export const callerOf = (request: FastifyRequest): string =>
  // After the client disconnects there is no address, although the type says there is.
  normalizeIP((request.ip as string | undefined) ?? '')
