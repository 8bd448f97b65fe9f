#!/usr/bin/env node
// Reads the settings, opens the store, builds the app with one profile, listens, and drains on a signal; with
// several workers it does so in each of them, and their primary (src/process/primary.ts) reads the settings.
// Everything else is imported once the settings are known to be good, so that a wrong one is told at once
// and an old Node gets a sentence instead of a stack trace.

import cluster from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { FastifyPluginAsync } from 'fastify'
import type { Config } from './config/index.ts'
import type { Gateway } from './src/core/gateway.ts'
import type { Group } from './src/core/group.ts'
import type { Limits } from './src/core/limits.ts'
import type { Store } from './src/core/store.ts'
import type { IntakeFigures } from './src/app/metrics.ts'
import type { Primary } from './src/process/worker.ts'
import type { Logger } from 'pino'

const NEEDED = [20, 19] as const
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  console.error(`signalbox needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}`)
  process.exit(1)
}

const USAGE = `signalbox: event gateway over SSE or WebSocket

  --check    print the effective settings with their source, and exit
  --demo     publish this machine's own figures, unless anything is configured
  --version  print the version, and exit
  --help     print this, and exit

Settings come from the environment and from .env; .env.example lists them all.`

/** Settings that do not make a deployment: with no others set, --demo has its say. */
const TRYING_OUT = new Set(['APP_PROFILE', 'ENABLE_SSE', 'ENABLE_WS', 'PORT', 'LOG_LEVEL', 'DATA_DIR'])

/**
 * Connections that wait to be accepted; the system cuts it to what it allows (net.core.somaxconn). Beyond it they are tried
 * again only after 1, 3, 7, 15, 31 s: with Node's 511, ten thousand clients that return within a second needed a minute.
 */
const BACKLOG = 65_535
/** Reading the log takes a second or two at most, unless Redis is away: then the gateway listens without it. */
const REDIS_PATIENCE_MS = 5000

/** Between the last connection a worker takes and the beginning of its drain. */
const HANDOVER_MS = 200

await main()

/** What a gateway runs with: the settings, and whether the demo feed is on. */
interface Wishes {
  readonly config: Config
  readonly demo: boolean
}

async function main (): Promise<void> {
  const joined = await (await import('./src/process/worker.ts')).joinPrimary<Wishes>()
  if (joined !== null) return await run(joined.settings, joined.primary)

  const { EX_CONFIG, loadConfig, ConfigError } = await import('./config/index.ts')
  let flags
  let loaded
  try {
    flags = parseArgs({ options: { check: { type: 'boolean' }, demo: { type: 'boolean' }, version: { type: 'boolean' }, help: { type: 'boolean' } } }).values
    if (flags.help === true) return console.log(USAGE)
    if (flags.version === true) return console.log((await import('./src/app/package.ts')).version)
    loaded = loadConfig()
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const line of [...error.problems, ...error.warnings.map(warning => `warning: ${warning}`)]) console.error(line)
    } else {
      console.error(`${(error as Error).message}\n\n${USAGE}`)
    }
    process.exit(EX_CONFIG)
  }
  for (const warning of loaded.warnings) console.error(`warning: ${warning}`)
  if (flags.check === true) return console.log((await import('./config/report.ts')).describeConfig(loaded))

  const touched = Object.entries(loaded.sources).filter(([name, source]) => (source === 'environment' || source === '.env') && !TRYING_OUT.has(name))
  const demo = loaded.config.demoFeed || (flags.demo === true && touched.length === 0)
  const wishes = { config: loaded.config, demo }
  // Who was forked by another cluster is one of that one's workers already.
  if (loaded.config.workers > 1 && cluster.isPrimary) await lead(wishes)
  else await run(wishes, null)
}

/** Runs the workers. All get the settings as they were read here, and tuned since: also one that starts much later. */
async function lead (wishes: Wishes): Promise<void> {
  const [{ createLog }, { runWorkers }, { version }, { retune }] = await Promise.all([
    import('./src/process/log.ts'),
    import('./src/process/primary.ts'),
    import('./src/app/package.ts'),
    import('./config/index.ts')
  ])
  const { appProfile, logLevel, shutdownTimeout, workers } = wishes.config
  const log = createLog(logLevel)
  process.exit(await runWorkers({
    exec: import.meta.filename,
    args: process.argv.slice(2),
    count: workers,
    drainMs: shutdownTimeout * 1000,
    log,
    settings: () => wishes,
    onTuned: changes => {
      wishes = { ...wishes, config: retune(wishes.config, changes).config }
      log.level = wishes.config.logLevel
    },
    onReady: url => {
      log.info(`signalbox ${version}: profile ${appProfile}, ${workers} workers on ${url}`)
      process.send?.('ready')
    }
  }))
}

