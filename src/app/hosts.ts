// Which names a gateway without authentication answers to. A page that its operator visits may let its own name point to
// the operator's machine (DNS rebinding): for the browser the gateway is then the page's own server. The name in `Host`
// gives it away.

import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import { timesNamed } from './headers.ts'

interface HostOptions {
  /** Names that are allowed besides loopback, `*.` in front for all below one; null: every name. */
  readonly allowedHosts: readonly string[] | null
}

/** A name or an address (RFC 3986, 3.2.2), and a port. */
const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::\d*)?$/i
const LOOPBACK = /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\])$/
/** Texts of `Host` found good, so that each is looked at once. Clients choose them: only few are kept. */
const MAX_KEPT = 100

export default fp(async (app: FastifyInstance, { allowedHosts }: HostOptions) => {
  const names = new Set(allowedHosts ?? [])
  const good = new Set<string>()

  app.addHook('onRequest', ({ raw }, _reply, done) => {
    check(raw)
    done()
  })

  /** @throws Refusal */
  function check ({ headers: { host }, httpVersion, rawHeaders }: IncomingMessage): void {
    if (host === undefined) {
      if (httpVersion === '1.1') throw new Refusal('BAD_REQUEST', 'HTTP/1.1 needs the header Host')
      // Checks of load balancers send none in HTTP/1.0; browsers always do.
      return
    }
    // Of several headers Node keeps the first; a proxy on the way may have gone by the last.
    if (timesNamed('host', rawHeaders) > 1) throw new Refusal('BAD_REQUEST', 'a request has one header Host')
    if (allowedHosts === null || good.has(host)) return
    const name = HOST.exec(host)?.[1]?.toLowerCase()
    if (name === undefined || !isAllowed(name)) {
      throw new Refusal('HOST_NOT_ALLOWED', `this gateway is not reached as ${JSON.stringify(host.slice(0, 100))}: it is open, so it answers only to the names it knows; add yours to ALLOWED_HOSTS (in a program: allowedHosts)`)
    }
    if (good.size < MAX_KEPT) good.add(host)
  }

  function isAllowed (name: string): boolean {
    if (LOOPBACK.test(name) || names.has(name)) return true
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
      if (names.has(`*${name.slice(dot)}`)) return true
    }
    return false
  }
}, { name: 'hosts' })

/** The names of a gateway that listens on `host`, and of the sites whose pages may use it. */
export function hostsOf ({ host, corsOrigins, allowedHosts }: { readonly host: string, readonly corsOrigins: readonly string[], readonly allowedHosts: readonly string[] }): string[] {
  return [host.includes(':') ? `[${host.toLowerCase()}]` : host.toLowerCase(), ...corsOrigins.filter(origin => URL.canParse(origin)).map(origin => new URL(origin).hostname), ...allowedHosts]
}
