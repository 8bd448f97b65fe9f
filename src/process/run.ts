// One process with one gateway: the only process, or a worker of a primary. It builds the gateway, listens, and drains at its end.

import { accessOf, ConfigError, EX_CONFIG } from '../../config/index.ts'
import type { Config, ProfileName } from '../../config/index.ts'
import demoFeed from '../app/demo-feed.ts'
import { version } from '../app/package.ts'
import { composeGateway } from '../signalbox.ts'
import { endInOrder } from './ending.ts'
import { createLog } from './log.ts'
import { feedWatchdog } from './systemd.ts'
import type { Primary } from './worker.ts'

/** What a process starts with: the settings, and whether the demo feed is on. */
export interface Startup {
  readonly config: Config
  readonly demo: boolean
  /** What APP_PROFILE says, where the deployment was switched from that to the profile of `config`. */
  readonly configuredProfile?: ProfileName
}

/**
 * Connections that may wait to be accepted; the system lowers it to its own maximum (net.core.somaxconn). Clients beyond it
 * retry only after 1, 3, 7, 15, 31 s: with Node's 511, ten thousand clients that return within a second needed a minute.
 */
const BACKLOG = 65_535

/** Runs a gateway. @param primary the primary of this worker; null if this is the only process */
export async function runGateway ({ config, demo: isDemoOn, configuredProfile }: Startup, primary: Primary | null): Promise<void> {
  const logFigures = { dropped: 0 }
  const log = createLog(config.logLevel, primary?.number, logFigures)
  const fail = (error: unknown): never => {
    log.fatal((error as Error).message)
    process.exit(error instanceof ConfigError ? EX_CONFIG : 1)
  }
  const box = await composeGateway({
    config,
    configuredProfile,
    log,
    worker: primary?.number ?? 1,
    workers: config.workers,
    metricsExchange: primary ?? undefined,
    droppedLines: () => logFigures.dropped,
    onTuned: (tuned, changes) => {
      log.level = tuned.logLevel
      primary?.send({ kind: 'tuned', changes })
    },
    onSwitched: profile => primary?.send({ kind: 'switched', profile }),
    onShutdown: () => {
      primary?.send({ kind: 'shutdown' })
      shutDown()
    }
  }).catch(fail)
  primary?.onSettings<Startup>(({ config }) => {
    box.configure(config)
    log.level = config.logLevel
  })
  const app = await box.createServer()
  // The measurements are the machine's, the same for all its workers: only the first one publishes them.
  const demo = isDemoOn && (primary === null || primary.number === 1)
  if (demo) await app.register(demoFeed, { gateway: box.gateway, ...(box.kind === 'embedded' ? { dataDir: config.dataDir } : {}) })

  const limitMs = config.shutdownTimeout * 1000
  const shutDown = endInOrder({
    primary,
    log,
    delayMs: config.shutdownDelay * 1000,
    announce: () => box.announceDrain(),
    limitMs,
    stopListening: () => { app.server.close() },
    drain: async signal => {
      log.info({ signal, sessions: box.gateway.view.sessions.count }, 'draining')
      // Half of the time for running commands, half for everything else.
      await box.drain(limitMs / 2)
      await app.close()
      log.info('drained, exiting')
    }
  })

  const started = box.start().catch(fail)
  // A process reads the log before it listens, so a restart refuses no client.
  await box.readyToListen()
  const url = await app.listen({
    host: config.host,
    port: config.port,
    backlog: BACKLOG,
    listenTextResolver: url => primary === null ? `signalbox ${version}: profile ${box.mounted.name}, ${accessOf(config)}, on ${url}` : `worker ${primary.number} (pid ${process.pid}) listens at ${url}`
  }).catch((error: NodeJS.ErrnoException) => fail(new Error(cannotListen(error, config))))
  if (demo) log.info('demo feed on: this machine\'s own metrics are published to the public feed (DEMO_FEED=false turns it off)')
  if (primary === null) {
    feedWatchdog(log)
    process.send?.('ready')
  } else {
    primary.send({ kind: 'listening', url })
    await started
    primary.send({ kind: 'ready' })
  }
}

/** Why the gateway cannot listen, and what to do. */
function cannotListen ({ code, message }: NodeJS.ErrnoException, { host, port }: Pick<Config, 'host' | 'port'>): string {
  switch (code) {
    case 'EADDRINUSE': return `port ${port} on ${host} is in use; set PORT to a free one`
    case 'EACCES': return `this user may not listen on port ${port}: ports below 1024 need a privilege; set PORT to a higher one, or put a proxy in front`
    case 'EADDRNOTAVAIL': return `${host} is not an address of this machine; set HOST to one that is, to 0.0.0.0 (every IPv4 address) or to :: (every address)`
    case 'ENOTFOUND': return `the name ${host} has no address; set HOST to an address of this machine`
    case 'EAI_AGAIN': return `the address of the name ${host} cannot be found out now; set HOST to an address of this machine`
    default: return `cannot listen on port ${port} of ${host}: ${message}`
  }
}