/** Runs a gateway. @param primary whose worker this is; null where it is the only process */
async function run ({ config: initial, demo: wished }: Wishes, primary: Primary | null): Promise<void> {
  const [{ createLog }, { Gateway }, { Refusal }, { systemClock }, { buildApp }, { eventLoopLoad }, { version }, commands, { EX_CONFIG, retune }, { showConfig, tunableSchemas }, { default: closeWithGrace }] = await Promise.all([
    import('./src/process/log.ts'),
    import('./src/core/gateway.ts'),
    import('./src/core/errors.ts'),
    import('./src/core/clock.ts'),
    import('./src/app/app.ts'),
    import('./src/app/load.ts'),
    import('./src/app/package.ts'),
    import('./src/app/commands.ts'),
    import('./config/index.ts'),
    import('./config/report.ts'),
    import('close-with-grace')
  ])
  let config = initial
  // They are figures of the machine, which its workers share.
  const demo = wished && (primary === null || primary.number === 1)
  const log = createLog(config.logLevel, primary?.number)
  const fail = (error: unknown, code = 1): never => {
    log.fatal((error as Error).message)
    process.exit(code)
  }

  const { store, group, intake, serve, leave } = await openStore(config, log).catch(error => fail(error))
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

  const tuned = (changes: Record<string, unknown>): ReturnType<typeof retune> => {
    try {
      return retune(config, changes)
    } catch (error) {
      throw new Refusal('BAD_COMMAND', (error as Error).message)
    }
  }
  const useSettings = (changed: Config): void => {
    config = changed
    gateway.tune(limitsOf(config))
    log.level = config.logLevel
  }
  gateway.onOrder('tune', (changes: Record<string, unknown>) => {
    const { config: changed, previous, now } = tuned(changes)
    useSettings(changed)
    log.info({ previous, now }, 'settings tuned')
    primary?.tell({ kind: 'tuned', changes })
  })
  primary?.onSettings<Wishes>(({ config }) => useSettings(config))
  // The answers go out first: a drain waits for the command that began it.
  gateway.onOrder('shutdown', () => {
    primary?.tell({ kind: 'shutdown' })
    void shutDown()
  })
  commands.registerBuiltIns({
    gateway,
    stats: () => app.stats(),
    tunable: tunableSchemas(),
    tune: async changes => {
      const { previous, now } = tuned(changes)
      await gateway.orderAll('tune', changes)
      return { previous, now }
    },
    // Where the others cannot be told, this one at least goes.
    shutdown: async () => { await gateway.orderAll('shutdown').catch(() => { void shutDown() }) }
  })
  if (config.commandsModule !== '') {
    const names = await commands.loadCommands(config.commandsModule, gateway).catch(error => fail(error, EX_CONFIG))
    log.info({ commands: names }, `commands of ${config.commandsModule}`)
  }

  const app = await buildApp({
    gateway,
    profile: config.appProfile,
    mount: await profileOf(config, gateway),
    store: store.name,
    intake,
    // Beside others on the log a process needs a name of its own.
    reportKey: config.redisUrl === '' ? '1' : group.worker,
    settings: () => showConfig(config),
    worker: primary?.number ?? 1,
    neighbours: primary ?? undefined,
    log,
    pingIntervalMs: config.pingInterval * 1000,
    controlHttp: config.enableControlHttp,
    bodyLimit: config.maxHttpBufferSize,
    origins: config.corsOrigins,
    trustProxy: config.trustProxy.length === 0 ? false : config.trustProxy
  })
  if (demo) await app.register((await import('./src/app/demo-feed.ts')).default, { gateway, ...(config.dataDir === ':memory:' ? {} : { dataDir: config.dataDir }) })

  const limitMs = config.shutdownTimeout * 1000
  const late = (): void => log.error(`the drain took longer than ${limitMs} ms (SHUTDOWN_TIMEOUT): ending`)
  let drained: Promise<void> | null = null
  const drain = async (signal?: string): Promise<void> => await (drained ??= (async () => {
    log.info({ signal, sessions: gateway.view.sessions.count }, 'draining')
    // Half of the time for commands that run, half for everything else.
    await gateway.drain(limitMs / 2)
    await app.close()
    await leave()
    await store.close()
    log.info('drained; nothing is left to do')
  })())
  // Which of its meanings SIGHUP has is for the primary to know; a closed terminal sends it to all.
  if (primary !== null) process.on('SIGHUP', () => {})
  const skip = primary === null ? [] : ['SIGHUP' as const]
  closeWithGrace({ delay: limitMs, logger: false, skip, onTimeout: late, onSecondSignal: signal => log.warn(`second ${signal}: ending at once`) }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'an error nobody caught: draining, then ending')
    // It may be meant for this worker alone: the others take its connections.
    if (primary !== null) app.server.close()
    await drain(signal)
  })
  // Without a signal: the command, or the word of whoever started this process (Windows has no SIGTERM).
  // A signal that comes during such a drain is the first, and joins it.
  const shutDown = async (): Promise<void> => {
    setTimeout(() => { late(); process.exit(1) }, limitMs)
    await drain()
    process.exit(0)
  }
  if (primary === null) process.on('message', message => { if (message === 'shutdown') void shutDown() })
  primary?.onDismissal(how => {
    // The others take over: who comes from now on meets them, and who has just come is still served.
    if (how === 'retire') app.server.close()
    setTimeout(() => { void shutDown() }, how === 'retire' ? HANDOVER_MS : 0)
  })
  primary?.onGone(() => {
    log.error('the primary is gone: draining, then ending')
    void shutDown()
  })

  const started = gateway.start().then(() => serve(gateway), error => fail(error))
  // Who listens has the log, so nobody is turned away in a restart. But Redis may come later than the gateway, which
  // then says so at /readyz; a directory is there or not.
  await (config.redisUrl === '' ? started : Promise.race([started, delay(REDIS_PATIENCE_MS)]))
  const url = await app.listen({
    host: config.host,
    port: config.port,
    backlog: BACKLOG,
    listenTextResolver: url => primary === null ? `signalbox ${version}: profile ${config.appProfile} on ${url}` : `worker ${primary.number} (pid ${process.pid}) listens at ${url}`
  }).catch((error: NodeJS.ErrnoException) =>
    fail(error.code === 'EADDRINUSE' ? new Error(`port ${config.port} on ${config.host} is in use; set PORT to another one`) : error))
  if (demo) log.info('demo feed on: this machine\'s own figures are published to the public feed (DEMO_FEED=false turns it off)')
  if (primary === null) process.send?.('ready')
  else {
    primary.tell({ kind: 'listens', url })
    await started
    primary.tell({ kind: 'ready' })
  }
}

