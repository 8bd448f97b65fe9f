// The caller of a request, for rate limits, idempotency and connections per address.

import { BlockList, isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'

/** Callers by address: most requests come from few. */
const known = new Map<string, string>()
const MAX_KNOWN = 1000

/** The client address. Of IPv6 only the /64 counts: a single household or host can use any address in it. */
export function callerOf (request: FastifyRequest): string {
  // After the client disconnects there is no address, although the type says there is.
  const address = (request.ip as string | undefined) ?? ''
  let caller = known.get(address)
  if (caller === undefined) {
    caller = normalizeIP(withoutPort(address))
    if (known.size === MAX_KNOWN) known.clear()
    known.set(address, caller)
  }
  return caller
}

/** Some proxies forward an address with its port, which is another one for each connection: `192.0.2.7:50001`, `[2001:db8::7]:50001`. */
function withoutPort (address: string): string {
  const [, v6, v4] = /^(?:\[(.+)\]|(\d+(?:\.\d+){3}))(?::\d+)?$/.exec(address) ?? []
  return v6 ?? v4 ?? address
}

/** Whether an address is that of a proxy whose forwarded headers are trusted. @param proxies addresses and CIDRs */
export function trustOf (proxies: readonly string[]): (address: string | undefined) => boolean {
  const list = new BlockList()
  for (const proxy of proxies) {
    const [address = '', prefix] = proxy.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return text => {
    const address = withoutPort(text ?? '')
    const version = isIP(address)
    return version !== 0 && list.check(address, version === 6 ? 'ipv6' : 'ipv4')
  }
}
