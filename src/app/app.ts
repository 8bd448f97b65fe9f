// The Fastify app: its plugins, in the order they are registered. It listens nowhere; the launcher does.

import cors from '@fastify/cors'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, FastifyPluginAsync } from 'fastify'
import type { Gateway } from '../core/gateway.ts'
import body from './body.ts'
import control from './control.ts'
import dashboard from './dashboard.ts'
import docs from './docs.ts'
import errors, { answerClientError, refuse, translate } from './errors.ts'
import metrics from './metrics.ts'
import type { IntakeFigures, Neighbours } from './metrics.ts'
import publish from './publish.ts'
import status from './status.ts'
import type { ProfileName } from './status.ts'
import { Saving } from './saving.ts'
import system from './system.ts'
import type { SettingView } from './system.ts'

export interface AppOptions {
  readonly gateway: Gateway
  readonly profile: ProfileName
  /** The profile's plugin, with its options bound. */
  readonly mount: FastifyPluginAsync
  readonly store: string
  /** Counts what comes in through the store. */
  readonly intake?: IntakeFigures | undefined
  /** Under which key of `@system` this process reports. */
  readonly reportKey?: string
  /** The settings as they are just now, without secrets, for `@system`. */
  readonly settings?: () => readonly SettingView[]
  /** Which worker of its deployment this process is, from 1. Default 1. */
  readonly worker?: number
  /** The workers beside this one, where there are several. */
  readonly neighbours?: Neighbours | undefined
  readonly log: FastifyBaseLogger
  readonly pingIntervalMs: number
  readonly controlHttp: boolean
  /** Largest body, bytes. */
  readonly bodyLimit: number
  /** Other sites whose pages may call. */
  readonly origins: readonly string[]
  /** Proxies whose forwarded headers count. */
  readonly trustProxy: readonly string[] | false
}

/** The longest cursor, and all that browsers and proxies add. */
const MAX_HEADER_BYTES = 32 * 1024
/** Time a client has for its headers, and for its whole request: those who take longer hold a socket for nothing. */
const HEADERS_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 60_000

export async function buildApp (options: AppOptions): Promise<FastifyInstance> {
  const { gateway, profile, mount, store, intake, reportKey = '1', settings = () => [], worker = 1, neighbours, log, pingIntervalMs, controlHttp, bodyLimit, origins, trustProxy } = options
  const app = Fastify({
    loggerInstance: log,
    // One line per request would be most of what a gateway does.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit,
    trustProxy: trustProxy === false ? false : [...trustProxy],
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: MAX_HEADER_BYTES },
    // By then the streams were ended with a word; what is still open belongs to clients that do not close.
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    // The gateway itself refuses while it drains, in the contract's words; Fastify's own 503 would end a native EventSource for good.
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => { void refuse(reply, translate(error, bodyLimit)) },
    clientErrorHandler: answerClientError,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 200 }
  })
  // Schemas describe the routes in /docs; events and commands are checked by the core's parser, the same for every door.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => data => JSON.stringify(data))

  const saving = new Saving()
  await app.register(errors, { gateway })
  await app.register(cors, {
    origin: origins.length === 0 ? false : [...origins],
    methods: ['GET', 'POST'],
    exposedHeaders: ['Retry-After', 'X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset']
  })
  await app.register(docs)
  await app.register(body)
  await app.register(system, { gateway, profile, store, key: reportKey, worker, saving, settings })
  await app.register(publish, { gateway })
  if (controlHttp) await app.register(control, { gateway })
  await app.register(status, { gateway, profile, pingIntervalMs, controlHttp })
  await app.register(metrics, { gateway, profile, saving, intake, neighbours })
  await app.register(dashboard)
  await app.register(mount)

  // Whoever closes the app drains first; a launcher that has done so already finds nothing left to do.
  app.addHook('preClose', async () => await gateway.drain())
  return app
}
