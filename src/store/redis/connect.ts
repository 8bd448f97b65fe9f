// Connections to Redis: to one server, through Sentinel, or to a cluster.

import { Cluster, Command, Redis } from 'ioredis'
import type { RedisAddress } from '../../../config/redis-url.ts'

export type RedisClient = Redis | Cluster

export interface ConnectionOptions {
  readonly address: RedisAddress
  /** What the connection is for; Redis shows it in CLIENT LIST. */
  readonly name: string
  /** Commands fail if not answered within this, ms. */
  readonly commandTimeoutMs: number
  /** Called with every failure of the connection, in words. */
  readonly onError: (reason: string) => void
}

/** Redis's error if the database in the URL does not exist. */
const NO_DATABASE = /DB index|SELECT is not allowed/i
/** How long a read blocks for new entries. One that is not answered within the second time has no server behind it. */
export const BLOCK_MS = 1000
export const BLOCK_TIMEOUT_MS = 2500
const CONNECT_TIMEOUT_MS = 2000
const LONGEST_PAUSE_MS = 1000

// ioredis reads the answer to CLUSTER SLOTS as it comes, out of reach of any handler: what is no list of nodes would end the process.
Command.setReplyTransformer('cluster', (reply: unknown) => {
  const isList = Array.isArray(reply) && reply.every(slots => !Array.isArray(slots) || slots.slice(2).every(node => node !== null))
  if (reply === null || (Array.isArray(reply) && !isList)) throw new Error('CLUSTER is answered with nil: what answers is no node of a Redis Cluster; a single server is used by redis://host:port')
  return reply
})

/** A connection that opens on `connect`, and reopens whenever it is lost until it is ended. */
export function connection ({ address, name, commandTimeoutMs, onError }: ConnectionOptions): RedisClient {
  const client = open(address, optionsOf(name, commandTimeoutMs))
  let sentinelReason = ''
  client.on('sentinelError', (error: Error) => { sentinelReason = reasonOf(error) })
  client.on('error', (error: Error) => {
    const isTimeout = (error as NodeJS.ErrnoException).code === 'ETIMEDOUT'
    if (/^All sentinels/.test(error.message) && sentinelReason !== '') onError(`no Sentinel names the primary: ${sentinelReason}`)
    else if (isTimeout && speaksTls(address)) onError(`${reasonOf(error)}, or no TLS on this port: then the URL begins with redis`)
    else onError(reasonOf(error))
    // ioredis would continue with database 0, which belongs to someone else.
    if (NO_DATABASE.test(error.message)) client.disconnect(true)
  })
  explainSilence(client, address, onError)
  return client
}

const speaksTls = (address: RedisAddress): boolean => address.kind === 'server' ? address.url.startsWith('rediss:') : address.tls

/** Gives a reason where a connection that never worked is closed without one, twice in a row: once may be a server that just ends. */
function explainSilence (client: RedisClient, address: RedisAddress, onError: (reason: string) => void): void {
  let isConnected = false
  let closed = 0
  client.on('connect', () => { isConnected = true })
  // A reason of Redis's own says more.
  client.on('error', ({ message }: Error) => { if (!/ECONNRESET|EPIPE/.test(message)) isConnected = false })
  client.on('ready', () => { closed = -Infinity })
  client.on('close', () => {
    if (!isConnected) return
    isConnected = false
    if (++closed < 2) return
    if (address.kind === 'cluster') onError('the cluster names none of its nodes: it has no slots yet, or does not know its own address (cluster-announce-ip); a cluster of one node can be used by redis://host:port')
    else if (!speaksTls(address)) onError('the connection is closed before anything is answered: if Redis expects TLS on this port, the URL begins with rediss')
  })
}

function optionsOf (connectionName: string, commandTimeout: number) {
  return {
    lazyConnect: true,
    connectionName,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout,
    // A command that cannot be sent now fails now. One that was sent on a lost connection may have been carried out: the caller decides.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number): number => Math.min(25 * 2 ** times, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2),
    // The server was made a replica: look for the primary.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY')
  }
}

function open (address: RedisAddress, options: ReturnType<typeof optionsOf>): RedisClient {
  if (address.kind === 'server') return new Redis(address.url, options)
  const { hosts, username, password } = address
  const credentials = { ...(username === '' ? {} : { username }), ...(password === '' ? {} : { password }) }
  const tls = address.tls ? { tls: {} } : {}
  if (address.kind === 'sentinel') {
    return new Redis({
      ...options,
      ...tls,
      ...credentials,
      sentinels: [...hosts],
      name: address.master,
      db: address.db,
      enableTLSForSentinelMode: address.tls,
      ...(address.sentinels.tls ? { sentinelTLS: {} } : {}),
      ...(address.sentinels.username === '' ? {} : { sentinelUsername: address.sentinels.username }),
      ...(address.sentinels.password === '' ? {} : { sentinelPassword: address.sentinels.password }),
      sentinelRetryStrategy: options.retryStrategy
    })
  }
  const { retryStrategy, lazyConnect, enableOfflineQueue, ...perNode } = options
  return new Cluster([...hosts], {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    // With TLS a node is addressed by the name that its certificate has: ioredis would look up its address first.
    ...(address.tls ? { dnsLookup: (host: string, found: (error: null, address: string) => void) => found(null, host) } : {}),
    retryDelayOnFailover: 100,
    redisOptions: { ...perNode, ...tls, ...credentials }
  })
}

/** An error for operators, in the words of the server or of the system. */
export function reasonOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, errors, lastNodeError } = error as { code?: string, errors?: Error[], lastNodeError?: Error }
  if (lastNodeError != null && lastNodeError !== error) return `no node of the cluster answers: ${reasonOf(lastNodeError)}`
  const text = error.message === '' ? errors?.map(({ message }) => message).join(', ') ?? code ?? error.name : error.message
  if (/^NOAUTH/.test(text)) return 'NOAUTH: Redis requires a password; set it in REDIS_URL: redis://user:password@host'
  const [, sentinel, why] = /^failed to connect to sentinel (\S+) because (.*)$/s.exec(text) ?? []
  if (why !== undefined) return /^NOAUTH/.test(why) ? `${sentinel} requires a password; set it in REDIS_URL: ?sentinelPassword=…` : `${sentinel}: ${why}`
  // Sentinel's message includes its retry delay, which differs each time.
  return text.replace(/ Retrying from scratch after .*$/, '').replace(/\.+$/, '')
}

/** The same without the addresses of servers, for everybody: they stand in the log. */
export const withoutAddresses = (reason: string): string => reason
  .replace(/(?<=getaddrinfo \w+) \S+/g, '')
  .replace(/ (?:\d{1,3}\.){3}\d{1,3}(?::\d+)?$| [\da-f:]*:[\da-f]*:[\da-f:.]*$/i, '')
  .replace(/\S+:\d{1,5}(?=: | requires a password)/, 'a Sentinel')
  .replace(/(?<=altnames): .*/s, '')

/** Makes a consumer group, and its stream, unless it is there: another worker may make it at the same moment. */
export async function createGroup (client: RedisClient, stream: string, group: string): Promise<void> {
  await client.xgroup('CREATE', stream, group, '0', 'MKSTREAM').catch((error: unknown) => {
    if (!reasonOf(error).startsWith('BUSYGROUP')) throw error
  })
}

/** A dead connection looks like a server that hangs. A new connection costs nothing. */
export function replaceIfSilent (client: RedisClient, error: unknown): void {
  if (reasonOf(error) === 'Command timed out') client.disconnect(true)
}
