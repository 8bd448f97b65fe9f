// REDIS_URL, understood in one place: by the check of the settings, by what is shown of it, by the rule about clusters,
// and by the connection. Three forms, each with rediss for TLS:
//
//   redis://[user:password@]host[:port][/db]
//   redis+sentinel://[user:password@]host[:port],…/name[/db]
//   redis+cluster://[user:password@]host[:port],…

export interface RedisHost {
  readonly host: string
  readonly port: number
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
  /** `master` names the primary among those that the Sentinels watch. */
  | SeveralHosts & { readonly kind: 'sentinel', readonly master: string, readonly db: number }
  | SeveralHosts & { readonly kind: 'cluster' }

const REDIS_PORT = 6379
const SENTINEL_PORT = 26379

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
    return /^\/?\d*$/.test(new URL(text).pathname) ? { kind: 'server', url: text, shown } : 'its path must be the number of a database'
  }
  if (hosts === '') return 'it names no host'
  if (!hosts.split(',').every(host => URL.canParse(`redis://${host}`))) return 'one of its hosts is not host or host:port'
  if (rest !== '') return 'a URL with several hosts cannot have options after ? or #'
  const [username = '', password = ''] = userinfo === undefined ? [] : credentials
  const several = { tls: s !== undefined, hosts: hosts.split(',').map(host => hostOf(host, kind.toLowerCase() === 'sentinel' ? SENTINEL_PORT : REDIS_PORT)), username, password, shown }
  if (kind.toLowerCase() === 'cluster') return path === '' ? { kind: 'cluster', ...several } : 'the URL of a cluster has no path'
  const [, name = '', db = '0'] = /^([^/]+)(?:\/(\d+))?$/.exec(path) ?? []
  const master = decoded(name)
  if (master === null || master === '') return 'after the hosts it needs /name, the name of the primary, or /name/db'
  return { kind: 'sentinel', ...several, master, db: Number(db) }
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
