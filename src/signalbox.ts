// The composition root: builds a gateway from settings, in this process. It does not listen, handles no
// signals and never exits the process. The calling program does that; for the launcher it is src/process.

import { getHeapStatistics } from 'node:v8'
import type { FastifyBaseLogger, FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { secretsOf } from '../config/format.ts'
import { accessOf, adoptTunable, carryOutTune, ConfigError, retune, tickMsOf, withProfile } from '../config/index.ts'
import type { Config, ProfileName } from '../config/index.ts'
import { redisAddress } from '../config/redis-url.ts'
import { showConfig, tunableSchemas } from '../config/report.ts'
import { MountedProfile, mountProfiles } from '../profiles/index.ts'
import { registerRoutes } from './app/app.ts'
import { Arrivals } from './app/arrivals.ts'
import { open, TokenAuthority } from './app/auth/authority.ts'
import type { Authority } from './app/auth/authority.ts'
import type { Authorize } from './app/auth/authorize.ts'
import { ProgramAuthority } from './app/auth/program-authority.ts'
import { Tickets } from './app/auth/tickets.ts'
import { Tokens } from './app/auth/tokens.ts'
import { compile, loadCommands, registerBuiltIns } from './app/commands.ts'
import { Effort } from './app/effort.ts'
import { hostsOf } from './app/hosts.ts'
import { eventLoopLoad } from './app/load.ts'
import type { MetricsExchange, MetricsOptions } from './app/metrics.ts'
import { Pressure } from './app/pressure.ts'
import { Savings } from './app/savings.ts'
import { createServer } from './app/server.ts'
import { ProfileSwitch } from './app/switch.ts'
import { SystemReports } from './app/system.ts'
import { systemClock, within } from './core/clock.ts'
import { Refusal } from './core/errors.ts'
import { Gateway } from './core/gateway.ts'
import type { Limits } from './core/limits.ts'
import type { Store } from './core/store.ts'
import { backingOf, openBacking } from './store/open.ts'

export interface CompositionOptions {
  /** Every setting, already checked; see config/. HOST, PORT and WORKERS are for the caller, which listens. */
  readonly config: Config
  /** What APP_PROFILE says, where the deployment was switched from that to the profile of `config`. */
  readonly configuredProfile?: ProfileName | undefined
  readonly log: FastifyBaseLogger
  /** Keeps the log of this one process, in place of the embedded store and of Redis. The gateway closes it. */
  readonly store?: Store | undefined
  /** Says who asks, in place of tokens. */
  readonly authorize?: Authorize | undefined
  /** Which worker of its deployment this process is, from 1. Default 1. */
  readonly worker?: number
  /** How many workers there should be. Default 1. */
  readonly workers?: number
  /** Access to the metrics of the other workers, if there are several. Default: the metrics of this process only. */
  readonly metricsExchange?: MetricsExchange | undefined
  /** Lines of the log that were dropped, if the log drops any. */
  readonly droppedLines?: () => number
  /** Called when the command `tune` has changed the settings of this process. */
  readonly onTuned?: (config: Config, changes: Readonly<Record<string, unknown>>) => void
  /** Called when another profile is mounted in this process. If it throws, the one before stays. */
  readonly onMounted?: (profile: ProfileName) => void
  /** Called when the command `switch` has changed the profile of the deployment; with null if that was taken back. */
  readonly onSwitched?: (profile: ProfileName | null) => void
  /** Called when the command `shutdown` reaches this process. Default: `close`. */
  readonly onShutdown?: () => void
}

export interface Composition {
  /** What it stands on. */
  readonly kind: MetricsOptions['store']
  readonly gateway: Gateway
  /** The profile that is mounted now. */
  readonly mounted: Pick<MountedProfile, 'name' | 'paths'>
  /** All routes. Encapsulated: the app's own parsers, validation and error handler stay as they are. Closing the app closes the gateway. */
  readonly plugin: FastifyPluginAsync
  /** A server with only these routes. @param onRoute called for each path */
  createServer (onRoute?: (path: string) => void): Promise<FastifyInstance>
  /** Reads the log and follows it. Publishing is refused until this is done. */
  start (): Promise<void>
  /** Starts; resolves when a server may listen: the log has been read, or the store has been away for 5 s, which /readyz then reports. */
  readyToListen (): Promise<void>
  /** See `Gateway.publish`. */
  publish: Gateway['publish']
  /** See `Gateway.control`. */
  control: Gateway['control']
  /** Applies changed settings; only those that `tune` may change have an effect. */
  configure (config: Config): void
  /** Makes /readyz answer 503, for balancers; everything is still served. A drain follows. */
  announceDrain (): void
  /** See `Gateway.drain`. */
  drain: Gateway['drain']
  /** Drains, leaves the deployment and closes the store. Idempotent. */
  close (): Promise<void>
}

/** Reading the log takes a second or two at most. Redis may start later than the gateway; a directory either exists or not. */
const STORE_WAIT_MS = 5000

/**
 * Builds a gateway; `start` makes it work.
 * @throws ConfigError if COMMANDS_MODULE cannot be used; Error with a sentence for the operator if the store cannot be opened
 */
export async function composeGateway (options: CompositionOptions): Promise<Composition> {
  const { log, configuredProfile = options.config.appProfile, worker = 1, workers = 1, metricsExchange, droppedLines, onTuned = () => {}, onMounted = () => {}, onSwitched = () => {}, onShutdown = () => { close().catch(err => log.error({ err }, 'the gateway could not be closed')) } } = options
  let { config } = options
  const backing = options.store !== undefined
    ? backingOf(options.store)
    : await openBacking({
      redis: config.redisUrl === '' ? null : redisAddress(config.redisUrl),
      redisPrefix: config.redisPrefix,
      redisChannel: config.redisChannel,
      dataDir: config.dataDir,
      durability: config.durability,
      gatherMs: gatherMsOf(config),
      historySize: config.historySize,
      historyBytes: config.historyBytes,
      historyTtlMs: config.historyTtl * 1000,
      maxKeysPerRoom: config.maxKeysPerRoom,
      idempotencyTtlMs: config.idempotencyTtl * 1000,
      clock: systemClock,
      compile: schema => compile({ schema, handler () {} }).check,
      log
    })
  const { kind, isShared, store, group, intake } = backing
  const gateway = new Gateway({
    store,
    group,
    clock: systemClock,
    limits: limitsOf(config),
    load: eventLoopLoad(),
    pingIntervalMs: config.pingInterval * 1000,
    reconnectJitterMs: config.reconnectJitter * 1000,
    commandTimeoutMs: config.commandTimeout * 1000,
    stateTtlMs: config.stateTtl * 1000,
    stateTypes: new Set(config.stateTypes),
    log
  })
  const mounted = new MountedProfile(config.appProfile, () => gateway.returnAfterMs())
  // Processes that share the log go by different names.
  const key = isShared ? group.worker : '1'
  const authority = authorityOf(config, store, log, options.authorize)
  const arrivals = new Arrivals({ troubles: gateway.troubles, timeoutMs: config.requestTimeout * 1000, maxBytes: config.maxHttpBufferSize })
  const effort = new Effort(systemClock)
  const pressure = new Pressure()
  const savings = new Savings()
  const reports = new SystemReports({
    gateway,
    mounted,
    store: store.name,
    key,
    worker,
    savings,
    settings: () => showConfig(config),
    log
  })

  let closed: Promise<void> | null = null
  let started: Promise<void> | null = null
  const start = async (): Promise<void> => await (started ??= (async () => {
    reports.start()
    void authority.start()
    await gateway.start()
    // Closed while the log was being read.
    if (closed !== null) return
    backing.serve(gateway)
    await profileSwitch.adopt()
  })())
  let isLeaving = false
  const close = async (): Promise<void> => await (closed ??= (async () => {
    pressure.stop()
    profileSwitch.stop()
    await gateway.drain()
    gateway.commands.close()
    await reports.stop()
    await backing.leave()
    await store.close()
  })())

  const configure = (changed: Config): void => {
    adopt(withProfile(adoptTunable(config, changed), mounted.name))
  }
  const adopt = (changed: Config): void => {
    config = changed
    mounted.name = config.appProfile
    gateway.operator.tune(limitsOf(config))
  }
  /** @throws Refusal BAD_COMMAND with every problem */
  const retuned = (changes: Readonly<Record<string, unknown>>): ReturnType<typeof retune> => {
    try {
      return retune(config, changes)
    } catch (error) {
      throw new Refusal('BAD_COMMAND', (error as Error).message)
    }
  }
  gateway.operator.onOrder('tune', (changes: Record<string, unknown>) => {
    const { config: changed, previous, now, ignored } = carryOutTune(config, changes)
    configure(changed)
    onTuned(config, changes)
    // At the new level, where that was changed.
    log.info({ previous, now }, 'settings tuned')
    if (ignored.length > 0) log.warn({ ignored }, 'settings that another process has tuned are not known here, or not with these values')
  })
  const profileSwitch = new ProfileSwitch({
    gateway,
    clock: systemClock,
    mounted,
    mount: profile => {
      const before = config
      adopt(withProfile(config, profile))
      try {
        onMounted(profile)
      } catch (error) {
        adopt(before)
        throw error
      }
    },
    process: { key, worker },
    switchedTo: configuredProfile === config.appProfile ? null : config.appProfile,
    onSwitched,
    log
  })
  // The answers are sent first: a drain waits for the command that started it.
  gateway.operator.onOrder('shutdown', () => onShutdown())
  registerBuiltIns({
    gateway,
    stats: () => reports.stats(),
    recent: async () => await reports.recent(),
    tunable: tunableSchemas(),
    tune: async changes => {
      const { previous, now } = retuned(changes)
      await gateway.operator.orderAll('tune', changes)
      return { previous, now }
    },
    switchProfile: async request => {
      // It would be gone with this process, if no other is there.
      if (isLeaving) throw new Refusal('DRAINING', 'the gateway is about to shut down')
      return await profileSwitch.run(request)
    },
    backUp: store.backUp,
    // If the other processes cannot be reached, at least this one shuts down.
    shutdown: async () => { await gateway.operator.orderAll('shutdown').catch(onShutdown) }
  })
  if (config.commandsModule !== '') {
    const names = await loadCommands(config.commandsModule, gateway).catch(async (error: Error) => {
      await close().catch(() => {})
      throw new ConfigError([error.message])
    })
    log.info({ commands: names }, `commands of ${config.commandsModule}`)
  }

  const routes = async (app: FastifyInstance): Promise<void> => {
    const compresses = config.compression === 'on'
    const { enableControlHttp, corsOrigins, maxHttpBufferSize, pingTimeout, requestTimeout } = config
    // Settings go to Fastify one by one: `logLevel` among the options of a plugin would fix the level of its routes.
    await registerRoutes(app, {
      gateway,
      authority,
      arrivals,
      effort,
      pressure,
      metricsToken: config.metricsToken,
      mounted,
      isLeaving: () => isLeaving,
      store: kind,
      worker,
      workers,
      lagMs: () => reports.worstLagMs,
      historyTtlMs: config.historyTtl * 1000,
      droppedLines,
      furtherWarnings: () => profileSwitch.warnings(configuredProfile),
      mountProfiles: async scope => await mountProfiles(scope, mounted, {
        gateway,
        arrivals,
        effort,
        pingTimeoutMs: pingTimeout * 1000,
        requestTimeoutMs: requestTimeout * 1000,
        maxHttpBufferSize,
        compresses
      }),
      pingIntervalMs: config.pingInterval * 1000,
      enableControlHttp,
      compresses,
      corsOrigins,
      allowedHosts: authority.isOpen && !(config.allowAnonymous && config.allowedHosts.length === 0) ? hostsOf(config) : null,
      savings,
      intake,
      metricsExchange
    })
    app.addHook('onClose', async () => await close())
  }

  return {
    kind,
    gateway,
    mounted,
    plugin: routes,
    async createServer (onRoute) {
      const { maxHttpBufferSize, trustProxy, keepAliveTimeout, requestTimeout, maxRoomsPerClient } = config
      const app = createServer({ log, troubles: gateway.troubles, maxHttpBufferSize, trustProxy, keepAliveTimeout, requestTimeout, maxRoomsPerClient, socketPath: () => mounted.paths.websocket })
      if (onRoute !== undefined) app.addHook('onRoute', ({ url }) => onRoute(url))
      // Not encapsulated: on a server with only these routes, error handler and body parsers are those of the whole server.
      await app.register(fp(async (root: FastifyInstance) => await routes(root), { name: 'signalbox' }))
      return app
    },
    start,
    readyToListen: async () => await (isShared ? within(systemClock, STORE_WAIT_MS, start(), undefined) : start()),
    publish: async (...args) => await gateway.publish(...args),
    control: async request => await gateway.control(request),
    configure,
    announceDrain: () => { isLeaving = true },
    drain: async patienceMs => await gateway.drain(patienceMs),
    close
  }
}

/** How long an event may wait for others to be written to the disk with: a tenth of what it may wait for its tick. */
const gatherMsOf = ({ tickFloorMs }: Config): number => Math.max(4, Math.min(10, tickFloorMs / 10))

function authorityOf (config: Config, store: Store, log: FastifyBaseLogger, authorize: Authorize | undefined): Authority {
  const { authJwtSecret, authJwksUrl, authIssuer, authAudience, anonymousSubscribe, corsOrigins, idempotencyTtl } = config
  const tickets = new Tickets({ store, clock: systemClock, memorySeconds: idempotencyTtl })
  if (authorize !== undefined) return new ProgramAuthority({ authorize, tickets, clock: systemClock, corsOrigins, log })
  if (accessOf(config) === 'open') return open
  const tokens = new Tokens({ secrets: secretsOf(authJwtSecret), jwksUrl: authJwksUrl, issuer: authIssuer, audience: authAudience, log })
  return new TokenAuthority({ tokens, tickets, anonymousSubscribe, corsOrigins, clock: systemClock })
}

function limitsOf (config: Config): Limits {
  const {
    tickFloorMs, maxEventsPerSecondPerClient, maxQueuePerClient, maxHttpBufferSize, slowClientTimeout, maxRoomSize, maxRoomSizePerCaller, maxRooms,
    maxRoomsPerClient, maxClients, maxClientsPerIp, maxClientsPerSubject, controlRateLimit, publishRateLimit
  } = config
  return {
    tickMs: tickMsOf(config),
    tickFloorMs,
    maxEventsPerSecondPerClient,
    maxQueuePerClient,
    maxHttpBufferSize,
    maxBundleBytes: config.maxBundleBytes,
    slowClientTimeoutMs: slowClientTimeout * 1000,
    maxRoomSize,
    maxRoomSizePerCaller,
    maxRooms,
    maxRoomsPerClient,
    maxClients,
    maxClientsPerIp,
    maxClientsPerSubject,
    controlRateLimit,
    publishRateLimit,
    stateBytes: config.stateBytes === 0 ? Math.floor(getHeapStatistics().heap_size_limit / 4) : config.stateBytes
  }
}
