// Who a request counts for: rate limits, idempotency, connections per address.

import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'

/** The address, an IPv6 one cut to its /64, which is what one household or host has to choose from. */
export const callerOf = (request: FastifyRequest): string =>
  // Whoever has hung up meanwhile has no address any more, whatever the type says.
  normalizeIP((request.ip as string | undefined) ?? '')
