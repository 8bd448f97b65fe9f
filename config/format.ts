// Formats of texts and of items in lists. Each has a check for validation, and a description for the operator.

import { isIP } from 'node:net'
import { parseRedisUrl } from './redis-url.ts'

interface FormatRule {
  readonly allowed: string
  readonly check: (text: string) => boolean
  /** What is wrong with a text that failed, in words and without secrets, where that is more than `allowed` says. */
  readonly problem?: (text: string) => string | undefined
  /** The canonical spelling of a valid text: later it can be compared as a string. */
  readonly canonical?: (text: string) => string
}

export type Format = 'any' | 'secrets' | 'token' | 'jwks' | 'pattern' | 'host' | 'path' | 'host-name' | 'origin' | 'proxy' | 'type' | 'redis' | 'redis-name'

/** The same as NAME in src/core/event.ts, which the settings cannot import; a test compares them. */
export const TYPE = /^[A-Za-z0-9_.:/-]{1,128}$/
const HOST_NAME = /^(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?$/i
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*\\]+$/i

const MIN_SECRET_BYTES = 32
const MIN_TOKEN = 16
/** A secret of fewer different characters was typed, not made. */
const MIN_VARIETY = 8

/** The secrets in the text of AUTH_JWT_SECRET. */
export const secretsOf = (text: string): string[] => text.split(',').map((secret) => secret.trim()).filter((secret) => secret !== '')

/** In the documentation of libraries and tools, and thus in many programs. */
const PUBLISHED: readonly string[] = ['a-string-secret-at-least-256-bits-long', 'a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long']

function weaknessOf (secret: string): string | undefined {
  if (PUBLISHED.includes(secret)) return 'a secret of an example in the documentation of others'
  const bytes = Buffer.byteLength(secret)
  if (bytes < MIN_SECRET_BYTES) return `a secret of ${bytes} bytes can be guessed`
  if (new Set(secret).size < MIN_VARIETY) return 'a secret of so few different characters can be guessed'
  return /^(.{1,16}?)\1+.{0,16}$/.test(secret) ? 'a secret that repeats itself can be guessed' : undefined
}

export const FORMATS: Readonly<Record<Format, FormatRule>> = {
  any: {
    allowed: 'any text',
    check: () => true
  },
  secrets: {
    allowed: `random texts of at least ${MIN_SECRET_BYTES} bytes, separated by commas; make one with: openssl rand -base64 32`,
    check: (text) => secretsOf(text).length > 0 && secretsOf(text).every((secret) => weaknessOf(secret) === undefined),
    problem: (text) => secretsOf(text).map(weaknessOf).find((weakness) => weakness !== undefined)
  },
  token: {
    allowed: `${MIN_TOKEN} or more random printable characters without spaces; make one with: openssl rand -hex 16`,
    check: (text) => new RegExp(`^[!-~]{${MIN_TOKEN},}$`).test(text) && new Set(text).size >= MIN_VARIETY
  },
  jwks: {
    allowed: 'a URL without user and password that begins with https://, or with http:// on this machine (localhost, 127.0.0.1, [::1])',
    check: (text) => URL.canParse(text) && isKeyUrl(new URL(text))
  },
  pattern: {
    allowed: 'names of rooms, separated by commas, in which * stands for any characters; @public, @system',
    check: (text) => /^[A-Za-z0-9_.:/*-]{1,128}$/.test(text) || text === '@public' || text === '@system'
  },
  host: {
    allowed: 'an IP address (IPv6 without brackets) or a host name',
    check: (text) => isIP(text) !== 0 || (HOST_NAME.test(text) && text.length <= 253)
  },
  'host-name': {
    allowed: 'host names and addresses as they stand in a URL, *.example.com for all below one, separated by commas; * alone is refused',
    check: (text) => /^\[[0-9a-f:.]+\](:\d+)?$/i.test(text) ? isIP(text.slice(1, text.indexOf(']'))) === 6 : HOST_NAME.test(text.replace(/:\d+$/, '').replace(/^\*\./, '')) && text.length <= 253,
    canonical: (text) => text.toLowerCase().replace(/\.?(:\d+)?$/, '')
  },
  path: {
    allowed: 'a path',
    check: (text) => !text.includes('\0')
  },
  origin: {
    // With `*`, any page that a user of the gateway visits could read and publish through that user's browser.
    allowed: 'origins like https://app.example.com:8443 (scheme, host, optionally a port, no path), separated by commas; * is refused, because it would open the gateway to every page its users visit',
    check: (text) => ORIGIN.test(text) && URL.canParse(text),
    canonical: origin
  },
  proxy: {
    allowed: 'false, or addresses and CIDRs of your proxies, separated by commas; true, a number of hops and /0 are refused, because they would let anybody forge an address',
    check: isAddressOrCidr
  },
  type: {
    allowed: 'types of 1 to 128 of A-Z a-z 0-9 _ . : / -, separated by commas, or * for all',
    check: (text) => text === '*' || TYPE.test(text)
  },
  redis: {
    allowed: 'redis://[user:password@]host[:port][/db] (rediss:// for TLS; special characters of a password percent-encoded, as %40 for @), redis+sentinel://[user:password@]host:port,host:port/name[?sentinelPassword=…], or redis+cluster://[user:password@]host:port,host:port',
    check: (text) => typeof parseRedisUrl(text) !== 'string',
    problem: (text) => {
      const parsed = parseRedisUrl(text)
      return typeof parsed === 'string' ? parsed : undefined
    }
  },
  'redis-name': {
    allowed: '1 to 128 printable characters without spaces',
    check: (text) => /^[!-~]{1,128}$/.test(text)
  }
}

// Whoever can change what is answered on the way can make keys of their own.
function isKeyUrl ({ protocol, hostname, username, password }: URL): boolean {
  const isSafe = protocol === 'https:' || (protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname))
  return isSafe && username === '' && password === ''
}

// As browsers send it in `Origin`: lower case, without the scheme's default port.
function origin (text: string): string {
  const { protocol, host } = new URL(text)
  return `${protocol}//${host}`
}

function isAddressOrCidr (text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const version = isIP(address)
  // A zone (fe80::1%eth0) has a meaning on this machine only, and proxy-addr cannot compare it.
  if (version === 0 || address.includes('%') || rest.length > 0) return false
  if (prefix === undefined) return true
  return /^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128)
}
