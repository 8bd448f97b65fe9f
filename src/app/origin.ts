// Origins. Browsers let any page open a WebSocket to any host, so the gateway checks which page it is. Over HTTP the browser
// itself withholds the answer from a page that CORS_ORIGINS does not list, and says so to nobody but the page's developer:
// the gateway therefore counts and names such pages.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import type { Troubles } from '../core/figures/troubles.ts'
import type { Mounted } from './mounted.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** A WebSocket: pages of other sites are refused. */
    isSocket?: boolean
  }
}

/** Origins counted by name; the names come from clients. */
const MAX_NAMED = 20
const OTHERS = 'others'

/** Requests from pages of other sites that CORS_ORIGINS does not list, by origin. */
export class ForeignOrigins {
  /** A page may call its origin `__proto__`. */
  readonly counts = Object.create(null) as Record<string, number>

  /** @returns whether this is the first request of an origin that is counted by name */
  count (origin: string): boolean {
    const isFirst = !Object.hasOwn(this.counts, origin)
    const name = isFirst && Object.keys(this.counts).length >= MAX_NAMED ? OTHERS : origin
    this.counts[name] = (this.counts[name] ?? 0) + 1
    return isFirst && name === origin
  }
}

interface OriginOptions {
  /** Origins of other sites that may use the gateway. */
  readonly corsOrigins: readonly string[]
  readonly foreign: ForeignOrigins
  readonly troubles: Troubles
  readonly mounted: Pick<Mounted, 'name'>
}

export default fp(async (app: FastifyInstance, { corsOrigins, foreign, troubles, mounted }: OriginOptions) => {
  app.addHook('onRequest', (request, _reply, done) => {
    const { origin } = request.headers
    if (origin !== undefined && !isAllowed(request, origin, corsOrigins)) {
      // The browser keeps no socket from a page: the gateway does, before anything of the page is looked at.
      const { isSocket, profile } = request.routeOptions.config
      if (isSocket === true && profile === mounted.name) throw refusalOf(origin)
      const name = origin.slice(0, 100)
      const text = foreignText(name)
      troubles.note('ORIGIN_NOT_LISTED', text)
      if (foreign.count(name)) app.log.warn({ origin: name }, text)
    }
    done()
  })
}, { name: 'origin' })

/** @throws Refusal FORBIDDEN for a page of another origin that is not on the list */
function checkOrigin (request: FastifyRequest, allowed: readonly string[]): void {
  const { origin } = request.headers
  if (origin !== undefined && !isAllowed(request, origin, allowed)) throw refusalOf(origin)
}

const refusalOf = (origin: string): Refusal => new Refusal('FORBIDDEN', foreignText(origin.slice(0, 100)))

/**
 * A browser sends cookies with what any page asks for. What changes something, and a socket, which no browser withholds from a
 * page, must come from a page that may.
 * @throws Refusal FORBIDDEN
 */
export function checkCookieOrigin (request: FastifyRequest, allowed: readonly string[]): void {
  const { method, headers } = request
  if ((method === 'GET' || method === 'HEAD') && headers['sec-websocket-key'] === undefined) return
  if (headers.origin === undefined) throw new Refusal('FORBIDDEN', 'a request that is known by a cookie needs the header Origin, as browsers send it; send the token as Authorization: Bearer <token> instead')
  checkOrigin(request, allowed)
}

function foreignText (origin: string): string {
  return origin === 'null'
    ? 'a page of the origin null (opened as a file, or in a sandbox) may not use this gateway, and cannot be listed in CORS_ORIGINS: serve it by http'
    : `pages of ${origin} may not use this gateway: CORS_ORIGINS does not list that origin, and it is not the gateway's own (behind a proxy: pass on Host, or X-Forwarded-Host with TRUST_PROXY)`
}

function isAllowed (request: FastifyRequest, origin: string, listed: readonly string[]): boolean {
  return listed.includes(origin) || isOwn(request, origin)
}

/** Whether the page came from the gateway itself, under any name it is reached by. */
function isOwn (request: FastifyRequest, origin: string): boolean {
  // `null` is no URL. Userinfo is in no origin that a browser sends.
  if (origin.includes('@') || !URL.canParse(origin)) return false
  const page = new URL(origin)
  if (!/^https?:$/.test(page.protocol)) return false
  if (page.protocol !== (schemeOf(request) ?? page.protocol)) return false
  return hostsOf(request).some(host => {
    // The page's own scheme: its default port may stand in one of them and not in the other.
    const address = `${page.protocol}//${host}`
    return URL.canParse(address) && new URL(address).host === page.host
  })
}

/** The hosts that the client may have asked for: Host, and those a trusted proxy, or several in a row, were asked for. */
function hostsOf ({ headers, host }: FastifyRequest): string[] {
  const forwarded = entriesOf(headers['x-forwarded-host'])
  const own = headers.host === undefined ? [] : [headers.host]
  // Fastify gives the last entry where the proxy is trusted, else Host.
  return forwarded.at(-1) === host ? [...forwarded, ...own] : own
}

/** The scheme a trusted proxy was asked by; undefined where none says so. Some proxies name that of the WebSocket. */
function schemeOf ({ headers, protocol }: FastifyRequest): string | undefined {
  return entriesOf(headers['x-forwarded-proto']).at(-1) === protocol ? `${protocol.replace(/^ws/, 'http')}:` : undefined
}

const entriesOf = (header: string | string[] | undefined): string[] =>
  [header ?? []].flat().flatMap(text => text.split(',')).map(text => text.trim()).filter(text => text !== '')
