// The whole app on a real socket.

import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import type { Logger } from 'pino'
import { configFrom } from '../../config/index.ts'
import type { Config } from '../../config/index.ts'
import type { ProfileName } from '../../profiles/index.ts'
import { compile } from '../../src/app/commands.ts'
import type { CommandDefinition } from '../../src/app/commands.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { newWorker } from '../../src/core/group.ts'
import type { Limits } from '../../src/core/limits.ts'
import { composeGateway } from '../../src/signalbox.ts'
import type { Composition } from '../../src/signalbox.ts'
import { LIMITS } from '../core/rig.ts'
import { watchAnswers } from '../tools/answers.ts'

export { PROFILE_NAMES as PROFILES } from '../../profiles/index.ts'

export interface ServerOptions extends Partial<Config> {
  profile: ProfileName
  limits?: Partial<Limits>
  /** The log is kept on this Redis; `dataDir` is then a prefix. */
  redis?: string
  commands?: Record<string, CommandDefinition>
  port?: number
  log?: Logger
  /** False: it listens and has not read its log yet. */
  starts?: boolean
}

export interface Server {
  readonly app: FastifyInstance
  readonly gateway: Gateway
  readonly box: Composition
  readonly port: number
  readonly url: string
  publish (...events: object[]): Promise<string[]>
  close (): Promise<void>
}

/** Settings of a gateway in a test: nothing is kept, nothing waits, nothing is limited. Seconds may be fractions here. */
function configOf ({ profile, limits, redis, commands, port, log, starts, ...settings }: ServerOptions): Config {
  const { dataDir } = settings
  const bounds = { ...LIMITS, tickMs: 20, tickFloorMs: 20, ...limits }
  return {
    ...configFrom({ appProfile: profile }),
    ...bounds,
    monitorTickMs: bounds.tickMs,
    flushIntervalMs: bounds.tickMs,
    slowClientTimeout: bounds.slowClientTimeoutMs / 1000,
    // The settings know no gateway without a bound on rooms.
    maxRooms: bounds.maxRooms === 0 ? 100_000 : bounds.maxRooms,
    reconnectJitter: 0,
    stateTtl: 0,
    ...settings,
    dataDir: redis === undefined ? dataDir ?? ':memory:' : ':memory:',
    ...(redis === undefined ? {} : { redisUrl: redis, redisPrefix: `${dataDir ?? newWorker()}:` })
  }
}

/** Windows of a rate limit that may have begun since, on a machine that may be slow. @param begun ms since 1970 */
export const windowsSince = (begun: number): number => Math.floor((Date.now() - begun) / 1000) + 2

export async function startServer (options: ServerOptions): Promise<Server> {
  const box = await composeGateway({ config: configOf(options), log: options.log ?? pino({ level: 'silent' }) })
  const { gateway } = box
  for (const [name, definition] of Object.entries(options.commands ?? {})) gateway.commands.register(name, compile(definition))
  const app = await box.createServer()
  if (options.starts !== false) await box.start()
  await app.listen({ port: options.port ?? 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  watchAnswers(port, new Promise(resolve => app.server.once('close', resolve)))
  return {
    app,
    gateway,
    box,
    port,
    url: `http://127.0.0.1:${port}`,
    publish: async (...events) => await box.publish(events),
    close: async () => await app.close()
  }
}
