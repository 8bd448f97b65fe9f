// What a program around the gateway says of a caller.

import type { IncomingMessage } from 'node:http'
import type { GrantLists } from '../../core/grants.ts'

/** What a caller may do: patterns of names, in which `*` stands for any characters. A right that is absent allows nothing. */
export interface Grants extends GrantLists {
  /** Who it is: limits and Idempotency-Keys count by it, and the command `disconnect` ends all its connections. Default: nobody; limits count by address. */
  readonly subject?: string | null | undefined
  /** When the rights end: a date, or milliseconds since 1970. Connections end then. Default: never. */
  readonly expiresAt?: Date | number | null | undefined
}

/** @returns what the caller of a request may do; null for somebody unknown, who gets 401 */
export type Authorize<Request = IncomingMessage> = (request: Request) => Grants | null | Promise<Grants | null>
