// The keys that verify tokens: shared secrets, and public keys from a URL (JWKS, RFC 7517).

import { createLocalJWKSet, createRemoteJWKSet, customFetch, errors } from 'jose'
import type { CryptoKey, JWSHeaderParameters } from 'jose'
import type { FastifyBaseLogger } from 'fastify'
import { Refusal } from '../../core/errors.ts'

/** Algorithms by the kind of key: a public key can never stand in for a secret. */
export const SECRET_ALGORITHMS = ['HS256']
export const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']

/** Keys that are not known are fetched for at most this often, and in any case after MAX_AGE_MS. */
const COOLDOWN_MS = 30_000
const MAX_AGE_MS = 600_000
/** After a fetch that failed. */
const AGAIN_MS = 5000
const FETCH_TIMEOUT_MS = 5000
const MAX_BYTES = 1024 * 1024

export class PublicKeys {
  readonly #url: string
  readonly #log: Pick<FastifyBaseLogger, 'warn' | 'info'>
  readonly #set: ReturnType<typeof createRemoteJWKSet>
  #trouble: { readonly reason: string, readonly at: number } | null = null

  constructor (url: string, log: Pick<FastifyBaseLogger, 'warn' | 'info'>) {
    this.#url = url
    this.#log = log
    this.#set = createRemoteJWKSet(new URL(url), {
      cooldownDuration: COOLDOWN_MS,
      cacheMaxAge: MAX_AGE_MS,
      timeoutDuration: FETCH_TIMEOUT_MS,
      [customFetch]: async (url, options) => await this.#fetch(url, options)
    })
  }

  /** Fetches the keys. Never fails: tokens that come later ask again. */
  async load (): Promise<void> {
    await this.#set.reload().catch(() => {})
  }

  /** Why the keys cannot be fetched, as a sentence; null where they can. */
  get warning (): string | null {
    return this.#trouble === null ? null : `the keys of AUTH_JWKS_URL cannot be fetched: ${this.#trouble.reason}${this.#set.jwks() === undefined ? '' : '; those fetched before still count'}`
  }

  /**
   * The keys that may have signed a token: one, or several where it names none.
   * @throws Refusal KEYS_UNAVAILABLE; JOSEError where no key fits
   */
  async find (header: JWSHeaderParameters): Promise<CryptoKey[]> {
    try {
      return await choose(this.#set, header)
    } catch (error) {
      if (this.#trouble === null) throw error
      const before = this.#set.jwks()
      const keys = before === undefined ? [] : await choose(createLocalJWKSet(before), header).catch(() => [])
      if (keys.length > 0) return keys
      throw new Refusal('KEYS_UNAVAILABLE', 'the keys that verify tokens cannot be fetched just now; try again in a moment')
    }
  }

  async #fetch (url: string, options: RequestInit): Promise<Response> {
    if (this.#trouble !== null && performance.now() - this.#trouble.at < AGAIN_MS) throw new Error(this.#trouble.reason)
    try {
      const response = await fetch(url, options)
      if (response.status !== 200) throw new Error(`it answers ${response.status}`)
      const text = await response.text()
      if (text.length > MAX_BYTES) throw new Error(`its answer has more than ${MAX_BYTES} characters`)
      if (!Array.isArray((JSON.parse(text) as { keys?: unknown } | null)?.keys)) throw new Error('its answer is no set of keys, such as {"keys": []}')
      if (this.#trouble !== null) this.#log.info('the keys of AUTH_JWKS_URL can be fetched again')
      this.#trouble = null
      return new Response(text)
    } catch (error) {
      if (this.#trouble === null) this.#log.warn({ url: this.#url, reason: reasonOf(error) }, 'the keys of AUTH_JWKS_URL cannot be fetched')
      this.#trouble = { reason: reasonOf(error), at: performance.now() }
      throw error
    }
  }
}

async function choose (set: (header: JWSHeaderParameters) => Promise<CryptoKey>, header: JWSHeaderParameters): Promise<CryptoKey[]> {
  try {
    return [await set(header)]
  } catch (error) {
    // The token does not name its key.
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
    const keys = []
    for await (const key of error) keys.push(key)
    return keys
  }
}

/** What `fetch` throws says "fetch failed", and why only in its cause. */
function reasonOf (error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error && cause.message !== '' ? cause.message : message
}
