// Connections to Redis: to one server, through Sentinel, or to a cluster.

import { Cluster, Redis } from 'ioredis'
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

/** A connection that opens on `connect`, and reopens whenever it is lost until it is ended. */
export function connection ({ address, name, commandTimeoutMs, onError }: ConnectionOptions): RedisClient {
  const client = open(address, optionsOf(name, commandTimeoutMs))
  client.on('error', (error: Error) => {
    onError(reasonOf(error))
    // ioredis would continue with database 0, which belongs to someone else.
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
      sentinelRetryStrategy: options.retryStrategy
    })
  }
  const { retryStrategy, lazyConnect, enableOfflineQueue, ...perNode } = options
  return new Cluster([...hosts], {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    retryDelayOnFailover: 100,
    redisOptions: { ...perNode, ...tls, ...credentials }
  })
}

/** An error for operators, in the words of the server or of the system. */
export function reasonOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, errors } = error as { code?: string, errors?: Error[] }
  const text = error.message === '' ? errors?.map(({ message }) => message).join(', ') ?? code ?? error.name : error.message
  if (/^NOAUTH/.test(text)) return 'NOAUTH: Redis requires a password; set it in REDIS_URL: redis://user:password@host'
  // Sentinel's message includes its retry delay, which differs each time.
  return text.replace(/ Retrying from scratch after .*$/, '').replace(/\.+$/, '')
}

/** A dead connection looks like a server that hangs. A new connection costs nothing. */
export function replaceIfSilent (client: RedisClient, error: unknown): void {
  if (reasonOf(error) === 'Command timed out') client.disconnect(true)
}
