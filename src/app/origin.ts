// Browsers let any page open a WebSocket to any host. The gateway therefore checks the origin of the page.

import type { FastifyRequest } from 'fastify'
import { Refusal } from '../core/errors.ts'

/** @throws Refusal FORBIDDEN for a page of another origin that is not on the list */
export function checkOrigin (request: FastifyRequest, allowed: readonly string[]): void {
  const { origin, host } = request.headers
  if (origin === undefined || allowed.includes(origin)) return
  // The origin `null` (a file, a sandbox) never equals the host.
  if (URL.canParse(origin) && new URL(origin).host === host) return
  throw new Refusal('FORBIDDEN', 'pages of this origin may not connect; CORS_ORIGINS lists those that may')
}
