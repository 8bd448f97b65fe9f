#!/usr/bin/env node
// The package's command. It hands the command line to src/cli, and starts what is to be started: a gateway in this process,
// or a primary with several workers, each of which runs this launcher again. Other modules are imported only when they are
// needed: an invalid setting is reported at once, help comes at once, and an old Node gets a sentence instead of a stack trace.

import cluster from 'node:cluster'
import type { LoadedConfig } from './config/index.ts'
import { fileLimit } from './src/app/file-limit.ts'
import { endOnEarlySignals } from './src/process/early-signals.ts'
import type { Startup } from './src/process/run.ts'

const NEEDED = [20, 19] as const
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  console.error(`signalbox needs Node.js ${NEEDED.join('.')} or newer; this is ${process.versions.node}`)
  process.exit(1)
}

/** Open files that a start needs; without connections it uses fewer than 50. */
const LEAST_FILES = 100

/** Settings for trying out the gateway. --demo takes effect only if no other setting is set. */
const TRYING_OUT = new Set(['APP_PROFILE', 'ENABLE_SSE', 'ENABLE_WS', 'PORT', 'LOG_LEVEL', 'DATA_DIR'])

endOnEarlySignals()
await main().catch((error: NodeJS.ErrnoException) => {
  if (error.code !== 'EMFILE' && error.code !== 'ENFILE') throw error
  console.error(`${error.message}: raise the limit of open files (ulimit -n, or LimitNOFILE= of systemd)`)
  process.exit(1)
})

async function main (): Promise<void> {
  const connected = await (await import('./src/process/worker.ts')).connectToPrimary<Startup>()
  if (connected !== null) return await run(connected.settings, connected.primary)
  const [{ runCommandLine }, { packageRoot, version }] = await Promise.all([import('./src/cli/index.ts'), import('./src/app/package.ts')])
  await runCommandLine(process.argv.slice(2), { start, check, version, root: packageRoot })
}

async function start (wantsDemo: boolean): Promise<void> {
  if (process.platform === 'linux') requireDescriptors()
  const { config, sources } = await load()
  const configured = Object.entries(sources).some(([name, source]) => (source === 'environment' || source === '.env') && !TRYING_OUT.has(name))
  const startup = { config, demo: config.demoFeed || (wantsDemo && !configured) }
  // A worker of another program's cluster runs a single gateway.
  if (config.workers > 1 && cluster.isPrimary) await lead(startup)
  else await run(startup, null)
}

async function check (): Promise<void> {
  const loaded = await load()
  console.log((await import('./config/report.ts')).describeConfig(loaded))
}

/** The settings; warnings go to stderr. Ends the process with all problems if there are any. */
async function load (): Promise<LoadedConfig> {
  const { EX_CONFIG, loadConfig, ConfigError } = await import('./config/index.ts')
  try {
    const loaded = loadConfig()
    for (const warning of loaded.warnings) console.error(`warning: ${warning}`)
    return loaded
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const line of [...error.problems, ...error.warnings.map(warning => `warning: ${warning}`)]) console.error(line)
    return process.exit(EX_CONFIG)
  }
}

/**
 * Exits with a sentence if the limit of open files is too low to start: the modules and the store take some 50, each connection one.
 * Where the limit cannot be read, the first file that cannot be opened ends the start.
 */
function requireDescriptors (): void {
  const limit = fileLimit()
  if (limit >= LEAST_FILES) return
  console.error(`signalbox needs ${LEAST_FILES} open files and one more for each connection; the limit is ${limit}: raise it (ulimit -n, or LimitNOFILE= of systemd)`)
  process.exit(1)
}

async function run (...args: Parameters<typeof import('./src/process/run.ts').runGateway>): Promise<void> {
  await (await import('./src/process/run.ts')).runGateway(...args)
}

/** Runs the workers. Every worker gets the settings read here plus later changes by `tune`, however late it starts. */
async function lead (startup: Startup): Promise<void> {
  const [{ createLog }, { feedWatchdog }, { runWorkers }, { version }, { accessOf, carryOutTune, withProfile }] = await Promise.all([
    import('./src/process/log.ts'),
    import('./src/process/systemd.ts'),
    import('./src/process/primary.ts'),
    import('./src/app/package.ts'),
    import('./config/index.ts')
  ])
  const { appProfile, logLevel, shutdownDelay, shutdownTimeout, workers } = startup.config
  const log = createLog(logLevel)
  process.exit(await runWorkers({
    exec: import.meta.filename,
    args: process.argv.slice(2),
    count: workers,
    drainMs: (shutdownDelay + shutdownTimeout) * 1000,
    log,
    settings: () => startup,
    onTuned: changes => {
      startup = { ...startup, config: carryOutTune(startup.config, changes).config }
      log.level = startup.config.logLevel
    },
    onSwitched: profile => {
      startup = { ...startup, config: withProfile(startup.config, profile ?? appProfile), configuredProfile: appProfile }
    },
    onReady: url => {
      log.info(`signalbox ${version}: profile ${startup.config.appProfile}, ${accessOf(startup.config)}, ${workers} workers on ${url}`)
      feedWatchdog(log)
      process.send?.('ready')
    }
  }))
}
