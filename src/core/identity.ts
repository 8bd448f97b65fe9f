// Who asks, and what they may do. The layer above makes it of a token, the core goes by it alone.

import { Refusal } from './errors.ts'
import { EVERYTHING } from './grants.ts'
import type { Grants, Right } from './grants.ts'

export interface Identity {
  /** Whom rate limits and Idempotency-Keys count for: issuer and subject where there is a subject, else the address. */
  readonly caller: string
  /** Whom MAX_CLIENTS_PER_IP counts for. */
  readonly address: string
  /** Who made the token; null where it does not say, or without one. */
  readonly issuer: string | null
  /** Whom `disconnect` and MAX_CLIENTS_PER_SUBJECT know; null without a token, or with one that names nobody. */
  readonly subject: string | null
  /** Whether a token was shown, or the program around the gateway knows who asks. */
  readonly isAuthenticated: boolean
  /** The rights are what the program around the gateway said, not a token. */
  readonly isAuthorized?: true
  readonly grants: Grants
  /** When the rights end, ms since 1970; null: never. */
  readonly expiresAt: number | null
}

/** Somebody who may do everything, for ever: anybody at an open gateway, and the program around one. @param caller an address, or a name */
export const trusted = (caller: string): Identity =>
  ({ caller, address: caller, issuer: null, subject: null, isAuthenticated: false, grants: EVERYTHING, expiresAt: null })

/** The program around the gateway. */
export const PROGRAM = trusted('program')

const DEEDS: Readonly<Record<Right, string>> = { subscribe: 'hear', publish: 'publish to', control: 'run' }

/**
 * Checks a right on every name. Whether a room exists makes no difference.
 * @throws Refusal FORBIDDEN, or UNAUTHENTICATED without a token; it names the first name that is not granted
 */
export function checkGranted ({ grants, isAuthenticated, isAuthorized }: Identity, right: Right, names: Iterable<string>): void {
  for (const name of names) {
    if (grants.allow(right, name)) continue
    if (isAuthorized) throw new Refusal('FORBIDDEN', `you may not ${DEEDS[right]} ${name}: what authorize returned grants no ${right} on it`)
    throw isAuthenticated
      ? new Refusal('FORBIDDEN', `this token may not ${DEEDS[right]} ${name}: its claim signalbox.${right} does not grant it`)
      : new Refusal('UNAUTHENTICATED', `a token is needed to ${DEEDS[right]} ${name}: send Authorization: Bearer <token>, or a ticket from POST /api/ticket`)
  }
}