interface Opened {
  readonly store: Store
  readonly group: Group
  /** Counts what is taken in through the store. */
  readonly intake?: IntakeFigures
  /** Begins to take in what comes through the store rather than through our doors. */
  readonly serve: (gateway: Gateway) => void
  /** Takes this process out of the others' sight. */
  readonly leave: () => Promise<void>
}

/** The store, and what this process shares with others. */
async function openStore (config: Config, log: Logger): Promise<Opened> {
  const [{ alone, newWorker }, { systemClock: clock }] = await Promise.all([import('./src/core/group.ts'), import('./src/core/clock.ts')])
  const options = {
    historySize: config.historySize,
    historyTtlMs: config.historyTtl * 1000,
    historyBytes: config.historyBytes,
    maxKeysPerRoom: config.maxKeysPerRoom,
    idempotencyTtlMs: config.idempotencyTtl * 1000,
    clock,
    log
  }
  if (config.redisUrl === '') {
    const { openEmbeddedStore } = await import('./src/store/embedded/store.ts')
    return { store: await openEmbeddedStore({ ...options, dataDir: config.dataDir, durability: config.durability }), group: alone(), serve () {}, leave: async () => {} }
  }
  const [{ RedisStore }, { RedisGroup }, { Handlers }, { Intake }, { compile }] = await Promise.all([
    import('./src/store/redis/log/store.ts'),
    import('./src/store/redis/group.ts'),
    import('./src/store/redis/commands/handlers.ts'),
    import('./src/store/redis/intake/intake.ts'),
    import('./src/app/commands.ts')
  ])
  const worker = newWorker()
  const store = new RedisStore({ ...options, url: config.redisUrl, prefix: config.redisPrefix, worker })
  const group = new RedisGroup({ store, worker, clock, log })
  const handlers = new Handlers({ store, worker, clock, idempotencyTtlMs: options.idempotencyTtlMs, compile: schema => compile({ schema, handler () {} }).check, log })
  const intake = new Intake({ store, worker, channel: config.redisChannel, clock, log })
  return {
    store,
    group,
    intake: intake.counters,
    serve: gateway => {
      handlers.start(gateway)
      intake.start(gateway)
    },
    leave: async () => {
      await intake.close()
      await handlers.close()
      await group.close()
    }
  }
}

async function profileOf (config: Config, gateway: Gateway): Promise<FastifyPluginAsync> {
  if (config.appProfile === 'SSE') {
    const { default: sse } = await import('./profiles/sse/index.ts')
    return async app => { await app.register(sse, { gateway }) }
  }
  const { default: websocket } = await import('./profiles/websocket/index.ts')
  return async app => {
    await app.register(websocket, {
      gateway,
      pingTimeoutMs: config.pingTimeout * 1000,
      maxPayload: config.maxHttpBufferSize,
      origins: config.corsOrigins
    })
  }
}

function limitsOf (config: Config): Limits {
  return {
    tickMs: config.appProfile === 'SSE' ? config.monitorTickMs : config.flushIntervalMs,
    tickFloorMs: config.tickFloorMs,
    messagesPerSecond: config.maxEventsPerSecondPerClient,
    bundleFacts: config.maxQueuePerClient,
    bundleBytes: config.maxHttpBufferSize,
    slowMs: config.slowClientTimeout * 1000,
    roomSize: config.maxRoomSize,
    rooms: config.maxRooms,
    roomsPerClient: config.maxRoomsPerClient,
    clients: config.maxClients,
    clientsPerAddress: config.maxClientsPerIp,
    controlPerSecond: config.controlRateLimit,
    publishPerSecond: config.publishRateLimit
  }
}
