// Browsers let any page open a WebSocket to any host, so the gateway looks where the page came from.

import type { FastifyRequest } from 'fastify'
import { Refusal } from '../core/errors.ts'

/** @throws Refusal FORBIDDEN where another site's page asks that is not on the list */
export function checkOrigin (request: FastifyRequest, allowed: readonly string[]): void {
  const { origin, host } = request.headers
  if (origin === undefined || allowed.includes(origin)) return
  // `null` (a file, a sandbox) is no origin one could be the same as.
  if (URL.canParse(origin) && new URL(origin).host === host) return
  throw new Refusal('FORBIDDEN', 'pages of this origin may not connect; CORS_ORIGINS lists those that may')
}
