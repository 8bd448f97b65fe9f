// REDIS_URL, understood in one place: by the check of the settings, by what is shown of it, by the rule about clusters,
// and by the connection. Three forms, each with rediss for TLS:
//
//   redis://[user:password@]host[:port][/db]
//   redis+sentinel://[user:password@]host[:port],…/name[/db][?sentinelUsername=…&sentinelPassword=…&sentinelTls=…]
//   redis+cluster://[user:password@]host[:port],…

interface RedisHost {
  readonly host: string
  readonly port: number
}

/** How to talk to the Sentinels themselves. */
interface SentinelAccess {
  /** Default: as the server. */
  readonly tls: boolean
  /** Empty for none. */
  readonly username: string
  readonly password: string
}

interface Common {
  /** The URL without its secrets. */
  readonly shown: string
}

interface SeveralHosts extends Common {
  readonly tls: boolean
  readonly hosts: readonly RedisHost[]
  /** Empty for none. */
  readonly username: string
  readonly password: string
}

/** One server, what Sentinel says is the primary, or a cluster. */
export type RedisAddress =
  /** The URL as it was given: ioredis reads it, with the options in its query. */
  | Common & { readonly kind: 'server', readonly url: string }
  /** `master` names the primary among those that the Sentinels watch. `tls`, `username` and `password` are the server's. */
  | SeveralHosts & { readonly kind: 'sentinel', readonly master: string, readonly db: number, readonly sentinels: SentinelAccess }
  | SeveralHosts & { readonly kind: 'cluster' }

const REDIS_PORT = 6379
const SENTINEL_PORT = 26379
const SENTINEL_OPTIONS = ['sentinelUsername', 'sentinelPassword', 'sentinelTls']

const SCHEME = /^redis(s)?(?:\+(sentinel|cluster))?:\/\//i
/** Up to the last @: a password that was not percent-encoded may hold one itself. */
const PARTS = /^(?:(.*)@)?([^/?#@]+)(?:\/([^?#]*))?(.*)$/

/** Whether a text has the form with several hosts, which the parser of URLs does not know. */
export const namesSeveralHosts = (text: string): boolean => SCHEME.exec(text)?.[2] !== undefined

/** @returns what is wrong with it, in words and without secrets, where it is no URL of Redis */
export function parseRedisUrl (text: string): RedisAddress | string {
  const [scheme, s, kind] = SCHEME.exec(text) ?? []
  if (scheme === undefined) return 'it must begin with redis://, redis+sentinel:// or redis+cluster:// (rediss for TLS)'
  const [, userinfo, hosts = '', path = '', rest] = PARTS.exec(text.slice(scheme.length)) ?? []
  const credentials = credentialsOf(/^.*(?=@)/.exec(text.slice(scheme.length))?.[0])
  if (credentials === null) return 'its user or password is not percent-encoded'
  const shown = text.replace(/\/\/.*@/, '//***@').replace(/\?.*$/, '')
  if (kind === undefined) {
    if (!URL.canParse(text)) return 'it is not a valid URL'
    if (hosts.includes(',')) return 'several hosts need redis+sentinel:// or redis+cluster://'
    // ioredis knows the schemes in lower case only: REDISS:// would be a connection without TLS.
    const url = text.replace(scheme, scheme.toLowerCase())
    return /^\/?\d*$/.test(new URL(text).pathname) ? { kind: 'server', url, shown } : 'its path must be the number of a database'
  }
  if (hosts === '') return 'it names no host'
  if (!hosts.split(',').every(host => URL.canParse(`redis://${host}`))) return 'one of its hosts is not host or host:port'
  const isSentinel = kind.toLowerCase() === 'sentinel'
  const options = optionsOf(rest ?? '', isSentinel ? SENTINEL_OPTIONS : [])
  if (typeof options === 'string') return options
  const [username = '', password = ''] = userinfo === undefined ? [] : credentials
  const several = { tls: s !== undefined, hosts: hosts.split(',').map(host => hostOf(host, isSentinel ? SENTINEL_PORT : REDIS_PORT)), username, password, shown }
  if (!isSentinel) return path === '' ? { kind: 'cluster', ...several } : 'the URL of a cluster has no path'
  const [, name = '', db = '0'] = /^([^/]+)(?:\/(\d+))?$/.exec(path) ?? []
  const master = decoded(name)
  if (master === null || master === '') return 'after the hosts it needs /name, the name of the primary, or /name/db'
  const { sentinelUsername = '', sentinelPassword = '', sentinelTls = String(several.tls) } = options
  if (!/^(true|false)$/.test(sentinelTls)) return 'sentinelTls is neither true nor false'
  return { kind: 'sentinel', ...several, master, db: Number(db), sentinels: { tls: sentinelTls === 'true', username: sentinelUsername, password: sentinelPassword } }
}

/** The options behind `?`, decoded. @returns what is wrong with them, in words */
function optionsOf (text: string, known: readonly string[]): Partial<Record<string, string>> | string {
  const allowed = known.length === 0 ? 'the URL of a cluster has no options, nothing behind ? or #' : `the options behind ? are ${known.join(', ')}`
  if (text === '') return {}
  if (!/^\?[^#]*$/.test(text)) return allowed
  const pairs = text.slice(1).split('&').map(pair => /^([^=]*)=(.*)$/.exec(pair))
  if (!pairs.every(pair => pair !== null && known.includes(pair[1] as string))) return allowed
  const values = pairs.map(pair => [pair?.[1], decoded(pair?.[2] ?? '')] as const)
  return values.some(([, value]) => value === null) ? 'one of its options is not percent-encoded' : Object.fromEntries(values) as Record<string, string>
}

/** The address that a URL names. @throws Error what is wrong with it */
export function redisAddress (url: string): RedisAddress {
  const address = parseRedisUrl(url)
  if (typeof address === 'string') throw new Error(`the URL of Redis cannot be used: ${address}`)
  return address
}

function hostOf (text: string, defaultPort: number): RedisHost {
  const [, host = text, port = defaultPort] = /^(.*?)(?::(\d+))?$/.exec(text) ?? []
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

/** User and password; null where they cannot be decoded. */
function credentialsOf (text = ''): string[] | null {
  const colon = text.indexOf(':')
  const parts = (colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)]).map(decoded)
  return parts.every(part => part !== null) ? parts : null
}

function decoded (text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
