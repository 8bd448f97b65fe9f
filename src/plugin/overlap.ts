// Routes of an app that would answer what is for the gateway: Fastify prefers them, because they say more of the address than
// the gateway's own route below its prefix does. Those that only count for a host or a version (constraints) are not seen.

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

export const overlapping = (method: string, route: string, prefix: string, url: string): ConfigError =>
  new ConfigError([`the app's route ${method} ${route} would answer requests for the gateway at ${prefix}, such as ${url}: move that route, or give the gateway another prefix.`])

/** For the parameters of a path: of those an app may also take only some, such as numbers. */
const SAMPLES = ['x', '1', 'a-1']

/**
 * Asks the app's router, once it has all routes, what would answer.
 * @param prefix of the gateway, where all of it is one route: the prefix and `/*`
 * @param paths of the gateway, without its prefix
 * @throws ConfigError naming a route of the app
 */
export function checkOverlap (app: FastifyInstance, prefix: string, paths: Iterable<string>): void {
  const rests = new Set([...paths].flatMap(path => SAMPLES.map(sample => path.replace(/:[^/]+|\*$/g, sample))))
  // A page of the app's may be at the prefix itself.
  rests.delete('/')
  for (const rest of rests) {
    const url = prefix + rest
    for (const method of app.supportedMethods) {
      const params = app.findRoute({ method: method as 'GET', url })?.params
      if (params === undefined || params['*'] === rest.slice(1)) continue
      throw overlapping(method, routeOf(app, method, url, params), prefix, url)
    }
  }
}

/** A route as the app has it, by what it makes of a path: the router itself tells no more. */
function routeOf (app: FastifyInstance, method: string, url: string, { '*': rest, ...params }: Record<string, string | undefined>): string {
  if (rest !== undefined) {
    const names = Object.entries(params)
    const parts = url.slice(0, url.length - rest.length).split('/')
    return `${parts.map(part => part === names[0]?.[1] ? `:${names.shift()?.[0] ?? ''}` : part).join('/')}*`
  }
  // With the parameters filled in it is the path. A pattern in brackets has no more than one pair of them inside.
  const filled = (route: string): string => route.replace(/:([^/:.()-]+)(?:\((?:[^()]|\([^()]*\))*\))?/g, (text, name: string) => params[name] ?? text)
  return [...routesIn(app.printRoutes({ method: method as 'GET', commonPrefix: false }))].find(route => filled(route) === url) ?? url
}

/** The routes of a tree, printed with a line for each, of which those below another one lack its path. */
function * routesIn (tree: string): Generator<string> {
  const above: string[] = []
  for (const line of tree.split('\n')) {
    const [, indent = '', path = ''] = /^(.*?)[├└]── (\S+) \(/u.exec(line) ?? []
    const depth = indent.length / 4
    above.splice(depth, Infinity, (above[depth - 1] ?? '') + path)
    yield above[depth] as string
  }
}
