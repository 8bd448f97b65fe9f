// Connections to Redis, from a URL: one server, Sentinel, or a cluster.
//
//   redis://[user:password@]host[:port][/db]             rediss:// for TLS, here and below
//   redis+sentinel://[user:password@]host[:port],…/name[/db]
//   redis+cluster://[user:password@]host[:port],…

import { Cluster, Redis } from 'ioredis'

export type Client = Redis | Cluster

export interface ConnectOptions {
  readonly url: string
  /** What the connection is for; Redis shows it in CLIENT LIST. */
  readonly name: string
  /** A command not answered for so long has failed, ms. */
  readonly commandTimeoutMs: number
  /** Told of every failure, in words. */
  readonly onError: (reason: string) => void
}

const URL_FORM = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:(.*)@)?([^/?#@]+)(?:\/([^?#]*))?$/i
/** What Redis says where the database of the URL does not exist. */
const NO_DATABASE = /DB index|SELECT is not allowed/i
/** A read waits so long for something to come; one that is not answered within the second has no server behind it. */
export const BLOCK_MS = 1000
export const BLOCK_TIMEOUT_MS = 2500
const CONNECT_TIMEOUT_MS = 2000
const LONGEST_PAUSE_MS = 1000
const SENTINEL_PORT = 26379
const REDIS_PORT = 6379

/** A connection that opens when told to (`connect`), and again whenever it was lost, for as long as it is not ended. */
export function connection ({ url, name, commandTimeoutMs, onError }: ConnectOptions): Client {
  const client = open(url, optionsOf(name, commandTimeoutMs))
  client.on('error', (error: Error) => {
    onError(reasonOf(error))
    // ioredis would go on with database 0, which is somebody else's.
    if (NO_DATABASE.test(error.message)) client.disconnect(true)
  })
  return client
}

function optionsOf (connectionName: string, commandTimeout: number) {
  return {
    lazyConnect: true,
    connectionName,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout,
    // What cannot be sent now is refused now; what was sent on a lost connection may have been done, and whoever asked decides.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number): number => Math.min(25 * 2 ** times, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2),
    // The server was made a replica: look for the primary.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY')
  }
}

function open (url: string, options: ReturnType<typeof optionsOf>): Client {
  const [, scheme = '', kind, credentials, hosts = '', path = ''] = URL_FORM.exec(url) ?? []
  if (kind === undefined) return new Redis(url, options)
  const tls = scheme.toLowerCase() === 'rediss' ? { tls: {} } : {}
  const [username = '', password = ''] = credentialsOf(credentials)
  const who = { ...(username === '' ? {} : { username }), ...(password === '' ? {} : { password }) }
  const nodes = hosts.split(',').map(text => {
    const [, host = text, port] = /^(.*?)(?::(\d+))?$/.exec(text) ?? []
    return { host: host.replace(/^\[|\]$/g, ''), port: port === undefined ? (kind === 'sentinel' ? SENTINEL_PORT : REDIS_PORT) : Number(port) }
  })
  if (kind === 'sentinel') {
    const [master = '', db] = path.split('/')
    return new Redis({
      ...options,
      ...tls,
      ...who,
      sentinels: nodes,
      name: decodeURIComponent(master),
      db: Number(db ?? 0),
      enableTLSForSentinelMode: 'tls' in tls,
      sentinelRetryStrategy: options.retryStrategy
    })
  }
  const { retryStrategy, lazyConnect, enableOfflineQueue, ...perNode } = options
  return new Cluster(nodes, {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    retryDelayOnFailover: 100,
    redisOptions: { ...perNode, ...tls, ...who }
  })
}

function credentialsOf (text: string | undefined): string[] {
  if (text === undefined) return []
  const colon = text.indexOf(':')
  return (colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)]).map(decodeURIComponent)
}

/** What went wrong, for operators: the words of the server, or of the system. */
export function reasonOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, errors } = error as { code?: string, errors?: Error[] }
  const text = error.message === '' ? errors?.map(({ message }) => message).join(', ') ?? code ?? error.name : error.message
  if (/^NOAUTH/.test(text)) return 'NOAUTH: Redis asks for a password, which belongs in REDIS_URL: redis://user:password@host'
  // Sentinel's names the pause it makes, which is another one each time.
  return text.replace(/ Retrying from scratch after .*$/, '').replace(/\.+$/, '')
}

/** A connection into nowhere looks like a server that hangs; another one costs nothing. */
export function replaceIfSilent (client: Client, error: unknown): void {
  if (reasonOf(error) === 'Command timed out') client.disconnect(true)
}

/** The URL without its secrets. */
export const shownUrl = (url: string): string => url.replace(/\/\/.*@/, '//***@').replace(/\?.*$/, '')
