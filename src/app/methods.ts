// The methods of each path: OPTIONS is answered with them, and so is a method that the path does not have.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import { refuse } from './errors.ts'

/** Registers first: it learns the routes as they are registered. */
export default fp(async (app: FastifyInstance) => {
  const routes = new Map<string, { readonly path: RegExp, readonly methods: Set<string> }>()

  app.addHook('onRoute', ({ url, method }) => {
    // The route of @fastify/cors for preflights, which is there for every path.
    if (url === '*') return
    let route = routes.get(url)
    if (route === undefined) routes.set(url, route = { path: patternOf(url), methods: new Set(['OPTIONS']) })
    for (const name of [method].flat()) route.methods.add(name)
  })

  /** The methods of a path, as the header Allow has them; null for a path that does not exist. */
  function allowOf (request: FastifyRequest): string | null {
    const path = pathOf(request.url)
    const methods = new Set([...routes.values()].filter(route => path === '*' || route.path.test(path)).flatMap(route => [...route.methods]))
    return methods.size === 0 ? null : [...methods].sort().join(', ')
  }

  // Before @fastify/cors, which answers preflights itself.
  app.addHook('onRequest', (request, reply, done) => {
    const allow = request.method === 'OPTIONS' ? allowOf(request) : null
    if (allow !== null) reply.header('Allow', allow)
    done()
  })

  app.setNotFoundHandler(async (request, reply): Promise<FastifyReply> => {
    const allow = allowOf(request)
    const path = pathOf(request.url).slice(0, 100)
    if (allow === null) return await refuse(reply, new Refusal('NOT_FOUND', `there is no ${request.method} ${path}; /docs lists the routes`))
    reply.header('Allow', allow)
    if (request.method === 'OPTIONS') return await reply.code(204).send()
    return await refuse(reply, new Refusal('METHOD_NOT_ALLOWED', `${path} has no ${request.method}; it has ${allow}`))
  })
}, { name: 'methods' })

/** The path of a request's target, in origin form or absolute form (RFC 9112, 3.2), without a slash at the end. */
export function pathOf (url: string): string {
  const path = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '').split(/[?#]/, 1)[0] as string
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}

/** `:name` stands for a part between slashes, `*` at the end for everything. */
export function patternOf (url: string): RegExp {
  const text = url.length > 1 ? url.replace(/\/$/, '') : url
  return new RegExp(`^${text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/:[^/]+/g, '[^/]+').replace(/\*$/, '.*')}$`)
}
