// Tokens: signed claims (JWT, RFC 7519) that name a subject and what it may do. The library verifies signatures; here is
// what the gateway asks of the claims.

import { decodeProtectedHeader, errors, jwtVerify } from 'jose'
import type { JWTPayload } from 'jose'
import type { FastifyBaseLogger } from 'fastify'
import { Refusal } from '../../core/errors.ts'
import { PatternGrants, RIGHTS } from '../../core/grants.ts'
import type { GrantLists, Grants } from '../../core/grants.ts'
import { PUBLIC_ALGORITHMS, PublicKeys, SECRET_ALGORITHMS } from './keys.ts'

/** What a token says. */
export interface Claims {
  readonly issuer: string | null
  readonly subject: string | null
  readonly grants: Grants
  /** ms since 1970. */
  readonly expiresAt: number
}

export interface TokensOptions {
  /** Shared secrets; each verifies. */
  readonly secrets: readonly string[]
  /** Where the public keys are; empty: nowhere. */
  readonly jwksUrl: string
  /** Empty: not checked. */
  readonly issuer: string
  readonly audience: string
  readonly log: Pick<FastifyBaseLogger, 'warn' | 'info'>
}

const MAX_BYTES = 8192
/** For `nbf` and `iat`, seconds: clocks differ. `exp` is counted to the second. */
const LEEWAY_S = 60
/** The year 9999, seconds. What lies beyond was meant as milliseconds, or for ever. */
const MAX_EXP = 253_402_300_799
/** Verified tokens that are remembered, and for how long: publishers send the same one with each request. A key that is withdrawn counts this long. */
const MAX_KNOWN = 1000
const KNOWN_MS = 30_000

export class Tokens {
  readonly #options: TokensOptions
  readonly #secrets: readonly Uint8Array[]
  readonly #keys: PublicKeys | null
  readonly #known = new Map<string, { readonly claims: Claims, readonly until: number }>()

  constructor (options: TokensOptions) {
    this.#options = options
    this.#secrets = options.secrets.map(secret => new TextEncoder().encode(secret))
    this.#keys = options.jwksUrl === '' ? null : new PublicKeys({ url: options.jwksUrl, log: options.log })
  }

  async load (): Promise<void> {
    await this.#keys?.load()
  }

  get warning (): string | null {
    return this.#keys?.warning ?? null
  }

  /** What a token says that was accepted a moment ago; null: it must be verified. */
  recall (token: string): Claims | null {
    const known = this.#known.get(token)
    if (known === undefined) return null
    if (Date.now() < Math.min(known.until, known.claims.expiresAt)) return known.claims
    this.#known.delete(token)
    return null
  }

  /** @throws Refusal UNAUTHENTICATED, KEYS_UNAVAILABLE */
  async verify (token: string): Promise<Claims> {
    const now = Date.now()
    if (token.length > MAX_BYTES) throw bad(`it has more than ${MAX_BYTES} characters`)
    const claims = claimsOf(await this.#payloadOf(token), now)
    if (this.#known.size >= MAX_KNOWN) this.#known.delete(this.#known.keys().next().value as string)
    this.#known.set(token, { claims, until: now + KNOWN_MS })
    return claims
  }

  async #payloadOf (token: string): Promise<JWTPayload> {
    const { issuer, audience } = this.#options
    const rules = {
      clockTolerance: LEEWAY_S,
      requiredClaims: ['exp'],
      ...(issuer === '' ? {} : { issuer }),
      ...(audience === '' ? {} : { audience })
    }
    let reason: unknown
    try {
      const header = decodeProtectedHeader(token)
      // The library knows one extension, and this gateway none.
      if (header.crit !== undefined) throw bad('its header asks for extensions (crit), of which none is taken')
      // A key is only ever used with the algorithms of its own kind.
      const { keys, algorithms } = SECRET_ALGORITHMS.includes(String(header.alg))
        ? { keys: this.#secrets, algorithms: SECRET_ALGORITHMS }
        : { keys: PUBLIC_ALGORITHMS.includes(String(header.alg)) ? await this.#keys?.find(header) ?? [] : [], algorithms: PUBLIC_ALGORITHMS }
      for (const key of keys) {
        try {
          return (await jwtVerify(token, key, { ...rules, algorithms })).payload
        } catch (error) {
          if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
          reason = error
        }
      }
    } catch (error) {
      if (error instanceof Refusal) throw error
      reason = error
    }
    throw bad(reasonOf(reason))
  }
}

/** @throws Refusal UNAUTHENTICATED */
function claimsOf ({ iss, sub, iat, exp, signalbox }: JWTPayload, now: number): Claims {
  // The library allows the leeway for `exp` too.
  if (typeof exp !== 'number' || !(exp <= MAX_EXP)) throw bad('its exp is no time in seconds since 1970')
  if (exp * 1000 <= now) throw bad('it has expired')
  if (iat !== undefined && typeof iat !== 'number') throw bad('its iat is no number')
  if (iat !== undefined && !(iat * 1000 <= now + LEEWAY_S * 1000)) throw bad('its iat lies in the future')
  if (iss !== undefined && typeof iss !== 'string') throw bad('its iss is no text')
  if (sub !== undefined && typeof sub !== 'string') throw bad('its sub is no text')
  return {
    issuer: iss ?? null,
    subject: sub === undefined || sub === '' ? null : sub,
    grants: new PatternGrants(grantsOf(signalbox)),
    expiresAt: exp * 1000
  }
}

/** A claim that is missing or malformed allows nothing. */
function grantsOf (claim: unknown): GrantLists {
  if (typeof claim !== 'object' || claim === null || Array.isArray(claim)) return {}
  const lists: GrantLists = claim
  return RIGHTS.every(right => lists[right] === undefined || isPatterns(lists[right])) ? Object.fromEntries(RIGHTS.map(right => [right, lists[right] ?? []])) : {}
}

const isPatterns = (value: unknown): boolean => Array.isArray(value) && value.every(pattern => typeof pattern === 'string')

/** What a client may know. Which of keys and algorithms did not fit is none of its business. */
function reasonOf (error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired'
  if (error instanceof errors.JWTClaimValidationFailed) return error.reason === 'missing' ? `it has no ${error.claim}` : `its ${error.claim} does not fit`
  return 'its signature or form is not valid'
}

const bad = (reason: string): Refusal => new Refusal('UNAUTHENTICATED', `the token is not accepted: ${reason}`)
