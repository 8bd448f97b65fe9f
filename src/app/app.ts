// The routes of the gateway as one Fastify plugin, in the order they are registered.

import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import type { IntakeFigures } from '../core/backing.ts'
import type { Gateway } from '../core/gateway.ts'
import answers from './answers.ts'
import type { Arrivals } from './arrivals.ts'
import auth from './auth/auth.ts'
import type { Authority } from './auth/authority.ts'
import bodies from './bodies.ts'
import body from './body.ts'
import control from './control.ts'
import dashboard from './dashboard.ts'
import docs from './docs.ts'
import type { Effort } from './effort.ts'
import errors from './errors.ts'
import hosts from './hosts.ts'
import methods from './methods.ts'
import metrics from './metrics.ts'
import type { MetricsOptions } from './metrics.ts'
import mountedOnly from './mounted.ts'
import origin, { ForeignOrigins } from './origin.ts'
import pressure from './pressure.ts'
import type { Pressure } from './pressure.ts'
import publish from './publish.ts'
import read from './read.ts'
import rooms from './rooms.ts'
import type { Savings } from './savings.ts'
import status from './status.ts'
import type { StatusOptions } from './status.ts'
import ticket from './ticket.ts'
import turns from './turns.ts'
import { WorkLine } from './work-line.ts'

export interface RouteOptions extends Omit<StatusOptions, 'warnings'>, Pick<MetricsOptions, 'store' | 'worker' | 'workers' | 'lagMs' | 'historyTtlMs' | 'droppedLines' | 'metricsExchange'> {
  readonly gateway: Gateway
  readonly authority: Authority
  readonly arrivals: Arrivals
  readonly effort: Effort
  readonly pressure: Pressure
  readonly metricsToken: string
  /** What else than the gateway and the authority warns of something. */
  readonly furtherWarnings: () => readonly string[]
  /** Registers the routes of the profiles. */
  readonly mountProfiles: (app: FastifyInstance) => Promise<void>
  readonly savings: Savings
  /** Counts of events that come in through the store. */
  readonly intake?: IntakeFigures | undefined
  /** Origins of other sites whose pages may use the gateway. */
  readonly corsOrigins: readonly string[]
  /** See hosts.ts. */
  readonly allowedHosts: readonly string[] | null
}

/** Seconds that browsers keep the answer to a preflight: a page that sends many requests then asks once, not before each. */
const PREFLIGHT_SECONDS = 600

export async function registerRoutes (app: FastifyInstance, options: RouteOptions): Promise<void> {
  const { gateway, authority, arrivals, effort, metricsToken, mounted, mountProfiles, savings, intake, enableControlHttp, corsOrigins, allowedHosts } = options
  const foreign = new ForeignOrigins()
  // Schemas only describe the routes in /docs. The core's parser checks events and commands, the same way over HTTP, WebSocket and Redis.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => data => JSON.stringify(data))

  await app.register(turns, {
    slowClientTimeoutMs: () => gateway.limits.slowClientTimeoutMs,
    onSlow: () => { gateway.counters.slow++ },
    troubles: gateway.troubles
  })
  await app.register(errors, { gateway })
  await app.register(methods)
  await app.register(hosts, { allowedHosts })
  await app.register(origin, { corsOrigins, foreign, troubles: gateway.troubles, mounted })
  // Without origins it would do nothing, with each request anew.
  if (corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...corsOrigins],
      methods: ['GET', 'HEAD', 'POST'],
      // It counts only beside Access-Control-Allow-Origin, which other origins do not get.
      credentials: true,
      maxAge: PREFLIGHT_SECONDS,
      // An OPTIONS that is no preflight is a question for the methods.
      strictPreflight: false,
      exposedHeaders: ['ETag', 'Retry-After', 'X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset']
    })
  }
  // Behind CORS: a page must be able to read why its stream is refused.
  await app.register(mountedOnly, { mounted })
  // Before tokens are looked at, which costs more than all the rest.
  await app.register(pressure, { pressure: options.pressure, returnAfterMs: () => gateway.returnAfterMs() })
  await app.register(auth, { authority, metricsToken })
  if (options.compresses) await app.register(answers)
  await app.register(docs)
  await app.register(bodies, { arrivals })
  await app.register(body, { effort, line: new WorkLine({ returnAfterMs: () => gateway.returnAfterMs() }) })
  await app.register(publish, { gateway })
  await app.register(read, { gateway })
  if (enableControlHttp) await app.register(control, { gateway })
  await app.register(rooms, { gateway })
  if (!authority.isOpen) await app.register(ticket, { gateway, authority })
  const warnings = (): string[] => [...gateway.warnings, ...authority.warning === null ? [] : [authority.warning], ...options.furtherWarnings()]
  await app.register(status, { ...options, warnings })
  await app.register(metrics, { ...options, warnings, savings, foreign, intake })
  await app.register(dashboard)
  await mountProfiles(app)

  // Closing the app drains first. If the launcher has drained already, this returns at once.
  app.addHook('preClose', async () => await gateway.drain())
}
