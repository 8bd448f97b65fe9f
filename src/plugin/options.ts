// The options of a gateway in somebody's process. They are checked as settings are, all problems at once; the environment is
// not read.

import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { configFrom, ConfigError } from '../../config/index.ts'
import type { Config } from '../../config/index.ts'
import type { Authorize } from '../app/auth/authorize.ts'
import type { Store } from '../core/store.ts'

/** Settings of a process and of its server: here they are the program's. */
const LAUNCHER = {
  host: 'your server listens',
  port: 'your server listens',
  workers: 'your program starts its processes; they share a gateway by redisUrl',
  keepAliveTimeout: 'set it on your server',
  shutdownDelay: 'your program decides when to close',
  demoFeed: 'it belongs to the command line'
} as const satisfies Partial<Record<keyof Config, string>>

/** Every setting, by its name in camelCase; see docs/operations.md and .env.example. */
export type Settings = {
  readonly [Name in Exclude<keyof Config, keyof typeof LAUNCHER | 'wantedTickFloorMs' | 'appProfile' | 'enableSse' | 'enableWs' | 'logLevel'>]?: Config[Name] | undefined
} & { readonly logLevel?: Config['logLevel'] }

export type Options<Request = IncomingMessage> = Settings & {
  /** The transport. Default `SSE`. */
  readonly profile?: Config['appProfile'] | undefined
  /** The path before every route of the gateway, such as `/live`. Default: none. */
  readonly prefix?: string
  /** Says who may do what, in place of tokens. Without it, and without tokens, everybody may do everything. */
  readonly authorize?: Authorize<Request> | undefined
  /** Keeps the events, in place of `dataDir` and `redisUrl`: an implementation of the contract in src/core/store.ts. */
  readonly store?: Store | undefined
  /** Default: the app's log, or without an app pino on stdout, from `warn` on. `logLevel` counts for this gateway only. */
  readonly logger?: FastifyBaseLogger | undefined
}

export interface ReadOptions<Request> {
  readonly config: Config
  /** Empty, or with a slash before and none behind. */
  readonly prefix: string
  readonly authorize: Authorize<Request> | undefined
  readonly store: Store | undefined
  readonly logger: FastifyBaseLogger | undefined
  /** The program has set it, for this gateway only. */
  readonly logLevel: Config['logLevel'] | undefined
}

const OWN = ['profile', 'prefix', 'authorize', 'store', 'logger'] as const

/** With `authorize` they would say the same thing a second time. */
const OF_TOKENS = ['authJwtSecret', 'authJwksUrl', 'authIssuer', 'authAudience', 'anonymousSubscribe', 'allowAnonymous'] as const
const OF_STORES = ['dataDir', 'durability', 'redisUrl', 'redisPrefix', 'redisChannel'] as const

/**
 * @param others names that only the caller knows
 * @throws ConfigError with all problems
 */
export function readOptions<Request> (options: Options<Request> & Readonly<Record<string, unknown>>, others: readonly string[] = []): ReadOptions<Request> {
  if (typeof options !== 'object' || options === null) throw new ConfigError(['the options must be an object, such as { profile: \'SSE\', dataDir: \'./data\' }'])
  const { profile, prefix = '', authorize, store, logger, ...settings } = options
  const problems: string[] = []
  const given: Record<string, unknown> = { ...settings }
  const drop = (names: readonly string[], reason: (name: string) => string): void => {
    for (const name of names) {
      if (given[name] !== undefined) problems.push(`${name} ${reason(name)}`)
      delete given[name]
    }
  }
  for (const name of others) delete given[name]
  drop(Object.keys(LAUNCHER), name => `is not an option here: ${LAUNCHER[name as keyof typeof LAUNCHER]}.`)
  if (authorize !== undefined) drop(OF_TOKENS, () => 'contradicts authorize, which says who may do what; leave one of them out.')
  if (store !== undefined) drop(OF_STORES, () => 'contradicts store, which keeps the events; leave one of them out.')

  if (typeof prefix !== 'string' || !/^(?:\/?|(?:\/[\w.~:@!$&'()+,;=-]+)+\/?)$/.test(prefix)) problems.push(`prefix is ${JSON.stringify(prefix) ?? String(prefix)}; allowed: a path such as /live.`)
  if (authorize !== undefined && typeof authorize !== 'function') problems.push('authorize must be a function: (request) => ({ subscribe: ["*"] }), or null for somebody unknown.')
  if (store !== undefined && typeof (store as Partial<Store> | null)?.follow !== 'function') problems.push('store must be an implementation of the contract in src/core/store.ts; a directory goes in dataDir, the URL of a Redis in redisUrl.')
  if (logger !== undefined && typeof (logger as Partial<FastifyBaseLogger> | null)?.info !== 'function') problems.push('logger must be a logger, such as pino().')
  if (profile !== undefined) {
    if (given.appProfile !== undefined) problems.push('profile and appProfile are two names of one option; leave appProfile out.')
    given.appProfile = profile
  }
  // Of the gateway alone it stays on memory nothing is kept in.
  if (store !== undefined) given.dataDir = ':memory:'
  try {
    const config = configFrom(given, [...OWN, ...others])
    if (problems.length === 0) return { config, prefix: prefix.replace(/\/$/, ''), authorize, store, logger, logLevel: given.logLevel === undefined ? undefined : config.logLevel }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    problems.push(...error.problems)
  }
  throw new ConfigError(problems.map(text => text.replace(/^appProfile is/, 'profile is')))
}
