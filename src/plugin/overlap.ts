// Routes of an app that would answer what is for the gateway: Fastify prefers them, because they say more of the address than
// the gateway's own route below its prefix does.

import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { ConfigError } from '../../config/index.ts'

/** The prefixes of the gateways on each server. */
const gateways = new WeakMap<Server, Set<string>>()

/** @throws ConfigError where another gateway lies there */
export function claimPrefix ({ server, prefix }: Pick<FastifyInstance, 'server' | 'prefix'>): void {
  const taken = gateways.get(server) ?? new Set()
  if (taken.has(prefix)) throw new ConfigError([`another gateway of this app lies at ${prefix === '' ? 'its root' : prefix}: give this one a prefix of its own, such as prefix: '/orders'.`])
  gateways.set(server, taken.add(prefix))
}

/**
 * @param paths of the gateway, without its prefix
 * @param own routes that are the gateway's
 * @throws ConfigError naming a route of the app
 */
export function checkOverlap (app: FastifyInstance, prefix: string, paths: Iterable<string>, own: readonly string[]): void {
  /** By the route that would answer it, a path of the gateway. */
  const routes = new Map<string, string>()
  for (const path of paths) for (const route of routesOver(path.split('/').slice(1))) routes.set(route, path)
  for (const [route, path] of routes) {
    const url = prefix + route
    const method = own.includes(url) ? undefined : app.supportedMethods.find(method => app.hasRoute({ method: method as 'GET', url }))
    if (method !== undefined) throw new ConfigError([`the app's route ${method} ${url} would answer requests for the gateway at ${prefix}, such as ${prefix}${path}: move that route, or give the gateway another prefix.`])
  }
}

/** The routes that match a path: with each part as it is or as a parameter, whatever its name, and with `*` for what is left. */
function * routesOver ([part, ...rest]: readonly string[], before = ''): Generator<string> {
  if (part === undefined) return yield before
  yield `${before}/*`
  if (part === '*') return
  if (!part.startsWith(':')) yield * routesOver(rest, `${before}/${part}`)
  if (part !== '') yield * routesOver(rest, `${before}/:part`)
}
