// The keys that verify tokens: shared secrets, and public keys from a URL (JWKS, RFC 7517).

import { createLocalJWKSet, errors } from 'jose'
import type { CryptoKey, JSONWebKeySet, JWSHeaderParameters } from 'jose'
import type { FastifyBaseLogger } from 'fastify'
import { Refusal } from '../../core/errors.ts'

/** Algorithms by the kind of key: a public key can never stand in for a secret. */
export const SECRET_ALGORITHMS = ['HS256']
export const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']

/** A token whose key is not among those fetched has them fetched again, unless they are younger than this. */
const COOLDOWN_MS = 30_000
/** Keys that are older are fetched again in any case. A key that is withdrawn counts this long at most. */
const MAX_AGE_MS = 600_000
/** After a fetch that failed. */
const AGAIN_MS = 5000
const FETCH_TIMEOUT_MS = 5000
const MAX_CHARACTERS = 1024 * 1024

export interface PublicKeysOptions {
  readonly url: string
  readonly log: Pick<FastifyBaseLogger, 'warn' | 'info'>
  /** Monotonic ms. */
  readonly now?: () => number
}

export class PublicKeys {
  readonly #url: string
  readonly #log: Pick<FastifyBaseLogger, 'warn' | 'info'>
  readonly #now: () => number
  #set: ReturnType<typeof createLocalJWKSet> | null = null
  #fetchedAt = -Infinity
  #fetching: Promise<void> | null = null
  #trouble: { readonly reason: string, readonly at: number } | null = null

  constructor ({ url, log, now = () => performance.now() }: PublicKeysOptions) {
    this.#url = url
    this.#log = log
    this.#now = now
  }

  /** Fetches the keys, once for all who ask meanwhile, and not right after it failed. Never fails: tokens that come later ask again. */
  async load (): Promise<void> {
    if (this.#trouble !== null && this.#now() - this.#trouble.at < AGAIN_MS) return
    await (this.#fetching ??= this.#fetch().finally(() => { this.#fetching = null }))
  }

  /** Why the keys cannot be fetched, as a sentence; null where they can. */
  get warning (): string | null {
    return this.#trouble === null ? null : `the keys of AUTH_JWKS_URL cannot be fetched: ${this.#trouble.reason}${this.#set === null ? '' : '; those fetched before still count'}`
  }

  /**
   * The keys that may have signed a token: one, or several where it names none; none where no key fits.
   * @throws Refusal KEYS_UNAVAILABLE
   */
  async find (header: JWSHeaderParameters): Promise<CryptoKey[]> {
    if (this.#age >= MAX_AGE_MS) {
      const loading = this.load()
      // While the URL is in trouble nobody waits for it whose key is known.
      if (this.#set === null || this.#trouble === null) await loading
    }
    let keys = await this.#choose(header)
    if (keys.length === 0 && this.#age >= COOLDOWN_MS) {
      await this.load()
      keys = await this.#choose(header)
    }
    if (keys.length === 0 && this.#trouble !== null) {
      throw new Refusal('KEYS_UNAVAILABLE', 'the keys that verify tokens cannot be fetched just now; try again in a moment', { retryMs: AGAIN_MS })
    }
    return keys
  }

  get #age (): number {
    return this.#now() - this.#fetchedAt
  }

  async #choose (header: JWSHeaderParameters): Promise<CryptoKey[]> {
    try {
      return this.#set === null ? [] : [await this.#set(header)]
    } catch (error) {
      const keys = []
      // The token does not name its key.
      if (error instanceof errors.JWKSMultipleMatchingKeys) for await (const key of error) keys.push(key)
      return keys
    }
  }

  async #fetch (): Promise<void> {
    try {
      // An address that somebody answers with is not the one that was set.
      const response = await fetch(this.#url, { redirect: 'manual', headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) })
      if (response.status !== 200) throw new Error(`it answers ${response.status}`)
      const text = await response.text()
      if (text.length > MAX_CHARACTERS) throw new Error(`its answer has more than ${MAX_CHARACTERS} characters`)
      this.#set = readSet(text)
      this.#fetchedAt = this.#now()
      if (this.#trouble !== null) this.#log.info('the keys of AUTH_JWKS_URL can be fetched again')
      this.#trouble = null
    } catch (error) {
      const reason = reasonOf(error)
      if (this.#trouble === null) this.#log.warn({ reason }, 'the keys of AUTH_JWKS_URL cannot be fetched')
      this.#trouble = { reason, at: this.#now() }
    }
  }
}

function readSet (text: string): ReturnType<typeof createLocalJWKSet> {
  try {
    return createLocalJWKSet(JSON.parse(text) as JSONWebKeySet)
  } catch {
    throw new Error('its answer is no set of keys, such as {"keys": []}')
  }
}

/** What `fetch` throws says "fetch failed", and why only in its cause. */
function reasonOf (error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error && cause.message !== '' ? cause.message : message
}
